"""Collect, rate and store a batch of scopes and periods. All parts are arguments.

A period of a scope is stored whole or not at all, and only after the period before it. Whatever
goes wrong with a metric, a module or a row holds back the scopes it touches, from the first period
it touches; everything else of the batch is stored.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence, Set
from concurrent import futures
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc

from cloudkitty import dataframe, errors, observer
from cloudkitty.db.scopes import Scope
from cloudkitty.observer import Observer
from cloudkitty.skip import SkipFilter
from cloudkitty.storage.v2 import ScopeBatch
from cloudkitty.timeframe import Period

LOG = logging.getLogger(__name__)

# How often one metric, or one commit, may fail in a batch before the rest of the batch is left for
# the next attempt: enough to find one bad scope and its first bad period.
FAILURES_MAX = 16
# So many points of a series need as much memory as the series itself and one of them.
SERIES_WEIGHT = 3
# Errors that say nothing about what was to be stored.
UNUSABLE = (errors.DatabaseUnavailable, db_exception.DBConnectionError, db_exception.DBDeadlock,
            sa_exc.TimeoutError)


class Batch(NamedTuple):
    """The unit of work.

    :ivar scopes: scopes with equal marks.
    :ivar periods: consecutive periods, the first of them follows the mark.
    :ivar note: what is missing in the source, kept with what is stored; '': nothing.
    """

    scopes: Sequence[Scope]
    periods: Sequence[Period]
    note: str = ''


class Held(NamedTuple):
    """A scope that could not be brought to the end of its batch.

    :ivar mark: where it was left, aware UTC.
    """

    scope: Scope
    reason: str
    mark: datetime


class Outcome(NamedTuple):
    """What became of a batch.

    :ivar stored: what was committed.
    :ivar moved: what was not, because another worker had done it.
    :ivar held: scopes with a reason why they did not come to the end.
    :ivar points: how many the source had.
    """

    stored: list[ScopeBatch]
    moved: list[ScopeBatch]
    held: list[Held]
    points: int = 0


@dataclass(frozen=True)
class Pipeline:
    """The parts a batch goes through.

    :ivar collector: a collector, see cloudkitty.collector.
    :ivar modules: the rating modules, see rating.modules.ModuleSet.
    :ivar commit: stores scope batches, as BaseStorage.commit does.
    :ivar skips: says which points are not stored.
    :ivar pool: threads that ask the source.
    :ivar timeout_s: for collecting all metrics of a batch.
    :ivar keeps_empty: whether a frame none of whose points is to be stored is committed: it
        replaces one that is there.
    :ivar points_max: the most points that a batch may have, see points_allowed(); None: any number.
    :ivar observer: is told what happens.
    """

    collector: Any
    modules: Any
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
        :raises Exception: the database cannot be used; each scope is stored or is not.
        """
        self.observer.is_alive()
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

    def _finish(self, batch, usage, progress):
        self.observer.is_alive()
        ready = []
        for scope in batch.scopes:
            frames = self._rate(scope, usage, progress)
            periods = progress.periods_of(scope)
            if periods:
                ready.append(ScopeBatch(scope.id, scope.scope_id, scope.mark, periods[-1].begin,
                                        frames, batch.note))
        self.observer.is_alive()
        stored, moved = self._store(ready, progress)
        self.observer.stored(frame for one in stored for frame in one.frames)
        # Of several parts of a scope the later ones are stored later.
        reached = {one.state_id: one.new_mark for one in stored}
        held = [Held(scope, progress.reasons[scope.scope_id], reached.get(scope.id, scope.mark))
                for scope in batch.scopes if scope.scope_id in progress.reasons]
        return Outcome(stored, moved, held, sum(
            len(points) for usage_of in usage.values() for points in usage_of.values()))

    def _collect(self, batch, progress):
        """Return points by (scope id, period) and published metric name."""
        usage = {(scope.scope_id, period): {} for scope in batch.scopes
                 for period in batch.periods}
        deadline = time.monotonic() + self.timeout_s
        # What cannot be divided is taken, whatever it holds.
        tally = _Tally(None if self.points_max is None or len(usage) == 1
                       else points_allowed(self.points_max, len(batch.periods)))
        questions = [_Question(self.collector, metric, usage.keys(), deadline, self.observer, tally)
                     for metric in sorted(self.collector.conf)]
        self._ask_all(questions, batch)
        for question in questions:
            name = self.collector.conf[question.metric].published_name
            for scope_id, period, points in question.answers:
                # Metrics may share a published name; an empty answer is none.
                if points:
                    usage[scope_id, period].setdefault(name, []).extend(points)
            self.observer.failed(observer.METRIC, question.failures)
            for scope_ids, begin, reason in question.gaps:
                progress.stop(scope_ids, begin, f'metric {question.metric}: {reason}')
        return usage

    def _ask_all(self, questions, batch):
        scope_ids = [scope.scope_id for scope in batch.scopes]
        asked = {self.pool.submit(question.ask, scope_ids, batch.periods): question.metric
                 for question in questions}
        done, silent = futures.wait(asked, self.timeout_s, futures.FIRST_EXCEPTION)
        for question in questions:
            question.deadline = 0
        for future in silent:
            future.cancel()
        for future in done:
            future.result()
        if silent:
            names = ', '.join(sorted(asked[future] for future in silent))
            raise errors.SourceUnreachable(
                collector=self.collector.collector_name,
                reason=f'no complete answer for {names} within {self.timeout_s} s')

    def _rate(self, scope, usage, progress):
        """Return the rated frames of *scope*, up to the first that cannot be rated."""
        frames = []
        for period in progress.periods_of(scope):
            points = usage[scope.scope_id, period]
            if not points:
                continue
            frame = dataframe.DataFrame(period.begin, period.end, points)
            try:
                frame = self.skips.apply(self.modules.rate(frame, scope.scope_id))
            # A foreign module may raise anything; nothing is ever stored unrated.
            except Exception as exc:
                LOG.debug('Scope %s cannot be rated', scope.scope_id, exc_info=True)
                self.observer.failed(observer.RATING)
                progress.stop([scope.scope_id], period.begin, f'rating: {errors.describe(exc)}')
                break
            if frame.usage or self.keeps_empty:
                frames.append(frame)
        return frames

    def _store(self, ready, progress):
        """Commit all at once or, when that fails, in ever smaller parts."""
        stored, moved, failures = [], [], 0
        parts = [ready]
        while parts:
            # What follows a part that was not stored cannot be stored either.
            refused = {one.scope_id for one in moved} | progress.refused
            part = [one for one in parts.pop() if one.scope_id not in refused]
            if not part:
                continue
            try:
                late = self.commit(part)
            except UNUSABLE:
                raise
            # One row that cannot be stored, whatever the reason, must not hold the others.
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

    :param points_max: of a batch of one period, each of whose points is of another series. What a
        series needs, more than its points do, is needed once.
    """
    return points_max * min(periods, SERIES_WEIGHT)


class _Progress:
    """How far each scope of a batch can go, and why not further."""

    def __init__(self, batch):
        first = batch.periods[0]
        self.begin, self.length = first.begin, first.end - first.begin
        self.periods = batch.periods
        self.reasons: dict[str, str] = {}
        self.refused: set[str] = set()
        self._counts: dict[str, int] = {}

    def stop(self, scope_ids, begin, reason):
        """Let these scopes end before the period that begins at *begin*."""
        count = (begin - self.begin) // self.length
        for scope_id in scope_ids:
            if count < self._counts.get(scope_id, len(self.periods)):
                self._counts[scope_id] = count
                self.reasons[scope_id] = reason

    def refuse(self, part, reason):
        for one in part:
            self.stop([one.scope_id], one.mark + self.length, reason)
            self.refused.add(one.scope_id)

    def periods_of(self, scope):
        return self.periods[:self._counts.get(scope.scope_id, len(self.periods))]


class _Tally:
    """Counts the points of a batch while they come in; threads share it.

    :param points_max: None: any number.
    """

    def __init__(self, points_max: int | None):
        self._points_max = points_max
        self._points = 0
        self._lock = threading.Lock()

    @property
    def is_limited(self) -> bool:
        return self._points_max is not None

    def add(self, points: int) -> None:
        """Count *points* more.

        :raises BatchTooLarge: that is too many.
        """
        with self._lock:
            self._points += points
            if self._points_max is not None and self._points > self._points_max:
                raise errors.BatchTooLarge()


@dataclass
class _Question:
    """One metric asked for a batch; where it fails, for ever smaller parts of the batch.

    :ivar answers: what the collector yielded.
    :ivar gaps: (scope ids, begin of the first period without an answer, reason).
    """

    collector: Any
    metric: str
    expected: Set[tuple[str, Period]]
    deadline: float
    observer: Observer
    tally: _Tally
    answers: list = field(default_factory=list)
    gaps: list = field(default_factory=list)
    failures: int = 0

    def ask(self, scope_ids, periods) -> bool:
        """Ask; say whether all was answered."""
        if time.monotonic() > self.deadline:
            raise errors.SourceUnreachable(collector=self.collector.collector_name,
                                           reason='the time for this batch is over')
        try:
            self.answers.extend(self._collect(scope_ids, periods))
            return True
        except errors.NoDataCollected:
            return True
        except (errors.SourceUnreachable, errors.BatchTooLarge):
            raise
        # A foreign driver may raise anything.
        except Exception as exc:
            if isinstance(exc, errors.AnswerTooLarge) and self.tally.is_limited:
                raise errors.BatchTooLarge() from exc
            LOG.debug('Metric %s cannot be collected', self.metric, exc_info=True)
            reason = errors.describe(exc)
        self.failures += 1
        if self.failures >= FAILURES_MAX or len(scope_ids) == len(periods) == 1:
            self.gaps.append((scope_ids, periods[0].begin, reason))
            return False
        if len(scope_ids) > 1:
            # Both halves are asked, whatever the first one says.
            return all([self.ask(half, periods) for half in _cut(scope_ids)])
        return all(self.ask(scope_ids, half) for half in _cut(periods))

    def _collect(self, scope_ids, periods):
        begin = time.monotonic()
        try:
            found = list(self.collector.collect(self.metric, periods, scope_ids))
        finally:
            self.observer.answered(self.collector.collector_name, time.monotonic() - begin)
        for scope_id, period, _ in found:
            if (scope_id, period) not in self.expected:
                raise errors.CollectError(
                    collector=self.collector.collector_name,
                    reason=f'answered for {scope_id!r} at {period}, which was not asked')
        self.tally.add(sum(len(points) for _, _, points in found))
        return found


def _cut(items):
    middle = (len(items) + 1) // 2
    return items[:middle], items[middle:]


def _halves(part, length):
    """Return *part* in two, by scopes, or by periods when it is one scope; or nothing."""
    if len(part) > 1:
        return _cut(part)
    only = part[0]
    if len(only.frames) < 2:
        return ()
    early, late = _cut(only.frames)
    border = late[0].start - length
    return ([only._replace(new_mark=border, frames=early)],
            [only._replace(mark=border, frames=late)])
