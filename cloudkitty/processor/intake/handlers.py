"""Handlers of deliveries: metering messages, events of Ceilometer, and notifications.

Each handler processes a whole batch, or raises an error and gets it again.
"""

import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudkitty import errors
from cloudkitty.clients import bus
from cloudkitty.clients.bus import Delivery, Unreadable
from cloudkitty.core.metering import events, message, notification
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.metering.notification import Notification
from cloudkitty.listener import Listeners
from cloudkitty.processor.intake.figures import Figures
from cloudkitty.processor.intake.queue_beacons import EVENT_TYPE, Beacon, Beacons
from cloudkitty.usage.receiving import BUS, Received, Receiver, Refused

LOG = logging.getLogger(__name__)

# Clocks of hosts should not differ by more.
SKEW_MAX = timedelta(seconds=60)
SKEW_PAUSE = timedelta(minutes=1)
# Event types of lists of metering messages.
SAMPLES = ('metering', 'telemetry.polling')


class Intake:
    """Processes deliveries of the bus.

    :param send: sends a list of metering messages, or raises BusUnavailable; None: usage from
        notifications is stored at once.
    :param clock: returns the current time, aware UTC.
    """

    def __init__(
        self,
        *,
        receiver: Receiver,
        listeners: Listeners,
        beacons: Beacons,
        figures: Figures,
        send: Callable[[Sequence[Any]], None] | None,
        clock: Callable[[], datetime],
    ) -> None:
        self._receiver = receiver
        self._listeners = listeners
        self._beacons = beacons
        self._figures = figures
        self._send = send
        self._clock = clock
        self._silent_until = clock()

    def take_samples(self, deliveries: Sequence[Delivery]) -> None:
        """Store metering messages, and the usage in events of Ceilometer."""
        received: list[Received] = []
        refused: list[Refused] = []
        told: list[Beacon] = []
        for delivery in deliveries:
            self._check_clock(delivery)
            problem = _problem(delivery)
            if problem is not None:
                refused.append(problem)
            elif delivery.event_type == EVENT_TYPE:
                self._meet(delivery, told, refused)
            elif delivery.event_type == 'event':
                received.extend(self._of_events(delivery, refused))
            elif delivery.event_type in SAMPLES:
                received.extend(_of_samples(delivery, refused))
            else:
                self._figures.ignored(delivery.event_type)
        self._store(received, refused)
        # Only earlier messages are stored now.
        self._beacons.record(told)

    def take_notifications(self, deliveries: Sequence[Delivery]) -> None:
        """Store, or send on, the usage that listeners find in notifications."""
        made: list[Received] = []
        received: list[Received] = []
        refused: list[Refused] = []
        told: list[Beacon] = []
        for delivery in deliveries:
            problem = _problem(delivery)
            if problem is not None:
                refused.append(problem)
            elif delivery.event_type == EVENT_TYPE:
                self._meet(delivery, told, refused)
            elif delivery.event_type in SAMPLES:
                # Polling agents of Ceilometer send them here.
                received.extend(_of_samples(delivery, refused))
            elif self._listeners.knows(delivery.event_type):
                made.extend(self._listen(delivery, refused))
            else:
                self._figures.ignored(delivery.event_type)
        if self._send is None:
            received.extend(made)
        else:
            for part in _parts(made):
                self._send([one.form for one in part])
        self._store(received, refused)
        if self._send is None:
            self._beacons.record(told)
        else:
            self._beacons.forward(told)

    def _store(self, received: Sequence[Received], refused: Sequence[Refused]) -> None:
        self._receiver.refuse(refused, BUS)
        outcome = self._receiver.store(received, BUS)
        self._figures.stored(outcome, len(refused))

    def _meet(self, delivery: Delivery, told: list[Beacon], refused: list[Refused]) -> None:
        try:
            told.append(self._beacons.read(delivery))
        except errors.InvalidInput as exc:
            refused.append(_refused(delivery, f'beacon: {exc}'))

    def _listen(self, delivery: Delivery, refused: list[Refused]) -> list[Received]:
        """Return what a notification states; what is to be sent on is signed."""
        secret = '' if self._send is None else self._receiver.keys.newest
        try:
            told = notification.read(
                delivery.event_type,
                delivery.publisher_id,
                delivery.message_id,
                delivery.timestamp,
                delivery.payload,
            )
            return self._made_of(told, lambda counter: message.build(counter, secret))
        except errors.InvalidInput as exc:
            refused.append(_refused(delivery, f'{delivery.event_type:.100}: {exc}'))
        return []

    def _made_of(
        self, told: Notification, build: Callable[[Counter], dict[str, Any]]
    ) -> list[Received]:
        """Return the messages that *build* makes of a notification.

        :raises InvalidInput: it is not what its service would send.
        """
        try:
            return [
                Received(build(counter), told.publisher_id, BUS)
                for counter in self._listeners.process(told)
            ]
        # What a plug-in did not foresee must not come again for ever.
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as exc:
            LOG.error('A listener failed on %.100s', told.event_type, exc_info=exc)
            raise errors.InvalidInput(reason=f'a listener failed: {type(exc).__name__}') from exc

    def _of_events(self, delivery: Delivery, refused: list[Refused]) -> Iterator[Received]:
        """Yield the usage in Ceilometer's events, if they are signed."""
        payload = delivery.payload
        for event in payload if isinstance(payload, list) else [payload]:
            try:
                events.check(event)
                self._receiver.keys.trust(event)
                told = events.read(event, delivery.publisher_id)
                if self._listeners.knows(told.event_type):
                    yield from self._made_of(
                        told, lambda counter: message.build(counter, source=events.SOURCE)
                    )
                else:
                    self._figures.ignored(told.event_type)
            except errors.InvalidInput as exc:
                refused.append(Refused(_text(event), f'event: {exc}', delivery.publisher_id))

    def _check_clock(self, delivery: Delivery) -> None:
        """Warn of a sender whose clock is ahead; one behind looks like a slow delivery."""
        now = self._clock()
        if now < self._silent_until or not delivery.timestamp:
            return
        try:
            sent = datetime.fromisoformat(delivery.timestamp)
        except ValueError:
            return
        ahead = (sent if sent.tzinfo else sent.replace(tzinfo=UTC)) - now
        if ahead > SKEW_MAX:
            self._silent_until = now + SKEW_PAUSE
            LOG.warning(
                'The clock of %.100r is %d s ahead of this one',
                delivery.publisher_id,
                ahead.total_seconds(),
            )


def _parts(made: Iterable[Received]) -> Iterator[list[Received]]:
    left = iter(made)
    while part := list(itertools.islice(left, bus.MESSAGES_MAX)):
        yield part


def _of_samples(delivery: Delivery, refused: list[Refused]) -> Iterator[Received]:
    payload = delivery.payload
    if isinstance(payload, dict) and isinstance(payload.get('samples'), list):
        payload = payload['samples']
    if not isinstance(payload, list):
        refused.append(_refused(delivery, 'not a list of metering messages'))
        return
    for form in payload:
        yield Received(form, delivery.publisher_id)


def _problem(delivery: Delivery) -> Refused | None:
    if isinstance(delivery.payload, Unreadable):
        return Refused(delivery.payload.text, delivery.payload.reason, delivery.publisher_id)
    return None


def _refused(delivery: Delivery, reason: str) -> Refused:
    return Refused(_text(delivery.payload), reason, delivery.publisher_id)


def _text(value: Any) -> str:
    try:
        return json.dumps(value)
    # Too many levels.
    except RecursionError:
        return repr(type(value))
