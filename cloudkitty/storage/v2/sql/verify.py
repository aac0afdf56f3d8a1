"""Consistency check of the tables of rated data.

The points (blocks and the series they refer to) are authoritative. Everything else derives from
them, except the marks. The unit is one scope in one month: it is read in one transaction, so that
a worker that stores something meanwhile causes no false alarm.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core import block, timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.db import tables, types
from cloudkitty.storage.v2.series import faults, retention_cutoff, series_ids
from cloudkitty.storage.v2.series.faults import Fault, Month, Scope
from cloudkitty.storage.v2.series.frame_rows import RATED
from cloudkitty.storage.v2.sql import folding

FRAMES, SERIES, DAYS = tables.rated_frames, tables.rated_series, tables.rated_days
TOTALS, MONTHS, CALENDAR = tables.rated_totals, tables.rated_months, tables.rated_calendar
SERIES_MONTHS = tables.rated_series_months
ATTRIBUTES, SCOPES, STATES = tables.rated_attributes, tables.rated_scopes, tables.scopes
ROWS_AT_ONCE = 500
SUMS = ('qty', 'price', 'points')


# Exact sums of quantities and prices, and the number of points.
Sums = tuple[Decimal, Decimal, int]
# By (series id, day).
SumsByDay = dict[tuple[int, date], Sums]


def list_months(
    connection: sa.Connection, scope: Scope, begin: datetime | None, end: datetime | None
) -> list[Month]:
    """Return the months from a scope's first data to its last that [begin, end) overlaps."""
    ours = sa.or_(SERIES.c.owner_id == scope.id, SERIES.c.scope_id == scope.id)
    bounds: list[date] = []
    series = sa.select(SERIES.c.id).where(ours)
    for column, chosen in (
        (FRAMES.c.begin, FRAMES.c.scope_id == scope.id),
        (DAYS.c.day, DAYS.c.series_id.in_(series)),
        (SERIES_MONTHS.c.day, SERIES_MONTHS.c.series_id.in_(series)),
        (TOTALS.c.day, TOTALS.c.scope_id == scope.id),
        (MONTHS.c.day, MONTHS.c.scope_id == scope.id),
    ):
        found = connection.execute(
            sa.select(sa.func.min(column), sa.func.max(column)).where(chosen)
        ).one()
        bounds += [
            bound.date() if isinstance(bound, datetime) else bound
            for bound in found
            if bound is not None
        ]
    if not bounds:
        return []
    return faults.months_between(min(bounds), max(bounds), begin, end)


def check(
    database: db.Database, scope: Scope, begin: datetime | None = None, end: datetime | None = None
) -> Iterator[Fault]:
    """Yield all faults of a scope, as seen in one snapshot.

    :param begin, end: bounds, aware UTC; the months they are in are checked as a whole.
    """
    with faults.snapshot(database) as connection:
        yield from check_scope(connection, scope)
        for month in list_months(connection, scope, begin, end):
            yield from check_days(connection, scope, month)
            yield from check_totals(connection, scope, month)


def check_scope(connection: sa.Connection, scope: Scope) -> Iterator[Fault]:
    """Yield the faults of a scope that belong to no month: of series, overlaps and progress."""
    yield from faults.series_faults(connection, scope)
    rated = (
        sa.select(
            FRAMES.c.begin,
            FRAMES.c.end,
            sa.func.lead(FRAMES.c.begin).over(order_by=FRAMES.c.begin).label('next'),
        )
        .where(FRAMES.c.scope_id == scope.id, FRAMES.c.origin == RATED)
        .subquery()
    )
    for row in connection.execute(sa.select(rated).where(rated.c.next < rated.c.end)):
        yield _frame_fault(scope, row.begin, RATED, faults.overlap(row.end, row.next))
    mark = faults.read_mark(connection, scope)
    if mark is None:
        return
    count, first = connection.execute(
        sa.select(sa.func.count(), sa.func.min(FRAMES.c.begin)).where(
            FRAMES.c.scope_id == scope.id, FRAMES.c.origin == RATED, FRAMES.c.begin > mark
        )
    ).one()
    if count:
        yield faults.unexpected(scope, mark, count, first)


def check_days(connection: sa.Connection, scope: Scope, month: Month) -> Iterator[Fault]:
    """Yield the faults of the frames of a scope in a month, and of their sums by day."""
    kept_from = retention_cutoff.read(connection)
    # Older days have no points that the sums could contradict.
    days = _stored_sums(connection, DAYS, scope, month, DAYS.c.day < kept_from.day)
    later: SumsByDay = {}
    is_readable = True
    for fault in _frame_faults(connection, scope, month, days, later, kept_from):
        # The sums that an unreadable block would add are unknown.
        is_readable = is_readable and not fault.reason
        yield fault
    if not is_readable:
        return
    months: SumsByDay = {}
    for (series_id, _), sums in days.items():
        key = series_id, month.first
        months[key] = _add(months.get(key, (ZERO, ZERO, 0)), sums)
    for table, right in ((DAYS, days), (SERIES_MONTHS, months)):
        yield from _compare(
            table, ('series_id', 'day'), _stored_sums(connection, table, scope, month), right
        )
    wanted = {day for _, day in (*days, *later)} | ({month.first} if days or later else set())
    known = {
        row.day: dict(row._mapping)
        for row in connection.execute(sa.select(CALENDAR).where(CALENDAR.c.day.in_(wanted)))
    }
    for day in sorted(wanted):
        calendar = timeframe.calendar_of(timeframe.midnight(day))
        row = known.get(day)
        found = row and {name: row[name] for name in calendar}
        if found != calendar:
            yield Fault(CALENDAR.name, {'day': day}, calendar, found)


def _stored_sums(
    connection: sa.Connection,
    table: sa.Table,
    scope: Scope,
    month: Month,
    *conditions: sa.ColumnElement[bool],
) -> SumsByDay:
    """Return the sums by series in a roll-up, by (series, day)."""
    rows = connection.execute(
        sa.select(table)
        .join_from(table, SERIES, SERIES.c.id == table.c.series_id)
        .where(SERIES.c.owner_id == scope.id, *within(table, month), *conditions)
    )
    return {(row.series_id, row.day): _sums(row) for row in rows}


def check_totals(connection: sa.Connection, scope: Scope, month: Month) -> Iterator[Fault]:
    """Yield the sums of a scope in a month that differ from those of its days.

    Unfolded frames count, too: they are in no sums by series yet.
    """
    rows = connection.execute(
        sa.select(
            SERIES.c.metric,
            DAYS.c.day,
            types.exact_sum(DAYS.c.qty).label('qty'),
            types.exact_sum(DAYS.c.price).label('price'),
            sa.cast(sa.func.sum(DAYS.c.points), sa.BigInteger).label('points'),
        )
        .join_from(DAYS, SERIES, SERIES.c.id == DAYS.c.series_id)
        .where(SERIES.c.scope_id == scope.id, *within(DAYS, month))
        .group_by(SERIES.c.metric, DAYS.c.day)
    )
    totals: dict[tuple[int, str, date], Sums] = {}
    months: dict[tuple[int, str, date], Sums] = {}
    by_metric = itertools.chain(
        ((row.metric, row.day, _sums(row)) for row in rows), _unfolded(connection, scope, month)
    )
    for metric, day, right in by_metric:
        for sums, key in (
            (totals, (scope.id, metric, day)),
            (months, (scope.id, metric, month.first)),
        ):
            sums[key] = _add(sums.get(key, (ZERO, ZERO, 0)), right)
    for table, wanted in ((TOTALS, totals), (MONTHS, months)):
        stored = connection.execute(
            sa.select(table).where(table.c.scope_id == scope.id, *within(table, month))
        )
        found = {(row.scope_id, row.metric, row.day): _sums(row) for row in stored}
        yield from _compare(table, ('scope_id', 'metric', 'day'), found, wanted)


def _unfolded(
    connection: sa.Connection, scope: Scope, month: Month
) -> Iterator[tuple[str, date, Sums]]:
    """Yield metric, day and numbers of the unfolded points that name a scope."""
    owners = sa.select(SERIES.c.owner_id).where(SERIES.c.scope_id == scope.id)
    frames = connection.execute(
        sa.select(FRAMES.c.begin, FRAMES.c.block)
        .join(folding.UNFOLDED, folding.IS_UNFOLDED)
        .where(FRAMES.c.scope_id.in_(owners), *begins(month))
    ).all()
    metrics: dict[int, str] = (
        {
            row.id: row.metric
            for row in connection.execute(
                sa.select(SERIES.c.id, SERIES.c.metric).where(SERIES.c.scope_id == scope.id)
            )
        }
        if frames
        else {}
    )
    for row in frames:
        # An unreadable block is reported by check_days().
        with contextlib.suppress(block.CorruptBlock):
            for series_id, qty, price in zip(*block.decode(row.block), strict=True):
                if series_id in metrics:
                    yield metrics[series_id], row.begin.date(), (qty, price, 1)


def _frame_faults(
    connection: sa.Connection,
    scope: Scope,
    month: Month,
    days: SumsByDay,
    later: SumsByDay,
    kept_from: retention_cutoff.RetentionCutoff,
) -> Iterator[Fault]:
    """Yield the faults of frames; add the sums by (series, day) of all others to *days*.

    Those of unfolded frames are added to *later*.
    """
    known: set[int] = set()
    unfolded = sa.exists().where(folding.IS_UNFOLDED).label('is_unfolded')
    statement = (
        sa.select(FRAMES, unfolded)
        .where(
            FRAMES.c.scope_id == scope.id,
            *begins(month),
            FRAMES.c.begin >= timeframe.to_naive(kept_from.begin),
        )
        .order_by(FRAMES.c.begin, FRAMES.c.origin)
        .limit(ROWS_AT_ONCE)
    )
    rows = connection.execute(statement).all()
    while rows:
        for row in rows:
            try:
                columns = block.decode(row.block)
            except block.CorruptBlock as exc:
                yield _frame_fault(scope, row.begin, row.origin, f'the block is corrupt: {exc}')
                continue
            unknown = set(columns[0]) - known
            known |= _owned(connection, scope, unknown)
            if unknown - known:
                yield _frame_fault(
                    scope,
                    row.begin,
                    row.origin,
                    f'series {min(unknown - known)} is not one of this scope',
                )
                continue
            yield from _row_faults(scope, row, columns)
            for series_id, qty, price in zip(*columns, strict=True):
                key = series_id, row.begin.date()
                sums = later if row.is_unfolded else days
                sums[key] = _add(sums.get(key, (ZERO, ZERO, 0)), (qty, price, 1))
        last = rows[-1]
        rows = connection.execute(
            statement.where(
                FRAMES.c.begin >= last.begin,
                sa.or_(FRAMES.c.begin > last.begin, FRAMES.c.origin > last.origin),
            )
        ).all()


def _row_faults(scope: Scope, row: tables.Row, columns: Sequence[Sequence[Any]]) -> Iterator[Fault]:
    """Yield the columns of a frame that differ from its points."""
    if row.end <= row.begin:
        yield _frame_fault(scope, row.begin, row.origin, f'ends at {row.end}')
    found = {'points': row.points, 'qty': row.qty, 'price': row.price}
    right = {
        'points': len(columns[0]),
        'qty': functools.reduce(SUM_CONTEXT.add, columns[1], ZERO),
        'price': functools.reduce(SUM_CONTEXT.add, columns[2], ZERO),
    }
    if found != right:
        yield Fault(FRAMES.name, _key(scope, row.begin, row.origin), right, found)


def _owned(connection: sa.Connection, scope: Scope, ids: Iterable[int]) -> set[int]:
    found: set[int] = set()
    for chunk in series_ids.chunks(sorted(ids)):
        found.update(
            connection.execute(
                sa.select(SERIES.c.id).where(SERIES.c.id.in_(chunk), SERIES.c.owner_id == scope.id)
            ).scalars()
        )
    return found


def _compare(
    table: sa.Table, names: Sequence[str], found: Mapping[Any, Sums], right: Mapping[Any, Sums]
) -> Iterator[Fault]:
    return faults.differences(
        table.name,
        names,
        *(
            {key: dict(zip(SUMS, sums, strict=True)) for key, sums in side.items()}
            for side in (found, right)
        ),
    )


def _frame_fault(scope: Scope, begin: datetime, origin: int, reason: str) -> Fault:
    return Fault(FRAMES.name, _key(scope, begin, origin), reason=reason)


def _key(scope: Scope, begin: datetime, origin: int) -> dict[str, Any]:
    return {'scope_id': scope.id, 'begin': begin, 'origin': origin}


def _sums(row: tables.Row) -> Sums:
    return row.qty, row.price, row.points


def _add(one: Sums, other: Sums) -> Sums:
    return (SUM_CONTEXT.add(one[0], other[0]), SUM_CONTEXT.add(one[1], other[1]), one[2] + other[2])


def begins(month: Month) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions for frames that begin in *month*."""
    return (
        FRAMES.c.begin >= datetime.combine(month.first, datetime.min.time()),
        FRAMES.c.begin < datetime.combine(month.end, datetime.min.time()),
    )


def within(table: sa.Table, month: Month) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions for rows of a roll-up in *month*."""
    return table.c.day >= month.first, table.c.day < month.end
