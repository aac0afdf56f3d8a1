"""The loop of a rating worker: find what is due, take it, rate it, sleep until more is due."""

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from oslo_db import exception as db_exception
from oslo_log import log

from cloudkitty import db, errors, pipeline
from cloudkitty.core import schedule
from cloudkitty.locks import Locks
from cloudkitty.processor.backoff import Backoff
from cloudkitty.processor.batch_sizing import BatchSizer
from cloudkitty.processor.discovery import Discovery
from cloudkitty.processor.guard import Guard
from cloudkitty.processor.refusals import RefusalLog
from cloudkitty.processor.settings import BUSY_S, Settings
from cloudkitty.processor.watermark import WatermarkCheck
from cloudkitty.scopes import inactive_time
from cloudkitty.scopes import state as scope_state
from cloudkitty.telemetry import observer
from cloudkitty.telemetry.observer import Observer

# Ids passed as keywords of a log call become fields in JSON logs.
LOG = log.getLogger(__name__)

# The longest sleep: an order in the database (a reset, a scope that is active again) is found at
# the latest after this time, and a clock that was set forward or back does no harm.
SLEEP_MAX_S = 60
# Most scope ids in one log line.
NAMES_MAX = 5


class BackgroundJob(Protocol):
    """Background work that a worker does besides rating what is due.

    :ivar next_at: when there is work again; None: when something new turns up.
    """

    @property
    def next_at(self) -> datetime | None: ...

    def step(self) -> bool:
        """Do one bounded unit of work; return True if there was any."""


class Look(NamedTuple):
    """What the database had to rate at an instant.

    :ivar by_shard: keys of the scopes that are due, by shard; what a worker takes is removed.
    """

    at: datetime
    due: scope_state.Due
    by_shard: dict[int, list[int]]

    def is_used_up(self, now: datetime) -> bool:
        """Return whether to look again; what is found meanwhile waits no longer than a minute."""
        return not self.by_shard or now - self.at >= timedelta(seconds=SLEEP_MAX_S)


class Worker:
    """Rates the scopes of the shards it can lock.

    :param background_jobs: each does one step before each round of rating, in this order.
    :param guard: decides whether the worker may work at all; None: always.
    :param watermarks: decides what waits for the source; None: nothing does.
    :param batch_sizer: sizes batches; None: an instance of its own.
    :param clock: returns the current time, aware UTC.
    :param delay_s: delay after something becomes due, so that not all workers begin at once.
    :param observer: receives instrumentation events.
    """

    def __init__(
        self,
        *,
        database: db.Database,
        discovery: Discovery,
        pipeline: pipeline.Pipeline,
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
        background_jobs: Sequence[BackgroundJob] = (),
        guard: Guard | None = None,
        watermarks: WatermarkCheck | None = None,
        batch_sizer: BatchSizer | None = None,
        delay_s: float = 0,
        observer: Observer = Observer(),  # noqa: B008 (it keeps nothing)
    ):
        self._database = database
        self._discovery = discovery
        self._pipeline = pipeline
        self._locks = locks
        self._settings = settings
        self._clock = clock
        self._background_jobs = background_jobs
        self._guard = guard
        self._watermarks = watermarks
        self._delay_s = delay_s
        self._observer = observer
        self._refusals = RefusalLog(database=database, settings=settings, clock=clock)
        self._batch_sizer = batch_sizer or BatchSizer(settings.batch_points)
        self._stopping = threading.Event()
        self._waking = threading.Event()
        self._rating = Backoff('Rating', settings.length_s)
        self._turns = Backoff('The worker', settings.length_s)
        # Scopes that wait because of an outage; the outage's log lines cover them all.
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
            self._observer.heartbeat(sleep_s)
            self._waking.wait(sleep_s)
            self._waking.clear()

    def _safe_turn(self):
        try:
            wake_at = self.turn()
        # The outer loop: any error is logged, and the worker continues.
        except Exception as exc:
            failure = exc
        else:
            self._turns.record_success(self._clock())
            return wake_at
        self._observer.failed(_kind_of(failure))
        return self._turns.record_failure(self._clock(), failure)

    def turn(self) -> datetime:
        """Do all due work that is not locked by others; return when to look again."""
        look: Look | None = None
        while not self._stopping.is_set():
            self._observer.heartbeat()
            if self._guard is not None:
                self._guard.check()
            self._discovery.refresh()
            # Every job does a step, whatever the others did.
            is_busy = any([job.step() for job in self._background_jobs])
            now = self._clock()
            # With many scopes, finding those that are due takes longer than rating some of them.
            is_new = look is None or look.is_used_up(now)
            if look is None or is_new:
                look = self._look(now)
            if self._settings.rates and look.by_shard and not self._rating.is_waiting(now):
                is_busy |= self._work(look.by_shard)
            if is_busy:
                continue
            if is_new:
                return self._wake_at(look.due, now)
            look = None
        return self._clock()

    def _look(self, now: datetime) -> Look:
        with self._database.reader() as connection:
            due = scope_state.find_due(
                connection,
                self._settings.identity,
                now=now,
                mark_max=self._settings.mark_max(now),
            )
        by_shard: dict[int, list[int]] = {}
        for state_id, scope_id in due.scopes:
            shard = scope_state.shard_of(scope_id, self._settings.shards)
            by_shard.setdefault(shard, []).append(state_id)
        return Look(now, due, by_shard)

    def _wake_at(self, due, now):
        reasons = [self._discovery.next_at, *(job.next_at for job in self._background_jobs)]
        if self._settings.rates:
            reasons += self._reasons_to_rate(due, now)
        return min(
            (reason for reason in reasons if reason is not None),
            default=now + timedelta(seconds=SLEEP_MAX_S),
        )

    def _reasons_to_rate(self, due, now):
        reasons = [due.next_retry_at]
        if due.next_mark is not None:
            reasons.append(
                schedule.due_at(due.next_mark, self._settings.length_s, self._settings.wait_periods)
            )
        if self._rating.is_waiting(now):
            reasons.append(self._rating.until)
        elif self._watermarks and self._watermarks.next_at:
            reasons.append(self._watermarks.next_at)
        elif due.scopes:
            # Other workers are on them; should one die, this one takes over.
            reasons.append(now + timedelta(seconds=min(BUSY_S, self._settings.length_s)))
        return reasons

    def _work(self, by_shard) -> bool:
        """Rate the next periods of some of these scopes; return whether there were any."""
        has_worked = False
        with self._claim(by_shard) as state_ids:
            for batch in self._sized_batches(self._batches(state_ids)):
                has_worked = True
                if self._stopping.is_set() or not self._run(batch):
                    break
        return has_worked

    @contextlib.contextmanager
    def _claim(self, by_shard) -> Iterator[list[int]]:
        """Lock shards until there is enough work for a batch; yield the keys of their scopes.

        The shards are removed from *by_shard*.
        """
        state_ids: list[int] = []
        taken = 0
        with contextlib.ExitStack() as held:
            for shard in self._settings.shard_order:
                if taken == self._settings.share or len(state_ids) >= self._settings.batch_scopes:
                    break
                if shard in by_shard and held.enter_context(
                    self._locks.hold(self._settings.lock_of(shard))
                ):
                    taken += 1
                    state_ids.extend(by_shard.pop(shard))
            yield state_ids

    def _batches(self, state_ids) -> list[pipeline.Batch]:
        """Read these scopes again and return their due periods as batches."""
        settings = self._settings
        with self._database.reader() as connection:
            found = scope_state.get_scopes(connection, state_ids)
            inactive = inactive_time.list_inactive_times(connection, state_ids)
        if inactive:
            found = self._skip_inactive_time(found, inactive)
        if self._guard is not None and self._guard.until is not None:
            found = [
                _limited(scope, scope.mark, self._guard.until, settings.length) for scope in found
            ]
        return [
            pipeline.Batch(groups, periods)
            for groups, periods in schedule.batches(
                (scope for scope in found if scope.active),
                self._clock(),
                length_s=settings.length_s,
                wait_periods=settings.wait_periods,
                scopes_max=settings.batch_scopes,
                periods_max=settings.batch_periods,
            )
        ]

    def _skip_inactive_time(self, found, inactive) -> list[scope_state.Scope]:
        """Skip the inactive times that follow the marks; scopes end before their next ones."""
        settings = self._settings
        skipped = {
            scope.id: schedule.skip_inactive_time(
                scope.mark, inactive.get(scope.id, ()), settings.length_s
            )
            for scope in found
        }
        old = {
            scope.id: scope.mark
            for scope in found
            if scope.active and skipped[scope.id][0] != scope.mark
        }

        def change(connection):
            marks = scope_state.lock_marks(connection, old)
            scope_state.advance(
                connection,
                {key: skipped[key][0] for key, mark in marks.items() if mark == old[key]},
            )

        if old:
            self._database.write(change)
        return [_limited(scope, *skipped[scope.id], settings.length) for scope in found]

    def _sized_batches(self, batches) -> Iterator[pipeline.Batch]:
        for batch in self._without_held(batches):
            yield from self._batch_sizer.split(batch)

    def _without_held(self, batches) -> list[pipeline.Batch]:
        """Return *batches* without the periods that wait for the source."""
        if self._watermarks is None:
            return batches
        try:
            return self._watermarks.ready_batches(batches)
        except errors.SourceUnreachable as exc:
            failure = exc
        self._observer.failed(observer.SOURCE)
        self._pause(batches[0], failure)
        return []

    def _run(self, batch) -> bool:
        """Rate a batch; return whether it makes sense to try another."""
        batch = self._refusals.prepare(batch)
        try:
            outcome = self._pipeline.run(batch)
        except errors.BatchTooLarge:
            self._batch_sizer.record_too_large(batch)
            return True
        except (errors.SourceUnreachable, errors.ModuleLoadError) as exc:
            failure = exc
        else:
            self._rating.record_success(self._clock())
            self._refusals.record(batch, outcome)
            self._batch_sizer.record_size(batch, outcome.points)
            _log(batch, outcome, self._paused)
            self._paused.difference_update(scope.id for scope in batch.scopes)
            self._hold(outcome.held, self._clock())
            return True
        self._pause(batch, failure)
        return False

    def _pause(self, batch, failure):
        """Stop rating for a while, and record the reason on the scopes of *batch*."""
        now = self._clock()
        retry_at = self._rating.record_failure(now, failure)
        self._paused.update(scope.id for scope in batch.scopes if not scope.failure_count)
        self._hold(
            [pipeline.Held(scope, str(failure), scope.mark) for scope in batch.scopes],
            now,
            retry_at,
        )

    def _hold(
        self, held: Sequence[pipeline.Held], now: datetime, retry_at: datetime | None = None
    ) -> None:
        """Record why scopes are held back, and until when."""
        groups: dict[tuple, dict[int, datetime]] = {}
        for scope, reason, mark in held:
            failures = (scope.failure_count or 0) + 1
            until = retry_at or now + schedule.retry_delay(failures, self._settings.length_s)
            groups.setdefault((reason, until), {})[scope.id] = mark

        def change(connection):
            for (reason, until), marks in groups.items():
                scope_state.record_failure(connection, marks, reason, now=now, retry_at=until)

        if groups:
            self._database.write(change)


def _kind_of(failure):
    """Return the reason under which a failure of the whole worker is counted."""
    if isinstance(failure, errors.Disagreement):
        return observer.AGREEMENT
    if isinstance(failure, errors.ClockOff):
        return observer.CLOCK
    is_database = isinstance(failure, (errors.DatabaseUnavailable, db_exception.DBError))
    return observer.DATABASE if is_database else observer.OTHER


def _limited(scope, mark, until, length):
    """Return *scope* with this mark, to be rated up to the period that begins at *until*."""
    ends = [one for one in (scope.final_mark, until and until - length) if one is not None]
    return dataclasses.replace(scope, mark=mark, final_mark=min(ends, default=None))


def _log(batch, outcome, paused):
    if outcome.stored:
        LOG.info(
            'Stored %s frames of %s scopes, periods that begin %s to %s',
            sum(len(one.frames) for one in outcome.stored),
            len(outcome.stored),
            batch.periods[0].begin,
            batch.periods[-1].begin,
            scope_ids=[one.scope_id for one in outcome.stored],
        )
    if outcome.moved:
        LOG.warning(
            'Another worker rated the same periods of %s scopes first; its results are kept',
            len(outcome.moved),
            scope_ids=[one.scope_id for one in outcome.moved],
        )
    # One line when the failure of a scope begins, and one when it ends.
    troubled: dict[str, list[str]] = {}
    for scope, reason, _ in outcome.held:
        if not scope.failure_count or scope.id in paused:
            troubled.setdefault(reason, []).append(scope.scope_id)
    for reason, names in troubled.items():
        LOG.warning(
            '%s scopes are held back (%.200s) and tried again later: %s',
            len(names),
            ', '.join(names[:NAMES_MAX]),
            reason,
            scope_ids=names,
        )
    held_ids = {held.scope.id for held in outcome.held}
    healed = [
        scope.scope_id
        for scope in batch.scopes
        if scope.failure_count and scope.id not in held_ids and scope.id not in paused
    ]
    if healed:
        LOG.info(
            '%s scopes are rated again (%.200s)',
            len(healed),
            ', '.join(healed[:NAMES_MAX]),
            scope_ids=healed,
        )
