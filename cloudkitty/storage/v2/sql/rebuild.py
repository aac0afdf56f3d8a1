"""Rebuilds roll-ups and other data derived from the points; writes only rows that are wrong."""

from collections.abc import Callable, Iterator
from datetime import datetime

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.storage.v2.series.faults import Fault, Month, Outcome, Scope, correct
from cloudkitty.storage.v2.sql import verify
from cloudkitty.storage.v2.sql.verify import FRAMES, MONTHS, SCOPES, STATES, TOTALS


def rebuild_days(
    database: db.Database,
    scope: Scope,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> Iterator[Outcome]:
    """Correct what derives from a scope's points: attributes, and sums by series and day.

    :param begin, end: bounds, aware UTC; the months they are in are rebuilt as a whole.
    """
    yield _rebuild(database, scope, None, verify.check_scope)
    for month in _months(database, scope, begin, end):
        yield _rebuild(database, scope, month, verify.check_days)


def rebuild_totals(
    database: db.Database,
    scope: Scope,
    begin: datetime | None = None,
    end: datetime | None = None,
) -> Iterator[Outcome]:
    """Correct a scope's sums by metric; call it after rebuild_days() of all scopes."""
    for month in _months(database, scope, begin, end):
        yield _rebuild(database, scope, month, verify.check_totals)


def _months(
    database: db.Database, scope: Scope, begin: datetime | None, end: datetime | None
) -> list[Month]:
    with database.reader() as connection:
        return verify.list_months(connection, scope, begin, end)


def _rebuild(
    database: db.Database,
    scope: Scope,
    month: Month | None,
    check: Callable[..., Iterator[Fault]],
) -> Outcome:
    def change(connection: sa.Connection) -> Outcome:
        # Locked first, so that the reads that follow see what the previous holder committed.
        _lock(connection, scope, month)
        found = (scope,) if month is None else (scope, month)
        return correct(connection, list(check(connection, *found)))

    return database.write(change)


def _lock(connection: sa.Connection, scope: Scope, month: Month | None) -> None:
    """Lock the data of a scope until the transaction ends."""
    connection.execute(
        sa.select(STATES.c.id)
        .where(STATES.c.identifier == scope.identifier)
        .order_by(STATES.c.id)
        .with_for_update()
    ).all()
    connection.execute(
        sa.select(SCOPES.c.id).where(SCOPES.c.id == scope.id).with_for_update(key_share=True)
    ).all()
    if month is None:
        return
    connection.execute(
        sa.select(FRAMES.c.begin)
        .where(FRAMES.c.scope_id == scope.id, *verify.begins(month))
        .with_for_update()
    ).all()
    for table in (TOTALS, MONTHS):
        connection.execute(
            sa.select(table.c.day)
            .where(table.c.scope_id == scope.id, *verify.within(table, month))
            .with_for_update()
        ).all()
