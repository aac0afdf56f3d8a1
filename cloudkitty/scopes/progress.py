"""Progress: marks and tasks move only from where they were read, together with what is stored.

Writers call these functions in the transaction that moves the mark: the SQL drivers with
their rows, other stores after theirs (see storage.two_phase). They lock scopes before tasks.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import schedule, timeframe
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.scopes import agreement, late_data, resets
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import state as scope_state

# Periods begin at whole seconds.
NEXT = timedelta(seconds=1)


class ScopeBatch(NamedTuple):
    """Consecutive periods of one scope, to be stored together with its progress.

    :ivar state_id: primary key of the scope's row, see scopes.state.
    :ivar scope_id: the scope.
    :ivar mark: where the scope's mark must be for the commit to be valid, aware UTC.
    :ivar new_mark: where it is afterwards: begin of the last period, aware UTC.
    :ivar frames: rated frames, oldest first; a period without usage has none.
    :ivar note: what is missing in the source, to be stored as a note on these periods; '': nothing.
        advance() stores it, not the storage driver.
    """

    state_id: int
    scope_id: str
    mark: datetime
    new_mark: datetime
    frames: Sequence[DataFrame]
    note: str = ''

    @property
    def usage(self) -> ScopePeriods:
        """The frames in columns; the frames that the pipeline passes are views of them."""
        return ScopePeriods.of_frames(self.scope_id, self.frames)


class Replacement(NamedTuple):
    """Periods of one scope that were rated again, to be stored together with the task's progress.

    :ivar task_id: primary key of the task's row, see scopes.reprocessing.
    :ivar current: how far the task must be for the replacement to be valid, aware UTC or None.
    :ivar new_current: how far it is afterwards.
    :ivar batch: the periods that begin after its mark, up to its new mark; a period without a frame
        keeps what is stored, one with an empty frame loses it.
    """

    task_id: int
    current: datetime | None
    new_current: datetime
    batch: ScopeBatch


def find_moved(
    connection: sa.Connection, batch: Sequence[ScopeBatch], terms: agreement.Terms
) -> list[ScopeBatch]:
    """Lock scopes; return the members of *batch* whose marks have moved since they were read.

    :param terms: what the batch was rated by.
    :raises Disagreement: other terms are in force.
    :raises ClockOff: by the database's clock the last period is not over.
    """
    marks = scope_state.lock_marks(connection, [part.state_id for part in batch])
    # After the locks: a change that came into force has moved the marks, or waits for them.
    state = agreement.require(connection, terms)
    _require_over(batch, terms, state.now)
    return [part for part in batch if marks.get(part.state_id) != part.mark]


def _require_over(batch: Sequence[ScopeBatch], terms: agreement.Terms, now: datetime) -> None:
    last = max((part.new_mark for part in batch), default=None)
    if last is not None and last + terms.length > now:
        raise errors.ClockOff(
            reason=f'The period that begins at {timeframe.render(last)} is not over: it is '
            f'{timeframe.render(now)} for the database'
        )


def advance(connection: sa.Connection, batch: Sequence[ScopeBatch], length_s: int) -> None:
    """Move the marks of scope batches and store their notes.

    Call scopes.state.lock_marks() before.
    """
    scope_state.advance(connection, {one.state_id: one.new_mark for one in batch})
    length = timedelta(seconds=length_s)
    late_data.record(
        connection,
        (
            late_data.Note(one.state_id, one.mark + length, one.new_mark + length, one.note)
            for one in batch
            if one.note
        ),
    )


def find_late(
    connection: sa.Connection, replacements: Sequence[Replacement], terms: agreement.Terms
) -> list[Replacement]:
    """Lock scopes and tasks; return the members of *replacements* that are not valid (any more).

    :param terms: what this process rates by.
    :raises Disagreement: other terms are in force.
    """
    marks = scope_state.lock_marks(connection, {one.batch.state_id for one in replacements})
    agreement.require(connection, terms)
    currents = scope_reprocessing.lock_tasks(connection, {one.task_id for one in replacements})
    return [
        one
        for one in replacements
        if one.task_id not in currents
        or currents[one.task_id] != one.current
        or one.batch.state_id not in marks
        or marks[one.batch.state_id] < one.batch.new_mark
    ]


def finish(
    connection: sa.Connection, replacements: Sequence[Replacement], kept: Mapping[int, int]
) -> None:
    """Move tasks on, and replace the notes on the periods that they replaced.

    :param kept: numbers of periods that kept their data, by task.
    """
    scope_reprocessing.advance(
        connection, {one.task_id: one.new_current for one in replacements}, kept
    )
    replaced: dict[tuple[datetime, datetime], list[int]] = {}
    for one in replacements:
        for scope_period in one.batch.usage.scope_periods():
            span = (scope_period.begin, scope_period.end)
            replaced.setdefault(span, []).append(one.batch.state_id)
    for (begin, end), state_ids in replaced.items():
        late_data.clear(connection, state_ids, begin, end)
    late_data.record(
        connection,
        (
            late_data.Note(one.batch.state_id, scope_period.begin, scope_period.end, one.batch.note)
            for one in replacements
            if one.batch.note
            for scope_period in one.batch.usage.scope_periods()
        ),
    )


def take_order(
    connection: sa.Connection,
    order: resets.Reset,
    terms: agreement.Terms,
    kept_from: datetime | None = None,
) -> datetime | None:
    """Lock the scope and delete the order; return the scope's new mark, None: there is no order.

    :param terms: what this process rates by.
    :param kept_from: see schedule.reset_mark().
    :raises Disagreement: other terms are in force.
    """
    marks = scope_state.lock_marks(connection, [order.state_id])
    changed_at = agreement.require(connection, terms).changed_at
    if not resets.finish(connection, order):
        return None
    # Periods from before a change have another length, so that none of them ends at the new mark.
    bounds = [bound for bound in (kept_from, changed_at) if bound is not None]
    mark = schedule.reset_mark(
        marks[order.state_id], order.mark, terms.period_s, max(bounds, default=None)
    )
    late_data.clear(connection, [order.state_id], mark + terms.length)
    return mark
