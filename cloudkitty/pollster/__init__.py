"""Pollsters measure resources at regular intervals. Contract of the plug-in family.

Every installed pollster is used, unless [agent]disabled names it or it disables itself.
"""

import abc
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import plugins
from cloudkitty.core.metering.message import Counter

COMPUTE, CENTRAL = NAMESPACES = ('compute', 'central')
# Microseconds since the epoch, now.
Clock = Callable[[], int]


class Listing(NamedTuple):
    """The discovered resources.

    :ivar resources: passed to poll() unchanged.
    :ivar is_complete: whether every resource that exists is known to be in it; only then can one
        that is missing have ended.
    :ivar is_cloud: whether it covers the cloud; a list of one host never ends a resource.
    """

    resources: Sequence[Any]
    is_complete: bool = False
    is_cloud: bool = False


class BasePollster(abc.ABC):
    """A plug-in that measures.

    :cvar GROUP: section of its options.
    :cvar OPTS: its options; self.options reads them.
    :cvar METERS: names of the counters that it can yield.
    :cvar STATES: those of METERS whose counters say that a resource exists: of kind state. A list
        of these resources follows each poll, so that the end of one that is gone is known.
    :cvar DISCOVERY: pollsters with the same name here share one discover() a cycle; '': it has its
        own.
    :ivar reason: why is_enabled() returned False, for the log.
    """

    GROUP: str = ''
    OPTS: list[cfg.Opt] = []
    METERS: tuple[str, ...] = ()
    STATES: tuple[str, ...] = ()
    DISCOVERY: str = ''

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf
        self.reason = ''
        if self.GROUP:
            self.options = configuration.register_driver(conf, self.GROUP, self.OPTS)

    def is_enabled(self) -> bool:
        """Return whether there is anything to measure here; called once, at the start.

        It sets *reason* if not. There is no option for this: [agent]disabled is for all plug-ins.
        """
        return True

    @abc.abstractmethod
    def discover(self) -> Listing:
        """Return the resources to measure; called once a cycle.

        :raises Exception: they cannot be listed; nothing is measured in this cycle.
        """

    @abc.abstractmethod
    def poll(self, resources: Sequence[Any], now: Clock) -> Iterable[Counter]:
        """Yield measurements: gauges, counters (kind cumulative) and states.

        Never deltas: measuring twice must be harmless. It may run in any thread.

        The life of a state is `change` if its quantity and attributes are all that is known of the
        resource, `seen` if they are only used where no other source has reported it, and `end` at
        the instant at which it ended, if that is known.

        :param resources: those of discover().
        :param now: returns the time to give to a value, right after it was read.
        :raises Exception: something could not be measured; what was yielded before counts.
        """


def namespace(name: str) -> str:
    """Return the namespace of the entry points of pollsters, for one of NAMESPACES."""
    return f'cloudkitty.pollsters.{name}'


def load(conf: cfg.ConfigOpts, names: Iterable[str]) -> list[tuple[str, BasePollster]]:
    """Return name and pollster of all enabled pollsters in some of NAMESPACES.

    :raises ConfigurationError: [agent]disabled has an unknown name, or an option of a
        pollster is wrong.
    :raises DriverLoadError: one of ours cannot be imported.
    """
    every = [namespace(name) for name in NAMESPACES]
    return plugins.load_enabled(conf, 'pollster', 'agent', map(namespace, names), every)
