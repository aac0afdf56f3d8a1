"""Export and import of rated data, a few periods at a time."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import db, errors, writer
from cloudkitty.core import block, decimals, timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2.series import retention_cutoff
from cloudkitty.storage.v2.series.changes import Changes
from cloudkitty.storage.v2.series.frame_rows import PUSHED, RATED
from cloudkitty.storage.v2.series.series_ids import IdCache, chunks, without_calendar
from cloudkitty.storage.v2.sql.writer import Cell, Writer, parts_of
from cloudkitty.writer import RatedPeriod, ScopeProgress

FRAMES = tables.rated_frames
STATES = tables.scopes
FRAMES_AT_ONCE = 200
POINTS_AT_ONCE = 20000
# Names of the origins in dumps.
ORIGINS = {RATED: writer.RATED, PUSHED: writer.PUSHED}
_NUMBERS = {name: number for number, name in ORIGINS.items()}


# Scope, begin of the period, origin.
Key = tuple[str, datetime, int]


class Extent(NamedTuple):
    """The selection: periods that begin in [begin, end), aware UTC, of some scopes; None: all."""

    begin: datetime | None = None
    end: datetime | None = None
    scope_ids: Sequence[str] | None = None


def count_frames(database: db.Database, id_cache: IdCache, extent: Extent) -> int:
    """Return how many frames read_cells() yields."""
    with database.reader() as connection:
        count: int = connection.execute(
            sa.select(sa.func.count())
            .select_from(FRAMES)
            .where(*_conditions(connection, id_cache, extent))
        ).scalar_one()
    return count


def read_cells(database: db.Database, id_cache: IdCache, extent: Extent) -> Iterator[Cell]:
    """Yield the stored cells by scope and time, with a bounded number in memory."""
    with database.reader() as connection:
        conditions = _conditions(connection, id_cache, extent)
    statement = (
        sa.select(FRAMES)
        .where(*conditions)
        .order_by(FRAMES.c.scope_id, FRAMES.c.begin, FRAMES.c.origin)
        .limit(FRAMES_AT_ONCE)
    )
    last = None
    while True:
        # One transaction per part, so that none is open for hours.
        with database.reader() as connection:
            part = statement if last is None else statement.where(_after(last))
            rows = connection.execute(part).all()
            cells = [_cell(connection, id_cache, row) for row in rows]
        yield from cells
        if len(rows) < FRAMES_AT_ONCE:
            return
        last = rows[-1]


def _conditions(
    connection: sa.Connection, id_cache: IdCache, extent: Extent
) -> list[sa.ColumnElement[bool]]:
    begin = retention_cutoff.read(connection).begin
    if extent.begin is not None:
        begin = max(begin, timeframe.to_utc(extent.begin))
    conditions: list[sa.ColumnElement[bool]] = [FRAMES.c.begin >= timeframe.to_naive(begin)]
    if extent.end is not None:
        conditions.append(FRAMES.c.begin < timeframe.to_naive(extent.end))
    if extent.scope_ids:
        conditions.append(
            FRAMES.c.scope_id.in_(id_cache.find_scopes(connection, extent.scope_ids).values())
        )
    return conditions


def _after(last: tables.Row) -> sa.ColumnElement[bool]:
    return sa.or_(
        FRAMES.c.scope_id > last.scope_id,
        sa.and_(
            FRAMES.c.scope_id == last.scope_id,
            sa.or_(
                FRAMES.c.begin > last.begin,
                sa.and_(FRAMES.c.begin == last.begin, FRAMES.c.origin > last.origin),
            ),
        ),
    )


def _cell(connection: sa.Connection, id_cache: IdCache, row: tables.Row) -> Cell:
    try:
        columns = block.decode(row.block)
    except block.CorruptBlock as exc:
        raise errors.InvalidInput(
            reason=f'rated_frames: scope_id {row.scope_id}, begin {row.begin}, origin '
            f'{row.origin}: the block is corrupt: {exc}'
        ) from exc
    entries = id_cache.entries(connection, columns[0])
    frame = DataFrame(timeframe.from_naive(row.begin), timeframe.from_naive(row.end))
    for series_id, qty, price in zip(*columns, strict=True):
        entry = entries[series_id]
        frame.add_point(DataPoint.of(entry.series, qty, price), entry.metric)
    return Cell(id_cache.identifier(connection, row.scope_id), row.origin, frame)


def find_cells(
    connection: sa.Connection, id_cache: IdCache, cells: Iterable[Cell]
) -> dict[Key, Cell]:
    """Return the stored content of the scopes, periods and origins of *cells*."""
    wanted = {key_of(cell) for cell in cells}
    numbers = id_cache.find_scopes(connection, {scope_id for scope_id, _, _ in wanted})
    begins = [timeframe.to_naive(begin) for _, begin, _ in wanted]
    found: dict[Key, Cell] = {}
    for chunk in chunks(sorted(numbers.values())):
        rows = connection.execute(
            sa.select(FRAMES).where(
                FRAMES.c.scope_id.in_(chunk), FRAMES.c.begin.between(min(begins), max(begins))
            )
        )
        stored = (_cell(connection, id_cache, row) for row in rows.all())
        found.update((key_of(cell), cell) for cell in stored if key_of(cell) in wanted)
    return found


def key_of(cell: Cell) -> Key:
    """Return the key of a cell."""
    return cell.owner, cell.frame.start, cell.origin


def is_same(cell: Cell, other: Cell) -> bool:
    """Return whether two cells hold the same points, calendar attributes aside."""
    return _content(cell) == _content(other)


def _content(cell: Cell) -> Counter[tuple[str, Series, Decimal, Decimal]]:
    return Counter(
        (
            metric,
            without_calendar(point.series, cell.frame.start),
            decimals.on_grid(point.qty),
            decimals.on_grid(point.price),
        )
        for metric, point in cell.frame
    )


def sort_known(
    database: db.Database, id_cache: IdCache, cells: Iterable[Cell]
) -> Iterator[tuple[Cell, bool | None]]:
    """Yield (cell, whether the same points are stored); None: nothing is stored for its key."""
    for batch in _batches(cells):
        with database.reader() as connection:
            stored = find_cells(connection, id_cache, batch)
        for cell in batch:
            found = stored.get(key_of(cell))
            yield cell, None if found is None else is_same(cell, found)


def _batches(cells: Iterable[Cell]) -> Iterator[list[Cell]]:
    """Yield *cells* in lists for one transaction each."""
    batch: list[Cell] = []
    points = 0
    for cell in cells:
        batch.append(cell)
        points += sum(len(members) for _, members in cell.frame.itertypes())
        if len(batch) >= FRAMES_AT_ONCE or points >= POINTS_AT_ONCE:
            yield batch
            batch, points = [], 0
    if batch:
        yield batch


def to_periods(cells: Iterable[Cell]) -> Iterator[RatedPeriod]:
    """Yield *cells* in the form that writers accept."""
    for cell in cells:
        yield RatedPeriod(cell.owner, ORIGINS[cell.origin], cell.frame)


def to_cells(periods: Iterable[RatedPeriod]) -> Iterator[Cell]:
    """Yield the cells for what was read from a dump."""
    for period in periods:
        yield Cell(period.scope_id, _NUMBERS[period.origin], period.frame)


def write_cells(
    database: db.Database,
    id_cache: IdCache,
    cells: Iterable[Cell],
    changes: Changes | None = None,
) -> Iterator[int]:
    """Store cells; each replaces the stored content of its scope, period and origin.

    Yields the number of cells of each transaction after its commit.

    :param changes: records changes in months that may be closed; None: they are not recorded.
    """
    for batch in _batches(cells):
        _write(database, id_cache, batch, changes)
        yield len(batch)


def _write(
    database: db.Database,
    id_cache: IdCache,
    cells: Iterable[Cell],
    changes: Changes | None,
) -> None:
    # Of two cells with the same key the last one wins, as if they were stored one after the other.
    whole = list({(cell.owner, cell.frame.start, cell.origin): cell for cell in cells}.values())
    owners = {cell.owner for cell in whole}
    numbers = database.write(lambda connection: id_cache.scope_numbers(connection, owners))

    def change(connection: sa.Connection) -> Writer:
        writer = Writer(connection, id_cache, changes)
        _lock_states(connection, owners)
        writer.lock(numbers.values())
        retention_cutoff.require_points(writer.retention_cutoff, (cell.frame for cell in whole))
        writer.store(parts_of(whole))
        return writer

    writer = database.write(change)
    writer.ids.fill_cache()


def _lock_states(connection: sa.Connection, owners: Iterable[str]) -> None:
    for chunk in scope_state.chunks(sorted(owners)):
        connection.execute(
            sa.select(STATES.c.id)
            .where(STATES.c.identifier.in_(chunk))
            .order_by(STATES.c.id)
            .with_for_update()
        ).all()


def read_states(database: db.Database, scope_ids: Sequence[str] | None) -> list[ScopeProgress]:
    """Return the marks of scopes."""
    statement = sa.select(
        STATES.c.identifier,
        STATES.c.scope_key,
        STATES.c.fetcher,
        STATES.c.collector,
        STATES.c.last_processed_timestamp,
        STATES.c.active,
    ).order_by(STATES.c.id)
    if scope_ids:
        statement = statement.where(STATES.c.identifier.in_(scope_ids))
    with database.reader() as connection:
        return [
            ScopeProgress(*row[:4], timeframe.from_naive(row[4]), bool(row[5]))
            for row in connection.execute(statement)
        ]


def write_states(database: db.Database, states: Iterable[ScopeProgress]) -> int:
    """Add unknown scopes and advance known ones, never back; return how many changed."""

    def change(connection: sa.Connection) -> int:
        return sum(_write_state(connection, one) for one in states)

    states = list(states)
    return database.write(change)


def _write_state(connection: sa.Connection, state: ScopeProgress) -> int:
    identity = {
        'identifier': state.scope_id,
        'scope_key': state.scope_key,
        'fetcher': state.fetcher,
        'collector': state.collector,
    }
    row = connection.execute(
        sa.select(STATES.c.id, STATES.c.last_processed_timestamp)
        .where(
            *(
                STATES.c[name].is_(None) if value is None else STATES.c[name] == value
                for name, value in identity.items()
            )
        )
        .with_for_update()
    ).first()
    mark = timeframe.to_naive(state.mark)
    if row is None:
        connection.execute(
            sa.insert(STATES).values(**identity, last_processed_timestamp=mark, active=state.active)
        )
    elif row.last_processed_timestamp < mark:
        scope_state.advance(connection, {row.id: state.mark})
    else:
        return 0
    return 1
