"""Refused messages of the operator's producers: table usage_rejects."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.db import upsert, usage_tables
from cloudkitty.usage.series import chunks

_REJECTS = usage_tables.rejects
BODY_MAX = 65536
REASON_MAX = 1000
ROWS_MAX = 100_000
PAGE = 1000


class Reject(NamedTuple):
    """A refused message and its count; times in microseconds since the epoch."""

    digest: bytes
    first: int
    last: int
    messages: int
    path: str
    publisher: str
    reason: str
    body: bytes

    def to_form(self) -> dict[str, str | int]:
        """Return it as answers show it; times as text."""
        return {
            'first': facts.render_us(self.first),
            'last': facts.render_us(self.last),
            'messages': self.messages,
            'path': self.path,
            'publisher': self.publisher,
            'reason': self.reason,
            'body': self.body.decode(errors='backslashreplace'),
        }


def record(
    connection: sa.Connection,
    refused: Iterable[tuple[str, str]],
    *,
    path: str,
    publisher: str,
    now_us: int,
) -> None:
    """Store refused messages with the reason; a repeat is counted.

    Once there are ROWS_MAX only repeats are.
    """
    rows = {
        facts.digest('reject', text): Reject(
            facts.digest('reject', text),
            now_us,
            now_us,
            1,
            path,
            publisher,
            reason[:REASON_MAX],
            text.encode('utf-8', 'backslashreplace')[:BODY_MAX],
        )
        for text, reason in refused
    }
    count = connection.execute(sa.select(sa.func.count()).select_from(_REJECTS)).scalar_one()
    known = _found(connection, rows)
    # In the order of the digests, as every writer; one that is not there yet is not locked.
    _found(connection, known, is_locked=True)
    # A message of the bus may hold thousands: a statement for each would take minutes.
    by_reason: dict[str, list[bytes]] = defaultdict(list)
    for digest in known:
        by_reason[rows[digest].reason].append(digest)
    for reason, digests in sorted(by_reason.items()):
        for chunk in chunks(sorted(digests)):
            connection.execute(
                sa.update(_REJECTS)
                .where(_REJECTS.c.digest.in_(chunk))
                .values(last=now_us, messages=_REJECTS.c.messages + 1, reason=reason)
            )
    fresh = [rows[digest] for digest in sorted(rows.keys() - known)]
    upsert.insert_many_missing(
        connection, _REJECTS, Reject._fields, fresh[: max(ROWS_MAX - count, 0)]
    )


def _found(
    connection: sa.Connection, digests: Iterable[bytes], *, is_locked: bool = False
) -> set[bytes]:
    """Return those of *digests* that are stored."""
    statement = sa.select(_REJECTS.c.digest).order_by(_REJECTS.c.digest)
    if is_locked:
        statement = statement.with_for_update()
    return {
        bytes(digest)
        for chunk in chunks(sorted(digests))
        for digest in connection.execute(statement.where(_REJECTS.c.digest.in_(chunk))).scalars()
    }


def read(connection: sa.Connection) -> Iterator[Reject]:
    """Yield all, in the order of their first arrival."""
    names = [_REJECTS.c[name] for name in Reject._fields]
    for row in connection.execute(sa.select(*names).order_by(_REJECTS.c.first, _REJECTS.c.digest)):
        yield Reject(*row)


def page(connection: sa.Connection, *, offset: int, limit: int) -> tuple[int, list[Reject]]:
    """Return their number and a page of them, the latest first."""
    total = connection.execute(sa.select(sa.func.count()).select_from(_REJECTS)).scalar_one()
    rows = connection.execute(
        sa.select(*[_REJECTS.c[name] for name in Reject._fields])
        .order_by(_REJECTS.c.last.desc(), _REJECTS.c.digest)
        .offset(offset)
        .limit(limit)
    )
    return total, [Reject(*row) for row in rows]


def get(connection: sa.Connection, reject_id: str) -> Reject | None:
    """Return the one whose digest is *reject_id*, hexadecimal; None: there is none."""
    try:
        digest = bytes.fromhex(reject_id)
    except ValueError:
        return None
    row = connection.execute(
        sa.select(*[_REJECTS.c[name] for name in Reject._fields]).where(_REJECTS.c.digest == digest)
    ).first()
    return None if row is None else Reject(*row)


def remove_one(connection: sa.Connection, digest: bytes) -> None:
    """Remove one."""
    connection.execute(sa.delete(_REJECTS).where(_REJECTS.c.digest == digest))


def remove(connection: sa.Connection, before_us: int) -> int:
    """Remove those whose last arrival is before an instant; return how many."""
    return connection.execute(sa.delete(_REJECTS).where(_REJECTS.c.last < before_us)).rowcount
