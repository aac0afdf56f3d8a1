"""Queries of the consistency check, see verify."""

from collections.abc import Collection, Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from cloudkitty.core import timeframe
from cloudkitty.storage.v2.clickhouse import folding, literals
from cloudkitty.storage.v2.clickhouse.body import SERIES_COLUMNS, Body, Where
from cloudkitty.storage.v2.clickhouse.folding import ScopeDay
from cloudkitty.storage.v2.clickhouse.literals import MICROS, from_day_number
from cloudkitty.storage.v2.clickhouse.revisions import Snapshot
from cloudkitty.storage.v2.series.faults import Fault, Rows

# Names of the tables in ClickHouse.
FRAMES, DAYS, SERIES = 'frames', 'days', 'series'
_DAY_NUMBER = 'toInt32(toDate32({}))'


def frame_faults(body: Body, snapshot: Snapshot, where: Where) -> Iterator[Fault]:
    """Yield the frames that are damaged themselves."""
    visible = body.visible(snapshot, where, 'end, ids, quantities, prices')
    rows = body.client.rows(
        f'SELECT scope, {MICROS}(begin), origin, {MICROS}(end), length(ids), '
        f'length(quantities), length(prices) FROM ({visible}) WHERE length(ids) != '
        'length(quantities) OR length(ids) != length(prices) OR end <= begin ORDER BY begin, origin'
    )
    for scope, begin, origin, end, *lengths in rows:
        key = {'scope_id': scope, 'begin': literals.from_micros(begin), 'origin': origin}
        if len(set(lengths)) > 1:
            text = '{} ids, {} quantities and {} prices'.format(*lengths)
        else:
            text = f'ends at {literals.from_micros(end)}'
        yield Fault(FRAMES, key, reason=text)


def bounds(body: Body, snapshot: Snapshot, where: Where) -> tuple[date, date] | None:
    """Return the first and the last day that have frames or had some; None: there is none."""
    visible = body.visible(snapshot, where, 'end')
    first, last = (_DAY_NUMBER.format(f'{name}(begin)') for name in ('min', 'max'))
    rows = body.client.rows(f'SELECT {first}, {last} FROM ({visible}) HAVING count() > 0')
    return (from_day_number(rows[0][0]), from_day_number(rows[0][1])) if rows else None


def series_in(body: Body, snapshot: Snapshot, where: Where) -> set[int]:
    """Return the ids of the series of frames."""
    visible = body.visible(snapshot, where, 'ids')
    rows = body.client.rows(f'SELECT DISTINCT arrayJoin(ids) FROM ({visible})')
    return {row[0] for row in rows}


def revision_after(body: Body, table: str, scope: int, last: int) -> int | None:
    """Return the highest revision of the rows of a scope, if it is later than *last*."""
    rows = body.client.rows(
        f'SELECT revision FROM {body.name_of(table)} WHERE scope = {scope} AND revision > {last} '
        'ORDER BY revision DESC LIMIT 1'
    )
    return rows[0][0] if rows else None


def sums_of_days(
    body: Body,
    snapshot: Snapshot,
    scope: int,
    days: tuple[date, date],
    changed: Collection[ScopeDay],
) -> tuple[Rows, Rows]:
    """Return (right, found) sums by (scope, day, series) where they differ.

    :param days: [first, end).
    :param changed: days whose sums need not be right.
    """
    first, end = map(timeframe.midnight, days)
    kept = f'NOT ({folding.is_of_days(changed)})'
    frames = body.visible(
        snapshot, Where(first, end, [scope], None, kept), 'ids, quantities, prices'
    )
    others = f'NOT ({folding.is_of_days(changed, "day")})'
    folded = body.visible_days(snapshot, days, [scope], others)
    sums = ', '.join(
        f'sumIf({name}, is_folded = {side}) AS {name}{side}'
        for side in (0, 1)
        for name in ('qty', 'price', 'count')
    )
    rows = body.client.rows(
        f'SELECT toInt32(day), id, {sums} FROM ('
        'SELECT toDate32(begin) AS day, id, qty, price, toUInt64(1) AS count, 0 AS is_folded '
        f'FROM ({frames}) ARRAY JOIN ids AS id, quantities AS qty, prices AS price UNION ALL '
        f'SELECT day, id, qty, price, count, 1 FROM ({folded}) ARRAY JOIN '
        'ids AS id, quantities AS qty, prices AS price, counts AS count'
        ') GROUP BY day, id HAVING (qty0, price0, count0) != (qty1, price1, count1) '
        'ORDER BY day, id'
    )
    right: dict[tuple[Any, ...], dict[str, Any]] = {}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for day, number, *values in rows:
        for side, own in ((right, values[:3]), (found, values[3:])):
            qty, price, points = Decimal(own[0]), Decimal(own[1]), own[2]
            if qty or price or points:
                side[scope, from_day_number(day), number] = {
                    'qty': qty,
                    'price': price,
                    'points': points,
                }
    return right, found


def stored_series(body: Body, owner: int, ids: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
    """Return the rows of series by id, of which each may be there several times."""
    found: dict[int, list[dict[str, Any]]] = {}
    for number, *values in body.client.rows(
        f'SELECT id, {", ".join(SERIES_COLUMNS)} FROM {body.series} '
        f'WHERE owner = {owner} AND {literals.is_in("id", ids)}'
    ):
        found.setdefault(number, []).append(dict(zip(SERIES_COLUMNS, values, strict=True)))
    return found
