"""What goes with progress, for stores outside the SQL database: data first, progress second."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cloudkitty import schedule
from cloudkitty.db import notes, reprocess, resets, scopes

# Periods begin at whole seconds.
NEXT = timedelta(seconds=1)


def commit(store: Any, batch: Sequence) -> list:
    """Do what BaseStorage.commit says."""
    moved = store.database.write(lambda connection: find_moved(connection, batch))
    valid = [part for part in batch if part not in moved]
    for part in valid:
        store.push(part.frames, part.scope_id)

    def change(connection):
        missed = find_moved(connection, valid)
        advance(connection, [part for part in valid if part not in missed],
                store.conf.collect.period)
        return missed

    return moved + store.database.write(change)


def find_moved(connection: sa.Connection, batch: Sequence) -> list:
    """Lock scopes; return those of *batch* whose marks are not where they were read."""
    marks = scopes.lock_marks(connection, [part.state_id for part in batch])
    return [part for part in batch if marks.get(part.state_id) != part.mark]


def reset(store: Any, order: resets.Reset) -> bool:
    """Do what BaseStorage.reset says."""
    scope_key, length_s = store.conf.collect.scope_key, store.conf.collect.period
    with store.database.reader() as connection:
        found = scopes.get_scopes(connection, [order.state_id])
    for scope in found:
        mark = schedule.reset_mark(scope.mark, order.mark, length_s)
        store.delete(begin=mark + NEXT, filters={scope_key: order.scope_id})

    def change(connection):
        mark = take_order(connection, order, length_s)
        if mark is not None:
            scopes.advance(connection, {order.state_id: mark})
        return mark is not None

    return store.database.write(change)


def advance(connection: sa.Connection, batch: Sequence, length_s: int) -> None:
    """Move the marks of scope batches and keep their notes; call scopes.lock_marks() before."""
    scopes.advance(connection, {one.state_id: one.new_mark for one in batch})
    length = timedelta(seconds=length_s)
    notes.record(connection, (
        notes.Note(one.state_id, one.mark + length, one.new_mark + length, one.note)
        for one in batch if one.note))


def finish(connection: sa.Connection, replacements: Sequence, kept: Mapping[int, int]) -> None:
    """Move tasks on, and forget what was noted of what they replaced.

    :param kept: numbers of periods that kept their data, by task.
    """
    reprocess.advance(connection, {one.task_id: one.new_current for one in replacements}, kept)
    replaced: dict[tuple, list[int]] = {}
    for one in replacements:
        for frame in one.batch.frames:
            replaced.setdefault((frame.start, frame.end), []).append(one.batch.state_id)
    for (begin, end), state_ids in replaced.items():
        notes.clear(connection, state_ids, begin, end)


def take_order(connection: sa.Connection, order: resets.Reset, length_s: int,
               kept_from: datetime | None = None) -> datetime | None:
    """Lock the scope, take the order away; return the scope's new mark, None: there is no order.

    :param kept_from: see schedule.reset_mark().
    """
    marks = scopes.lock_marks(connection, [order.state_id])
    if not resets.finish(connection, order):
        return None
    mark = schedule.reset_mark(marks[order.state_id], order.mark, length_s, kept_from)
    notes.clear(connection, [order.state_id], mark + timedelta(seconds=length_s))
    return mark


def replace(store: Any, replacements: Sequence) -> list:
    """Do what BaseStorage.replace says."""
    late = store.database.write(lambda connection: find_late(connection, replacements))
    valid = [one for one in replacements if one not in late]
    kept = {one.task_id: _replace(store, one.batch) for one in valid}

    def change(connection):
        missed = find_late(connection, valid)
        finish(connection, [one for one in valid if one not in missed], kept)
        return missed

    return late + store.database.write(change)


def _replace(store, batch):
    """Store frames; return how many other periods keep what is stored."""
    owner = {store.conf.collect.scope_key: batch.scope_id}
    stored = store.retrieve(batch.mark + NEXT, batch.new_mark + NEXT, owner,
                            paginate=False)['dataframes']
    store.push([frame for frame in batch.frames if frame.usage], batch.scope_id)
    for frame in batch.frames:
        if not frame.usage:
            store.delete(frame.start, frame.end, owner)
    return len({frame.start for frame in stored} - {frame.start for frame in batch.frames})


def find_late(connection: sa.Connection, replacements: Sequence) -> list:
    """Lock scopes and tasks; return those of *replacements* that are not valid (any more)."""
    marks = scopes.lock_marks(connection, {one.batch.state_id for one in replacements})
    currents = reprocess.lock_tasks(connection, {one.task_id for one in replacements})
    return [one for one in replacements
            if one.task_id not in currents or currents[one.task_id] != one.current
            or one.batch.state_id not in marks
            or marks[one.batch.state_id] < one.batch.new_mark]
