"""Times in which scopes were inactive and are not rated: table scope_pauses."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables, upsert
from cloudkitty.scopes import state as scope_state

_TABLE = tables.inactive_times
_OF_SCOPES = (
    sa.select(_TABLE)
    .where(_TABLE.c.state_id.in_(sa.bindparam('keys', expanding=True)))
    .order_by(_TABLE.c.begin)
)


def add(connection: sa.Connection, state_id: int, begin: datetime, end: datetime) -> None:
    """Record that the periods of a scope that begin in [begin, end) are not to be rated."""
    upsert.insert_missing(
        connection,
        _TABLE,
        [
            {
                'state_id': state_id,
                'begin': timeframe.to_naive(begin),
                'end': timeframe.to_naive(end),
            }
        ],
    )


def list_inactive_times(
    connection: sa.Connection, state_ids: Collection[int]
) -> dict[int, list[Period]]:
    """Return the inactive times of those of the scopes that have any, in order."""
    found: dict[int, list[Period]] = {}
    for chunk in scope_state.chunks(sorted(state_ids)):
        for row in connection.execute(_OF_SCOPES, {'keys': chunk}):
            found.setdefault(row.state_id, []).append(
                Period(timeframe.from_naive(row.begin), timeframe.from_naive(row.end))
            )
    return found
