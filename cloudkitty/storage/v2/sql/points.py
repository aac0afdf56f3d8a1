"""Points read from blocks: parts of days, single periods, pages."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.core import block, timeframe
from cloudkitty.db import tables, types
from cloudkitty.storage import query
from cloudkitty.storage.v2.series import series_ids, stored_frames
from cloudkitty.storage.v2.series.stored_frames import StoredFrame
from cloudkitty.storage.v2.sql import rollups

FRAMES = tables.rated_frames
SERIES = tables.rated_series
ROWS_AT_ONCE = 500


class Choice(NamedTuple):
    """The series that match the conditions of a query.

    :ivar owners: numbers of the scopes whose frames contain them; None: all.
    :ivar series: ids of the series; None: all series of the owners.
    """

    owners: frozenset[int] | None
    series: frozenset[int] | None


def choose(connection: sa.Connection, window: query.Window, scope_key: str) -> Choice:
    """Return the series that match the conditions of *window* on metrics and attributes."""
    conditions: list[sa.ColumnElement[bool]] = []
    if window.metrics is not None:
        conditions.append(SERIES.c.metric.in_(window.metrics))
    for name, values in window.filters.items():
        if name == scope_key:
            conditions.append(SERIES.c.scope_id.in_(series_ids.scope_numbers(name, values)))
        elif name not in timeframe.CALENDAR_KEYS:
            conditions.append(rollups.attribute_condition(SERIES.c.id, name, values, '' in values))
    if not conditions:
        return Choice(None, None)
    if set(window.filters) <= {scope_key} and window.metrics is None:
        return _whole_owners(connection, conditions)
    found = connection.execute(sa.select(SERIES.c.id, SERIES.c.owner_id).where(*conditions)).all()
    return Choice(frozenset(row.owner_id for row in found), frozenset(row.id for row in found))


def _whole_owners(
    connection: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]]
) -> Choice:
    """Return a choice without a list of series if all series of the owners match *conditions*."""
    owners = frozenset(
        connection.execute(sa.select(SERIES.c.owner_id).where(*conditions).distinct()).scalars()
    )
    strangers = (
        sa.select(SERIES.c.id).where(SERIES.c.owner_id.in_(owners), ~sa.and_(*conditions)).limit(1)
    )
    if connection.execute(strangers).first() is None:
        return Choice(owners, None)
    found = connection.execute(sa.select(SERIES.c.id).where(*conditions)).scalars()
    return Choice(owners, frozenset(found))


def frames(
    choice: Choice, begin: datetime, end: datetime, *columns: sa.ColumnElement[Any]
) -> sa.Select[Any]:
    """Return the statement for frames that begin in [begin, end), in the order of pages."""
    statement = sa.select(*columns).where(
        FRAMES.c.begin >= timeframe.to_naive(begin), FRAMES.c.begin < timeframe.to_naive(end)
    )
    if choice.owners is not None:
        statement = statement.where(FRAMES.c.scope_id.in_(choice.owners))
    return statement.order_by(FRAMES.c.begin, FRAMES.c.scope_id, FRAMES.c.origin)


def is_whole(choice: Choice, window: query.Window) -> bool:
    """Return whether every point of the frames of *choice* matches."""
    return choice.series is None and window.filters.keys().isdisjoint(timeframe.CALENDAR_KEYS)


def count(choice: Choice, begin: datetime, end: datetime) -> sa.Select[Any]:
    """Return the statement for the number of points of frames that begin in [begin, end)."""
    number = sa.cast(sa.func.coalesce(sa.func.sum(FRAMES.c.points), 0), sa.BigInteger)
    return frames(choice, begin, end, number).order_by(None)


def sums(choice: Choice, begin: datetime, end: datetime) -> sa.Select[Any]:
    """Return the statement for sums by period, and the number of its rows."""
    by_period = (
        frames(
            choice,
            begin,
            end,
            FRAMES.c.begin,
            FRAMES.c.end,
            types.exact_sum(FRAMES.c.qty).label('qty'),
            types.exact_sum(FRAMES.c.price).label('price'),
            sa.cast(sa.func.sum(FRAMES.c.points), sa.BigInteger).label('points'),
            sa.func.count().over().label('total'),
        )
        .group_by(FRAMES.c.begin, FRAMES.c.end)
        .order_by(None)
        .subquery()
    )
    # Sorted in an outer query: next to a window function MariaDB ignores the ORDER BY.
    return sa.select(by_period).order_by(by_period.c.begin, by_period.c.end)


def page(choice: Choice, window: query.Window, first: int, last: int) -> sa.Select[Any]:
    """Return the statement for the frames that contain the points [first, last) of *window*.

    Its column `before` is the number of points before the frame.
    """
    order = (FRAMES.c.begin, FRAMES.c.scope_id, FRAMES.c.origin)
    before = sa.func.sum(FRAMES.c.points).over(order_by=order) - FRAMES.c.points
    counted = (
        frames(
            choice,
            window.begin,
            window.end,
            *order,
            FRAMES.c.end,
            FRAMES.c.points,
            FRAMES.c.block,
            before.label('before'),
        )
        .order_by(None)
        .subquery()
    )
    return (
        sa.select(counted)
        .where(
            counted.c.before < last,
            counted.c.before + counted.c.points > first,
        )
        .order_by(counted.c.begin, counted.c.scope_id, counted.c.origin)
    )


def _parts(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[Sequence[tables.Row]]:
    """Yield the rows of frames() in lists.

    Each list is fetched by a statement of its own that continues after the last key (keyset
    pagination), because on MariaDB a connection with an open cursor can do nothing else.
    """
    part = connection.execute(statement.limit(ROWS_AT_ONCE)).all()
    while part:
        yield part
        if len(part) < ROWS_AT_ONCE:
            return
        last = part[-1]
        part = connection.execute(
            statement.where(
                FRAMES.c.begin >= last.begin,
                sa.or_(
                    FRAMES.c.begin > last.begin,
                    FRAMES.c.scope_id > last.scope_id,
                    sa.and_(FRAMES.c.scope_id == last.scope_id, FRAMES.c.origin > last.origin),
                ),
            ).limit(ROWS_AT_ONCE)
        ).all()


def read(
    connection: sa.Connection,
    id_cache: series_ids.IdCache,
    choice: Choice,
    statement: sa.Select[Any],
    window: query.Window,
) -> Iterator[StoredFrame]:
    """Yield the frames that *statement* selects, in its order, with a bounded number in memory.

    :param statement: see frames(); selects at least the key, end and block.
    """
    for part in _parts(connection, statement):
        yield from decode(connection, id_cache, choice, part, window)


def decode(
    connection: sa.Connection,
    id_cache: series_ids.IdCache,
    choice: Choice,
    rows: Sequence[tables.Row],
    window: query.Window,
) -> Iterator[StoredFrame]:
    """Yield the matching points of the rows that were read."""
    decoded = [
        (timeframe.from_naive(row.begin), timeframe.from_naive(row.end), block.decode(row.block))
        for row in rows
    ]
    yield from stored_frames.matching(connection, id_cache, decoded, window, choice.series)
