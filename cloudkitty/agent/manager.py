"""A cycle of the agent: measures, signs and sends; then sends the census and the beacon."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from cloudkitty import errors
from cloudkitty.agent.pool import Pool, Run
from cloudkitty.agent.sender import Message, Sender
from cloudkitty.agent.states import States
from cloudkitty.core.metering import facts, message, reports
from cloudkitty.core.metering.message import Counter
from cloudkitty.pollster import BasePollster, Clock

LOG = logging.getLogger(__name__)

# Metering messages that are sent as one.
BATCH_MAX = 50
# Bytes of these, far below what a bus takes.
BATCH_MAX_BYTES = 262_144
EXISTS, END = ('seen', 'change'), 'end'
LIVES = (*EXISTS, END)


class Identity(NamedTuple):
    """The sender of messages.

    :ivar producer: name of the agent.
    :ivar secret: signs the messages; '': they are not signed.
    """

    producer: str
    secret: str


class Manager:
    """Runs cycles.

    :param pollsters: with their names.
    :param interval_s: from one cycle to the next, seconds.
    :param now: returns the current time, microseconds since the epoch.
    :ivar skipped: cycles that were left out, see Beacon.
    """

    def __init__(
        self,
        pollsters: Sequence[tuple[str, BasePollster]],
        *,
        pool: Pool,
        sender: Sender,
        identity: Identity,
        interval_s: int,
        now: Clock,
    ) -> None:
        self._pollsters = pollsters
        self._pool = pool
        self._sender = sender
        self._identity = identity
        self._interval_s = interval_s
        self._now = now
        self._states = States()
        # Up to when each meter was measured completely.
        self._until: dict[str, int] = {}
        self._failing: set[str] = set()
        self.skipped = 0

    def cycle(self, is_stopping: Callable[[], bool]) -> None:
        """Measure once and send the results; is_stopping() is checked between messages."""
        outbox = _Outbox(self._sender, self._states)
        failed = []
        seen: dict[str, set[str]] = {}
        for run, counters in self._pool.run(self._pollsters, is_stopping):
            if counters is not None:
                self._take(run, counters, seen.setdefault(run.name, set()), outbox)
                continue
            # Before the census that contains them.
            outbox.flush()
            self._record(run)
            if run.failure is None:
                self._until.update(dict.fromkeys(run.pollster.METERS, run.begin))
            else:
                failed.append(run.name)
            for counter in _census(run, seen.get(run.name, set()), self._identity.producer):
                outbox.add(counter, message.build(counter, self._identity.secret))
        if is_stopping():
            return
        self._states.end_cycle()
        beacon = self._beacon(failed)
        outbox.add(beacon, message.build(beacon, self._identity.secret))
        outbox.flush()

    def forget(self) -> None:
        """Forget which states were sent: another agent may have sent others since."""
        self._states = States()

    def _take(
        self, run: Run, counters: Iterable[Counter], seen: set[str], outbox: '_Outbox'
    ) -> None:
        for counter in counters:
            try:
                made = _message(run.pollster, counter, self._identity.secret)
            except errors.InvalidInput as exc:
                run.failure = run.failure or f'{counter.resource_id!s:.100}: {exc}'
                continue
            if counter.life in EXISTS:
                seen.add(counter.resource_id)
            elif counter.life == END:
                seen.discard(counter.resource_id)
            if counter.life not in EXISTS or self._states.is_news(counter):
                outbox.add(counter, made)

    def _record(self, run: Run) -> None:
        """Log when a pollster begins to fail, and when it no longer does."""
        if run.failure is not None and run.name not in self._failing:
            self._failing.add(run.name)
            LOG.warning('Pollster %s has not measured everything: %s', run.name, run.failure)
        elif run.failure is None and run.name in self._failing:
            self._failing.remove(run.name)
            LOG.info('Pollster %s measures everything again', run.name)

    def _beacon(self, failed: Sequence[str]) -> Counter:
        return reports.beacon(
            reports.Beacon(
                self._identity.producer,
                self._now(),
                self._interval_s,
                dict(self._until),
                self._sender.waiting,
                self._sender.dropped,
                self.skipped,
                tuple(failed),
            )
        )


class _Outbox:
    """Sends messages, many at once, and records which states were sent."""

    def __init__(self, sender: Sender, states: States) -> None:
        self._sender = sender
        self._states = states
        self._batch: list[tuple[Counter, Message]] = []
        self._size = 0

    def add(self, counter: Counter, made: Message) -> None:
        """Send the message *made* of a counter, now or with those that follow."""
        size = len(json.dumps(made))
        if self._batch and self._size + size > BATCH_MAX_BYTES:
            self.flush()
        self._batch.append((counter, made))
        self._size += size
        if len(self._batch) == BATCH_MAX:
            self.flush()

    def flush(self) -> None:
        """Send what has not been sent."""
        batch, self._batch, self._size = self._batch, [], 0
        if batch and self._sender.send([made for _, made in batch]):
            for counter, _ in batch:
                if counter.life in EXISTS:
                    self._states.record(counter)


def _message(pollster: BasePollster, counter: Counter, secret: str) -> Message:
    """Return the message of a counter that a pollster has yielded.

    :raises InvalidInput: it cannot be stored.
    """
    name, is_state = counter.name, counter.kind == facts.STATE
    if name not in pollster.METERS:
        raise errors.InvalidInput(reason=f'the meter {name} is not in METERS')
    if is_state != (name in pollster.STATES):
        raise errors.InvalidInput(reason=f'the meter {name} is a state if it is in STATES')
    if is_state and counter.life not in LIVES:
        raise errors.InvalidInput(reason=f'the life of a state is one of {", ".join(LIVES)}')
    if counter.kind == facts.DELTA:
        raise errors.InvalidInput(reason='a pollster yields no deltas')
    try:
        made = message.build(counter, secret)
    except UnicodeEncodeError as exc:
        raise errors.InvalidInput(reason='it has half of a surrogate pair') from exc
    message.fact_of(message.check(made))
    return made


def _census(run: Run, seen: set[str], producer: str) -> Iterable[Counter]:
    """Return the list of what a pollster has seen, if it has states and has ended."""
    if not run.pollster.STATES or run.listing is None or run.end is None:
        return ()
    about = reports.Part(
        producer=producer,
        subject=run.name,
        meters=run.pollster.STATES,
        begin=run.begin,
        end=run.end,
        is_complete=run.listing.is_complete and run.failure is None,
        is_cloud=run.listing.is_cloud,
        number=1,
        parts=1,
        resource_ids=(),
    )
    return reports.census(about, seen)
