"""Quantities of periods from stored lives and samples."""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.dataframe import FrozenDict
from cloudkitty.core.metering import facts, quantities
from cloudkitty.core.metering.quantities import Grid, Piece
from cloudkitty.db import usage_tables
from cloudkitty.usage import attribute_rows, pieces
from cloudkitty.usage.pieces import Query, Series, of_meter
from cloudkitty.usage.series import chunks

_SERIES = usage_tables.series
_LIVES = usage_tables.lives
_SAMPLES = usage_tables.samples
_PACKS = usage_tables.packs
HOLD_MAX_S = 86400
# Scopes whose usage is in memory at once.
SCOPES = 200


class Grouping(NamedTuple):
    """What usage is divided by, beside its scope.

    :ivar names: of attributes; a missing one is ''.
    :ivar by_resource: whether each resource is on its own.
    """

    names: tuple[str, ...] = ()
    by_resource: bool = True


class Amounts(NamedTuple):
    """The usage of a group.

    :ivar resource_id: '' if resources are added up.
    :ivar values: those of the grouping's names.
    :ivar offsets: of the periods in which there is any, ascending.
    :ivar quantities: one for each of *offsets*.
    """

    scope_id: str
    resource_id: str
    values: tuple[str, ...]
    offsets: Sequence[int]
    quantities: Sequence[Decimal]


# Method and values of a group by period.
_ByOffset = dict[int, tuple[str, list[Decimal]]]
_Candidates = list[tuple[Series, list[Piece]]]
_Values = dict[Hashable | None, tuple[str, ...]]


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
        self,
        connection: sa.Connection,
        query: Query,
        grid: Grid,
        grouping: Grouping,
        scope_ids: Collection[str],
    ) -> Iterator[Amounts]:
        """Yield the usage of each group that has any; values of a group are aggregated together.

        Of several sources or kinds of one resource the first that has data in a period counts:
        those of *sources* in their order, then others, then those of the project itself.
        """
        ordered = sorted(scope_ids)
        values: _Values = {None: ('',) * len(grouping.names)}
        for start in range(0, len(ordered), SCOPES):
            found: dict[tuple[str, str], _Candidates] = {}
            for one in pieces.read(connection, query, grid, ordered[start : start + SCOPES]):
                found.setdefault((one[0].scope_id, one[0].resource_id), []).append(one)
            self._add_values(connection, values, grouping.names, found.values())
            yield from _grouped(found, query, grid, grouping.by_resource, values)

    def _add_values(
        self,
        connection: sa.Connection,
        values: _Values,
        names: Sequence[str],
        found: Collection[_Candidates],
    ) -> None:
        """Add the values of all attributes in *found*."""
        wanted = {
            piece.attributes
            for candidates in found
            for _, cut in candidates
            for piece in cut
            if isinstance(piece.attributes, int)
        }
        wanted -= values.keys()
        if len(self._known) > self._kept_max:
            self._known.clear()
        missing = wanted - self._known.keys()
        if missing:
            self._known.update(attribute_rows.read(connection, missing))
        for one in wanted:
            attributes = self._known[one]
            values[one] = tuple([attributes.get(name, '') for name in names])


def _grouped(
    found: Mapping[tuple[str, str], _Candidates],
    query: Query,
    grid: Grid,
    by_resource: bool,
    values: _Values,
) -> Iterator[Amounts]:
    unit_us = query.unit_us(grid)
    groups: dict[tuple[str, str, tuple[str, ...]], _ByOffset] = {}
    # Later code computes what depends on them once for all that share the same object.
    ranges: dict[tuple[int, int], range] = {}
    for (scope_id, resource_id), candidates in found.items():
        if not by_resource:
            _add(groups, (scope_id, ''), candidates, query, values)
        elif len(candidates) == 1 and len(candidates[0][1]) == 1:
            # Most resources: nothing to choose and nothing to add.
            series, ((begin, end, attributes, value),) = candidates[0]
            quantity = quantities.aggregate(query.method_of(series.kind), (value,), unit_us)
            offsets = ranges.setdefault((begin, end), range(begin, end))
            amounts = (quantity,) * len(offsets)
            yield Amounts(scope_id, resource_id, values[attributes], offsets, amounts)
        else:
            of_one: dict[tuple[str, str, tuple[str, ...]], _ByOffset] = {}
            _add(of_one, (scope_id, resource_id), candidates, query, values)
            yield from _amounts(of_one, unit_us)
    yield from _amounts(groups, unit_us)


def _add(
    groups: dict[tuple[str, str, tuple[str, ...]], _ByOffset],
    about: tuple[str, str],
    candidates: _Candidates,
    query: Query,
    values: _Values,
) -> None:
    """Add the pieces of a resource to the groups that they are of."""
    taken: set[int] = set()
    for series, cut in sorted(candidates, key=lambda one: _rank(one[0], query.sources)):
        method, own = query.method_of(series.kind), set()
        for begin, end, attributes, value in cut:
            group = groups.setdefault((*about, values[attributes]), {})
            for offset in range(begin, end):
                if offset not in taken:
                    group.setdefault(offset, (method, []))[1].append(value)
                    own.add(offset)
        taken |= own


def _amounts(
    groups: Mapping[tuple[str, str, tuple[str, ...]], _ByOffset], unit_us: int
) -> Iterator[Amounts]:
    for about, by_offset in groups.items():
        if by_offset:
            offsets = sorted(by_offset)
            numbers = [quantities.aggregate(*by_offset[one], unit_us) for one in offsets]
            yield Amounts(*about, offsets, numbers)


def _rank(one: Series, sources: Sequence[str]) -> tuple[int, int, str, int]:
    """Return the rank of a series among those of the same resource, the lowest first."""
    preferred = sources.index(one.source) if one.source in sources else len(sources)
    is_own = facts.is_of_project(one.source, one.scope_id)
    return int(is_own), preferred, one.source, facts.KINDS.index(one.kind)


def removed_before(
    connection: sa.Connection, query: Query, scope_ids: Collection[str], begin: int
) -> int | None:
    """Return from when on the samples of a meter are kept, if that is later than *begin*.

    None: none are missing. What exists has lives, which are kept for ever.
    """
    found = [
        connection.execute(
            sa.select(sa.func.max(_SERIES.c.kept_from)).where(
                *of_meter(query, chunk),
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
