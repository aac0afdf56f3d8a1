"""Pieces of series: the stored lives and samples that count in the periods of a grid."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.core.metering import facts, quantities
from cloudkitty.core.metering.quantities import Grid, Piece, Sample, Span
from cloudkitty.db import usage_tables
from cloudkitty.usage import packs
from cloudkitty.usage.series import chunks

_SERIES = usage_tables.series
_LIVES = usage_tables.lives
_SAMPLES = usage_tables.samples
HOLD_US = 1200 * facts.SECOND_US
# Rows that are fetched at once.
PART = 10_000


class Query(NamedTuple):
    """A query of the usage of a meter.

    :ivar kind: only series of this kind; None: any, see Answer.
    :ivar method: one of quantities.METHODS; None: the one of the kind.
    :ivar per: unit of time of durations: `period`, or a key of quantities.UNITS_US.
    :ivar hold_us: how long a gauge holds at most.
    :ivar first: what the first value of a counter counts, see quantities.FIRSTS.
    :ivar source: only this source; None: any.
    :ivar sources: those that are preferred, the first most.
    """

    meter: str
    kind: str | None = None
    method: str | None = None
    per: str = 'period'
    hold_us: int = HOLD_US
    first: str = 'life'
    source: str | None = None
    sources: tuple[str, ...] = ()

    def method_of(self, kind: str) -> str:
        """Return the method for a series of *kind*, which may not allow the one that is asked."""
        allowed = quantities.METHODS_OF[kind]
        return self.method if self.method in allowed else allowed[0]

    def unit_us(self, grid: Grid) -> int:
        """Return the time that a unit of a duration stands for."""
        return quantities.UNITS_US.get(self.per, grid.length)


class Series(NamedTuple):
    """A series of the table usage_series."""

    id: int
    source: str
    scope_id: str
    resource_id: str
    kind: str


def read(
    connection: sa.Connection, query: Query, grid: Grid, scope_ids: Sequence[str]
) -> Iterator[tuple[Series, list[Piece]]]:
    """Yield each series that has usage in the periods, and its pieces, oldest first."""
    if query.kind in (None, facts.STATE):
        method = query.method_of(facts.STATE)
        cut = quantities.of_lives if method == quantities.DURATION else quantities.levels_of_lives
        for one, spans in _lives(connection, query, grid, scope_ids):
            yield one, list(cut(spans, grid))
    if query.kind != facts.STATE:
        samples = _samples(connection, query, grid, scope_ids)
        births = _births(connection, query, samples, grid)
        for one, found in samples.items():
            pieces = list(_of_samples(one, found, query, grid, births))
            if pieces:
                yield one, pieces


def _of_samples(
    one: Series,
    found: Sequence[Sample],
    query: Query,
    grid: Grid,
    births: Mapping[tuple[str, str], Sequence[int]],
) -> Iterator[Piece]:
    method = query.method_of(one.kind)
    if one.kind == facts.GAUGE and method == quantities.DURATION:
        return quantities.of_gauge(found, grid, query.hold_us)
    if one.kind == facts.CUMULATIVE and method == 'sum':
        is_young = any(
            0 <= found[0].at - begin <= query.hold_us
            for begin in births.get((one.scope_id, one.resource_id), ())
        )
        return quantities.of_counter(found, grid, first=query.first, is_young=is_young)
    return quantities.of_values(found, grid)


def of_meter(query: Query, scope_ids: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    conditions = [_SERIES.c.meter == query.meter, _SERIES.c.scope_id.in_(scope_ids)]
    if query.source is not None:
        conditions.append(_SERIES.c.source == query.source)
    if query.kind is not None:
        conditions.append(_SERIES.c.kind == query.kind)
    return conditions


def _lives(
    connection: sa.Connection, query: Query, grid: Grid, scope_ids: Sequence[str]
) -> Iterator[tuple[Series, list[Span]]]:
    statement = (
        sa.select(
            *[_SERIES.c[name] for name in ('id', 'source', 'scope_id', 'resource_id')],
            *[_LIVES.c[name] for name in ('begin', 'end', 'quantity', 'attributes_id')],
        )
        .join_from(_SERIES, _LIVES, _LIVES.c.series_id == _SERIES.c.id)
        .where(
            *of_meter(query, scope_ids),
            _LIVES.c.begin < grid.end,
            sa.or_(_LIVES.c.end.is_(None), _LIVES.c.end > grid.begin),
        )
        .order_by(_SERIES.c.id, _LIVES.c.begin)
    )
    for _, rows in itertools.groupby(_rows(connection, statement), itemgetter(0)):
        of_one = list(rows)
        yield Series._make((*of_one[0][:4], facts.STATE)), [Span(*row[4:]) for row in of_one]


def _rows(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[Sequence[Any]]:
    for part in connection.execute(statement).partitions(PART):
        yield from part


def _samples(
    connection: sa.Connection, query: Query, grid: Grid, scope_ids: Sequence[str]
) -> dict[Series, list[Sample]]:
    """Return the samples in the periods, oldest first, each list with the last one before."""
    found: dict[int, list[Sample]] = defaultdict(list)
    young = facts.to_us(datetime.now(UTC)) - packs.YOUNGEST_US
    if grid.begin - query.hold_us < young:
        _add_packed(connection, query, grid, scope_ids, found)
    # The columns of a series would be read again with each of its samples.
    statement = (
        sa.select(
            _SAMPLES.c.series_id, _SAMPLES.c.at, _SAMPLES.c.quantity, _SAMPLES.c.attributes_id
        )
        .join_from(_SERIES, _SAMPLES, _SAMPLES.c.series_id == _SERIES.c.id)
        .where(
            *of_meter(query, scope_ids),
            _SERIES.c.kind != facts.STATE,
            _SAMPLES.c.voided_at.is_(None),
        )
    )
    inside = sa.and_(_SAMPLES.c.at >= grid.begin, _SAMPLES.c.at < grid.end)
    for condition in (_is_last_before(query, grid.begin), inside):
        ordered = statement.where(condition).order_by(
            _SAMPLES.c.series_id, _SAMPLES.c.at, _SAMPLES.c.tag
        )
        for series_id, at, quantity, attributes_id in _rows(connection, ordered):
            found[series_id].append(Sample(at, quantity, attributes_id))
    by_series = {
        Series(*row): sorted(found[row.id], key=itemgetter(0))
        for chunk in chunks(sorted(found))
        for row in connection.execute(
            sa.select(*[_SERIES.c[name] for name in Series._fields])
            .where(_SERIES.c.id.in_(chunk))
            .order_by(_SERIES.c.id)
        )
    }
    _add_packed_baselines(connection, by_series, grid, young)
    return by_series


def _add_packed(
    connection: sa.Connection,
    query: Query,
    grid: Grid,
    scope_ids: Sequence[str],
    found: dict[int, list[Sample]],
) -> None:
    """Add packed samples in the periods, and of gauges what may hold from before."""
    inside, before = of_meter(query, scope_ids), of_meter(query, scope_ids)
    before.append(_SERIES.c.kind == facts.GAUGE)
    begin = grid.begin - query.hold_us
    for one in (
        *packs.read(connection, before, begin=begin, end=grid.begin),
        *packs.read(connection, inside, begin=grid.begin, end=grid.end),
    ):
        if one.voided_at is None:
            found[one.key.series_id].append(_sample_of(one))


def _add_packed_baselines(
    connection: sa.Connection,
    found: Mapping[Series, list[Sample]],
    grid: Grid,
    young: int,
) -> None:
    """Put before the samples of counters the packed one that they go on from, if it is newer."""
    wanted = {
        one.id: samples
        for one, samples in found.items()
        if one.kind == facts.CUMULATIVE and samples[-1].at >= grid.begin
    }
    for series_id, samples in list(wanted.items()):
        if samples[0].at < grid.begin and samples[0].at >= young:
            del wanted[series_id]
    for chunk in chunks(wanted):
        last = packs.last_before(connection, [_SERIES.c.id.in_(chunk)], grid.begin)
        for series_id, rows in last.items():
            samples, baseline = wanted[series_id], _sample_of(rows[-1])
            if samples[0].at >= grid.begin:
                samples.insert(0, baseline)
            elif baseline.at > samples[0].at:
                samples[0] = baseline


def _sample_of(one: packs.Packed) -> Sample:
    assert one.content.quantity is not None
    return Sample(one.key.at, one.content.quantity, one.content.attributes_id)


def _is_last_before(query: Query, begin: int) -> sa.ColumnElement[bool]:
    """Return whether a sample is the last one before *begin* that still matters then."""
    earlier = _SAMPLES.alias()
    newest = (
        sa.select(sa.func.max(earlier.c.at))
        .where(
            earlier.c.series_id == _SERIES.c.id,
            earlier.c.at < begin,
            earlier.c.voided_at.is_(None),
        )
        .correlate(_SERIES)
        .scalar_subquery()
    )
    return sa.and_(
        _SAMPLES.c.at == newest,
        sa.or_(
            # A counter goes on where it was, however long ago that is.
            _SERIES.c.kind == facts.CUMULATIVE,
            sa.and_(_SERIES.c.kind == facts.GAUGE, _SAMPLES.c.at >= begin - query.hold_us),
        ),
    )


def _births(
    connection: sa.Connection,
    query: Query,
    samples: Mapping[Series, Sequence[Sample]],
    grid: Grid,
) -> dict[tuple[str, str], list[int]]:
    """Return when lives of resources began whose counters have no value before the periods."""
    wanted = {
        (one.scope_id, one.resource_id)
        for one, found in samples.items()
        if one.kind == facts.CUMULATIVE and found[0].at >= grid.begin and query.first == 'life'
    }
    births: dict[tuple[str, str], list[int]] = defaultdict(list)
    for chunk in chunks(sorted(wanted)):
        scope_ids, resource_ids = map(set, zip(*chunk, strict=True))
        # SQLite would scan the table for a list of pairs.
        for scope_id, resource_id, begin in connection.execute(
            sa.select(_SERIES.c.scope_id, _SERIES.c.resource_id, _LIVES.c.begin)
            .join_from(_SERIES, _LIVES, _LIVES.c.series_id == _SERIES.c.id)
            .where(
                _SERIES.c.scope_id.in_(scope_ids),
                _SERIES.c.resource_id.in_(resource_ids),
                _LIVES.c.begin >= grid.begin - query.hold_us,
                _LIVES.c.begin < grid.end,
            )
        ):
            if (scope_id, resource_id) in wanted:
                births[scope_id, resource_id].append(begin)
    return births
