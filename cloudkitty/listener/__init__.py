"""Listeners turn notifications of services into usage. Contract of the plug-in family.

Every installed listener is used, unless [listener]disabled names it or it disables itself.
"""

import abc
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors, plugins
from cloudkitty.core import bounds
from cloudkitty.core.metering import facts, notification
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification

NAMESPACE = 'cloudkitty.listeners'
ONE = Decimal(1)


class BaseListener(abc.ABC):
    """A plug-in that turns notifications into usage.

    :cvar GROUP: section of its options.
    :cvar OPTS: its options; self.options reads them.
    :cvar EXCHANGES: exchanges on which the service sends; [oslo_messaging_notifications] or
        control_exchange of the service says which one.
    :cvar EVENT_TYPES: regular expressions of the whole event types that process() is asked about.
    :ivar reason: why is_enabled() returned False, for the log.
    """

    GROUP: str = ''
    OPTS: list[cfg.Opt] = []
    EXCHANGES: tuple[str, ...] = ()
    EVENT_TYPES: tuple[str, ...] = ()

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf
        self.reason = ''
        if self.GROUP:
            self.options = configuration.register_driver(conf, self.GROUP, self.OPTS)

    def is_enabled(self) -> bool:
        """Return whether there is anything to listen to; called once, at the start.

        It sets *reason* if not.
        """
        return True

    @abc.abstractmethod
    def process(self, notification: Notification) -> Iterable[Counter]:
        """Yield the usage in a notification; nothing if there is none.

        It is a pure function, without queries and without memory, so a notification that comes
        twice, or out of order, gives the same counters.

        :raises InvalidInput: the notification is not as the service sends it; it is recorded as a
            reject.
        """


class Listeners:
    """All enabled listeners."""

    def __init__(self, listeners: Sequence[tuple[str, BaseListener]]) -> None:
        self._listeners = [
            (re.compile('|'.join(f'(?:{one})' for one in plugin.EVENT_TYPES) or r'(?!)'), plugin)
            for _, plugin in listeners
        ]
        self.names = [name for name, _ in listeners]
        self.exchanges = sorted({one for _, plugin in listeners for one in plugin.EXCHANGES})

    def knows(self, event_type: str) -> bool:
        """Return whether any listener handles notifications of this type."""
        return any(pattern.fullmatch(event_type) for pattern, _ in self._listeners)

    def process(self, told: Notification) -> Iterator[Counter]:
        """Yield the usage that all listeners find in a notification.

        :raises InvalidInput: it is not as the service sends it.
        """
        for pattern, plugin in self._listeners:
            if pattern.fullmatch(told.event_type):
                yield from plugin.process(told)


def load(conf: cfg.ConfigOpts) -> Listeners:
    """Return the enabled listeners.

    :raises ConfigurationError: [listener]disabled has an unknown name, or an option of a
        listener is wrong.
    :raises DriverLoadError: one of ours cannot be imported.
    """
    return Listeners(plugins.load_enabled(conf, 'listener', 'listener', [NAMESPACE]))


def state(
    told: Notification,
    meter: str,
    unit: str,
    quantity: Any,
    *,
    life: str,
    scope_id: str,
    resource_id: str,
    born: int | None = None,
    user_id: Any = None,
    attributes: Mapping[str, Any],
) -> Counter:
    """Return a counter of kind state for a notification.

    :param life: begin, change, seen or end.
    :param born: when the resource was created, microseconds since the epoch; None: not known. One
        after the notification, by another clock, is left out.
    :param attributes: those that are None are left out.
    :raises InvalidInput: *quantity* is no number.
    """
    return Counter(
        meter,
        facts.STATE,
        unit,
        bounds.to_decimal(quantity),
        scope_id,
        user_id if isinstance(user_id, str) else None,
        resource_id,
        told.at,
        {name: value for name, value in attributes.items() if value is not None},
        life=life,
        born=born if born is not None and born <= told.at else None,
    )


def amount(
    told: Notification,
    meter: str,
    unit: str,
    quantity: Any,
    *,
    scope_id: str,
    resource_id: str,
    user_id: Any = None,
    attributes: Mapping[str, Any],
) -> Counter:
    """Return a counter of kind delta for a notification; see state().

    A notification that comes twice counts once, by its id.
    """
    return Counter(
        meter,
        facts.DELTA,
        unit,
        bounds.to_decimal(quantity),
        scope_id,
        user_id if isinstance(user_id, str) else None,
        resource_id,
        told.at,
        {name: value for name, value in attributes.items() if value is not None},
        id=told.message_id or None,
    )


def owner(payload: Any) -> str:
    """Return the project in a payload.

    :raises InvalidInput: there is none.
    """
    found = notification.first(payload, 'project_id', 'tenant_id')
    if not isinstance(found, str):
        raise errors.InvalidInput(reason='project_id is no text')
    return found
