"""Orders to set scopes back: table scope_resets. A scope has at most one; a new one replaces it."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state

_RESETS = tables.resets
_SCOPES = tables.scopes
_PENDING = (
    sa.select(_RESETS.c.state_id, _SCOPES.c.identifier, _RESETS.c.mark)
    .join_from(_RESETS, _SCOPES, _SCOPES.c.id == _RESETS.c.state_id)
    .where(*scope_state.bound_identity_conditions())
    .order_by(_RESETS.c.ordered_at, _RESETS.c.state_id)
)
_FIRST_PENDING = _PENDING.limit(sa.bindparam('most', type_=sa.Integer))


class Reset(NamedTuple):
    """An order to set a scope back.

    :ivar state_id: primary key of the scope's row.
    :ivar mark: begin of the last period that counts as rated, aware UTC.
    """

    state_id: int
    scope_id: str
    mark: datetime


def order(
    connection: sa.Connection, state_ids: Collection[int], mark: datetime, *, now: datetime
) -> None:
    """Order to set scopes back to *mark*."""
    # Until the end of the transaction no order for these scopes is carried out or replaced.
    scope_state.lock_marks(connection, state_ids)
    for chunk in scope_state.chunks(sorted(state_ids)):
        connection.execute(sa.delete(_RESETS).where(_RESETS.c.state_id.in_(chunk)))
        connection.execute(
            sa.insert(_RESETS),
            [
                {
                    'state_id': state_id,
                    'mark': timeframe.to_naive(mark),
                    'ordered_at': timeframe.to_naive(now),
                }
                for state_id in chunk
            ],
        )


def list_pending(
    connection: sa.Connection, identity: scope_state.Identity, *, limit: int | None = None
) -> list[Reset]:
    """Return the orders for scopes of *identity*, at most *limit* of them, the oldest first."""
    values = identity._asdict()
    found = (
        connection.execute(_PENDING, values)
        if limit is None
        else connection.execute(_FIRST_PENDING, {**values, 'most': limit})
    )
    return [
        Reset(state_id, scope_id, timeframe.from_naive(mark)) for state_id, scope_id, mark in found
    ]


def find_marks(connection: sa.Connection, state_ids: Collection[int]) -> dict[int, datetime]:
    """Return the marks that pending orders will set, by primary key of the scope."""
    return {
        row.state_id: timeframe.from_naive(row.mark)
        for chunk in scope_state.chunks(sorted(state_ids))
        for row in connection.execute(
            sa.select(_RESETS.c.state_id, _RESETS.c.mark).where(_RESETS.c.state_id.in_(chunk))
        )
    }


def finish(connection: sa.Connection, reset: Reset) -> bool:
    """Delete the order; return False if it no longer exists or was replaced."""
    ended = connection.execute(
        sa.delete(_RESETS).where(
            _RESETS.c.state_id == reset.state_id, _RESETS.c.mark == timeframe.to_naive(reset.mark)
        )
    )
    return ended.rowcount == 1
