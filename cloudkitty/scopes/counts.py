"""Aggregated progress of the scopes: table cloudkitty_storage_states."""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state

_SCOPES = tables.scopes


class Counts(NamedTuple):
    """Numbers of scopes: the active ones, and those of them that a failure holds back."""

    working: int
    held: int


def count(connection: sa.Connection, identity: scope_state.Identity) -> Counts:
    """Return how many scopes of *identity* there are."""
    return Counts(
        *connection.execute(
            sa.select(sa.func.count(), sa.func.count(_SCOPES.c.failure_count)).where(
                _working(identity)
            )
        ).one()
    )


def list_behind(
    connection: sa.Connection, identity: scope_state.Identity, *, mark_max: datetime, limit: int
) -> list[tuple[str, datetime]]:
    """Return (scope id, mark) of those that have a period to rate, lowest mark first.

    :param mark_max: scopes whose mark is at or before this instant have one.
    :param limit: at most so many.
    """
    mark = _SCOPES.c.last_processed_timestamp
    rows = connection.execute(
        sa.select(_SCOPES.c.identifier, mark)
        .where(_working(identity), mark <= timeframe.to_naive(mark_max))
        .order_by(mark)
        .limit(limit)
    )
    return [(scope_id, timeframe.from_naive(naive)) for scope_id, naive in rows]


def _working(identity: scope_state.Identity) -> sa.ColumnElement[bool]:
    final = _SCOPES.c.final_mark
    return sa.and_(
        *scope_state.identity_conditions(identity),
        _SCOPES.c.active,
        sa.or_(final.is_(None), _SCOPES.c.last_processed_timestamp < final),
    )
