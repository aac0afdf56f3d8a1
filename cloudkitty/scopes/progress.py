"""Progress: marks and tasks move only from where they were read, together with what is stored.

Writers call these functions in the transaction that moves the mark: the SQL drivers with
their rows, other stores after theirs (see storage.two_phase). They lock scopes before tasks.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import schedule, timeframe
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.scopes import agreement, late_data, resets, source_gaps
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import state as scope_state

REFUSED = 'refused by the source'
# Periods begin at whole seconds.
NEXT = timedelta(seconds=1)


class LeftOut(NamedTuple):
    """A metric that a period was rated without, though the source has data of it.

    :ivar begin: of the period, aware UTC.
    :ivar metric: internal key.
    :ivar reason: what the values are that cannot be used, see core.columns; '': the source refused
        the query.
    """

    begin: datetime
    metric: str
    reason: str = ''


class ScopeBatch(NamedTuple):
    """Consecutive periods of one scope, to be stored together with its progress.

    :ivar state_id: primary key of the scope's row, see scopes.state.
    :ivar scope_id: the scope.
    :ivar mark: where the scope's mark must be for the commit to be valid, aware UTC.
    :ivar new_mark: where it is afterwards: begin of the last period, aware UTC.
    :ivar frames: rated frames, oldest first; a period without usage has none.
    :ivar note: what is missing in the source, to be stored as a note on these periods; '': nothing.
        advance() stores it, not the storage driver.
    :ivar left_out: what was left out of these periods, in the order of time; it may have others,
        which are ignored. It is noted, too, and becomes gaps in state UNUSABLE.
    """

    state_id: int
    scope_id: str
    mark: datetime
    new_mark: datetime
    frames: Sequence[DataFrame]
    note: str = ''
    left_out: Sequence[LeftOut] = ()

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
    _note(
        connection,
        [(one, span) for one in batch if one.note or one.left_out for span in _spans(one, length)],
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
    _note(
        connection,
        [
            (one.batch, timeframe.Period(scope_period.begin, scope_period.end))
            for one in replacements
            if one.batch.note or one.batch.left_out
            for scope_period in one.batch.usage.scope_periods()
        ],
    )


def _spans(one: ScopeBatch, length: timedelta) -> Iterator[timeframe.Period]:
    """Yield the periods of a scope, as one while nothing is left out of them."""
    begin, end = one.mark + length, one.new_mark + length
    for cut in sorted({item.begin for item in one.left_out if begin <= item.begin < end}):
        if begin < cut:
            yield timeframe.Period(begin, cut)
        yield timeframe.Period(cut, cut + length)
        begin = cut + length
    if begin < end:
        yield timeframe.Period(begin, end)


def _note(connection: sa.Connection, noted: Sequence[tuple[ScopeBatch, timeframe.Period]]) -> None:
    """Store notes on these times, and gaps for what was left out of them."""
    notes, gaps = [], []
    for one, span in noted:
        left_out = [item for item in one.left_out if span.begin <= item.begin < span.end]
        reason = '; '.join(filter(None, (one.note, *_describe(left_out))))
        if reason:
            notes.append(late_data.Note(one.state_id, *span, reason))
        gaps += [(one.state_id, span, item) for item in left_out]
    late_data.record(connection, notes)
    if gaps:
        _record_gaps(connection, gaps)


def _describe(left_out: Sequence[LeftOut]) -> Iterator[str]:
    """Yield a text for each reason."""
    metrics: dict[str, list[str]] = {}
    for item in left_out:
        metrics.setdefault(item.reason, []).append(item.metric)
    for reason, found in sorted(metrics.items()):
        names = ', '.join(sorted(set(found)))
        yield f'values left out that are {reason}: {names}' if reason else f'{REFUSED}: {names}'


def _record_gaps(
    connection: sa.Connection, found: Sequence[tuple[int, timeframe.Period, LeftOut]]
) -> None:
    by_identity: dict[scope_state.Identity, dict[source_gaps.Gap, None]] = {}
    identities = scope_state.get_identities(connection, {state_id for state_id, *_ in found})
    for state_id, span, item in found:
        sign = f'values are {item.reason}' if item.reason else REFUSED
        gap = source_gaps.Gap(item.metric, *span, source_gaps.UNUSABLE, sign)
        by_identity.setdefault(identities[state_id], {})[gap] = None
    for identity, gaps in sorted(by_identity.items()):
        source_gaps.record_unusable(connection, identity, list(gaps))


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
    identities = scope_state.get_identities(connection, [order.state_id])
    source_gaps.tidy(connection, identities[order.state_id])
    return mark
