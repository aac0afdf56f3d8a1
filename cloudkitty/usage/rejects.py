"""Refused messages of the operator's producers: table usage_rejects."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.db import upsert, usage_tables

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
    for digest in sorted(rows):
        known = connection.execute(
            sa.update(_REJECTS)
            .where(_REJECTS.c.digest == digest)
            .values(last=now_us, messages=_REJECTS.c.messages + 1, reason=rows[digest].reason)
        ).rowcount
        if not known and count < ROWS_MAX:
            count += 1
            upsert.insert_missing(connection, _REJECTS, [rows[digest]._asdict()])


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
