"""Rating modules price frames. Contract of the driver family."""

import abc
import importlib
from collections.abc import Callable
from datetime import datetime

from oslo_config import cfg

from cloudkitty import dataframe, db

NAMESPACE = 'cloudkitty.rating.processors'


class RatingProcessorBase(abc.ABC):
    """A module that prices the points of a frame, for one scope.

    :cvar module_name: name of the entry point.
    :cvar description: one line for people.
    :cvar hot_config: whether rules can be changed while the service runs.
    :cvar GROUP: section of the module's options.
    :cvar OPTS: the options, registered when the module is loaded.
    :cvar config_controller: a pecan controller class, or 'package.module:Class' so that the
        processor need not import the API; None: not configurable.
    """

    GROUP: str | None = None
    OPTS: list[cfg.Opt] = []
    module_name: str = ''
    description: str = ''
    hot_config: bool = False
    config_controller: type | str | None = None

    def __init__(self, tenant_id: str | None = None):
        self.tenant_id = tenant_id

    @classmethod
    def factory(cls, conf: cfg.ConfigOpts,
                database: db.Database) -> Callable[[str | None], 'RatingProcessorBase']:
        """Return what builds the module of a scope id (None: no scope, as for a quote).

        Called once per process and again whenever the module's version in the database changes
        (see db.modules); the place to load what all scopes share.

        :raises ModuleLoadError: the module cannot load; nothing is rated meanwhile.
        """
        return cls

    def reload_config(self, start: datetime | None = None) -> None:
        """Make the rules valid at *start* (aware UTC; None: now) those that process() applies.

        :raises ModuleLoadError: the rules cannot be read; the period is then not rated.
        """

    @abc.abstractmethod
    def process(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        """Return a new frame with prices. What is in *frame* is not changed."""

    def quote(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        """Return *frame* priced for an offer; by default as process() does."""
        return self.process(frame)


def __getattr__(name):
    # Plug-ins derive their configuration controllers from this one. The API asks the policy before
    # any of them is reached; the processor never needs pecan.
    if name == 'RatingRestControllerBase':
        return importlib.import_module('pecan.rest').RestController
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
