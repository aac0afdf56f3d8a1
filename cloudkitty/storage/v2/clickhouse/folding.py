"""Folding: the sums of days that are over are kept beside their points.

Days before `until` are folded for all scopes. From the announcement of a day on, whoever changes it
says so in rated_unfolded_days, in the transaction that makes the change exist; such a day of a
scope is read from its points until it is folded again. A day is folded an hour after its
announcement, when all transactions that may not know of it have ended.

Source: doc/source/contributor/storage-clickhouse.rst, "Folding".
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import db
from cloudkitty.core import timeframe
from cloudkitty.db import clickhouse_tables, tables, upsert
from cloudkitty.storage.v2.clickhouse import literals, revisions
from cloudkitty.storage.v2.clickhouse.body import Where
from cloudkitty.storage.v2.clickhouse.revisions import Snapshot
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.storage.v2.series.series_ids import chunks

FOLDED, CHANGED = clickhouse_tables.folded, clickhouse_tables.unfolded_days
ROW_ID = 1
DAY = timedelta(days=1)
# Most late usage has arrived by then.
CLOSED = timedelta(days=2)
# Longer than any transaction, see Database.idle_transaction_s.
SETTLED = timedelta(hours=1)
# With more changed days a query reads no sums.
CHANGED_MAX = 2_000
DAYS_AT_ONCE = 500
READS_MAX = 10

# Number of a scope, and a day.
ScopeDay = tuple[int, date]


class State(NamedTuple):
    """How far days are folded.

    :ivar until: days before it are.
    :ivar announced: days before it are to be.
    :ivar since: when that was announced, aware UTC.
    """

    until: date
    announced: date
    since: datetime


class View(NamedTuple):
    """What a reader sees.

    :ivar folded: the whole days whose sums it may read, [first, end); None: none.
    :ivar changed: those days of scopes whose sums are not right.
    """

    snapshot: Snapshot
    folded: tuple[date, date] | None = None
    changed: tuple[ScopeDay, ...] = ()


def read(connection: sa.Connection) -> State | None:
    """Return how far days are folded; None: none was ever announced."""
    row = connection.execute(sa.select(FOLDED).where(FOLDED.c.id == ROW_ID)).first()
    return None if row is None else State(row.until, row.announced, timeframe.from_naive(row.since))


def view(
    connection: sa.Connection, begin: datetime, end: datetime, owner: int | None = None
) -> View:
    """Return what a reader of the points of [begin, end), aware UTC, sees now.

    :param owner: number of the scope whose points are read; None: all.
    """
    for _ in range(READS_MAX):
        before = revisions.snapshot(connection)
        found = _view(connection, before, begin, end, owner)
        # Who changes a day closes a revision: so nothing has changed in between.
        if revisions.snapshot(connection) == before:
            return found
    raise db_exception.DBDeadlock('revisions are closed all the time')


def _view(
    connection: sa.Connection,
    snapshot: Snapshot,
    begin: datetime,
    end: datetime,
    owner: int | None,
) -> View:
    state = read(connection)
    first = timeframe.to_utc(begin).date()
    if timeframe.midnight(first) < begin:
        first += DAY
    last = timeframe.to_utc(end).date()
    if state is None or first >= min(last, state.until):
        return View(snapshot)
    last = min(last, state.until)
    statement = sa.select(CHANGED.c.scope_id, CHANGED.c.day).where(
        CHANGED.c.day >= first, CHANGED.c.day < last
    )
    if owner is None:
        statement = statement.limit(CHANGED_MAX + 1)
    else:
        statement = statement.where(CHANGED.c.scope_id == owner)
    rows = connection.execute(statement).all()
    if owner is None and len(rows) > CHANGED_MAX:
        return View(snapshot)
    return View(snapshot, (first, last), tuple((row.scope_id, row.day) for row in rows))


def note(connection: sa.Connection, touched: Iterable[tuple[int, date, int]]) -> None:
    """Record (scope, day, revision) of what changes, for days that are announced."""
    last = {(scope, day): revision for scope, day, revision in sorted(touched)}
    if not last:
        return
    state = read(connection)
    if state is not None:
        rows = [
            {'scope_id': scope, 'day': day, 'revision': revision}
            for (scope, day), revision in last.items()
            if day < state.announced
        ]
        upsert.replace(connection, CHANGED, rows)


def announce(connection: sa.Connection, now: datetime, first: date | None = None) -> None:
    """Announce all days that are over.

    :param now: aware UTC.
    :param first: the first day that has points, with which the first announcement begins.
    """
    target = (now - CLOSED).date()
    since = timeframe.to_naive(now)
    state = read(connection)
    if state is None and first is not None and first < target:
        row = {'id': ROW_ID, 'until': first, 'announced': target, 'since': since}
        upsert.insert_missing(connection, FOLDED, [row])
    elif state is not None and state.announced < target:
        connection.execute(
            sa.update(FOLDED)
            .where(FOLDED.c.id == ROW_ID, FOLDED.c.announced < target)
            .values(announced=target, since=since)
        )


def step(database: db.Database, body: Shards, now: datetime) -> bool:
    """Do one bounded part of the folding; return whether more can be done at once.

    :param now: aware UTC.
    """
    with database.reader() as connection:
        state = read(connection)
        seen = revisions.snapshot(connection)
    is_ahead = state is not None and state.until < state.announced
    if state is None or (not is_ahead and state.announced < (now - CLOSED).date()):
        # Looking for the first day reads the keys of all frames.
        first = body.first_day(seen) if state is None else None
        if state is not None or first is not None:
            database.write(lambda connection: announce(connection, now, first))
        return False
    if is_ahead and now >= state.since + SETTLED:
        _fold_day(database, body, state, now)
        return True
    return _fold_changed(database, body, state, now)


def _fold_day(database: db.Database, body: Shards, state: State, now: datetime) -> None:
    """Fold the next day that has points."""
    (ticket,) = database.write(lambda connection: revisions.begin(connection, [[]], now))
    day = body.first_day(ticket.snapshot, timeframe.midnight(state.until))
    until = state.announced
    if day is not None and day < state.announced:
        until = day + DAY
        with database.reader() as connection:
            owners = connection.execute(sa.select(tables.rated_scopes.c.id)).scalars().all()
        for chunk in chunks(sorted(owners)):
            where = Where(timeframe.midnight(day), timeframe.midnight(until), chunk)
            body.insert_days(ticket, where)

    def change(connection: sa.Connection) -> None:
        if not revisions.close(connection, [ticket], {}, now):
            connection.execute(
                sa.update(FOLDED)
                .where(FOLDED.c.id == ROW_ID, FOLDED.c.until == state.until)
                .values(until=until)
            )

    database.write(change)


def _fold_changed(database: db.Database, body: Shards, state: State, now: datetime) -> bool:
    """Fold days of scopes again that changed since."""
    with database.reader() as connection:
        rows = connection.execute(
            sa.select(CHANGED)
            .where(CHANGED.c.day < state.until)
            .order_by(CHANGED.c.day, CHANGED.c.scope_id)
            .limit(DAYS_AT_ONCE)
        ).all()
    if not rows:
        return False
    _fold(database, body, rows, now)
    return len(rows) == DAYS_AT_ONCE


def _fold(database: db.Database, body: Shards, rows: Sequence[tables.Row], now: datetime) -> None:
    """Fold the days of *rows* of CHANGED, which are ordered by day."""
    (ticket,) = database.write(lambda connection: revisions.begin(connection, [[]], now))
    days = [(row.scope_id, row.day) for row in rows]
    owners = sorted({scope for scope, _ in days})
    first, last = timeframe.midnight(rows[0].day), timeframe.midnight(rows[-1].day + DAY)
    body.insert_days(ticket, Where(first, last, owners, None, is_of_days(days)), days)

    def change(connection: sa.Connection) -> None:
        if revisions.close(connection, [ticket], {}, now):
            return
        # Those that changed once more have another revision.
        found = sa.tuple_(CHANGED.c.scope_id, CHANGED.c.day, CHANGED.c.revision).in_(
            [(row.scope_id, row.day, row.revision) for row in rows]
        )
        connection.execute(sa.delete(CHANGED).where(found))

    database.write(change)


def fold_again(
    database: db.Database, body: Shards, days: Sequence[ScopeDay], now: datetime
) -> None:
    """Fold days whose sums are wrong again; from now on they are not read.

    :param days: of one scope, ordered.
    :param now: aware UTC.
    """

    def change(connection: sa.Connection) -> Sequence[tables.Row]:
        (ticket,) = revisions.begin(connection, [[]], now)
        note(connection, ((*day, ticket.revision) for day in days))
        revisions.close(connection, [ticket], {}, now)
        return connection.execute(
            sa.select(CHANGED)
            .where(CHANGED.c.revision == ticket.revision)
            .order_by(CHANGED.c.day, CHANGED.c.scope_id)
        ).all()

    rows = database.write(change) if days else []
    for start in range(0, len(rows), DAYS_AT_ONCE):
        _fold(database, body, rows[start : start + DAYS_AT_ONCE], now)


def is_of_days(days: Collection[ScopeDay], day: str = 'toDate32(begin)') -> str:
    """Return the condition for frames of some days of scopes."""
    if not days:
        return '0'
    pairs = ', '.join(f'({scope}, {literals.day(one)})' for scope, one in days)
    return f'(scope, {day}) IN ({pairs})'
