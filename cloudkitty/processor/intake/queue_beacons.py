"""Beacons: when one comes back, all earlier messages of its queue are stored.

So it is known up to when usage is complete: a quiet queue is complete up to now, a stuck one not.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from cloudkitty import db, errors
from cloudkitty.clients import bus
from cloudkitty.clients.bus import Delivery
from cloudkitty.core import timeframe
from cloudkitty.core.metering import facts, signature
from cloudkitty.usage import producers
from cloudkitty.usage.receiving import Keys

LOG = logging.getLogger(__name__)

EVENT_TYPE = 'cloudkitty.queue'
INTERVAL_S = 60
# Another process may still hold messages that came before the beacon.
IN_FLIGHT = timedelta(seconds=60)
_MEMBERS = {'queue', 'sent', signature.KEY}


class Queue(NamedTuple):
    """A queue that this service reads; messages that it sends to the topic come back through it."""

    name: str
    topic: str
    priority: str


class Beacon(NamedTuple):
    """A beacon that is back.

    :ivar sent: aware UTC.
    """

    queue: str
    sent: datetime


class Beacons:
    """Sends beacons through queues, and records those that come back.

    :param clock: returns the current time, aware UTC.
    """

    def __init__(
        self,
        *,
        database: db.Database,
        notifier: bus.Notifier,
        keys: Keys,
        queues: Iterable[Queue],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._keys = keys
        self._queues = list(queues)
        self._clock = clock

    def send(self) -> None:
        """Send one through each queue; one that cannot be sent looks like a queue that is stuck."""
        for queue in self._queues:
            try:
                self._send(Beacon(queue.name, self._clock()), queue.topic, queue.priority)
            except errors.BusUnavailable as exc:
                LOG.warning('No beacon through %s: %s', queue.name, exc)
                return

    def _send(self, beacon: Beacon, topic: str, priority: str) -> None:
        form = {'queue': beacon.queue, 'sent': beacon.sent.isoformat()}
        signed = signature.sign(form, self._keys.newest) if self._keys.newest else ''
        self._notifier.send(
            {**form, signature.KEY: signed},
            event_type=EVENT_TYPE,
            topic=topic,
            priority=priority,
        )

    def read(self, delivery: Delivery) -> Beacon:
        """Return the beacon that was delivered.

        :raises InvalidInput: it is no beacon, or its signature is unknown.
        """
        form: Any = delivery.payload
        if (
            not isinstance(form, dict)
            or form.keys() != _MEMBERS
            or not all(isinstance(value, str) for value in form.values())
        ):
            raise errors.InvalidInput(reason='no beacon')
        facts.check_name('its queue', form['queue'])
        self._keys.trust(form)
        return Beacon(form['queue'], min(timeframe.parse_exact(form['sent']), self._clock()))

    def forward(self, found: Iterable[Beacon]) -> None:
        """Send beacons on, after the usage from the notifications before them.

        :raises BusUnavailable: the bus does not take them.
        """
        for beacon in found:
            self._send(beacon, bus.METERING, bus.SAMPLE)

    def record(self, found: Iterable[Beacon]) -> None:
        """Record that everything in the queues before the beacons were sent is stored."""
        told: dict[tuple[str, str], int] = {}
        for beacon in found:
            key = (f'bus:{beacon.queue}', producers.ANY)
            told[key] = max(told.get(key, 0), facts.to_us(beacon.sent - IN_FLIGHT))
        if told:
            now_us = facts.to_us(self._clock())
            self._database.write(
                lambda connection: producers.record(connection, told, now_us=now_us)
            )
