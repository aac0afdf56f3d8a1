"""Collect, rate and store a batch of scopes and periods. All parts are arguments.

A period of a scope is stored whole or not at all, and only after the period before it. Whatever
goes wrong with a metric, a module or a row holds back the scopes it touches, from the first period
it touches; everything else of the batch is stored.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc

from cloudkitty import errors
from cloudkitty.collector import BaseCollector, collect_columns, is_authoritative
from cloudkitty.core.columns import Column, Unusable, calendars_of
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.core.timeframe import Period
from cloudkitty.rating.modules import Failure, ModuleSet
from cloudkitty.rating.skip import SkipFilter
from cloudkitty.scopes.progress import LeftOut
from cloudkitty.scopes.refusals import Patience
from cloudkitty.scopes.state import Scope
from cloudkitty.storage.v2 import ScopeBatch
from cloudkitty.telemetry import observer
from cloudkitty.telemetry.observer import Observer

LOG = logging.getLogger(__name__)

_Item = TypeVar('_Item')

# How often one metric, or one commit, may fail in a batch before the rest of the batch is left for
# the next attempt: enough to find one bad scope and its first bad period.
FAILURES_MAX = 16
# This many points of one series take as much memory as a series with a single point.
SERIES_WEIGHT = 3
# Errors that are not caused by the data to be stored.
UNUSABLE = (
    errors.DatabaseUnavailable,
    errors.Disagreement,
    errors.ClockOff,
    db_exception.DBConnectionError,
    db_exception.DBDeadlock,
    sa_exc.TimeoutError,
)


class Batch(NamedTuple):
    """The unit of work.

    :ivar scopes: scopes with equal marks.
    :ivar periods: consecutive periods, the first of them follows the mark.
    :ivar note: what is missing in the source, stored as a note on these periods; '': nothing.
    :ivar patience: periods that the source has refused for long are stored with a note, without
        the metric; None: they are held.
    """

    scopes: Sequence[Scope]
    periods: Sequence[Period]
    note: str = ''
    patience: Patience | None = None


class Held(NamedTuple):
    """A scope that did not reach the end of its batch.

    :ivar mark: the mark it reached, aware UTC.
    """

    scope: Scope
    reason: str
    mark: datetime


class Outcome(NamedTuple):
    """The result of a batch.

    :ivar stored: what was committed.
    :ivar moved: what was not, because another worker had moved the mark.
    :ivar held: scopes that did not reach the end of the batch, with the reasons.
    :ivar points: how many the source had.
    :ivar refused: (scope id, metric, begin) of periods that the source refused, in order.
    :ivar unanswered: (scope id, metric) of those that failed for another reason.
    """

    stored: list[ScopeBatch]
    moved: list[ScopeBatch]
    held: list[Held]
    points: int = 0
    refused: Sequence[tuple[str, str, datetime]] = ()
    unanswered: Collection[tuple[str, str]] = ()


@dataclass(frozen=True)
class Pipeline:
    """The parts a batch goes through.

    :ivar collector: a collector, see cloudkitty.collector.
    :ivar modules: the rating modules, see rating.modules.ModuleSet.
    :ivar commit: stores scope batches, as BaseStorage.commit does.
    :ivar skips: decides which points are not stored.
    :ivar pool: threads that query the source.
    :ivar timeout_s: for collecting all metrics of a batch.
    :ivar keeps_empty: whether a frame without points to store is committed, so that it replaces
        the stored one.
    :ivar points_max: the most points that a batch may have, see points_allowed(); None: any number.
    :ivar observer: receives instrumentation events.
    """

    collector: BaseCollector
    modules: ModuleSet
    commit: Callable[[Sequence[ScopeBatch]], Sequence[ScopeBatch]]
    skips: SkipFilter
    pool: futures.Executor
    timeout_s: float
    keeps_empty: bool = False
    points_max: int | None = None
    observer: Observer = Observer()

    def run(self, batch: Batch) -> Outcome:
        """Collect, rate and store *batch*.

        :raises SourceUnreachable: the source says nothing; nothing is stored.
        :raises BatchTooLarge: there are more points than a batch may have; nothing is stored.
        :raises ModuleLoadError: the rating modules cannot be loaded; nothing is stored.
        :raises Exception: the database cannot be used; each scope is stored whole or not at all.
        """
        self.observer.heartbeat()
        self.observer.retried(sum(1 for scope in batch.scopes if scope.failure_count))
        progress = _Progress(batch)
        try:
            self.modules.refresh()
            self.collector.refresh()
            usage = self._collect(batch, progress)
        except errors.SourceUnreachable:
            self.observer.failed(observer.SOURCE)
            raise
        except errors.ModuleLoadError:
            self.observer.failed(observer.MODULES)
            raise
        return self._finish(batch, usage, progress)

    def _finish(
        self, batch: Batch, usage: Mapping[str, ScopePeriods], progress: '_Progress'
    ) -> Outcome:
        self.observer.heartbeat()
        ready: list[ScopeBatch] = []
        for scope in batch.scopes:
            rated = self._rate(scope, usage[scope.scope_id], progress)
            periods = progress.periods_of(scope)
            if periods:
                ready.append(
                    ScopeBatch(
                        scope.id,
                        scope.scope_id,
                        scope.mark,
                        periods[-1].begin,
                        rated,
                        batch.note,
                        progress.left_out_of(scope),
                    )
                )
        self.observer.heartbeat()
        stored, moved = self._store(ready, progress)
        self.observer.stored(one.usage for one in stored)
        # Parts of one scope are stored in the order of time.
        reached = {one.state_id: one.new_mark for one in stored}
        held = [
            Held(scope, progress.reasons[scope.scope_id], reached.get(scope.id, scope.mark))
            for scope in batch.scopes
            if scope.scope_id in progress.reasons
        ]
        points = sum(one.points for one in usage.values())
        return Outcome(stored, moved, held, points, progress.refusals, progress.unanswered)

    def _collect(self, batch: Batch, progress: '_Progress') -> dict[str, ScopePeriods]:
        """Return usage by scope id."""
        columns: dict[str, list[Column]] = {scope.scope_id: [] for scope in batch.scopes}
        deadline = time.monotonic() + self.timeout_s
        # A batch that cannot be divided is accepted, however many points it has.
        point_counter = _PointCounter(
            None
            if self.points_max is None or len(batch.scopes) == len(batch.periods) == 1
            else points_allowed(self.points_max, len(batch.periods))
        )
        queries = [
            _MetricQuery(self.collector, metric, batch, deadline, self.observer, point_counter)
            for metric in sorted(self.collector.conf)
        ]
        self._query_all(queries, batch)
        for query in queries:
            for scope_id, column in query.answers:
                columns[scope_id].append(column)
            self.observer.failed(observer.METRIC, query.failures)
            for scope_ids, begin, reason in query.gaps:
                progress.stop(scope_ids, begin, f'metric {query.metric}: {reason}')
            for scope_id, begin in query.left_out:
                progress.leave_out(scope_id, LeftOut(begin, query.metric))
            for scope_id, unusable in query.unusable:
                for offset in unusable.offsets:
                    begin = batch.periods[offset].begin
                    progress.leave_out(scope_id, LeftOut(begin, query.metric, unusable.reason))
            for scope_id, begin in (*query.left_out, *query.waiting):
                progress.refusals.append((scope_id, query.metric, begin))
            progress.unanswered.update((one, query.metric) for one in query.unanswered)
        calendars = calendars_of(batch.periods)
        # If not, the source may have forgotten its usage, and what is stored is kept.
        is_whole = self.keeps_empty and is_authoritative(self.collector)
        offsets = range(len(batch.periods)) if is_whole else None
        return {
            scope_id: ScopePeriods(
                scope_id, batch.periods, found, offsets=offsets, calendars=calendars
            )
            for scope_id, found in columns.items()
        }

    def _query_all(self, queries: Sequence['_MetricQuery'], batch: Batch) -> None:
        scope_ids = [scope.scope_id for scope in batch.scopes]
        asked = {
            self.pool.submit(query.ask, scope_ids, batch.periods): query.metric for query in queries
        }
        done, silent = futures.wait(asked, self.timeout_s, futures.FIRST_EXCEPTION)
        for query in queries:
            query.deadline = 0
        for future in silent:
            future.cancel()
        for future in done:
            future.result()
        if silent:
            names = ', '.join(sorted(asked[future] for future in silent))
            raise errors.SourceUnreachable(
                collector=self.collector.collector_name,
                reason=f'no complete answer for {names} within {self.timeout_s} s',
            )

    def _rate(self, scope: Scope, usage: ScopePeriods, progress: '_Progress') -> ScopePeriods:
        """Return what is to be stored of *scope*, up to the first period that cannot be rated."""
        count = len(progress.periods_of(scope))
        if count < len(usage.periods):
            usage = usage.at([offset for offset in usage.offsets if offset < count])
        if not usage.offsets:
            return usage
        try:
            usage, failure = self.modules.rate_periods(usage)
        # Points are never stored unrated.
        except Exception as exc:
            usage, failure = usage.at(()), Failure(usage.offsets[0], exc)
        if failure is not None:
            LOG.debug('Scope %s cannot be rated', scope.scope_id, exc_info=failure.error)
            self.observer.failed(observer.RATING)
            reason = f'rating: {errors.describe(failure.error)}'
            progress.stop([scope.scope_id], usage.periods[failure.offset].begin, reason)
        usage = self.skips.apply(usage)
        return usage if self.keeps_empty else usage.with_points()

    def _store(
        self, ready: list[ScopeBatch], progress: '_Progress'
    ) -> tuple[list[ScopeBatch], list[ScopeBatch]]:
        """Commit everything at once; if that fails, retry in ever smaller parts."""
        stored: list[ScopeBatch] = []
        moved: list[ScopeBatch] = []
        failures = 0
        parts: list[Sequence[ScopeBatch]] = [ready]
        while parts:
            # Periods after a part that was not stored cannot be stored either.
            refused = {one.scope_id for one in moved} | progress.refused
            part = [one for one in parts.pop() if one.scope_id not in refused]
            if not part:
                continue
            try:
                late = self.commit(part)
            except UNUSABLE:
                raise
            # One row that cannot be stored, whatever the reason, must not hold up the others.
            except Exception as exc:
                LOG.debug('%s scopes cannot be stored', len(part), exc_info=True)
                self.observer.failed(observer.STORING)
                failures += 1
                halves = _halves(part, progress.length) if failures < FAILURES_MAX else ()
                parts.extend(reversed(halves))
                if not halves:
                    progress.refuse(part, f'storing: {errors.describe(exc)}')
                continue
            moved.extend(late)
            stored.extend(one for one in part if one not in late)
        return stored, moved


def points_allowed(points_max: int, periods: int) -> int:
    """Return how many points a batch of so many periods may have.

    :param points_max: limit for a batch of one period, in which each point has a series of its own.
        Batches of more periods may have more points, because they share the series.
    """
    return points_max * min(periods, SERIES_WEIGHT)


class _Progress:
    """Tracks up to which period each scope of a batch can go, and why not further."""

    def __init__(self, batch: Batch) -> None:
        first = batch.periods[0]
        self.begin, self.length = first.begin, first.end - first.begin
        self.periods = batch.periods
        self.reasons: dict[str, str] = {}
        self._left_out: dict[str, list[LeftOut]] = {}
        self.refused: set[str] = set()
        self.refusals: list[tuple[str, str, datetime]] = []
        self.unanswered: set[tuple[str, str]] = set()
        self._counts: dict[str, int] = {}

    def stop(self, scope_ids: Iterable[str], begin: datetime, reason: str) -> None:
        """Cut these scopes off before the period that begins at *begin*."""
        count = (begin - self.begin) // self.length
        for scope_id in scope_ids:
            if count < self._counts.get(scope_id, len(self.periods)):
                self._counts[scope_id] = count
                self.reasons[scope_id] = reason

    def refuse(self, part: Iterable[ScopeBatch], reason: str) -> None:
        for one in part:
            self.stop([one.scope_id], one.mark + self.length, reason)
            self.refused.add(one.scope_id)

    def leave_out(self, scope_id: str, what: LeftOut) -> None:
        """Note that a period of a scope lacks a metric."""
        self._left_out.setdefault(scope_id, []).append(what)

    def left_out_of(self, scope: Scope) -> Sequence[LeftOut]:
        """Return what was left out of the periods of a scope, in order."""
        return sorted(self._left_out.get(scope.scope_id, ()))

    def periods_of(self, scope: Scope) -> Sequence[Period]:
        """Return the periods that can be stored now."""
        return self.periods[: self._counts.get(scope.scope_id, len(self.periods))]


class _PointCounter:
    """Counts the points of a batch while they are collected; threads share it.

    :param points_max: None: any number.
    """

    def __init__(self, points_max: int | None) -> None:
        self._points_max = points_max
        self._points = 0
        self._lock = threading.Lock()

    @property
    def is_limited(self) -> bool:
        return self._points_max is not None

    def add(self, points: int) -> None:
        """Count *points* more.

        :raises BatchTooLarge: the total exceeds the limit.
        """
        with self._lock:
            self._points += points
            if self._points_max is not None and self._points > self._points_max:
                raise errors.BatchTooLarge()


@dataclass
class _MetricQuery:
    """The query for one metric of a batch; parts that fail are divided and queried again.

    :ivar answers: pairs of a scope id and a column.
    :ivar unusable: the same of values that cannot be used.
    :ivar gaps: (scope ids, begin of the first period without an answer, reason).
    :ivar left_out: (scope id, begin) of periods that the source refuses and that wait no longer.
    :ivar waiting: the same of periods that it refuses and that wait.
    :ivar unanswered: scope ids of gaps for another reason.
    """

    collector: BaseCollector
    metric: str
    batch: Batch
    deadline: float
    observer: Observer
    point_counter: _PointCounter
    answers: list[tuple[str, Column]] = field(default_factory=list)
    unusable: list[tuple[str, Unusable]] = field(default_factory=list)
    gaps: list[tuple[Sequence[str], datetime, str]] = field(default_factory=list)
    # In the order of time.
    left_out: dict[tuple[str, datetime], None] = field(default_factory=dict)
    waiting: list[tuple[str, datetime]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    failures: int = 0

    def ask(self, scope_ids: Sequence[str], periods: Sequence[Period]) -> bool:
        """Query the source; return whether all parts were answered."""
        if time.monotonic() > self.deadline:
            raise errors.SourceUnreachable(
                collector=self.collector.collector_name,
                reason='the time limit for this batch is over',
            )
        try:
            self._collect(scope_ids, periods)
            return True
        except errors.NoDataCollected:
            return True
        except (errors.SourceUnreachable, errors.BatchTooLarge):
            raise
        # A third-party driver may raise anything.
        except Exception as exc:
            if isinstance(exc, errors.AnswerTooLarge) and self.point_counter.is_limited:
                raise errors.BatchTooLarge() from exc
            LOG.debug('Metric %s cannot be collected', self.metric, exc_info=True)
            failure = exc
        reason = errors.describe(failure)
        self.failures += 1
        # What is too large to be read could be answered.
        is_refused = isinstance(failure, errors.CollectError) and not isinstance(
            failure, errors.AnswerTooLarge
        )
        is_single = len(scope_ids) == len(periods) == 1
        if is_single and is_refused and self._gives_up(scope_ids[0], periods[0]):
            self._leave_out(scope_ids[0], periods[0], reason)
            return True
        if self.failures >= FAILURES_MAX or is_single:
            self.gaps.append((scope_ids, periods[0].begin, reason))
            if is_refused:
                self.waiting.extend((one, periods[0].begin) for one in scope_ids)
            else:
                self.unanswered.extend(scope_ids)
            return False
        if len(scope_ids) > 1:
            # The second half is queried even if the first one failed.
            return all([self.ask(half, periods) for half in _cut(scope_ids)])
        return all(self.ask(scope_ids, half) for half in _cut(periods))

    def _gives_up(self, scope_id: str, period: Period) -> bool:
        """Return whether the source has refused this period, or those before it, for long."""
        patience, length = self.batch.patience, period.end - period.begin
        if patience is None or period.end > patience.until:
            return False
        first = self.batch.periods[0].begin
        return (scope_id, period.begin - length) in self.left_out or patience.is_over(
            scope_id, self.metric, period.begin, first
        )

    def _leave_out(self, scope_id: str, period: Period, reason: str) -> None:
        """Give up one period of a scope; the log has what the source says of it."""
        self.left_out[scope_id, period.begin] = None
        LOG.warning(
            'Metric %s of scope %.300r, period that begins %s, is left out and noted: %s',
            self.metric,
            scope_id,
            period.begin,
            reason,
        )

    def _collect(self, scope_ids: Sequence[str], periods: Sequence[Period]) -> None:
        begin = time.monotonic()
        try:
            found = collect_columns(self.collector, self.metric, periods, scope_ids)
        finally:
            self.observer.answered(self.collector.collector_name, time.monotonic() - begin)
        answers: list[tuple[str, Column]] = []
        unusable: list[tuple[str, Unusable]] = []
        offset = self.batch.periods.index(periods[0])
        for scope_id, one in found:
            if isinstance(one, Unusable):
                unusable.append((scope_id, one.moved(offset)))
            elif one.offsets:
                answers.append((scope_id, one.moved(offset)))
        self.point_counter.add(sum(len(column.offsets) for _, column in answers))
        self.answers.extend(answers)
        self.unusable.extend(unusable)


def _cut(items: Sequence[_Item]) -> tuple[Sequence[_Item], Sequence[_Item]]:
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def _halves(part: Sequence[ScopeBatch], length: timedelta) -> Sequence[Sequence[ScopeBatch]]:
    """Return *part* divided by scopes, or by periods if it has one scope; () if it cannot be."""
    if len(part) > 1:
        return _cut(part)
    only = part[0]
    usage = only.usage
    if len(usage) < 2:
        return ()
    middle = (len(usage) + 1) // 2
    early, late = usage[:middle], usage[middle:]
    border = late.begins[0] - length
    return (
        [only._replace(new_mark=border, frames=early)],
        [only._replace(mark=border, frames=late)],
    )
