"""Makes sure that no time of a scope is rated twice."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cloudkitty.db import tables
from cloudkitty.storage.v2.series import overlaps
from cloudkitty.storage.v2.series.frame_rows import Frame
from cloudkitty.storage.v2.series.series_ids import chunks

_FRAMES, _SCOPES = tables.rated_frames, tables.rated_scopes


def require_none(connection: sa.Connection, frames: Sequence[Frame]) -> set[tuple[int, datetime]]:
    """Make sure that *frames* overlap neither each other nor other stored frames of their scopes.

    Returns scope and begin of stored frames, among them all that *frames* replace.

    Call it in the transaction that stores them, with the marks of the scopes locked.

    :param frames: of one origin.
    :raises PeriodsOverlap: two of them overlap.
    """
    if not frames:
        return set()
    stored = _stored(connection, frames, frames[0].origin)
    overlaps.require_apart(frames, stored)
    return {(owner, begin) for owner, spans in stored.items() for begin, _ in spans}


def _stored(
    connection: sa.Connection, frames: Sequence[Frame], origin: int
) -> dict[int, list[overlaps.Span]]:
    """Return the stored frames of the same scopes in the same time, and the ones before."""
    first = min(frame.begin for frame in frames)
    last = max(frame.end for frame in frames)
    found: dict[int, list[overlaps.Span]] = {}
    for owners in chunks(sorted({frame.owner for frame in frames})):
        values = {'owners': owners, 'first': first, 'last': last, 'origin': origin}
        for owner, begin, end in connection.execute(_NEIGHBOURS, values):
            # A scope may have none before.
            if begin is not None:
                found.setdefault(owner, []).append((begin, end))
    return found


def _build_neighbours() -> sa.CompoundSelect[Any]:
    owners: sa.BindParameter[Any] = sa.bindparam('owners', expanding=True)
    origin = _FRAMES.c.origin == sa.bindparam('origin')
    first, last = (sa.bindparam(name, type_=_FRAMES.c.begin.type) for name in ('first', 'last'))

    def newest_before(column: sa.Column[Any]) -> sa.ScalarSelect[Any]:
        return (
            sa.select(column)
            .where(_FRAMES.c.scope_id == _SCOPES.c.id, origin, _FRAMES.c.begin < first)
            .order_by(_FRAMES.c.begin.desc())
            .limit(1)
            .scalar_subquery()
        )

    # A frame overlaps the next one before any other. Looked up in the index, scope by scope: as a
    # join, a database without statistics would look for it once for each frame of the scopes.
    return sa.union_all(
        sa.select(_FRAMES.c.scope_id, _FRAMES.c.begin, _FRAMES.c.end).where(
            _FRAMES.c.scope_id.in_(owners), origin, _FRAMES.c.begin >= first, _FRAMES.c.begin < last
        ),
        sa.select(_SCOPES.c.id, newest_before(_FRAMES.c.begin), newest_before(_FRAMES.c.end)).where(
            _SCOPES.c.id.in_(owners)
        ),
    )


_NEIGHBOURS = _build_neighbours()
