"""Reprocessing: rates one small batch again at a time, under the lock of the scopes' shards."""

import contextlib
import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cloudkitty import db, errors, pipeline
from cloudkitty.core import schedule
from cloudkitty.core.timeframe import Period
from cloudkitty.locks import Locks
from cloudkitty.processor import dryrun
from cloudkitty.processor.batch_sizing import BatchSizer
from cloudkitty.processor.settings import BUSY_S, Settings
from cloudkitty.processor.watermark import WatermarkCheck
from cloudkitty.scopes import agreement, inactive_time
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes.state import Scope
from cloudkitty.storage.v2 import Replacement, ScopeBatch

LOG = logging.getLogger(__name__)

# Most tasks that are considered for one batch.
TASKS_MAX = 1000
# Batches are smaller than those of a backlog by this factor: what is due takes precedence.
PERIODS_DIVISOR = 4


class Work(NamedTuple):
    """The next periods of a task."""

    task: scope_reprocessing.Task
    scope: Scope
    periods: Sequence[Period]


class Reprocessing:
    """Works on the tasks whose shards it can lock, in turn.

    :param pipeline: the one that rates what is due.
    :param replace: stores periods anew, as BaseStorage.replace does.
    :param rated_prices: what dry runs compare with, see BaseStorage.rated_prices.
    :param watermarks: decides what waits for the source; None: nothing does.
    :param batch_sizer: sizes batches; None: an instance of its own.
    :param clock: returns the current time, aware UTC.
    :ivar next_at: when there is work again; None: when there are new tasks.
    """

    def __init__(
        self,
        *,
        database: db.Database,
        pipeline: pipeline.Pipeline,
        replace: Callable[[Sequence[Replacement]], Sequence[Replacement]],
        rated_prices: dryrun.RatedPrices,
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
        watermarks: WatermarkCheck | None = None,
        batch_sizer: BatchSizer | None = None,
    ):
        self._database = database
        self._pipeline = pipeline
        self._replace = replace
        self._rated_prices = rated_prices
        self._locks = locks
        self._settings = settings
        self._clock = clock
        self._watermarks = watermarks
        self._batch_sizer = batch_sizer or BatchSizer(settings.batch_points)
        self.next_at: datetime | None = None

    def step(self) -> bool:
        """Rate one batch again; return whether there was one."""
        now = self._clock()
        with self._database.reader() as connection:
            ready = scope_reprocessing.find_ready(
                connection, self._settings.identity, now=now, limit=TASKS_MAX
            )
            # Read only when there is something to do: this runs in each round.
            agreed = agreement.read(connection) if ready.tasks else None
        self.next_at = ready.next_retry_at
        with contextlib.ExitStack() as held:
            batch = self._choose(self._works(ready.tasks, agreed), held)
            if batch:
                self._database.write(
                    lambda connection: scope_reprocessing.touch(
                        connection, [work.task.id for work in batch], now=now
                    )
                )
                self._run(batch)
                return True
        if ready.tasks:
            # Other workers are on them; should one die, this one takes over.
            busy_until = now + timedelta(seconds=min(BUSY_S, self._settings.length_s))
            self.next_at = min(self.next_at or busy_until, busy_until)
        return False

    def _choose(self, works, held) -> list[Work]:
        """Lock the first task whose shard is free, and those with the same periods to rate."""
        batch: list[Work] = []
        owners: set[int] = set()
        locked: dict[bytes, bool] = {}
        for work in works:
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

    def _works(self, tasks, agreed) -> Iterator[Work]:
        settings = self._settings
        with self._database.reader() as connection:
            inactive = inactive_time.list_inactive_times(
                connection, {scope.id for _, scope in tasks}
            )
        for task, scope in tasks:
            limit = settings.batch_periods // PERIODS_DIVISOR >> _failures(task)
            begin = task.start
            if task.current is not None:
                begin = task.current + self._length_at(task.current, agreed)[0]
            length, until = self._length_at(begin, agreed)
            periods = schedule.task_periods(
                Period(begin, task.end),
                None,
                scope.mark if until is None else min(scope.mark, until - length),
                length_s=int(length.total_seconds()),
                limit=max(limit, 1),
                inactive_times=inactive.get(scope.id, ()),
            )
            if periods:
                yield Work(task, scope, periods)
            elif scope.mark >= task.end:
                self._finish(task)

    def _length_at(self, begin, agreed):
        """Return the length of the periods at *begin*, and when the next ones are of another."""
        found = agreed.at(begin)
        return (found.terms.length, found.until) if found else (self._settings.length, None)

    def _finish(self, task):
        """Finish a task that has no periods left."""

        def change(connection):
            if scope_reprocessing.lock_tasks(connection, [task.id]) == {task.id: task.current}:
                scope_reprocessing.advance(connection, {task.id: task.end}, {})

        self._database.write(change)

    def _run(self, batch):
        periods = batch[0].periods
        length = periods[0].end - periods[0].begin
        mark = periods[0].begin - length
        by_scope = {work.scope.id: work.task for work in batch}
        store = self._store_of(batch[0].task, length)

        def commit(parts: Sequence[ScopeBatch]) -> list[ScopeBatch]:
            late = store(
                [_replacement(by_scope[part.state_id], part, mark, length) for part in parts]
            )
            return [one.batch for one in late]

        again = dataclasses.replace(self._pipeline, commit=commit, keeps_empty=True)
        # The next step finds the rest.
        part = self._batch_sizer.first_part(
            pipeline.Batch([dataclasses.replace(work.scope, mark=mark) for work in batch], periods)
        )
        try:
            if self._watermarks is not None:
                # So that gaps that may close do not replace stored data.
                part = self._watermarks.check(part)
            outcome = again.run(part)
        except errors.BatchTooLarge:
            self._batch_sizer.record_too_large(part)
            return
        except (errors.SourceUnreachable, errors.SourceLags, errors.ModuleLoadError) as exc:
            held = [
                (by_scope[scope.id], str(exc), by_scope[scope.id].current) for scope in part.scopes
            ]
        else:
            self._batch_sizer.record_size(part, outcome.points)
            held = [
                (by_scope[scope.id], reason, _current(by_scope[scope.id], left, mark))
                for scope, reason, left in outcome.held
            ]
            if outcome.stored:
                LOG.info(
                    'Rated periods of %s scopes that begin %s to %s again%s',
                    len(outcome.stored),
                    part.periods[0].begin,
                    part.periods[-1].begin,
                    ', without storing them' if batch[0].task.is_dry_run else '',
                )
                if self._watermarks is not None:
                    self._watermarks.tidy()
        self._hold(held)

    def _store_of(self, task, length):
        """Return what stores the replacements of tasks like *task*."""
        if not task.is_dry_run:
            return self._replace
        return functools.partial(
            dryrun.record, self._database, rated_prices=self._rated_prices, length=length
        )

    def _hold(self, held):
        """Record why tasks are held back, and until when."""
        now = self._clock()
        alike: dict[tuple, dict[scope_reprocessing.Task, datetime | None]] = {}
        for task, reason, current in held:
            until = now + schedule.retry_delay(
                (task.failure_count or 0) + 1, self._settings.length_s
            )
            alike.setdefault((reason, until), {})[task] = current

        def change(connection):
            for (reason, until), tasks in alike.items():
                scope_reprocessing.record_failure(
                    connection,
                    {task.id: current for task, current in tasks.items()},
                    reason,
                    now=now,
                    retry_at=until,
                )

        if alike:
            self._database.write(change)
        for (reason, _), tasks in alike.items():
            fresh = [task.scope_id for task in tasks if not task.failure_count]
            if fresh:
                LOG.warning(
                    'Rating periods of %s scopes again failed (%.200s) and will be retried: %s',
                    len(fresh),
                    ', '.join(fresh[:5]),
                    reason,
                )


def _replacement(task, part, mark, length):
    is_last = part.new_mark + length >= task.end
    return Replacement(
        task.id, _current(task, part.mark, mark), task.end if is_last else part.new_mark, part
    )


def _current(task, mark, first):
    """Return the *current* time of *task* once its scope, which began at *first*, is at *mark*."""
    return task.current if mark == first else mark


def _kind(work):
    """Return the key by which works are grouped into one batch."""
    return work.periods, _failures(work.task), work.task.is_dry_run


def _failures(task):
    return min(task.failure_count or 0, schedule.FAILURES_MAX)
