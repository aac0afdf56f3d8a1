"""The loop of a rating worker: find what is due, take it, rate it, sleep until more is due."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from oslo_db import exception as db_exception
from oslo_log import log

from cloudkitty import db, errors, observer, pipeline, schedule
from cloudkitty.db import pauses, scopes
from cloudkitty.locks import Locks
from cloudkitty.observer import Observer
from cloudkitty.processor.discovery import Discovery
from cloudkitty.processor.freshness import Freshness
from cloudkitty.processor.outage import Outage
from cloudkitty.processor.portions import Portions
from cloudkitty.processor.settings import BUSY_S, Settings

# Ids that are keywords of a line are fields where the log is JSON.
LOG = log.getLogger(__name__)

# The longest sleep: an order in the database (a reset, a scope that is active again) is found at
# the latest then, and a clock that was set does no harm.
SLEEP_MAX_S = 60
# Scope ids in a log line.
NAMES_MAX = 5


class Chore(Protocol):
    """What a worker does besides rating what is due.

    :ivar next_at: when there is something to do again; None: when something new turns up.
    """

    next_at: datetime | None

    def step(self) -> bool:
        """Do a part of it, soon done; say whether there was anything."""


class Worker:
    """Rates the scopes of the shards it can lock.

    :param chores: what comes before each batch, in this order.
    :param freshness: says what waits for the source; None: nothing does.
    :param portions: how much fits into a batch; None: nobody else learns of it.
    :param clock: returns the current time, aware UTC.
    :param delay_s: how long after something is due it begins: not all workers at once.
    :param observer: is told what happens.
    """

    def __init__(self, *, database: db.Database, discovery: Discovery,
                 pipeline: pipeline.Pipeline, locks: Locks, settings: Settings,
                 clock: Callable[[], datetime], chores: Sequence[Chore] = (),
                 freshness: Freshness | None = None, portions: Portions | None = None,
                 delay_s: float = 0,
                 observer: Observer = Observer()):  # noqa: B008 (it keeps nothing)
        self._database = database
        self._discovery = discovery
        self._pipeline = pipeline
        self._locks = locks
        self._settings = settings
        self._clock = clock
        self._chores = chores
        self._freshness = freshness
        self._delay_s = delay_s
        self._observer = observer
        self._portions = portions or Portions(settings.batch_points)
        self._stopping = threading.Event()
        self._waking = threading.Event()
        self._rating = Outage('Rating', settings.length_s)
        self._turns = Outage('The worker', settings.length_s)
        # Scopes that waited for the end of an outage, whose log lines tell of them all.
        self._paused: set[int] = set()

    def stop(self) -> None:
        """Make run() end soon; callable from any thread."""
        self._stopping.set()
        self._waking.set()

    def wake(self) -> None:
        """Make run() look at the database at once; callable from any thread."""
        self._waking.set()

    def run(self) -> None:
        """Work until stop() is called."""
        while not self._stopping.is_set():
            wake_at = self._safe_turn()
            sleep_s = (wake_at - self._clock()).total_seconds()
            if sleep_s > 0:
                sleep_s = min(sleep_s, SLEEP_MAX_S) + self._delay_s
            sleep_s = max(sleep_s, 0)
            self._observer.is_alive(sleep_s)
            self._waking.wait(sleep_s)
            self._waking.clear()

    def _safe_turn(self):
        try:
            wake_at = self.turn()
        # The outer loop: whatever happens, the worker logs it and goes on.
        except Exception as exc:
            failure = exc
        else:
            self._turns.end(self._clock())
            return wake_at
        is_database = isinstance(failure, (errors.DatabaseUnavailable, db_exception.DBError))
        self._observer.failed(observer.DATABASE if is_database else observer.OTHER)
        return self._turns.begin(self._clock(), failure)

    def turn(self) -> datetime:
        """Do all that is due and free; return when to look again."""
        while not self._stopping.is_set():
            self._observer.is_alive()
            self._discovery.refresh()
            # Each of them gets its turn, whatever the others had to do.
            is_busy = any([chore.step() for chore in self._chores])
            now = self._clock()
            with self._database.reader() as connection:
                due = scopes.find_due(connection, self._settings.identity, now=now,
                                      mark_max=self._settings.mark_max(now))
            if self._settings.rates and due.scopes and not self._rating.is_waiting(now):
                is_busy |= self._work(due)
            if not is_busy:
                return self._wake_at(due, now)
        return self._clock()

    def _wake_at(self, due, now):
        reasons = [self._discovery.next_at, *(chore.next_at for chore in self._chores)]
        if self._settings.rates:
            reasons += self._reasons_to_rate(due, now)
        return min((reason for reason in reasons if reason is not None),
                   default=now + timedelta(seconds=SLEEP_MAX_S))

    def _reasons_to_rate(self, due, now):
        reasons = [due.next_retry_at]
        if due.next_mark is not None:
            reasons.append(schedule.due_at(due.next_mark, self._settings.length_s,
                                           self._settings.wait_periods))
        if self._rating.is_waiting(now):
            reasons.append(self._rating.until)
        elif self._freshness and self._freshness.next_at:
            reasons.append(self._freshness.next_at)
        elif due.scopes:
            # Other workers are on them; should one die, this one takes over.
            reasons.append(now + timedelta(seconds=min(BUSY_S, self._settings.length_s)))
        return reasons

    def _work(self, due) -> bool:
        """Rate the next periods of some of the scopes of *due*; say whether there were any."""
        has_worked = False
        with self._claim(due) as state_ids:
            for batch in self._portions_of(self._batches(state_ids)):
                has_worked = True
                if self._stopping.is_set() or not self._run(batch):
                    break
        return has_worked

    @contextlib.contextmanager
    def _claim(self, due) -> Iterator[list[int]]:
        """Lock shards until there is enough work for a batch; yield the keys of their scopes."""
        by_shard = {}
        for state_id, scope_id in due.scopes:
            shard = scopes.shard_of(scope_id, self._settings.shards)
            by_shard.setdefault(shard, []).append(state_id)
        state_ids, taken = [], 0
        with contextlib.ExitStack() as held:
            for shard in self._settings.shard_order:
                if taken == self._settings.share or len(state_ids) >= self._settings.batch_scopes:
                    break
                if shard in by_shard and held.enter_context(
                        self._locks.hold(self._settings.lock_of(shard))):
                    taken += 1
                    state_ids.extend(by_shard[shard])
            yield state_ids

    def _batches(self, state_ids) -> list[pipeline.Batch]:
        """Return what is due of these scopes, as they are now."""
        settings = self._settings
        with self._database.reader() as connection:
            found = scopes.get_scopes(connection, state_ids)
            inactive = pauses.list_pauses(connection, state_ids)
        if inactive:
            found = self._over_pauses(found, inactive)
        return [pipeline.Batch(alike, periods) for alike, periods in schedule.batches(
            (scope for scope in found if scope.active), self._clock(), length_s=settings.length_s,
            wait_periods=settings.wait_periods, scopes_max=settings.batch_scopes,
            periods_max=settings.batch_periods)]

    def _over_pauses(self, found, inactive) -> list[scopes.Scope]:
        """Return scopes past the pauses that follow their marks, to end before their next ones."""
        settings = self._settings
        leaps = {scope.id: schedule.leap(scope.mark, inactive.get(scope.id, ()), settings.length_s)
                 for scope in found}
        old = {scope.id: scope.mark for scope in found
               if scope.active and leaps[scope.id][0] != scope.mark}

        def change(connection):
            marks = scopes.lock_marks(connection, old)
            scopes.advance(connection, {key: leaps[key][0] for key, mark in marks.items()
                                        if mark == old[key]})
        if old:
            self._database.write(change)
        return [_limited(scope, *leaps[scope.id], settings.length) for scope in found]

    def _portions_of(self, batches) -> Iterator[pipeline.Batch]:
        for batch in self._without_held(batches):
            yield from self._portions.split(batch)

    def _without_held(self, batches) -> list[pipeline.Batch]:
        """Return *batches* without what waits for the source."""
        if self._freshness is None:
            return batches
        try:
            return self._freshness.cut(batches)
        except errors.SourceUnreachable as exc:
            failure = exc
        self._observer.failed(observer.SOURCE)
        self._pause(batches[0], failure)
        return []

    def _run(self, batch) -> bool:
        """Rate a batch; say whether it makes sense to try another."""
        try:
            outcome = self._pipeline.run(batch)
        except errors.BatchTooLarge:
            self._portions.burst(batch)
            return True
        except (errors.SourceUnreachable, errors.ModuleLoadError) as exc:
            failure = exc
        else:
            self._rating.end(self._clock())
            self._portions.fitted(batch, outcome.points)
            _log(batch, outcome, self._paused)
            self._paused.difference_update(scope.id for scope in batch.scopes)
            self._hold(outcome.held, self._clock())
            return True
        self._pause(batch, failure)
        return False

    def _pause(self, batch, failure):
        """Rate nothing for a while; the scopes of *batch* tell why."""
        now = self._clock()
        retry_at = self._rating.begin(now, failure)
        self._paused.update(scope.id for scope in batch.scopes if not scope.failure_count)
        self._hold([pipeline.Held(scope, str(failure), scope.mark) for scope in batch.scopes],
                   now, retry_at)

    def _hold(self, held: Sequence[pipeline.Held], now: datetime,
              retry_at: datetime | None = None) -> None:
        """Keep on the rows why scopes are held back, and until when."""
        alike: dict[tuple, dict[int, datetime]] = {}
        for scope, reason, mark in held:
            failures = (scope.failure_count or 0) + 1
            until = retry_at or now + schedule.retry_delay(failures, self._settings.length_s)
            alike.setdefault((reason, until), {})[scope.id] = mark

        def change(connection):
            for (reason, until), marks in alike.items():
                scopes.record_failure(connection, marks, reason, now=now, retry_at=until)

        if alike:
            self._database.write(change)


def _limited(scope, mark, until, length):
    """Return *scope* with this mark, to be rated up to the period that begins at *until*."""
    ends = [one for one in (scope.final_mark, until and until - length) if one is not None]
    return dataclasses.replace(scope, mark=mark, final_mark=min(ends, default=None))


def _log(batch, outcome, paused):
    if outcome.stored:
        LOG.info('Stored %s frames of %s scopes, periods that begin %s to %s',
                 sum(len(one.frames) for one in outcome.stored), len(outcome.stored),
                 batch.periods[0].begin, batch.periods[-1].begin,
                 scope_ids=[one.scope_id for one in outcome.stored])
    if outcome.moved:
        LOG.warning('Another worker rated the same periods of %s scopes; its results stand',
                    len(outcome.moved), scope_ids=[one.scope_id for one in outcome.moved])
    # One line when the trouble of a scope begins, and one when it ends.
    troubled: dict[str, list[str]] = {}
    for scope, reason, _ in outcome.held:
        if not scope.failure_count or scope.id in paused:
            troubled.setdefault(reason, []).append(scope.scope_id)
    for reason, names in troubled.items():
        LOG.warning('%s scopes are held back (%.200s) and tried again later: %s', len(names),
                    ', '.join(names[:NAMES_MAX]), reason, scope_ids=names)
    held_ids = {held.scope.id for held in outcome.held}
    healed = [scope.scope_id for scope in batch.scopes
              if scope.failure_count and scope.id not in held_ids and scope.id not in paused]
    if healed:
        LOG.info('%s scopes are rated again (%.200s)', len(healed), ', '.join(healed[:NAMES_MAX]),
                 scope_ids=healed)
