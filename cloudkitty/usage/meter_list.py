"""Which meters there are, and which scopes have them."""

from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.db import usage_tables
from cloudkitty.usage.listing import Selection

_SERIES = usage_tables.series
_SAMPLES = usage_tables.samples


class Meter(NamedTuple):
    """A meter as it is listed.

    :ivar newest: time of the newest fact, microseconds since the epoch.
    """

    meter: str
    kind: str
    unit: str
    resources: int
    sources: int
    newest: int | None


def meters(
    connection: sa.Connection, selection: Selection, *, offset: int, limit: int
) -> tuple[int, list[Meter]]:
    """Return how many meters there are, and a page of them, by name and kind."""
    newest = (
        sa.select(sa.func.max(_SAMPLES.c.at))
        .where(_SAMPLES.c.series_id == _SERIES.c.id, _SAMPLES.c.voided_at.is_(None))
        .correlate(_SERIES)
        .scalar_subquery()
    )
    packed = usage_tables.packs
    newest_packed = (
        sa.select(sa.func.max(packed.c.newest))
        .where(packed.c.series_id == _SERIES.c.id)
        .correlate(_SERIES)
        .scalar_subquery()
    )
    each = (
        sa.select(
            _SERIES.c.meter,
            _SERIES.c.kind,
            _SERIES.c.unit,
            _SERIES.c.resource_id,
            _SERIES.c.source,
            newest.label('newest'),
            newest_packed.label('packed'),
        )
        .where(*selection.of_series())
        .subquery()
    )
    grouped = sa.select(
        each.c.meter,
        each.c.kind,
        sa.func.max(each.c.unit),
        sa.func.count(each.c.resource_id.distinct()),
        sa.func.count(each.c.source.distinct()),
        sa.func.max(each.c.newest),
        sa.func.max(each.c.packed),
    ).group_by(each.c.meter, each.c.kind)
    names = sa.select(_SERIES.c.meter, _SERIES.c.kind).where(*selection.of_series()).distinct()
    total = connection.execute(
        sa.select(sa.func.count()).select_from(names.subquery())
    ).scalar_one()
    page = grouped.order_by(each.c.meter, each.c.kind).offset(offset).limit(limit)
    return total, [_meter(*row) for row in connection.execute(page)]


def _meter(
    meter: str, kind: str, unit: str, resources: int, sources: int, *newest: int | None
) -> Meter:
    known = [instant for instant in newest if instant is not None]
    return Meter(meter, kind, unit, resources, sources, max(known, default=None))


def scopes(connection: sa.Connection) -> list[str]:
    """Return all scopes that ever had usage."""
    names = sa.select(_SERIES.c.scope_id).distinct().order_by(_SERIES.c.scope_id)
    return list(connection.execute(names).scalars())


def scopes_of_meter(connection: sa.Connection, meter: str, limit: int) -> list[str]:
    """Return at most *limit* scopes that have a meter."""
    return list(
        connection.execute(
            sa.select(_SERIES.c.scope_id)
            .where(_SERIES.c.meter == meter)
            .distinct()
            .order_by(_SERIES.c.scope_id)
            .limit(limit)
        ).scalars()
    )
