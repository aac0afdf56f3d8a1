"""Quantities of periods from stored lives and samples."""

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.dataframe import FrozenDict
from cloudkitty.core.metering import facts, quantities
from cloudkitty.core.metering.lives import Life
from cloudkitty.core.metering.quantities import Grid, Piece, Sample
from cloudkitty.db import usage_tables
from cloudkitty.usage import packs
from cloudkitty.usage.series import chunks, read_attributes

_SERIES = usage_tables.series
_LIVES = usage_tables.lives
_SAMPLES = usage_tables.samples
_PACKS = usage_tables.packs
HOLD_US = 1200 * facts.SECOND_US
HOLD_MAX_S = 86400
_NOTHING: FrozenDict[str, str] = FrozenDict()


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


class _Series(NamedTuple):
    id: int
    source: str
    scope_id: str
    resource_id: str
    kind: str


class Usage(NamedTuple):
    """The values of a resource in a period; what they mean depends on the method.

    :ivar offset: of the period in the grid.
    """

    scope_id: str
    resource_id: str
    offset: int
    method: str
    values: Sequence[tuple[FrozenDict[str, str], Decimal]]


class Reader:
    """Reads usage; remembers attributes, which never change.

    Connections must hold a snapshot, see db.hold_snapshot(): what is packed meanwhile would be
    missed or read twice.

    :param kept_max: how many are remembered.
    """

    def __init__(self, kept_max: int = 20_000) -> None:
        self._known: dict[int, FrozenDict[str, str]] = {}
        self._kept_max = kept_max

    def read(
        self, connection: sa.Connection, query: Query, grid: Grid, scope_ids: Collection[str]
    ) -> Iterator[Usage]:
        """Yield the usage of each resource in each period in which it has any.

        Of several sources or kinds of one resource the first that has data in a period counts:
        those of *sources* in their order, then others, then those of the project itself.
        """
        for chunk in chunks(sorted(scope_ids)):
            yield from self._read(connection, query, grid, chunk)

    def _read(
        self, connection: sa.Connection, query: Query, grid: Grid, scope_ids: Sequence[str]
    ) -> Iterator[Usage]:
        pieces = dict(_pieces(connection, query, grid, scope_ids))
        self._learn(connection, pieces.values())
        by_resource: dict[tuple[str, str], list[_Series]] = defaultdict(list)
        for one in pieces:
            by_resource[one.scope_id, one.resource_id].append(one)
        for (scope_id, resource_id), candidates in by_resource.items():
            candidates.sort(key=lambda one: _rank(one, query.sources))
            taken: set[int] = set()
            for one in candidates:
                by_offset: dict[int, list[tuple[FrozenDict[str, str], Decimal]]] = {}
                for offset, attributes_id, value in pieces[one]:
                    if offset not in taken:
                        by_offset.setdefault(offset, []).append(
                            (self._attributes(attributes_id), value)
                        )
                taken.update(by_offset)
                method = query.method_of(one.kind)
                for offset, values in by_offset.items():
                    yield Usage(scope_id, resource_id, offset, method, values)

    def _learn(self, connection: sa.Connection, found: Collection[Sequence[Piece]]) -> None:
        wanted = {
            piece.attributes
            for pieces in found
            for piece in pieces
            if isinstance(piece.attributes, int)
        }
        if len(self._known) > self._kept_max:
            self._known.clear()
        missing = wanted - self._known.keys()
        if missing:
            self._known.update(read_attributes(connection, missing))

    def _attributes(self, attributes_id: Hashable) -> FrozenDict[str, str]:
        return self._known[attributes_id] if isinstance(attributes_id, int) else _NOTHING


def group(
    found: Iterator[Usage],
    query: Query,
    grid: Grid,
    project: Callable[[str, str, FrozenDict[str, str]], Hashable],
) -> dict[Hashable, dict[int, Decimal]]:
    """Return quantities by what *project* makes of scope, resource and attributes, and by period.

    Values that are alike in that are aggregated together.
    """
    values: dict[Hashable, dict[int, list[Decimal]]] = defaultdict(lambda: defaultdict(list))
    methods: dict[tuple[Hashable, int], str] = {}
    for one in found:
        for attributes, value in one.values:
            key = project(one.scope_id, one.resource_id, attributes)
            values[key][one.offset].append(value)
            methods[key, one.offset] = one.method
    unit_us = query.unit_us(grid)
    return {
        key: {
            offset: quantities.aggregate(methods[key, offset], numbers, unit_us)
            for offset, numbers in sorted(by_offset.items())
        }
        for key, by_offset in values.items()
    }


def _rank(one: _Series, sources: Sequence[str]) -> tuple[int, int, str, int]:
    """Return the rank of a series among those of the same resource, the lowest first."""
    preferred = sources.index(one.source) if one.source in sources else len(sources)
    is_own = facts.is_of_project(one.source, one.scope_id)
    return int(is_own), preferred, one.source, facts.KINDS.index(one.kind)


def _pieces(
    connection: sa.Connection, query: Query, grid: Grid, scope_ids: Sequence[str]
) -> Iterator[tuple[_Series, list[Piece]]]:
    if query.kind in (None, facts.STATE):
        method = query.method_of(facts.STATE)
        cut = quantities.of_lives if method == quantities.DURATION else quantities.levels_of_lives
        for one, lives in _lives(connection, query, grid, scope_ids).items():
            yield one, list(cut(lives, grid))
    if query.kind != facts.STATE:
        samples = _samples(connection, query, grid, scope_ids)
        births = _births(connection, query, samples, grid)
        for one, found in samples.items():
            pieces = list(_of_samples(one, found, query, grid, births))
            if pieces:
                yield one, pieces


def _of_samples(
    one: _Series,
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


def _of_meter(query: Query, scope_ids: Sequence[str]) -> list[sa.ColumnElement[bool]]:
    conditions = [_SERIES.c.meter == query.meter, _SERIES.c.scope_id.in_(scope_ids)]
    if query.source is not None:
        conditions.append(_SERIES.c.source == query.source)
    if query.kind is not None:
        conditions.append(_SERIES.c.kind == query.kind)
    return conditions


_OF_SERIES = [_SERIES.c[name] for name in _Series._fields]


def _lives(
    connection: sa.Connection, query: Query, grid: Grid, scope_ids: Sequence[str]
) -> dict[_Series, list[Life]]:
    found: dict[_Series, list[Life]] = defaultdict(list)
    names = ('begin', 'end', 'quantity', 'attributes_id', 'evidence')
    rows = connection.execute(
        sa.select(*_OF_SERIES, *[_LIVES.c[name] for name in names])
        .join_from(_SERIES, _LIVES, _LIVES.c.series_id == _SERIES.c.id)
        .where(
            *_of_meter(query, scope_ids),
            _LIVES.c.begin < grid.end,
            sa.or_(_LIVES.c.end.is_(None), _LIVES.c.end > grid.begin),
        )
        .order_by(_SERIES.c.id, _LIVES.c.begin)
    )
    for row in rows:
        found[_Series(*row[:5])].append(Life(*row[5:]))
    return found


def _samples(
    connection: sa.Connection, query: Query, grid: Grid, scope_ids: Sequence[str]
) -> dict[_Series, list[Sample]]:
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
            *_of_meter(query, scope_ids),
            _SERIES.c.kind != facts.STATE,
            _SAMPLES.c.voided_at.is_(None),
        )
    )
    inside = sa.and_(_SAMPLES.c.at >= grid.begin, _SAMPLES.c.at < grid.end)
    for condition in (_is_last_before(query, grid.begin), inside):
        rows = connection.execute(
            statement.where(condition).order_by(_SAMPLES.c.series_id, _SAMPLES.c.at, _SAMPLES.c.tag)
        )
        for series_id, at, quantity, attributes_id in rows:
            found[series_id].append(Sample(at, quantity, attributes_id))
    by_series = {
        _Series(*row): sorted(found[row.id], key=lambda sample: sample.at)
        for chunk in chunks(found)
        for row in connection.execute(sa.select(*_OF_SERIES).where(_SERIES.c.id.in_(chunk)))
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
    inside, before = _of_meter(query, scope_ids), _of_meter(query, scope_ids)
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
    found: Mapping[_Series, list[Sample]],
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
    samples: Mapping[_Series, Sequence[Sample]],
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
        for scope_id, resource_id, begin in connection.execute(
            sa.select(_SERIES.c.scope_id, _SERIES.c.resource_id, _LIVES.c.begin)
            .join_from(_SERIES, _LIVES, _LIVES.c.series_id == _SERIES.c.id)
            .where(
                sa.tuple_(_SERIES.c.scope_id, _SERIES.c.resource_id).in_(chunk),
                _LIVES.c.begin >= grid.begin - query.hold_us,
                _LIVES.c.begin < grid.end,
            )
        ):
            births[scope_id, resource_id].append(begin)
    return births


def removed_before(
    connection: sa.Connection, query: Query, scope_ids: Collection[str], begin: int
) -> int | None:
    """Return from when on the samples of a meter are kept, if that is later than *begin*.

    None: none are missing. What exists has lives, which are kept for ever.
    """
    found = [
        connection.execute(
            sa.select(sa.func.max(_SERIES.c.kept_from)).where(
                *_of_meter(query, chunk),
                _SERIES.c.kind != facts.STATE,
                _SERIES.c.kept_from > begin,
            )
        ).scalar()
        for chunk in chunks(sorted(scope_ids))
    ]
    return max((one for one in found if one is not None), default=None)


def scopes_since(connection: sa.Connection, since_us: int) -> list[str]:
    """Return the scopes that have had usage since an instant."""
    lives = sa.exists().where(
        _LIVES.c.series_id == _SERIES.c.id,
        sa.or_(_LIVES.c.end.is_(None), _LIVES.c.end >= since_us),
    )
    samples = sa.exists().where(
        _SAMPLES.c.series_id == _SERIES.c.id,
        _SAMPLES.c.at >= since_us,
        _SAMPLES.c.voided_at.is_(None),
    )
    packed = sa.exists().where(_PACKS.c.series_id == _SERIES.c.id, _PACKS.c.newest >= since_us)
    return list(
        connection.execute(
            sa.select(_SERIES.c.scope_id)
            .where(sa.or_(lives, samples, packed))
            .distinct()
            .order_by(_SERIES.c.scope_id)
        ).scalars()
    )
