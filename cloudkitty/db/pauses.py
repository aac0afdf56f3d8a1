"""Times in which scopes were switched off and that are not rated: table scope_pauses."""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, scopes, upsert
from cloudkitty.timeframe import Period

_PAUSES = models.pauses
_OF_SCOPES = sa.select(_PAUSES).where(
    _PAUSES.c.state_id.in_(sa.bindparam('keys', expanding=True))).order_by(_PAUSES.c.begin)


def add(connection: sa.Connection, state_id: int, begin: datetime, end: datetime) -> None:
    """Keep that the periods of a scope that begin in [begin, end) are not to be rated."""
    upsert.insert_missing(connection, _PAUSES, [
        {'state_id': state_id, 'begin': timeframe.to_naive(begin),
         'end': timeframe.to_naive(end)}])


def list_pauses(connection: sa.Connection, state_ids: Collection[int]) -> dict[int, list[Period]]:
    """Return the pauses of those of the scopes that had any, in order."""
    found: dict[int, list[Period]] = {}
    for chunk in scopes.chunks(sorted(state_ids)):
        for row in connection.execute(_OF_SCOPES, {'keys': chunk}):
            found.setdefault(row.state_id, []).append(
                Period(timeframe.from_naive(row.begin), timeframe.from_naive(row.end)))
    return found
