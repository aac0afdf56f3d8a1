"""Up to when sources are complete: table usage_producers."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.db import upsert, usage_tables

_PRODUCERS = usage_tables.producers
# The meter of a source that carries the usage of others: a queue of the message bus.
ANY = ''


class Producer(NamedTuple):
    """A source, and up to when it is complete.

    :ivar meter: ANY, or the meter that it measures.
    :ivar until, seen_at: microseconds since the epoch.
    """

    source: str
    meter: str
    until: int
    seen_at: int


def record(connection: sa.Connection, told: Mapping[tuple[str, str], int], *, now_us: int) -> None:
    """Record up to when sources are complete; an earlier time never replaces a later one.

    :param told: by source and meter, microseconds since the epoch.
    """
    for (source, meter), until in sorted(told.items()):
        known = connection.execute(
            sa.select(_PRODUCERS.c.until)
            .where(_PRODUCERS.c.source == source, _PRODUCERS.c.meter == meter)
            .with_for_update()
        ).scalar()
        values = {'until': max(until, known or 0), 'seen_at': now_us}
        row = {'source': source, 'meter': meter, **values}
        upsert.put(connection, _PRODUCERS, row, values)


def complete_until(
    connection: sa.Connection, meters: Collection[str], since_us: int
) -> dict[str, int]:
    """Return up to when all sources of each meter are complete, for sources that report it.

    :param since_us: sources that have sent nothing since are left out.
    """
    rows: Any = connection.execute(
        sa.select(_PRODUCERS.c.meter, sa.func.min(_PRODUCERS.c.until))
        .where(_PRODUCERS.c.meter.in_([*meters, ANY]), _PRODUCERS.c.seen_at >= since_us)
        .group_by(_PRODUCERS.c.meter)
    )
    found = {meter: int(until) for meter, until in rows}
    of_any = found.pop(ANY, None)
    if of_any is not None:
        found = {meter: min(found.get(meter, of_any), of_any) for meter in meters}
    return found


def page(connection: sa.Connection, *, offset: int, limit: int) -> tuple[int, list[Producer]]:
    """Return how many producers there are, and some of them, by source and meter."""
    total = connection.execute(sa.select(sa.func.count()).select_from(_PRODUCERS)).scalar_one()
    rows = connection.execute(
        sa.select(*[_PRODUCERS.c[name] for name in Producer._fields])
        .order_by(_PRODUCERS.c.source, _PRODUCERS.c.meter)
        .offset(offset)
        .limit(limit)
    )
    return total, [Producer(*row) for row in rows]
