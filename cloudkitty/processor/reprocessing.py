"""Rating periods again: one small batch at a time, under the lock of the scopes' shards."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cloudkitty import db, errors, pipeline, schedule
from cloudkitty.db import pauses, reprocess
from cloudkitty.db.scopes import Scope
from cloudkitty.locks import Locks
from cloudkitty.processor import dryrun
from cloudkitty.processor.freshness import Freshness
from cloudkitty.processor.portions import Portions
from cloudkitty.processor.settings import BUSY_S, Settings
from cloudkitty.storage.v2 import Replacement, ScopeBatch
from cloudkitty.timeframe import Period

LOG = logging.getLogger(__name__)

# Tasks that are looked through for a batch.
TASKS_MAX = 1000
# A batch has this part of the periods of a backlog's: what is due goes before.
PERIODS_DIVISOR = 4


class Work(NamedTuple):
    """The next periods of a task."""

    task: reprocess.Task
    scope: Scope
    periods: Sequence[Period]


class Reprocessing:
    """Works on the tasks whose shards it can lock, in turn.

    :param pipeline: the one that rates what is due.
    :param replace: stores periods anew, as BaseStorage.replace does.
    :param rated_prices: what dry runs compare with, see BaseStorage.rated_prices.
    :param freshness: says what waits for the source; None: nothing does.
    :param portions: how much fits into a batch; None: nobody else learns of it.
    :param clock: returns the current time, aware UTC.
    :ivar next_at: when there is something to do again; None: when there are new tasks.
    """

    def __init__(self, *, database: db.Database, pipeline: pipeline.Pipeline,
                 replace: Callable[[Sequence[Replacement]], Sequence[Replacement]],
                 rated_prices: dryrun.RatedPrices, locks: Locks, settings: Settings,
                 clock: Callable[[], datetime],
                 freshness: Freshness | None = None, portions: Portions | None = None):
        self._database = database
        self._pipeline = pipeline
        self._replace = replace
        self._rated_prices = rated_prices
        self._locks = locks
        self._settings = settings
        self._clock = clock
        self._freshness = freshness
        self._portions = portions or Portions(settings.batch_points)
        self.next_at: datetime | None = None

    def step(self) -> bool:
        """Rate one batch again; say whether there was one."""
        now = self._clock()
        with self._database.reader() as connection:
            ready = reprocess.find_ready(connection, self._settings.identity, now=now,
                                         limit=TASKS_MAX)
        self.next_at = ready.next_retry_at
        with contextlib.ExitStack() as held:
            batch = self._choose(ready.tasks, held)
            if batch:
                self._database.write(lambda connection: reprocess.touch(
                    connection, [work.task.id for work in batch], now=now))
                self._run(batch)
                return True
        if ready.tasks:
            # Other workers are on them; should one die, this one takes over.
            busy_until = now + timedelta(seconds=min(BUSY_S, self._settings.length_s))
            self.next_at = min(self.next_at or busy_until, busy_until)
        return False

    def _choose(self, tasks, held) -> list[Work]:
        """Lock the first task that is free, and those that have the same periods to rate."""
        batch, owners, locked = [], set(), {}
        for work in self._works(tasks):
            size = max(self._settings.batch_scopes >> _failures(work.task), 1)
            if batch and _kind(work) != _kind(batch[0]):
                continue
            if len(batch) >= size:
                break
            lock_name = self._settings.shard_lock(work.scope.scope_id)
            if lock_name not in locked:
                locked[lock_name] = held.enter_context(self._locks.hold(lock_name))
            if locked[lock_name] and work.scope.id not in owners:
                batch.append(work)
                owners.add(work.scope.id)
        return batch

    def _works(self, tasks) -> Iterator[Work]:
        settings = self._settings
        with self._database.reader() as connection:
            inactive = pauses.list_pauses(connection, {scope.id for _, scope in tasks})
        for task, scope in tasks:
            limit = settings.batch_periods // PERIODS_DIVISOR >> _failures(task)
            periods = schedule.task_periods(
                Period(task.start, task.end), task.current, scope.mark,
                length_s=settings.length_s, limit=max(limit, 1),
                pauses=inactive.get(scope.id, ()))
            if periods:
                yield Work(task, scope, periods)
            elif scope.mark >= task.end:
                self._finish(task)

    def _finish(self, task):
        """End a task in whose time no period begins any more."""
        def change(connection):
            if reprocess.lock_tasks(connection, [task.id]) == {task.id: task.current}:
                reprocess.advance(connection, {task.id: task.end}, {})

        self._database.write(change)

    def _run(self, batch):
        periods = batch[0].periods
        mark = periods[0].begin - self._settings.length
        by_scope = {work.scope.id: work.task for work in batch}
        store = self._compare if batch[0].task.is_dry_run else self._replace

        def commit(parts: Sequence[ScopeBatch]) -> list[ScopeBatch]:
            late = store([self._replacement(by_scope[part.state_id], part, mark)
                          for part in parts])
            return [one.batch for one in late]

        again = dataclasses.replace(self._pipeline, commit=commit, keeps_empty=True)
        # The rest is found again at the next step.
        portion = self._portions.first(pipeline.Batch(
            [dataclasses.replace(work.scope, mark=mark) for work in batch], periods))
        try:
            if self._freshness is not None:
                self._check_source(portion.periods[-1].end)
            outcome = again.run(portion)
        except errors.BatchTooLarge:
            self._portions.burst(portion)
            return
        except (errors.SourceUnreachable, errors.SourceLags, errors.ModuleLoadError) as exc:
            held = [(by_scope[scope.id], str(exc), by_scope[scope.id].current)
                    for scope in portion.scopes]
        else:
            self._portions.fitted(portion, outcome.points)
            held = [(by_scope[scope.id], reason, _current(by_scope[scope.id], left, mark))
                    for scope, reason, left in outcome.held]
            if outcome.stored:
                LOG.info('Rated periods of %s scopes that begin %s to %s again%s',
                         len(outcome.stored), portion.periods[0].begin,
                         portion.periods[-1].begin,
                         ', without storing them' if batch[0].task.is_dry_run else '')
        self._hold(held)

    def _compare(self, replacements):
        return dryrun.record(self._database, replacements, self._rated_prices,
                             length=self._settings.length)

    def _check_source(self, needed):
        """Let nobody replace what is stored with what a source has that lags."""
        verdict = self._freshness.ask(needed)
        if not verdict.lets(needed):
            raise errors.SourceLags(reason=verdict.reason)

    def _replacement(self, task, part, mark):
        is_last = part.new_mark + self._settings.length >= task.end
        return Replacement(task.id, _current(task, part.mark, mark),
                           task.end if is_last else part.new_mark, part)

    def _hold(self, held):
        """Keep on the rows why tasks are held back, and until when."""
        now = self._clock()
        alike: dict[tuple, dict[reprocess.Task, datetime | None]] = {}
        for task, reason, current in held:
            until = now + schedule.retry_delay((task.failure_count or 0) + 1,
                                               self._settings.length_s)
            alike.setdefault((reason, until), {})[task] = current

        def change(connection):
            for (reason, until), tasks in alike.items():
                reprocess.record_failure(
                    connection, {task.id: current for task, current in tasks.items()}, reason,
                    now=now, retry_at=until)

        if alike:
            self._database.write(change)
        for (reason, _), tasks in alike.items():
            fresh = [task.scope_id for task in tasks if not task.failure_count]
            if fresh:
                LOG.warning('Rating periods of %s scopes again is held back (%.200s) and tried '
                            'later: %s', len(fresh), ', '.join(fresh[:5]), reason)


def _current(task, mark, first):
    """Return how far *task* is when its scope is at *mark*, having begun at *first*."""
    return task.current if mark == first else mark


def _kind(work):
    """Return what works in a batch have in common."""
    return work.periods, _failures(work.task), work.task.is_dry_run


def _failures(task):
    return min(task.failure_count or 0, schedule.FAILURES_MAX)
