"""The content of dumps: periods, and the progress of scopes."""

from collections.abc import Iterable, Iterator, Sequence

import sqlalchemy as sa

from cloudkitty import db, writer
from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2.series.cells import Cell
from cloudkitty.storage.v2.series.frame_rows import PUSHED, RATED
from cloudkitty.writer import RatedPeriod, ScopeProgress

STATES = tables.scopes
# Names of the origins in dumps.
ORIGINS = {RATED: writer.RATED, PUSHED: writer.PUSHED}
_NUMBERS = {name: number for number, name in ORIGINS.items()}


def to_periods(cells: Iterable[Cell]) -> Iterator[RatedPeriod]:
    """Yield *cells* in the form that writers accept."""
    for cell in cells:
        yield RatedPeriod(cell.owner, ORIGINS[cell.origin], cell.frame)


def to_cells(periods: Iterable[RatedPeriod]) -> Iterator[Cell]:
    """Yield the cells for what was read from a dump."""
    for period in periods:
        yield Cell(period.scope_id, _NUMBERS[period.origin], period.frame)


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
