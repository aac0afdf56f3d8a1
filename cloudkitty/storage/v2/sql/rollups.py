"""Sums of whole days, from the roll-ups, grouped and filtered in the database."""

import functools
from datetime import date, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, types
from cloudkitty.storage.v2.sql import query

SERIES = models.rated_series
ATTRIBUTES = models.rated_attributes
CALENDAR = models.rated_calendar
SCOPES = models.rated_scopes
# Statements that are kept, and how many attributes such a one may name. Those with many names come
# from nobody's dashboard: there are any number of them, and keeping them would fill the memory.
KEPT_SHAPES_MAX = 256
KEPT_NAMES_MAX = 8


class Span(NamedTuple):
    """Whole days, [first, end)."""

    first: date
    end: date


class Question(NamedTuple):
    """What is asked of the roll-ups.

    :ivar groups: names, see query.parse_groupby; `time` is not among them.
    :ivar scope_key: the attribute that names a scope.
    :ivar own_calendar: whether some series carry calendar attributes of their own.
    """

    window: query.Window
    groups: tuple[str, ...]
    scope_key: str
    own_calendar: bool


class _Piece(NamedTuple):
    """Part of a question's days: which table has its sums, and under which name its bounds go."""

    table: str
    name: str


class _Shape(NamedTuple):
    """A question without its values: questions of one shape share a statement.

    :ivar filters: (name, whether a series without the attribute fulfils it).
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


TABLES = {'days': models.rated_days, 'series_months': models.rated_series_months,
          'totals': models.rated_totals, 'months': models.rated_months}
BY_SERIES, BY_SCOPE = ('days', 'series_months'), ('totals', 'months')


def sums(question: Question, span: Span, page: tuple[int, int] | None = None) -> tuple[
        sa.Select, dict]:
    """Return a statement and its values; its rows are sums, a total and g0, g1, … for groups.

    The sums are qty, price and points; the total is the number of rows without the page's limits.

    Building a statement takes longer than running it, so it is kept for others of its shape.

    :param page: offset and limit of the rows that are wanted; None: all.
    """
    shape, values = _describe(question, span)
    if page is None:
        return _statement(shape), values
    values['page_offset'], values['page_limit'] = page
    return _page(shape), values


def count(question: Question, span: Span) -> tuple[sa.Select, dict]:
    """Return a statement and its values; it counts the rows of sums()."""
    shape, values = _describe(question, span)
    return _count(shape), values


def day_counts(question: Question, span: Span) -> tuple[sa.Select, dict]:
    """Return a statement and its values; its rows are days and how many points they hold."""
    days, _ = BY_SERIES if _needs_series_table(question) else BY_SCOPE
    shape, values = _describe(question, span, {_Piece(days, 'days'): span})
    return _day_counts(shape), values


def _describe(question, span, pieces=None) -> tuple[_Shape, dict]:
    """Return the shape of a question, and its values."""
    window = question.window
    pieces = pieces or _pieces(question, span)
    values = {}
    for piece, part in pieces.items():
        values[f'{piece.name}_first'], values[f'{piece.name}_end'] = part
    if window.metrics is not None:
        values['metrics'] = window.metrics
    for number, allowed in enumerate(window.filters.values()):
        values[f'filter_{number}'] = allowed
    shape = _Shape(question.groups,
                   tuple((name, '' in allowed) for name, allowed in window.filters.items()),
                   window.metrics is not None, question.scope_key, question.own_calendar,
                   tuple(pieces))
    return shape, values


def _kept(build):
    """Return *build*, which makes the statement of a shape, with what it made kept."""
    keep = functools.lru_cache(maxsize=KEPT_SHAPES_MAX)(build)

    def find(shape):
        return (keep if len(shape.names) <= KEPT_NAMES_MAX else build)(shape)
    return find


@_kept
def _statement(shape):
    source = _source(shape)
    joined, columns = _join(source, shape)
    keys = [columns[name].label(f'g{n}') for n, name in enumerate(shape.groups)]
    points = sa.func.sum(source.c.points)
    return (sa.select(types.exact_sum(source.c.qty).label('qty'),
                      types.exact_sum(source.c.price).label('price'),
                      # sum() of a BIGINT is a decimal on PostgreSQL and MariaDB.
                      sa.cast(points, sa.BigInteger).label('points'),
                      sa.func.count().over().label('total'), *keys)
            .select_from(joined).where(*_conditions(source, shape))
            .group_by(*(columns[name] for name in shape.groups))
            .having(points > 0)
            .order_by(*(columns[name] for name in shape.groups)))


@_kept
def _day_counts(shape):
    source = _source(shape)
    joined, _ = _join(source, shape)
    points = sa.func.sum(source.c.points)
    return (sa.select(source.c.day, sa.cast(points, sa.BigInteger)).select_from(joined)
            .where(*_conditions(source, shape)).group_by(source.c.day).having(points > 0))


@_kept
def _page(shape):
    return (_statement(shape).offset(sa.bindparam('page_offset', type_=sa.Integer))
            .limit(sa.bindparam('page_limit', type_=sa.Integer)))


@_kept
def _count(shape):
    return sa.select(sa.func.count()).select_from(_statement(shape).order_by(None).subquery())


def _pieces(question, span) -> dict[_Piece, Span]:
    """Return which tables to ask for which days."""
    names = (*question.groups, *question.window.filters)
    days, months = BY_SERIES if _needs_series_table(question) else BY_SCOPE
    needs_days = any(name in ('day_of_the_year', 'week_of_the_year') for name in names)
    middle = None if needs_days else _whole_months(span)
    if middle is None:
        return {_Piece(days, 'days'): span}
    pieces = {_Piece(months, 'months'): middle,
              _Piece(days, 'before'): Span(span.first, middle.first),
              _Piece(days, 'after'): Span(middle.end, span.end)}
    return {piece: part for piece, part in pieces.items() if part.first < part.end}


def _needs_series_table(question):
    return any(_needs_series(name, question)
               for name in (*question.groups, *question.window.filters))


def _needs_series(name, question):
    if name in timeframe.CALENDAR_KEYS:
        return question.own_calendar
    return name not in (query.TYPE, question.scope_key)


def _source(shape):
    """Return the rows of roll-ups that the question is about."""
    slices = []
    for piece in shape.pieces:
        table = TABLES[piece.table]
        rows = sa.select(*table.c.values()).where(*_within(table, piece))
        if shape.by_series and _names_scope(shape):
            rows = rows.add_columns(SERIES.c.scope_id, SERIES.c.metric).join_from(
                table, SERIES, SERIES.c.id == table.c.series_id)
        slices.append(rows)
    whole = slices[0] if len(slices) == 1 else sa.union_all(*slices)
    return whole.subquery('source')


def _names_scope(shape):
    return shape.has_metrics or bool({query.TYPE, shape.scope_key} & set(shape.names))


def _within(table, piece):
    return (table.c.day >= sa.bindparam(f'{piece.name}_first', type_=sa.Date),
            table.c.day < sa.bindparam(f'{piece.name}_end', type_=sa.Date))


def _whole_months(span):
    first = span.first if span.first.day == 1 else _next_month(span.first)
    end = span.end.replace(day=1)
    return Span(first, end) if first < end else None


def _next_month(day):
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def _join(source, shape):
    """Return what to select from, and the expression of each group."""
    joined = source
    columns = {}
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
            joined = joined.outerjoin(own, sa.and_(
                own.c.series_id == source.c.series_id, own.c.name == name, own.c.is_groupby))
            columns[name] = sa.func.coalesce(own.c.value, _otherwise(name))
    return joined, columns


def _otherwise(name):
    return CALENDAR.c[name] if name in timeframe.CALENDAR_KEYS else ''


def _conditions(source, shape):
    if shape.has_metrics:
        yield source.c.metric.in_(sa.bindparam('metrics', expanding=True))
    for number, (name, allows_missing) in enumerate(shape.filters):
        values = sa.bindparam(f'filter_{number}', expanding=True)
        if name == shape.scope_key:
            yield source.c.scope_id.in_(scope_numbers(name, values))
        elif name in timeframe.CALENDAR_KEYS and not shape.by_series:
            yield CALENDAR.c[name].in_(values)
        elif name in timeframe.CALENDAR_KEYS:
            yield sa.or_(_has(source.c.series_id, name, values),
                         sa.and_(CALENDAR.c[name].in_(values), ~_has(source.c.series_id, name)))
        else:
            yield attribute_condition(source.c.series_id, name, values, allows_missing)


def scope_numbers(scope_key: str, identifiers) -> sa.Select:
    """Return the statement for the numbers of scopes."""
    return sa.select(SCOPES.c.id).where(SCOPES.c.scope_key == scope_key,
                                        SCOPES.c.identifier.in_(identifiers))


def attribute_condition(series_id: sa.ColumnElement, name: str, values,
                        allows_missing: bool) -> sa.ColumnElement:
    """Return the condition that a series has one of *values* for *name*.

    Attributes of groupby and of metadata count.

    :param allows_missing: whether a series without the attribute fulfils it, as '' does.
    """
    condition = _has(series_id, name, values)
    return sa.or_(condition, ~_has(series_id, name)) if allows_missing else condition


def _has(series_id, name, values=None):
    held = ATTRIBUTES.alias()
    condition = sa.select(held.c.name).where(held.c.series_id == series_id, held.c.name == name)
    if values is not None:
        condition = condition.where(held.c.value.in_(values))
    return condition.exists()


def has_own_calendar() -> sa.Select:
    """Return the statement that finds a series with calendar attributes of its own."""
    return sa.select(ATTRIBUTES.c.series_id).where(
        ATTRIBUTES.c.name.in_(timeframe.CALENDAR_KEYS)).limit(1)
