"""Fetchers list the scopes to rate. Contract of the driver family."""

import abc
import logging
from collections.abc import Iterable

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import plugins

LOG = logging.getLogger(__name__)

NAMESPACE = 'cloudkitty.fetchers'
# Width of the column that keeps it.
SCOPE_ID_LENGTH_MAX = 256


class BaseFetcher(abc.ABC):
    """A driver that lists scopes.

    :cvar name: name of the entry point; also stored with each scope.
    :cvar GROUP: section of the driver's options.
    :cvar OPTS: the driver's options; self.options reads them.
    """

    name: str = ''
    GROUP: str = ''
    OPTS: list[cfg.Opt] = []

    def __init__(self, conf: cfg.ConfigOpts):
        self.conf = conf
        if self.GROUP:
            self.options = configuration.register_driver(conf, self.GROUP, self.OPTS)

    @abc.abstractmethod
    def get_tenants(self) -> list[str]:
        """Return the ids of all scopes to rate now.

        :raises FetcherError: the source failed; an empty list never stands for a failure.
        """


def usable_ids(scope_ids: Iterable[str]) -> list[str]:
    """Return the ids that the database can keep, sorted; the others get a warning."""
    usable = []
    for scope_id in sorted(scope_ids):
        if len(scope_id) > SCOPE_ID_LENGTH_MAX or '\0' in scope_id:
            LOG.warning('A scope is not rated, its id has more than %d characters or a null '
                        'character: %.80r...', SCOPE_ID_LENGTH_MAX, scope_id)
        else:
            usable.append(scope_id)
    return usable


def get_driver(conf: cfg.ConfigOpts) -> BaseFetcher:
    """Return the fetcher that [fetcher]backend names.

    :raises ConfigurationError: no such driver, or its options are wrong.
    """
    return plugins.load(NAMESPACE, conf.fetcher.backend, group='fetcher', option='backend')(conf)
