"""When gauges and counters were measured, and of which resources."""

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.db import usage_tables
from cloudkitty.usage import packs
from cloudkitty.usage.series import chunks

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
    series = _polled(meter, source)
    if scope_ids:
        series.append(_SERIES.c.scope_id.in_(scope_ids))
    found = _rows(series, span).with_only_columns(at).distinct()
    instants = {int(instant) for instant in connection.execute(found).scalars()}
    for one in _packed(connection, series, span):
        instants.add(one.key.at - one.key.at % step_us)
    return list(instants)


def sampled_resources(
    connection: sa.Connection, meter: str, source: str | None, span: tuple[int, int]
) -> set[tuple[str, str]]:
    """Return (scope id, resource id) of the samples that sampled_at() finds."""
    names = (_SERIES.c.scope_id, _SERIES.c.resource_id)
    series = _polled(meter, source)
    rows = _rows(series, span).with_only_columns(*names).distinct()
    found = set(map(tuple, connection.execute(rows)))
    ids = {one.key.series_id for one in _packed(connection, series, span)}
    for chunk in chunks(ids):
        of_packs = sa.select(*names).where(_SERIES.c.id.in_(chunk))
        found.update(map(tuple, connection.execute(of_packs)))
    return {(scope_id, resource_id) for scope_id, resource_id in found}


def _polled(meter: str, source: str | None) -> list[sa.ColumnElement[bool]]:
    # What is used up comes irregularly, and states are told when they change.
    conditions = [_SERIES.c.meter == meter, _SERIES.c.kind.in_((facts.GAUGE, facts.CUMULATIVE))]
    if source is not None:
        conditions.append(_SERIES.c.source == source)
    return conditions


def _rows(series: list[sa.ColumnElement[bool]], span: tuple[int, int]) -> sa.Select[Any]:
    return (
        sa.select(_SAMPLES.c.at)
        .join_from(_SERIES, _SAMPLES, _SAMPLES.c.series_id == _SERIES.c.id)
        .where(
            *series,
            _SAMPLES.c.at >= span[0],
            _SAMPLES.c.at < span[1],
            _SAMPLES.c.voided_at.is_(None),
        )
    )


def _packed(
    connection: sa.Connection, series: list[sa.ColumnElement[bool]], span: tuple[int, int]
) -> Iterator[packs.Packed]:
    for one in packs.read(connection, series, begin=span[0], end=span[1]):
        if one.voided_at is None:
            yield one
