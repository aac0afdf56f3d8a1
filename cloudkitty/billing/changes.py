"""Closed months that have to be computed again."""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.billing import month
from cloudkitty.core.billing.plan import UTC
from cloudkitty.core.timeframe import Period
from cloudkitty.db import billing_tables, tables, upsert

CHANGES = billing_tables.changes
RECHECKS = billing_tables.rechecks
SCOPES = tables.rated_scopes
# Scopes in one statement of the database.
CHUNK = 500

# Built once: to build a statement takes longer than to execute it.
_NOTED = (
    sa.select(CHANGES, SCOPES.c.identifier)
    .join(SCOPES, SCOPES.c.id == CHANGES.c.scope_id)
    .where(
        SCOPES.c.scope_key == sa.bindparam('scope_key'),
        SCOPES.c.identifier.in_(sa.bindparam('scopes', expanding=True)),
    )
)
_CONSUME = sa.delete(CHANGES).where(
    CHANGES.c.scope_id == sa.bindparam('of_scope'),
    CHANGES.c.month == sa.bindparam('of_month'),
    CHANGES.c.changes == sa.bindparam('seen'),
)
_ORDERED = sa.select(RECHECKS.c.month, RECHECKS.c.changes).where(
    RECHECKS.c.account == sa.bindparam('account')
)


class Note(NamedTuple):
    """A note of the storage, see storage/v2/series/changes.

    :ivar scope: number of the scope.
    :ivar month: its first day, UTC.
    :ivar changes: grows with each change.
    """

    scope: int
    month: date
    changes: int
    scope_id: str


class Recheck(NamedTuple):
    """A closed month of an account that is to be computed again.

    :ivar changes: grows with each reason to do so.
    """

    month: str
    changes: int


class Pending(NamedTuple):
    """Why closed months of an account are computed again.

    :ivar notes: of its own scopes.
    :ivar related: of scopes of others that it has shared costs with; they stay noted.
    """

    notes: Sequence[Note] = ()
    rechecks: Sequence[Recheck] = ()
    related: Sequence[Note] = ()


def read(
    connection: sa.Connection, account_id: str, scope_key: str, scope_ids: Sequence[str]
) -> Pending:
    """Return the notes of an account; read them before the sums, which are then never older."""
    notes: list[Note] = []
    for start in range(0, len(scope_ids), CHUNK):
        chunk = list(scope_ids[start : start + CHUNK])
        rows = connection.execute(_NOTED, {'scope_key': scope_key, 'scopes': chunk})
        notes += [Note(*row) for row in rows]
    rows = connection.execute(_ORDERED, {'account': account_id})
    return Pending(sorted(notes), sorted(Recheck(*row) for row in rows))


def read_all(connection: sa.Connection, scope_key: str, limit: int) -> list[Note]:
    """Return the notes of all scopes, *limit* at most."""
    rows = connection.execute(
        sa.select(CHANGES, SCOPES.c.identifier)
        .join(SCOPES, SCOPES.c.id == CHANGES.c.scope_id)
        .where(SCOPES.c.scope_key == scope_key)
        .limit(limit)
    )
    return [Note(*row) for row in rows]


def all_rechecks(connection: sa.Connection) -> set[tuple[str, str]]:
    """Return (account, month) of all months to compute again."""
    rows = connection.execute(sa.select(RECHECKS.c.account, RECHECKS.c.month))
    return {(row.account, row.month) for row in rows}


def near(note: Note) -> set[str]:
    """Return the months that a note may be about: a month (UTC) has hours of three local ones."""
    noted = note.month.strftime('%Y-%m')
    return {month.following(noted, by) for by in (-1, 0, 1)}


def touches(note: Note, span: Period) -> bool:
    """Return whether the noted month (UTC) has hours of *span*."""
    noted = month.bounds(note.month.strftime('%Y-%m'), UTC)
    return noted.begin < span.end and span.begin < noted.end


def affected(pending: Pending, closed: Iterable[str]) -> set[str]:
    """Return those of the closed months of an account whose amounts may have changed."""
    found = {recheck.month for recheck in pending.rechecks}
    noted = (*pending.notes, *pending.related)
    return found.union(*map(near, noted)).intersection(closed)


def consume(connection: sa.Connection, account_id: str, pending: Pending) -> None:
    """Delete the notes that are billed now; those that grew meanwhile are kept."""
    for note in pending.notes:
        values = {'of_scope': note.scope, 'of_month': note.month, 'seen': note.changes}
        connection.execute(_CONSUME, values)
    for recheck in pending.rechecks:
        connection.execute(
            sa.delete(RECHECKS).where(
                RECHECKS.c.account == account_id,
                RECHECKS.c.month == recheck.month,
                RECHECKS.c.changes == recheck.changes,
            )
        )


def order(connection: sa.Connection, months: Iterable[tuple[str, str]]) -> None:
    """Order that closed months are computed again: (account, month) pairs."""
    rows = [(*one, 1) for one in sorted(set(months))]
    if rows:
        upsert.add(connection, RECHECKS, ('account', 'month', 'changes'), rows)
