"""When gauges and counters were measured, and of which resources."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.db import usage_tables

_SERIES = usage_tables.series
_SAMPLES = usage_tables.samples


def sampled_at(
    connection: sa.Connection,
    meter: str,
    source: str | None,
    span: tuple[int, int],
    *,
    step_us: int,
    scope_ids: Sequence[str] = (),
) -> list[int]:
    """Return when a gauge or counter was measured in [begin, end), to a step.

    :param source: None: any.
    :param scope_ids: empty: all.
    """
    at = (_SAMPLES.c.at - _SAMPLES.c.at % step_us).label('step')
    found = _polled(meter, source, span).with_only_columns(at).distinct()
    if scope_ids:
        found = found.where(_SERIES.c.scope_id.in_(scope_ids))
    return [int(instant) for instant in connection.execute(found).scalars()]


def sampled_resources(
    connection: sa.Connection, meter: str, source: str | None, span: tuple[int, int]
) -> set[tuple[str, str]]:
    """Return (scope id, resource id) of what sampled_at() tells of."""
    names = (_SERIES.c.scope_id, _SERIES.c.resource_id)
    found = _polled(meter, source, span).with_only_columns(*names).distinct()
    return {(scope_id, resource_id) for scope_id, resource_id in connection.execute(found)}


def _polled(meter: str, source: str | None, span: tuple[int, int]) -> sa.Select[Any]:
    # What is used up comes irregularly, and states are told when they change.
    conditions = [
        _SERIES.c.meter == meter,
        _SERIES.c.kind.in_((facts.GAUGE, facts.CUMULATIVE)),
        _SAMPLES.c.at >= span[0],
        _SAMPLES.c.at < span[1],
        _SAMPLES.c.voided_at.is_(None),
    ]
    if source is not None:
        conditions.append(_SERIES.c.source == source)
    return (
        sa.select(_SAMPLES.c.at)
        .join_from(_SERIES, _SAMPLES, _SAMPLES.c.series_id == _SERIES.c.id)
        .where(*conditions)
    )
