"""Rating modules price frames. Contract of the driver family."""

import abc
import importlib
from collections.abc import Callable
from datetime import datetime
from typing import Any

from oslo_config import cfg

from cloudkitty import db
from cloudkitty.core import dataframe
from cloudkitty.core.pricing import formula
from cloudkitty.core.scope_period import ScopePeriods

NAMESPACE = 'cloudkitty.rating.processors'


class RatingProcessorBase(abc.ABC):
    """A module that prices the points of a frame, for one scope.

    A module is stateless: the price of a point depends on the point and the rules valid in its
    period, never on other periods or on what was rated before. Periods are rated in any order,
    several times, on several hosts. Prices over a month (tiers, allowances, minimums) therefore do
    not belong here: they are computed later from the stored points.

    :cvar module_name: name of the entry point.
    :cvar description: one line for people.
    :cvar hot_config: whether rules can be changed while the service runs.
    :cvar GROUP: section of the module's options.
    :cvar OPTS: the options, registered when the module is loaded.
    :cvar config_controller: a pecan controller class, or 'package.module:Class' so that the
        processor need not import the API; None: not configurable.
    :cvar price_columns: a method that prices many periods of a scope at once; None: process() does.
        It returns a new scope_period.ScopePeriods with the same periods, each with the prices that
        process() would give its frame after reload_config() with its begin. If it raises an error,
        these two are called for each period, so that those before the bad one are rated; so they
        are for a class that overrides one of them below price_columns.
    """

    GROUP: str | None = None
    OPTS: list[cfg.Opt] = []
    module_name: str = ''
    description: str = ''
    hot_config: bool = False
    config_controller: type | str | None = None
    price_columns: Callable[[ScopePeriods], ScopePeriods] | None = None

    def __init__(self, tenant_id: str | None = None) -> None:
        self.tenant_id = tenant_id

    @classmethod
    def factory(
        cls, conf: cfg.ConfigOpts, database: db.Database
    ) -> Callable[[str | None], 'RatingProcessorBase']:
        """Return a function that builds the module for a scope id (None: no scope, as for a quote).

        Called once per process and again whenever the module's version in the database changes
        (see rating.module_state); the place to load what all scopes share.

        :raises ModuleLoadError: the module cannot load; nothing is rated meanwhile.
        """
        return cls

    def reload_config(self, start: datetime | None = None) -> None:
        """Select the rules that process() applies: those valid at *start* (aware UTC; None: now).

        :raises ModuleLoadError: the rules cannot be read; the period is then not rated.
        """

    @abc.abstractmethod
    def process(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        """Return a new frame with prices; *frame* and its content are not modified."""

    def quote(self, frame: dataframe.DataFrame) -> dataframe.DataFrame:
        """Return *frame* priced for an offer; by default as process() does."""
        return self.process(frame)

    def explain(self, name: str, point: dataframe.DataPoint) -> list[str]:
        """Return a line of text for each rule that matches *point* of metric *name*.

        Called after reload_config(); by default there are no lines.
        """
        return []

    def amounts(self, name: str, point: dataframe.DataPoint) -> list[formula.Amount]:
        """Return the amounts that process() adds to the price of *point*, with their calculation.

        Called after reload_config(); by default there are none.
        """
        return []


def __getattr__(name: str) -> Any:
    # Plug-ins derive their configuration controllers from this one. The API checks the policy
    # before any of them is reached; the processor never needs pecan.
    if name == 'RatingRestControllerBase':
        return importlib.import_module('pecan.rest').RestController
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
