"""Revisions: the SQL database decides which rows of ClickHouse exist.

Each row in ClickHouse has a revision, a number that was taken before the row was written. A number
is open until the transaction that moves the marks removes it from rated_revisions; only then the
rows exist. A reader first reads a snapshot: the last number that was taken, and which are open.

Numbers come from one row, which is locked until the transaction commits that takes them: so they
become visible in their order, and a snapshot never lacks an open number below its last one.

Source: doc/source/contributor/storage-clickhouse.rst, "Revisions".
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import clickhouse_tables, upsert
from cloudkitty.storage.v2.series.series_ids import chunks

COUNTER, OPEN, LATEST = (
    clickhouse_tables.counter,
    clickhouse_tables.revisions,
    clickhouse_tables.latest,
)
ROW_ID = 1
# Within it rows can be written with a revision, and it can be closed.
LIFETIME = timedelta(days=1)
# Longer than any statement that began before, and any difference of clocks.
SETTLED = timedelta(days=1)


class Snapshot(NamedTuple):
    """Which revisions a reader sees: those up to *last* that are not *open*."""

    last: int
    open: tuple[int, ...]


class State(NamedTuple):
    """The last committed revision of a scope, 0: none, and the end of its last rated period.

    :ivar rated_until: aware UTC; None: no period was rated.
    """

    revision: int = 0
    rated_until: datetime | None = None


class Ticket(NamedTuple):
    """A revision that was taken for changes of scopes.

    :ivar until: until when rows can be written with it, aware UTC.
    :ivar states: the states of the scopes when it was taken; it is only valid while they stay.
    :ivar snapshot: what was visible then.
    """

    revision: int
    until: datetime
    states: Mapping[int, State]
    snapshot: Snapshot


def snapshot(connection: sa.Connection) -> Snapshot:
    """Return what readers see now."""
    # In one statement, so that the numbers belong together at any isolation level.
    found = connection.execute(
        sa.select(COUNTER.c.last, OPEN.c.id)
        .select_from(COUNTER.outerjoin(OPEN, OPEN.c.id <= COUNTER.c.last))
        .where(COUNTER.c.id == ROW_ID)
        .order_by(OPEN.c.id)
    ).all()
    last = found[0].last if found else 0
    return Snapshot(last, tuple(row.id for row in found if row.id is not None))


def begin(
    connection: sa.Connection, groups: Iterable[Collection[int]], now: datetime
) -> list[Ticket]:
    """Take a revision for each group of scopes, by their numbers.

    Call it in a transaction of its own that commits before rows are written.

    :param now: aware UTC.
    """
    wanted = [sorted(owners) for owners in groups]
    first = _take(connection, len(wanted))
    rows = [(first + place, timeframe.to_naive(now)) for place in range(len(wanted))]
    upsert.insert(connection, OPEN, ('id', 'since'), rows)
    owners = sorted({owner for group in wanted for owner in group})
    # Before the snapshot: what is committed in between makes the tickets invalid.
    states = _states(connection, owners)
    missing = [{'scope_id': owner, 'revision': 0} for owner in owners if owner not in states]
    upsert.insert_missing(connection, LATEST, missing)
    seen = snapshot(connection)
    return [
        Ticket(revision, now + LIFETIME, {one: states.get(one, State()) for one in group}, seen)
        for revision, group in enumerate(wanted, first)
    ]


def _take(connection: sa.Connection, count: int) -> int:
    """Return the first of *count* new numbers."""
    change = sa.update(COUNTER).where(COUNTER.c.id == ROW_ID).values(last=COUNTER.c.last + count)
    if not connection.execute(change).rowcount:
        upsert.insert_missing(connection, COUNTER, [{'id': ROW_ID, 'last': 0}])
        connection.execute(change)
    last: int = connection.execute(
        sa.select(COUNTER.c.last).where(COUNTER.c.id == ROW_ID)
    ).scalar_one()
    return last - count + 1


def _states(
    connection: sa.Connection, owners: Collection[int], *, is_locking: bool = False
) -> dict[int, State]:
    found: dict[int, State] = {}
    for chunk in chunks(sorted(owners)):
        statement = (
            sa.select(LATEST).where(LATEST.c.scope_id.in_(chunk)).order_by(LATEST.c.scope_id)
        )
        for row in connection.execute(statement.with_for_update() if is_locking else statement):
            until = None if row.rated_until is None else timeframe.from_naive(row.rated_until)
            found[row.scope_id] = State(row.revision, until)
    return found


def close(
    connection: sa.Connection,
    tickets: Collection[Ticket],
    rated_until: Mapping[int, datetime],
    now: datetime,
) -> list[Ticket]:
    """Make the rows of *tickets* exist with this transaction; return those that are not valid.

    A ticket is not valid if one of its scopes has changed since it was taken, or if it is too old;
    it stays open.

    :param rated_until: the end of the last rated period of scopes, aware UTC.
    :param now: aware UTC.
    """
    known = _open(connection, [one.revision for one in tickets])
    states = _states(
        connection, {owner for one in tickets for owner in one.states}, is_locking=True
    )
    stale = [
        one
        for one in tickets
        # After a failover the new server may lack the last commits.
        if one.revision not in known
        or one.until <= now
        or any(
            owner not in states or states[owner].revision != old.revision
            for owner, old in one.states.items()
        )
    ]
    valid = [one for one in tickets if one not in stale]
    _advance(connection, valid, rated_until)
    for chunk in chunks(sorted(one.revision for one in valid)):
        connection.execute(sa.delete(OPEN).where(OPEN.c.id.in_(chunk)))
    return stale


def _open(connection: sa.Connection, revisions: Collection[int]) -> set[int]:
    """Return which of *revisions* are open."""
    found: set[int] = set()
    for chunk in chunks(sorted(revisions)):
        found.update(connection.execute(sa.select(OPEN.c.id).where(OPEN.c.id.in_(chunk))).scalars())
    return found


def _advance(
    connection: sa.Connection, tickets: Collection[Ticket], rated_until: Mapping[int, datetime]
) -> None:
    rows = []
    for owner, (ticket, old) in sorted(
        (owner, (one, old)) for one in tickets for owner, old in one.states.items()
    ):
        ends = [at for at in (old.rated_until, rated_until.get(owner)) if at is not None]
        rows.append(
            {
                'key': owner,
                'new': ticket.revision,
                'until': timeframe.to_naive(max(ends)) if ends else None,
            }
        )
    if rows:
        connection.execute(
            sa.update(LATEST)
            .where(LATEST.c.scope_id == sa.bindparam('key'))
            .values(revision=sa.bindparam('new'), rated_until=sa.bindparam('until')),
            rows,
        )


def find_dead(connection: sa.Connection, now: datetime, limit: int) -> list[int]:
    """Return the oldest revisions that nobody can use any more.

    In a transaction that writes: who is closing one of them has ended then.

    :param now: aware UTC.
    """
    before = timeframe.to_naive(now - LIFETIME - SETTLED)
    statement = sa.select(OPEN.c.id).where(OPEN.c.since < before).order_by(OPEN.c.id).limit(limit)
    return list(connection.execute(statement.with_for_update()).scalars())


def forget(connection: sa.Connection, dead: Collection[int]) -> None:
    """Remove revisions whose rows are removed."""
    for chunk in chunks(sorted(dead)):
        connection.execute(sa.delete(OPEN).where(OPEN.c.id.in_(chunk)))
