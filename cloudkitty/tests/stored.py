"""All that rating left in a database, without what may differ from run to run (numbers, times)."""

import functools
import json
from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core import block, timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2.clickhouse import folding as clickhouse_folding
from cloudkitty.storage.v2.clickhouse.body import Where
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.storage.v2.clickhouse.writer import EVER
from cloudkitty.storage.v2.sql import folding

_SERIES = tables.rated_series
_STATES = tables.scopes


def dump(
    connection: sa.Connection, *, body: Shards | None = None, without_mark: Collection[str] = ()
) -> bytes:
    """Return frames, roll-ups, marks, tasks and pending orders: equal bytes, equal data.

    :param body: where ClickHouse has frames and roll-ups; None: the SQL database has them.
    :param without_mark: scopes that may be rated to any point.
    """
    names = {row.id: row.identifier for row in connection.execute(sa.select(tables.rated_scopes))}
    series = {
        row.id: (
            names[row.owner_id],
            names[row.scope_id],
            row.metric,
            row.unit,
            row.groupby,
            row.metadata,
            row.description,
        )
        for row in connection.execute(sa.select(_SERIES))
    }
    content = {
        **(
            _in_sql(connection, names, series)
            if body is None
            else _in_clickhouse(connection, body, names, series)
        ),
        'marks': sorted(
            (row.identifier, str(row.last_processed_timestamp), row.active, row.failure_count)
            for row in connection.execute(sa.select(_STATES))
            if row.identifier not in without_mark
        ),
        'unfinished': [
            sum(
                connection.execute(statement).scalar_one()
                for statement in (
                    sa.select(sa.func.count()).select_from(tables.resets),
                    sa.select(sa.func.count())
                    .select_from(tables.tasks)
                    .where(
                        sa.func.coalesce(
                            tables.tasks.c.current_reprocess_time,
                            tables.tasks.c.start_reprocess_time,
                        )
                        < tables.tasks.c.end_reprocess_time
                    ),
                )
            )
        ],
    }
    return '\n'.join(
        f'{kind} {json.dumps(row)}' for kind, rows in content.items() for row in rows
    ).encode()


def _in_sql(connection, names, series):
    return {
        'frames': sorted(
            _frame(row, names, series, block.decode(row.block))
            for row in connection.execute(sa.select(tables.rated_frames))
        ),
        **_sums_by_series(connection, series),
        'totals': _sums(connection, tables.rated_totals, 'scope_id', names),
        'months': _sums(connection, tables.rated_months, 'scope_id', names),
    }


def _in_clickhouse(connection, body, names, series):
    view = clickhouse_folding.view(connection, EVER.begin, EVER.end)
    where = Where(EVER.begin, EVER.end)
    frames = list(body.points(view.snapshot, where, 'notEmpty(ids)'))
    later = [
        (one.begin.date(), one.columns)
        for one in frames
        if not view.folded
        or not view.folded[0] <= one.begin.date() < view.folded[1]
        or (one.scope, one.begin.date()) in view.changed
    ]
    return {
        'frames': sorted(_frame(_row(one), names, series, one.columns) for one in frames),
        'days': _with_later(_folded(body, view), later, series),
    }


def _folded(body, view):
    """Return the sums of the days that a reader takes from there, by series and day."""
    if not view.folded:
        return {}
    others = f'NOT ({clickhouse_folding.is_of_days(view.changed, "day")})'
    return {
        (number, timeframe.EPOCH.date() + timedelta(days=day)): [Decimal(qty), Decimal(price), many]
        for shard in body.all
        for number, day, qty, price, many in shard.client.rows(
            'SELECT id, toInt32(day), qty, price, many '
            f'FROM ({shard.visible_days(view.snapshot, view.folded, None, others)}) '
            'ARRAY JOIN ids AS id, quantities AS qty, prices AS price, counts AS many '
            # Beside a day that has no points any more.
            'WHERE many > 0'
        )
    }


class _Row(NamedTuple):
    """The columns of rated_frames."""

    scope_id: int
    begin: datetime
    origin: int
    end: datetime
    points: int
    price: Decimal


def _row(one):
    price = functools.reduce(SUM_CONTEXT.add, one.columns[2])
    return _Row(one.scope, one.begin, one.origin, one.end, len(one.columns[0]), price)


def _frame(row, names, series, columns):
    points = [
        (series[number], str(qty), str(price)) for number, qty, price in zip(*columns, strict=True)
    ]
    return (
        names[row.scope_id],
        str(row.begin),
        row.origin,
        str(row.end),
        row.points,
        _number(row.price),
        json.dumps(sorted(points, key=str)),
    )


def _sums_by_series(connection, meanings):
    """Return what the sums by series are once all frames are folded, whenever that is."""
    later = [
        (row.begin.date(), block.decode(row.block))
        for row in connection.execute(
            sa.select(tables.rated_frames.c.begin, tables.rated_frames.c.block).join(
                folding.UNFOLDED, folding.IS_UNFOLDED
            )
        )
    ]
    months = [(day.replace(day=1), columns) for day, columns in later]
    found = {}
    for kind, table, added in (
        ('days', tables.rated_days, later),
        ('series_months', tables.rated_series_months, months),
    ):
        sums = {
            (row.series_id, row.day): [row.qty, row.price, row.points]
            for row in connection.execute(sa.select(table))
        }
        found[kind] = _with_later(sums, added, meanings)
    return found


def _with_later(sums, later, meanings):
    """Return *sums* by series and day, with the points of *later* added."""
    for day, columns in later:
        for number, qty, price in zip(*columns, strict=True):
            total = sums.setdefault((number, day), [ZERO, ZERO, 0])
            total[0] = SUM_CONTEXT.add(total[0], qty)
            total[1] = SUM_CONTEXT.add(total[1], price)
            total[2] += 1
    return sorted(
        (json.dumps(meanings[number]), str(day), _number(qty), _number(price), points)
        for (number, day), (qty, price, points) in sums.items()
    )


def _sums(connection, table, key, meanings):
    metric = (table.c.metric,) if 'metric' in table.c else ()
    rows = connection.execute(
        sa.select(table.c[key], table.c.day, table.c.qty, table.c.price, table.c.points, *metric)
    )
    return sorted(
        (
            json.dumps(meanings[row[0]]),
            str(row.day),
            *row[5:],
            _number(row.qty),
            _number(row.price),
            row.points,
        )
        for row in rows
    )


def _number(value):
    return str(value.normalize())


def difference(expected: bytes, found: bytes) -> str:
    """Return the first lines that only one of two dumps has; empty when they are equal."""
    ours, theirs = expected.decode().splitlines(), found.decode().splitlines()
    missing, extra = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    if not missing and not extra and expected != found:
        return f'{len(ours)} lines expected, {len(theirs)} found'
    return '\n'.join(
        [*(f'- {line:.300}' for line in missing[:5]), *(f'+ {line:.300}' for line in extra[:5])]
    )


def keys(storage) -> dict[str, int]:
    """Return the primary keys of the scopes in the database of a store, by scope id."""
    with storage.database.reader() as connection:
        return {scope.scope_id: scope.id for scope in scope_state.list_scopes(connection)[1]}


def marks(storage) -> dict[str, datetime]:
    """Return where the scopes in the database of a store are, aware UTC, by scope id."""
    with storage.database.reader() as connection:
        return {scope.scope_id: scope.mark for scope in scope_state.list_scopes(connection)[1]}
