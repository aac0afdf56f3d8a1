"""Migration from table rated_data_frames to the store of version 2."""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.core.metrics import Metric
from cloudkitty.db import tables
from cloudkitty.storage.v1 import sums, table
from cloudkitty.storage.v1.table import ROWS
from cloudkitty.storage.v2.series.cells import Cell, CellStore, Extent
from cloudkitty.storage.v2.series.frame_rows import RATED
from cloudkitty.writer import ScopeProgress

# By the name under which a metric is published.
Definitions = Mapping[str, Metric]
NO_DEFINITIONS: Definitions = {}
STATES = tables.scopes


class Count(NamedTuple):
    """Result of the migration of a scope: numbers of periods.

    :ivar moved: stored by this run.
    :ivar kept: existed already with the same points.
    :ivar different: existed already with other points, which are kept.
    """

    moved: int
    kept: int
    different: int


def list_owners(source: db.Database, extent: Extent) -> list[str]:
    """Return the scopes that have points in the table, '' for those without."""
    with source.reader() as connection:
        layout = table.describe(connection)
        found = connection.execute(
            sa.select(layout.text('tenant_id'))
            .distinct()
            .where(ROWS.c.res_type != table.NO_DATA, *_bounds(extent))
        ).scalars()
        owners = {owner or '' for owner in found}
    return sorted(owners if not extent.scope_ids else owners & set(extent.scope_ids))


def migrate_owner(
    source: db.Database,
    target: CellStore,
    owner: str,
    extent: Extent,
    definitions: Definitions = NO_DEFINITIONS,
) -> Count:
    """Migrate one scope; periods that exist already are not changed.

    :param definitions: tell metadata from the attributes to group by, and give the series of a
        metric the form in which it goes on; attributes of other metrics can all be grouped by.
    """
    counts = {'kept': 0, 'different': 0}
    missing = _missing(target, _cells(source, owner, extent, definitions), counts)
    moved = sum(target.write(missing))
    return Count(moved, **counts)


def _missing(target: CellStore, cells: Iterable[Cell], counts: dict[str, int]) -> Iterator[Cell]:
    """Yield the cells that *target* does not have, and count the others."""
    for cell, is_same in target.sort_known(cells):
        if is_same is None:
            yield cell
        else:
            counts['kept' if is_same else 'different'] += 1


def _series(point: sums.Row, definition: Metric | None) -> Series:
    if definition is None:
        return Series(point.unit, point.attributes, {})
    declared = definition.series(point.attributes)
    rest = {
        name: value
        for name, value in point.attributes.items()
        if name not in declared.groupby and name not in declared.metadata
    }
    return Series(point.unit, {**declared.groupby, **rest}, declared.metadata, declared.description)


def _cells(
    source: db.Database, owner: str, extent: Extent, definitions: Definitions
) -> Iterator[Cell]:
    """Yield the periods of one scope, oldest first."""
    whole: dict[int, Cell] = {}
    series: dict[bytes, Series] = {}
    for row in _rows(source, owner, extent):
        point = table.decode(row)
        made = _series(point, definitions.get(point.metric))
        made = series.setdefault(made.identity, made)
        if whole and next(iter(whole.values())).frame.start != point.begin:
            yield from whole.values()
            whole = {}
        cell = whole.get(row.origin)
        if cell is None:
            cell = whole[row.origin] = Cell(owner, row.origin, DataFrame(point.begin, point.end))
        # Rows of one period end at different times only if somebody edited them by hand.
        cell.frame.end = max(cell.frame.end, point.end)
        cell.frame.add_point(DataPoint.of(made, point.qty, point.price), point.metric)
    yield from whole.values()


def _rows(source: db.Database, owner: str, extent: Extent) -> Iterator[tables.Row]:
    last = None
    while True:
        with source.reader() as connection:
            layout = table.describe(connection)
            statement = layout.points(
                [
                    layout.among('tenant_id', [owner]),
                    ROWS.c.res_type != table.NO_DATA,
                    *_bounds(extent),
                ],
                ROWS.c.origin if layout.has_origin else sa.literal(RATED).label('origin'),
            )
            if last is not None:
                statement = statement.where(table.is_behind(last))
            rows = connection.execute(statement.limit(table.ROWS_AT_ONCE)).all()
        yield from rows
        if len(rows) < table.ROWS_AT_ONCE:
            return
        last = rows[-1]


def read_states(source: db.Database) -> list[ScopeProgress]:
    """Return the marks of scopes that an earlier release stored; none if there is no such table."""
    names = (
        'identifier',
        'scope_key',
        'fetcher',
        'collector',
        'last_processed_timestamp',
        'active',
    )
    with source.reader() as connection:
        inspector = sa.inspect(connection)
        if not inspector.has_table(STATES.name):
            return []
        columns = {column['name'] for column in inspector.get_columns(STATES.name)}
        rows = connection.execute(
            sa.select(
                *(STATES.c[name] if name in columns else sa.null().label(name) for name in names)
            )
        )
        return [
            ScopeProgress(
                scope_id,
                scope_key,
                fetcher,
                collector,
                timeframe.from_naive(mark),
                active is not False,
            )
            for scope_id, scope_key, fetcher, collector, mark, active in rows
        ]


def _bounds(extent: Extent) -> list[sa.ColumnElement[bool]]:
    bounds: list[sa.ColumnElement[bool]] = []
    if extent.begin is not None:
        bounds.append(ROWS.c.begin >= timeframe.to_naive(extent.begin))
    if extent.end is not None:
        bounds.append(ROWS.c.begin < timeframe.to_naive(extent.end))
    return bounds
