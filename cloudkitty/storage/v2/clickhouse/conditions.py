"""Filters and groups of a query as expressions of ClickHouse over the table of series. Pure.

They do what the roll-ups of the SQL driver do, see storage.v2.sql.rollups.
"""

from collections.abc import Iterator

from cloudkitty.core import timeframe
from cloudkitty.storage import query
from cloudkitty.storage.v2.clickhouse.literals import is_in, text

# As timeframe.calendar_of().
CALENDAR = {
    'week_of_the_year': "leftPad(toString(toWeek(day, 0)), 2, '0')",
    'day_of_the_year': 'toString(toDayOfYear(day))',
    'month': 'toString(toMonth(day))',
    'year': 'toString(toYear(day))',
}


def needs_day(groups: tuple[str, ...], window: query.Window) -> bool:
    """Return whether an answer depends on the days of its points."""
    return any(name in timeframe.CALENDAR_KEYS for name in (*groups, *window.filters))


def needs_series(groups: tuple[str, ...], window: query.Window) -> bool:
    """Return whether an answer depends on what the series are."""
    return bool(window.filters) or window.metrics is not None or bool(set(groups) - {query.TIME})


def group(name: str, scope_key: str) -> str:
    """Return the expression for the value of a group, of columns of the table of series."""
    if name == query.TYPE:
        return 'metric'
    if name == scope_key:
        return f"if(scope_key = {text(name)}, identifier, '')"
    own = f'groupby[{text(name)}]'
    otherwise = 'unit' if name == query.UNIT else CALENDAR.get(name, "''")
    return f'if(mapContains(groupby, {text(name)}), {own}, {otherwise})'


def filters(window: query.Window, scope_key: str) -> list[str]:
    """Return the conditions of *window* on series, except those of the calendar."""
    found = [] if window.metrics is None else [is_in('metric', window.metrics)]
    for name, values in window.filters.items():
        if name == scope_key:
            found.append(f'scope_key = {text(name)} AND {is_in("identifier", values)}')
        elif name not in timeframe.CALENDAR_KEYS:
            found.append(' OR '.join(_attribute(name, values)))
    return found


def calendar_filters(window: query.Window, scope_key: str) -> list[str]:
    """Return the conditions of *window* on the calendar of points."""
    return [
        is_in(group(name, scope_key), values)
        for name, values in window.filters.items()
        if name in timeframe.CALENDAR_KEYS
    ]


def _attribute(name: str, values: tuple[str, ...]) -> Iterator[str]:
    """Yield the conditions of which one must hold for an attribute to be one of *values*."""
    key = text(name)
    for column in ('groupby', 'metadata'):
        yield f'(mapContains({column}, {key}) AND {is_in(f"{column}[{key}]", values)})'
    if name == query.UNIT:
        # An attribute may be called `unit`, too.
        yield is_in('unit', values)
    elif '' in values:
        yield f'NOT (mapContains(groupby, {key}) OR mapContains(metadata, {key}))'


def every(conditions: list[str]) -> str:
    """Return the condition that all *conditions* hold."""
    return ' AND '.join(f'({one})' for one in conditions) or '1'
