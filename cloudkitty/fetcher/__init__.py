"""Fetchers list the scopes to rate. Contract of the driver family."""

import abc
from collections.abc import Collection, Mapping

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import plugins

NAMESPACE = 'cloudkitty.fetchers'
FAMILY = 'fetcher'


class BaseFetcher(abc.ABC):
    """A driver that lists scopes.

    :cvar name: name of the entry point; also stored with each scope.
    :cvar GROUP: section of the driver's options, unless an instance has another.
    :cvar OPTS: the driver's options; self.options reads them.
    :ivar group: section that this driver's options are in.
    """

    name: str = ''
    GROUP: str = ''
    OPTS: list[cfg.Opt] = []

    def __init__(self, conf: cfg.ConfigOpts, *, group: str | None = None) -> None:
        self.conf = conf
        self.group = group or self.GROUP
        if self.group:
            self.options = configuration.register_driver(conf, self.group, self.OPTS)

    @abc.abstractmethod
    def get_tenants(self) -> list[str]:
        """Return the ids of all scopes to rate now; ids that cannot be stored are dropped later.

        :raises FetcherError: the source failed; an empty list never stands for a failure.
        """

    def get_names(self) -> Mapping[str, str]:
        """Return the display names of scopes, by scope id; by default none is known.

        Called after get_tenants(). Names are only displayed, so a failure here is only logged.
        """
        return {}

    def get_groups(self) -> Mapping[str, Collection[tuple[str, str]]]:
        """Return the groups of scopes, by scope id; by default none is known.

        A group is ('domain', id) or ('tag', name). Accounts may name groups in place of scopes;
        called only if billing is enabled, once an hour.
        """
        return {}


def get_driver(conf: cfg.ConfigOpts) -> BaseFetcher:
    """Return the fetcher that [fetcher]backend names.

    :raises ConfigurationError: no such driver, or its options are wrong.
    """
    return build(
        conf,
        plugins.find(
            conf,
            conf.fetcher.backend,
            namespace=NAMESPACE,
            family=FAMILY,
            group='fetcher',
            option='backend',
        ),
    )


def build(conf: cfg.ConfigOpts, instance: plugins.Instance) -> BaseFetcher:
    """Return the fetcher of *instance*.

    :raises ConfigurationError: its options are wrong.
    """
    # Drivers of other packages may not take the argument *group*.
    section = {} if instance.group is None else {'group': instance.group}
    driver: BaseFetcher = instance.driver(conf, **section)
    # So that its errors name the instance.
    driver.name = instance.name
    return driver
