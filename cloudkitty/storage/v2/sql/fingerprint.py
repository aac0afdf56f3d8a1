"""Digests of stored periods, to tell whether they have changed."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.storage.v2.series.series_ids import IdCache

FRAMES = tables.rated_frames


class FrameDigest(NamedTuple):
    """The digest of the content of a frame.

    :ivar begin, end: aware UTC.
    """

    begin: datetime
    end: datetime
    origin: int
    digest: bytes


def read(
    connection: sa.Connection, id_cache: IdCache, scope_id: str, span: Period
) -> list[FrameDigest]:
    """Return the digests of the frames of a scope that begin in *span*, ordered by their begin.

    Points name their series by ids, whose rows never change: equal blocks hold equal points.
    """
    numbers = id_cache.find_scopes(connection, [scope_id])
    if not numbers:
        return []
    rows = connection.execute(
        sa.select(FRAMES.c.begin, FRAMES.c.end, FRAMES.c.origin, _digest(connection))
        .where(
            FRAMES.c.scope_id == numbers[scope_id],
            FRAMES.c.begin >= timeframe.to_naive(span.begin),
            FRAMES.c.begin < timeframe.to_naive(span.end),
        )
        .order_by(FRAMES.c.begin, FRAMES.c.origin)
    )
    is_hashed = connection.dialect.name != 'sqlite'
    return [
        FrameDigest(
            timeframe.from_naive(begin),
            timeframe.from_naive(end),
            origin,
            value if is_hashed else hashlib.sha256(value).digest(),
        )
        for begin, end, origin, value in rows
    ]


def _digest(connection: sa.Connection) -> sa.ColumnElement[bytes]:
    """Return the SHA-256 of a block, computed in the database, except in SQLite."""
    name = connection.dialect.name
    if name == 'sqlite':
        return FRAMES.c.block
    if name == 'postgresql':
        return sa.func.sha256(FRAMES.c.block, type_=sa.LargeBinary)
    return sa.func.unhex(sa.func.sha2(FRAMES.c.block, 256), type_=sa.LargeBinary)


def combine(frames: Sequence[FrameDigest]) -> str:
    """Return one digest of *frames*, hexadecimal."""
    whole = hashlib.sha256()
    for frame in frames:
        whole.update(f'{frame.begin.isoformat()} {frame.end.isoformat()} {frame.origin} '.encode())
        whole.update(frame.digest)
    return whole.hexdigest()
