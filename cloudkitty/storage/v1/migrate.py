"""From table rated_data_frames to the tables of the driver `sql`."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import db, timeframe
from cloudkitty.dataframe import SUM_CONTEXT, ZERO, DataFrame, DataPoint, Series
from cloudkitty.db import models, types
from cloudkitty.storage.v1 import table
from cloudkitty.storage.v1.table import ROWS
from cloudkitty.storage.v2.sql import transfer
from cloudkitty.storage.v2.sql.catalogue import Catalogue
from cloudkitty.storage.v2.sql.writer import RATED, Cell

ROWS_AT_ONCE = 5000
STATES = models.scopes


class Count(NamedTuple):
    """What became of a scope's periods.

    :ivar moved: stored by this run.
    :ivar kept: were there already with as many points and the same price.
    :ivar different: were there already with other points, and stay.
    """

    moved: int
    kept: int
    different: int


def list_owners(source: db.Database, extent: transfer.Extent) -> list[str]:
    """Return the scopes that have points in the table, '' for those without."""
    with source.reader() as connection:
        layout = table.describe(connection)
        found = connection.execute(sa.select(layout.text('tenant_id')).distinct().where(
            ROWS.c.res_type != table.NO_DATA, *_bounds(extent))).scalars()
        owners = {owner or '' for owner in found}
    return sorted(owners if not extent.scope_ids else owners & set(extent.scope_ids))


def migrate_owner(source: db.Database, target: db.Database, catalogue: Catalogue, owner: str,
                  extent: transfer.Extent) -> Count:
    """Store what the table has of one scope; periods that are there already stay as they are."""
    counts = {'kept': 0, 'different': 0}
    missing = _missing(target, catalogue, _cells(source, owner, extent), counts)
    moved = sum(transfer.write_cells(target, catalogue, missing))
    return Count(moved, **counts)


def _missing(target, catalogue, cells, counts):
    """Yield the cells that *target* does not have, and count the others."""
    frames = models.rated_frames
    for cell in cells:
        with target.reader() as connection:
            number = catalogue.find_scopes(connection, [cell.owner]).get(cell.owner)
            stored = connection.execute(sa.select(frames.c.points, frames.c.price).where(
                frames.c.scope_id == number, frames.c.origin == cell.origin,
                frames.c.begin == timeframe.to_naive(cell.frame.start))).first()
        if stored is None:
            yield cell
            continue
        prices = [types.on_grid(point.price) for _, point in cell.frame]
        is_same = tuple(stored) == (len(prices), functools.reduce(SUM_CONTEXT.add, prices, ZERO))
        counts['kept' if is_same else 'different'] += 1


def _cells(source, owner, extent) -> Iterator[Cell]:
    """Yield the periods of one scope, oldest first."""
    whole = {}
    series = {}
    for row in _rows(source, owner, extent):
        point = table.decode(row)
        made = Series(row.unit, point.attributes, {})
        made = series.setdefault(made.identity, made)
        if whole and next(iter(whole.values())).frame.start != point.begin:
            yield from whole.values()
            whole = {}
        cell = whole.get(row.origin)
        if cell is None:
            cell = whole[row.origin] = Cell(owner, row.origin, DataFrame(point.begin, point.end))
        # Only a hand has ever made rows of one period end at different times.
        cell.frame.end = max(cell.frame.end, point.end)
        cell.frame.add_point(DataPoint.of(made, point.qty, point.price), point.metric)
    yield from whole.values()


def _rows(source, owner, extent):
    last = None
    while True:
        with source.reader() as connection:
            layout = table.describe(connection)
            statement = sa.select(
                ROWS.c.id, ROWS.c.begin, ROWS.c.end, ROWS.c.tenant_id, ROWS.c.res_type,
                ROWS.c.unit, ROWS.c.desc, layout.number('qty').label('qty'),
                layout.number('rate').label('rate'),
                ROWS.c.origin if layout.has_origin else sa.literal(RATED).label('origin'),
            ).where(layout.among('tenant_id', [owner]), ROWS.c.res_type != table.NO_DATA,
                    *_bounds(extent))
            if last is not None:
                statement = statement.where(ROWS.c.begin >= last.begin, sa.or_(
                    ROWS.c.begin > last.begin, ROWS.c.id > last.id))
            rows = connection.execute(
                statement.order_by(ROWS.c.begin, ROWS.c.id).limit(ROWS_AT_ONCE)).all()
        yield from rows
        if len(rows) < ROWS_AT_ONCE:
            return
        last = rows[-1]


def read_states(source: db.Database) -> list[transfer.State]:
    """Return how far scopes are rated, as an earlier release wrote it; none without the table."""
    names = ('identifier', 'scope_key', 'fetcher', 'collector', 'last_processed_timestamp',
             'active')
    with source.reader() as connection:
        inspector = sa.inspect(connection)
        if not inspector.has_table(STATES.name):
            return []
        columns = {column['name'] for column in inspector.get_columns(STATES.name)}
        rows = connection.execute(sa.select(*(
            STATES.c[name] if name in columns else sa.null().label(name) for name in names)))
        return [transfer.State(*row[:4], timeframe.from_naive(row[4]), row[5] is not False)
                for row in rows]


def _bounds(extent):
    bounds = []
    if extent.begin is not None:
        bounds.append(ROWS.c.begin >= timeframe.to_naive(extent.begin))
    if extent.end is not None:
        bounds.append(ROWS.c.begin < timeframe.to_naive(extent.end))
    return bounds
