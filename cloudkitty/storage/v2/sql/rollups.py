"""Sums of whole days from the roll-ups, grouped and filtered in the database."""

import functools
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables, types
from cloudkitty.storage import query
from cloudkitty.storage.v2.series import series_ids

SERIES = tables.rated_series
ATTRIBUTES = tables.rated_attributes
CALENDAR = tables.rated_calendar
SCOPES = tables.rated_scopes
# Size of the statement cache, and how many attributes a cached statement may have. Statements with
# more are not repeated by dashboards; there are any number of them, and they would fill the memory.
KEPT_SHAPES_MAX = 256
KEPT_NAMES_MAX = 8


# Bind parameters of a statement.
Values = dict[str, Any]


class Span(NamedTuple):
    """Whole days, [first, end)."""

    first: date
    end: date


class QuerySpec(NamedTuple):
    """A query of the roll-ups.

    :ivar groups: names, see query.parse_groupby; `time` is not among them.
    :ivar scope_key: the attribute that names a scope.
    :ivar own_calendar: whether some series carry calendar attributes of their own.
    """

    window: query.Window
    groups: tuple[str, ...]
    scope_key: str
    own_calendar: bool


class _Piece(NamedTuple):
    """Part of the days of a query: the table with the sums, and the names of its bounds."""

    table: str
    name: str


class _Shape(NamedTuple):
    """A query without its values: queries of one shape share a statement.

    :ivar filters: (name, whether a series without the attribute matches).
    """

    groups: tuple[str, ...]
    filters: tuple[tuple[str, bool], ...]
    has_metrics: bool
    scope_key: str
    own_calendar: bool
    pieces: tuple[_Piece, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.groups, *(name for name, _ in self.filters))

    @property
    def by_series(self) -> bool:
        return self.pieces[0].table in BY_SERIES


TABLES = {
    'days': tables.rated_days,
    'series_months': tables.rated_series_months,
    'totals': tables.rated_totals,
    'months': tables.rated_months,
}
BY_SERIES, BY_SCOPE = ('days', 'series_months'), ('totals', 'months')


def sums(
    spec: QuerySpec, span: Span, page: tuple[int, int] | None = None
) -> tuple[sa.Select[Any], Values]:
    """Return a statement and its bind values; its rows are sums, a total and groups g0, g1, ….

    The sums are qty, price and points; the total is the number of rows without the page's limits.

    Building a statement takes longer than running it, so statements are cached by shape.

    :param page: offset and limit of the rows; None: all.
    """
    shape, values = _describe(spec, span)
    if page is None:
        return _statement(shape), values
    values['page_offset'], values['page_limit'] = page
    return _page(shape), values


def count(spec: QuerySpec, span: Span) -> tuple[sa.Select[Any], Values]:
    """Return a statement that counts the rows of sums(), and its bind values."""
    shape, values = _describe(spec, span)
    return _count(shape), values


def day_counts(spec: QuerySpec, span: Span) -> tuple[sa.Select[Any], Values]:
    """Return a statement whose rows are days and their numbers of points, and its bind values."""
    days, _ = BY_SERIES if needs_series(spec) else BY_SCOPE
    shape, values = _describe(spec, span, {_Piece(days, 'days'): span})
    return _day_counts(shape), values


def _describe(
    spec: QuerySpec, span: Span, pieces: dict[_Piece, Span] | None = None
) -> tuple[_Shape, Values]:
    """Return the shape of a query and its bind values."""
    window = spec.window
    pieces = pieces or _pieces(spec, span)
    values: Values = {}
    for piece, part in pieces.items():
        values[f'{piece.name}_first'], values[f'{piece.name}_end'] = part
    if window.metrics is not None:
        values['metrics'] = window.metrics
    for number, allowed in enumerate(window.filters.values()):
        values[f'filter_{number}'] = allowed
    shape = _Shape(
        spec.groups,
        tuple((name, '' in allowed) for name, allowed in window.filters.items()),
        window.metrics is not None,
        spec.scope_key,
        spec.own_calendar,
        tuple(pieces),
    )
    return shape, values


def _kept(build: Callable[[_Shape], sa.Select[Any]]) -> Callable[[_Shape], sa.Select[Any]]:
    """Return *build*, which makes the statement of a shape, with a cache."""
    keep = functools.lru_cache(maxsize=KEPT_SHAPES_MAX)(build)

    def find(shape: _Shape) -> sa.Select[Any]:
        return (keep if len(shape.names) <= KEPT_NAMES_MAX else build)(shape)

    return find


@_kept
def _statement(shape: _Shape) -> sa.Select[Any]:
    source = _source(shape)
    joined, columns = _join(source, shape)
    keys = [columns[name].label(f'g{n}') for n, name in enumerate(shape.groups)]
    points = sa.func.sum(source.c.points)
    grouped = (
        sa.select(
            types.exact_sum(source.c.qty).label('qty'),
            types.exact_sum(source.c.price).label('price'),
            # sum() of a BIGINT is a decimal on PostgreSQL and MariaDB.
            sa.cast(points, sa.BigInteger).label('points'),
            sa.func.count().over().label('total'),
            *keys,
        )
        .select_from(joined)
        .where(*_conditions(source, shape))
        .group_by(*(columns[name] for name in shape.groups))
        .having(points > 0)
        .subquery()
    )
    # Sorted in an outer query: next to a window function MariaDB ignores the ORDER BY of pages.
    return sa.select(grouped).order_by(*(grouped.c[key.name] for key in keys))


@_kept
def _day_counts(shape: _Shape) -> sa.Select[Any]:
    source = _source(shape)
    joined, _ = _join(source, shape)
    points = sa.func.sum(source.c.points)
    return (
        sa.select(source.c.day, sa.cast(points, sa.BigInteger))
        .select_from(joined)
        .where(*_conditions(source, shape))
        .group_by(source.c.day)
        .having(points > 0)
    )


@_kept
def _page(shape: _Shape) -> sa.Select[Any]:
    return (
        _statement(shape)
        .offset(sa.bindparam('page_offset', type_=sa.Integer))
        .limit(sa.bindparam('page_limit', type_=sa.Integer))
    )


@_kept
def _count(shape: _Shape) -> sa.Select[Any]:
    return sa.select(sa.func.count()).select_from(_statement(shape).order_by(None).subquery())


def _pieces(spec: QuerySpec, span: Span) -> dict[_Piece, Span]:
    """Return which table to query for which days."""
    names = (*spec.groups, *spec.window.filters)
    days, months = BY_SERIES if needs_series(spec) else BY_SCOPE
    needs_days = any(name in ('day_of_the_year', 'week_of_the_year') for name in names)
    middle = None if needs_days else _whole_months(span)
    if middle is None:
        return {_Piece(days, 'days'): span}
    pieces = {
        _Piece(months, 'months'): middle,
        _Piece(days, 'before'): Span(span.first, middle.first),
        _Piece(days, 'after'): Span(middle.end, span.end),
    }
    return {piece: part for piece, part in pieces.items() if part.first < part.end}


def needs_series(spec: QuerySpec) -> bool:
    """Return whether a query needs the sums by series."""
    return any(_needs_series(name, spec) for name in (*spec.groups, *spec.window.filters))


def _needs_series(name: str, spec: QuerySpec) -> bool:
    if name in timeframe.CALENDAR_KEYS:
        return spec.own_calendar
    return name not in (query.TYPE, spec.scope_key)


def _source(shape: _Shape) -> sa.Subquery:
    """Return the roll-up rows that the query covers."""
    slices: list[sa.Select[Any]] = []
    for piece in shape.pieces:
        table = TABLES[piece.table]
        rows = sa.select(*table.c.values()).where(*_within(table, piece))
        if shape.by_series and _names_scope(shape):
            rows = rows.add_columns(SERIES.c.scope_id, SERIES.c.metric).join_from(
                table, SERIES, SERIES.c.id == table.c.series_id
            )
        slices.append(rows)
    whole = slices[0] if len(slices) == 1 else sa.union_all(*slices)
    return whole.subquery('source')


def _names_scope(shape: _Shape) -> bool:
    return shape.has_metrics or bool({query.TYPE, shape.scope_key} & set(shape.names))


def _within(table: sa.Table, piece: _Piece) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        table.c.day >= sa.bindparam(f'{piece.name}_first', type_=sa.Date),
        table.c.day < sa.bindparam(f'{piece.name}_end', type_=sa.Date),
    )


def _whole_months(span: Span) -> Span | None:
    first = span.first if span.first.day == 1 else _next_month(span.first)
    end = span.end.replace(day=1)
    return Span(first, end) if first < end else None


def _next_month(day: date) -> date:
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def _join(
    source: sa.Subquery, shape: _Shape
) -> tuple[sa.FromClause, dict[str, sa.ColumnElement[Any]]]:
    """Return the FROM clause and the expression of each group."""
    joined: sa.FromClause = source
    columns: dict[str, sa.ColumnElement[Any]] = {}
    if shape.scope_key in shape.groups:
        joined = joined.join(SCOPES, SCOPES.c.id == source.c.scope_id)
    if any(name in timeframe.CALENDAR_KEYS for name in shape.names):
        joined = joined.join(CALENDAR, CALENDAR.c.day == source.c.day)
    for number, name in enumerate(shape.groups):
        if name == query.TYPE:
            columns[name] = source.c.metric
        elif name == shape.scope_key:
            columns[name] = sa.case((SCOPES.c.scope_key == name, SCOPES.c.identifier), else_='')
        elif name in timeframe.CALENDAR_KEYS and not shape.by_series:
            columns[name] = CALENDAR.c[name]
        else:
            own = ATTRIBUTES.alias(f'a{number}')
            joined = joined.outerjoin(
                own,
                sa.and_(
                    own.c.series_id == source.c.series_id, own.c.name == name, own.c.is_groupby
                ),
            )
            joined, otherwise = _otherwise(joined, source, name)
            columns[name] = sa.func.coalesce(own.c.value, otherwise)
    return joined, columns


def _otherwise(
    joined: sa.FromClause, source: sa.Subquery, name: str
) -> tuple[sa.FromClause, sa.ColumnElement[Any] | str]:
    """Return the FROM clause and the group value of a series without the attribute *name*."""
    if name == query.UNIT:
        measured = SERIES.alias('measured')
        joined = joined.join(measured, measured.c.id == source.c.series_id)
        return joined, measured.c.unit
    return joined, CALENDAR.c[name] if name in timeframe.CALENDAR_KEYS else ''


def _conditions(source: sa.Subquery, shape: _Shape) -> Iterator[sa.ColumnElement[bool]]:
    if shape.has_metrics:
        yield source.c.metric.in_(sa.bindparam('metrics', expanding=True))
    for number, (name, allows_missing) in enumerate(shape.filters):
        values: sa.BindParameter[Any] = sa.bindparam(f'filter_{number}', expanding=True)
        if name == shape.scope_key:
            yield source.c.scope_id.in_(series_ids.scope_numbers(name, values))
        elif name in timeframe.CALENDAR_KEYS and not shape.by_series:
            yield CALENDAR.c[name].in_(values)
        elif name in timeframe.CALENDAR_KEYS:
            yield sa.or_(
                _has(source.c.series_id, name, values),
                sa.and_(CALENDAR.c[name].in_(values), ~_has(source.c.series_id, name)),
            )
        else:
            yield attribute_condition(source.c.series_id, name, values, allows_missing)


def attribute_condition(
    series_id: sa.ColumnElement[Any], name: str, values: series_ids.Allowed, allows_missing: bool
) -> sa.ColumnElement[bool]:
    """Return the condition for series whose *name* is one of *values*.

    *name* is an attribute of groupby or metadata, or the unit.

    :param allows_missing: whether a series without the attribute matches, because '' is allowed.
    """
    condition = _has(series_id, name, values)
    if name == query.UNIT:
        # An attribute may be called `unit`, too.
        known = SERIES.alias()
        of_unit = sa.select(known.c.id).where(known.c.id == series_id, known.c.unit.in_(values))
        return sa.or_(condition, of_unit.exists())
    return sa.or_(condition, ~_has(series_id, name)) if allows_missing else condition


def _has(
    series_id: sa.ColumnElement[Any], name: str, values: series_ids.Allowed | None = None
) -> sa.ColumnElement[bool]:
    held = ATTRIBUTES.alias()
    condition = sa.select(held.c.name).where(held.c.series_id == series_id, held.c.name == name)
    if values is not None:
        condition = condition.where(held.c.value.in_(values))
    return condition.exists()


def has_own_calendar() -> sa.Select[Any]:
    """Return the statement that finds a series with calendar attributes of its own."""
    return (
        sa.select(ATTRIBUTES.c.series_id)
        .where(ATTRIBUTES.c.name.in_(timeframe.CALENDAR_KEYS))
        .limit(1)
    )
