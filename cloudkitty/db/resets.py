"""Orders to set scopes back: table scope_resets. One for each scope; a new one replaces it."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, scopes

_RESETS = models.resets
_SCOPES = models.scopes
_PENDING = (sa.select(_RESETS.c.state_id, _SCOPES.c.identifier, _RESETS.c.mark)
            .join_from(_RESETS, _SCOPES, _SCOPES.c.id == _RESETS.c.state_id)
            .where(*scopes.asks()).order_by(_RESETS.c.ordered_at, _RESETS.c.state_id))
_FIRST_PENDING = _PENDING.limit(sa.bindparam('most', type_=sa.Integer))


class Reset(NamedTuple):
    """An order.

    :ivar state_id: primary key of the scope's row.
    :ivar mark: begin of the last period that counts as rated, aware UTC.
    """

    state_id: int
    scope_id: str
    mark: datetime


def order(connection: sa.Connection, state_ids: Collection[int], mark: datetime, *,
          now: datetime) -> None:
    """Order to set scopes back to *mark*."""
    # Nobody carries out or replaces an order of these scopes meanwhile.
    scopes.lock_marks(connection, state_ids)
    for chunk in scopes.chunks(sorted(state_ids)):
        connection.execute(sa.delete(_RESETS).where(_RESETS.c.state_id.in_(chunk)))
        connection.execute(sa.insert(_RESETS), [
            {'state_id': state_id, 'mark': timeframe.to_naive(mark),
             'ordered_at': timeframe.to_naive(now)} for state_id in chunk])


def list_pending(connection: sa.Connection, identity: scopes.Identity, *,
                 limit: int | None = None) -> list[Reset]:
    """Return the orders for scopes of *identity*, at most *limit* of them, the oldest first."""
    values = identity._asdict()
    found = (connection.execute(_PENDING, values) if limit is None
             else connection.execute(_FIRST_PENDING, {**values, 'most': limit}))
    return [Reset(state_id, scope_id, timeframe.from_naive(mark))
            for state_id, scope_id, mark in found]


def finish(connection: sa.Connection, reset: Reset) -> bool:
    """Take the order away; False when it is not there any more or says something else now."""
    ended = connection.execute(sa.delete(_RESETS).where(
        _RESETS.c.state_id == reset.state_id,
        _RESETS.c.mark == timeframe.to_naive(reset.mark)))
    return ended.rowcount == 1
