"""Rated data out of the tables and into them, a few periods at a time."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import block, db, errors, timeframe
from cloudkitty.dataframe import DataFrame, DataPoint
from cloudkitty.db import models, scopes
from cloudkitty.storage.v2.sql import horizon
from cloudkitty.storage.v2.sql.catalogue import Catalogue
from cloudkitty.storage.v2.sql.writer import Cell, Writer

FRAMES = models.rated_frames
STATES = models.scopes
FRAMES_AT_ONCE = 200
POINTS_AT_ONCE = 20000


class Extent(NamedTuple):
    """What is taken: periods that begin in [begin, end), aware UTC, of some scopes; None: all."""

    begin: datetime | None = None
    end: datetime | None = None
    scope_ids: Sequence[str] | None = None


class State(NamedTuple):
    """How far a scope is rated.

    :ivar mark: aware UTC.
    """

    scope_id: str
    scope_key: str | None
    fetcher: str | None
    collector: str | None
    mark: datetime
    active: bool


def count_frames(database: db.Database, catalogue: Catalogue, extent: Extent) -> int:
    """Return how many frames read_cells() yields."""
    with database.reader() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(FRAMES).where(
            *_conditions(connection, catalogue, extent))).scalar()


def read_cells(database: db.Database, catalogue: Catalogue, extent: Extent) -> Iterator[Cell]:
    """Yield what is stored, ordered by scope and time; a bounded number is in memory."""
    with database.reader() as connection:
        conditions = _conditions(connection, catalogue, extent)
    statement = (sa.select(FRAMES).where(*conditions)
                 .order_by(FRAMES.c.scope_id, FRAMES.c.begin, FRAMES.c.origin)
                 .limit(FRAMES_AT_ONCE))
    last = None
    while True:
        # A transaction each, so that none is open for hours.
        with database.reader() as connection:
            part = statement if last is None else statement.where(_after(last))
            rows = connection.execute(part).all()
            cells = [_cell(connection, catalogue, row) for row in rows]
        yield from cells
        if len(rows) < FRAMES_AT_ONCE:
            return
        last = rows[-1]


def _conditions(connection, catalogue, extent):
    begin = horizon.read(connection).begin
    if extent.begin is not None:
        begin = max(begin, timeframe.to_utc(extent.begin))
    conditions = [FRAMES.c.begin >= timeframe.to_naive(begin)]
    if extent.end is not None:
        conditions.append(FRAMES.c.begin < timeframe.to_naive(extent.end))
    if extent.scope_ids:
        conditions.append(FRAMES.c.scope_id.in_(
            catalogue.find_scopes(connection, extent.scope_ids).values()))
    return conditions


def _after(last):
    return sa.or_(FRAMES.c.scope_id > last.scope_id, sa.and_(
        FRAMES.c.scope_id == last.scope_id,
        sa.or_(FRAMES.c.begin > last.begin,
               sa.and_(FRAMES.c.begin == last.begin, FRAMES.c.origin > last.origin))))


def _cell(connection, catalogue, row):
    try:
        columns = block.decode(row.block)
    except block.CorruptBlock as exc:
        raise errors.InvalidInput(
            reason=f'rated_frames: scope_id {row.scope_id}, begin {row.begin}, origin '
                   f'{row.origin}: the block is corrupt: {exc}') from exc
    entries = catalogue.entries(connection, columns[0])
    frame = DataFrame(timeframe.from_naive(row.begin), timeframe.from_naive(row.end))
    for series_id, qty, price in zip(*columns, strict=True):
        entry = entries[series_id]
        frame.add_point(DataPoint.of(entry.series, qty, price), entry.metric)
    return Cell(catalogue.identifier(connection, row.scope_id), row.origin, frame)


def write_cells(database: db.Database, catalogue: Catalogue,
                cells: Iterable[Cell]) -> Iterator[int]:
    """Store cells, each in place of what its scope, period and origin hold.

    Yields the number of cells that are stored, after each transaction.
    """
    batch, points = [], 0
    for cell in cells:
        batch.append(cell)
        points += sum(len(members) for _, members in cell.frame.itertypes())
        if len(batch) >= FRAMES_AT_ONCE or points >= POINTS_AT_ONCE:
            _write(database, catalogue, batch)
            yield len(batch)
            batch, points = [], 0
    if batch:
        _write(database, catalogue, batch)
        yield len(batch)


def _write(database, catalogue, cells):
    # Of two with one key the last counts, as if they were stored one after the other.
    whole = list({(cell.owner, cell.frame.start, cell.origin): cell for cell in cells}.values())
    owners = {cell.owner for cell in whole}
    numbers = database.write(lambda connection: catalogue.scope_numbers(connection, owners))

    def change(connection):
        writer = Writer(connection, catalogue)
        _lock_states(connection, owners)
        writer.lock(numbers.values())
        writer.require_points(cell.frame for cell in whole)
        writer.store(whole)
        return writer

    writer = database.write(change)
    writer.numbering.remember()


def _lock_states(connection, owners):
    for chunk in scopes.chunks(sorted(owners)):
        connection.execute(sa.select(STATES.c.id).where(STATES.c.identifier.in_(chunk))
                           .order_by(STATES.c.id).with_for_update()).all()


def read_states(database: db.Database, scope_ids: Sequence[str] | None) -> list[State]:
    """Return how far scopes are rated."""
    statement = sa.select(
        STATES.c.identifier, STATES.c.scope_key, STATES.c.fetcher, STATES.c.collector,
        STATES.c.last_processed_timestamp, STATES.c.active).order_by(STATES.c.id)
    if scope_ids:
        statement = statement.where(STATES.c.identifier.in_(scope_ids))
    with database.reader() as connection:
        return [State(*row[:4], timeframe.from_naive(row[4]), bool(row[5]))
                for row in connection.execute(statement)]


def write_states(database: db.Database, states: Iterable[State]) -> int:
    """Add scopes that are not known; no mark of a known one goes back. Return how many changed."""
    def change(connection):
        return sum(_write_state(connection, one) for one in states)

    states = list(states)
    return database.write(change)


def _write_state(connection, state):
    identity = {'identifier': state.scope_id, 'scope_key': state.scope_key,
                'fetcher': state.fetcher, 'collector': state.collector}
    row = connection.execute(
        sa.select(STATES.c.id, STATES.c.last_processed_timestamp)
        .where(*(STATES.c[name].is_(None) if value is None else STATES.c[name] == value
                 for name, value in identity.items())).with_for_update()).first()
    mark = timeframe.to_naive(state.mark)
    if row is None:
        connection.execute(sa.insert(STATES).values(
            **identity, last_processed_timestamp=mark, active=state.active))
    elif row.last_processed_timestamp < mark:
        scopes.advance(connection, {row.id: state.mark})
    else:
        return 0
    return 1
