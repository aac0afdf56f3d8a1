"""Numbers that tell whether usage comes, and is rated."""

from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.db import usage_tables
from cloudkitty.usage import census_rows

_PRODUCERS = usage_tables.producers
_LATE = usage_tables.late
_CENSUSES = usage_tables.censuses
# Sources that were not heard for longer are not waited for.
SILENCE_US = 3600 * facts.SECOND_US


class Health(NamedTuple):
    """The state of usage.

    :ivar behind_s: how far the source that is behind most is, of those that were heard in the last
        hour, seconds; 0: there is none.
    :ivar late_scopes: scopes with usage that came late and is not ordered to be rated again.
    :ivar held_censuses: lists of resources that wait for a person.
    """

    behind_s: float
    late_scopes: int
    held_censuses: int


def measure(connection: sa.Connection, now_us: int) -> Health:
    """Return the state at an instant, microseconds since the epoch."""
    until = connection.execute(
        sa.select(sa.func.min(_PRODUCERS.c.until)).where(
            _PRODUCERS.c.seen_at >= now_us - SILENCE_US
        )
    ).scalar()
    late = connection.execute(sa.select(sa.func.count(_LATE.c.scope_id.distinct()))).scalar_one()
    held = connection.execute(
        sa.select(sa.func.count()).where(_CENSUSES.c.state == census_rows.HELD)
    ).scalar_one()
    behind_us = 0 if until is None else max(now_us - until, 0)
    return Health(behind_us / facts.SECOND_US, late, held)
