"""Making roll-ups, and whatever else follows from the points, anew; only rows that are wrong."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.storage.v2.sql import verify
from cloudkitty.storage.v2.sql.verify import FRAMES, MONTHS, SCOPES, STATES, TOTALS


class Outcome(NamedTuple):
    """What one transaction did.

    :ivar healed: rows that were made right.
    :ivar left: what nothing else says the content of.
    """

    healed: int
    left: list[verify.Fault]


def rebuild_days(database: db.Database, scope: verify.Scope, begin: datetime | None = None,
                 end: datetime | None = None) -> Iterator[Outcome]:
    """Make right what follows from a scope's points: attributes, sums by series and day.

    :param begin, end: bounds, aware UTC; the months they are in are made right as a whole.
    """
    yield _rebuild(database, scope, None, verify.check_scope)
    for month in _months(database, scope, begin, end):
        yield _rebuild(database, scope, month, verify.check_days)


def rebuild_totals(database: db.Database, scope: verify.Scope, begin: datetime | None = None,
                   end: datetime | None = None) -> Iterator[Outcome]:
    """Make a scope's sums by metric right; after rebuild_days() of all scopes."""
    for month in _months(database, scope, begin, end):
        yield _rebuild(database, scope, month, verify.check_totals)


def _months(database, scope, begin, end):
    with database.reader() as connection:
        return verify.list_months(connection, scope, begin, end)


def _rebuild(database, scope, month, check):
    def change(connection):
        # First of all, so that what is read afterwards is what whoever held it before left.
        _lock(connection, scope, month)
        found = [scope] if month is None else [scope, month]
        return _heal(connection, list(check(connection, *found)))

    return database.write(change)


def _lock(connection: sa.Connection, scope: verify.Scope, month: verify.Month | None) -> None:
    """Let nobody change what a scope has until the transaction ends."""
    connection.execute(sa.select(STATES.c.id).where(STATES.c.identifier == scope.identifier)
                       .order_by(STATES.c.id).with_for_update()).all()
    connection.execute(sa.select(SCOPES.c.id).where(SCOPES.c.id == scope.id)
                       .with_for_update(key_share=True)).all()
    if month is None:
        return
    connection.execute(sa.select(FRAMES.c.begin).where(
        FRAMES.c.scope_id == scope.id, *verify.begins(month)).with_for_update()).all()
    for table in (TOTALS, MONTHS):
        connection.execute(sa.select(table.c.day).where(
            table.c.scope_id == scope.id, *verify.within(table, month)).with_for_update()).all()


def _heal(connection: sa.Connection, faults: Iterable[verify.Fault]) -> Outcome:
    """Make rows right that follow from others; return how many, and the faults that stay."""
    healed, left = 0, []
    for fault in faults:
        if fault.reason:
            left.append(fault)
            continue
        healed += 1
        chosen = [fault.table.c[name] == value for name, value in fault.key.items()]
        if fault.right is None:
            connection.execute(sa.delete(fault.table).where(*chosen))
        elif fault.found is None:
            connection.execute(sa.insert(fault.table).values(**fault.key, **fault.right))
        else:
            connection.execute(sa.update(fault.table).where(*chosen).values(**fault.right))
    return Outcome(healed, left)
