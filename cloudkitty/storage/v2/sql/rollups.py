"""Sums of whole days, from the roll-ups, grouped and filtered in the database."""

from collections.abc import Mapping
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


def sums(question: Question, span: Span) -> sa.Select:
    """Return the statement whose rows are qty, price, points and g0, g1, … for each group."""
    names = (*question.groups, *question.window.filters)
    by_series = any(_needs_series(name, question) for name in names)
    needs_days = any(name in ('day_of_the_year', 'week_of_the_year') for name in names)
    source = _days(span) if by_series else _totals(span, months=not needs_days)
    joined, columns = _join(source, question, by_series)
    conditions = [*_conditions(source, question, by_series)]
    keys = [columns[name].label(f'g{n}') for n, name in enumerate(question.groups)]
    points = sa.func.sum(source.c.points)
    return (sa.select(types.exact_sum(source.c.qty).label('qty'),
                      types.exact_sum(source.c.price).label('price'),
                      # sum() of a BIGINT is a decimal on PostgreSQL and MariaDB.
                      sa.cast(points, sa.BigInteger).label('points'), *keys)
            .select_from(joined).where(*conditions)
            .group_by(*(columns[name] for name in question.groups))
            .having(points > 0)
            .order_by(*(columns[name] for name in question.groups)))


def _needs_series(name, question):
    if name in timeframe.CALENDAR_KEYS:
        return question.own_calendar
    return name not in (query.TYPE, question.scope_key)


def _days(span):
    days = models.rated_days
    return (sa.select(days.c.series_id, SERIES.c.scope_id, SERIES.c.metric, days.c.day,
                      days.c.qty, days.c.price, days.c.points)
            .join_from(days, SERIES, SERIES.c.id == days.c.series_id)
            .where(days.c.day >= span.first, days.c.day < span.end).subquery('source'))


def _totals(span, months):
    """Return the rows of whole months and, around them, those of days."""
    pieces = []
    middle = _whole_months(span) if months else None
    if middle is None:
        return _slice(models.rated_totals, span).subquery('source')
    pieces.append(_slice(models.rated_months, middle))
    pieces += [_slice(models.rated_totals, side)
               for side in (Span(span.first, middle.first), Span(middle.end, span.end))
               if side.first < side.end]
    if len(pieces) == 1:
        return pieces[0].subquery('source')
    return sa.union_all(*pieces).subquery('source')


def _slice(table, span):
    return sa.select(table.c.scope_id, table.c.metric, table.c.day, table.c.qty, table.c.price,
                     table.c.points).where(table.c.day >= span.first, table.c.day < span.end)


def _whole_months(span):
    first = span.first if span.first.day == 1 else _next_month(span.first)
    end = span.end.replace(day=1)
    return Span(first, end) if first < end else None


def _next_month(day):
    return (day.replace(day=28) + timedelta(days=4)).replace(day=1)


def _join(source, question, by_series):
    """Return what to select from, and the expression of each group."""
    joined = source
    columns = {}
    if question.scope_key in question.groups:
        joined = joined.join(SCOPES, SCOPES.c.id == source.c.scope_id)
    if any(name in timeframe.CALENDAR_KEYS
           for name in (*question.groups, *question.window.filters)):
        joined = joined.join(CALENDAR, CALENDAR.c.day == source.c.day)
    for number, name in enumerate(question.groups):
        if name == query.TYPE:
            columns[name] = source.c.metric
        elif name == question.scope_key:
            columns[name] = sa.case((SCOPES.c.scope_key == name, SCOPES.c.identifier), else_='')
        elif name in timeframe.CALENDAR_KEYS and not by_series:
            columns[name] = CALENDAR.c[name]
        else:
            own = ATTRIBUTES.alias(f'a{number}')
            joined = joined.outerjoin(own, sa.and_(
                own.c.series_id == source.c.series_id, own.c.name == name, own.c.is_groupby))
            columns[name] = sa.func.coalesce(own.c.value, _otherwise(name))
    return joined, columns


def _otherwise(name):
    return CALENDAR.c[name] if name in timeframe.CALENDAR_KEYS else ''


def _conditions(source, question, by_series):
    window = question.window
    if window.metrics is not None:
        yield source.c.metric.in_(window.metrics)
    for name, values in window.filters.items():
        if name == question.scope_key:
            yield source.c.scope_id.in_(scope_numbers(name, values))
        elif name in timeframe.CALENDAR_KEYS and not by_series:
            yield CALENDAR.c[name].in_(values)
        elif name in timeframe.CALENDAR_KEYS:
            yield sa.or_(_has(source.c.series_id, name, values),
                         sa.and_(CALENDAR.c[name].in_(values), ~_has(source.c.series_id, name)))
        else:
            yield attribute_condition(source.c.series_id, name, values)


def scope_numbers(scope_key: str, identifiers) -> sa.Select:
    """Return the statement for the numbers of scopes."""
    return sa.select(SCOPES.c.id).where(SCOPES.c.scope_key == scope_key,
                                        SCOPES.c.identifier.in_(identifiers))


def attribute_condition(series_id: sa.ColumnElement, name: str, values) -> sa.ColumnElement:
    """Return the condition that a series has one of *values* for *name*.

    Attributes of groupby and of metadata count; a series without the attribute has ''.
    """
    condition = _has(series_id, name, values)
    return sa.or_(condition, ~_has(series_id, name)) if '' in values else condition


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


def to_row(question: Question, row: Mapping) -> dict:
    """Return the group values of a row of sums() by name."""
    return {name: row[f'g{n}'] for n, name in enumerate(question.groups)}
