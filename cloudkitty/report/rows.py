"""Additional columns of a summary, and its order. Pure.

Rows are mappings of column names to values, as BaseStorage.total() returns them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core import decimals, timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import query

Row = Mapping[str, Any]

BUCKET_COLUMNS = ('bucket_begin', 'bucket_end')
PREVIOUS = 'previous_'
DAY = timedelta(days=1)
# Longest span whose days can be told apart by the calendar groups without the year.
BUCKETS_SPAN_MAX = timedelta(days=3660)


class Order(NamedTuple):
    """A column to sort by."""

    column: str
    is_descending: bool


def parse_order(names: Iterable[str]) -> list[Order]:
    """Return the order for names of columns; a minus before a name means descending."""
    return [Order(name.removeprefix('-'), name.startswith('-')) for name in names]


def sort(rows: Iterable[Row], order: Sequence[Order], columns: Sequence[str]) -> list[Row]:
    """Return *rows* in *order*; what is equal keeps its place, and missing values come last.

    :raises InvalidInput: a column of *order* is not among *columns*.
    """
    unknown = [one.column for one in order if one.column not in columns]
    if unknown:
        raise errors.InvalidInput(
            reason=f'Cannot order by {unknown[0]!r}; columns: {", ".join(columns)}'
        )
    found = list(rows)
    for column, is_descending in reversed(order):
        known = [row for row in found if row[column] is not None]
        known.sort(key=_sort_key(column), reverse=is_descending)
        found = known + [row for row in found if row[column] is None]
    return found


def without_values(rows: Sequence[Row], groups: Iterable[str]) -> list[str]:
    """Return the groups that no row has a value of; none if there are no rows."""
    return [name for name in groups if rows and all(row[name] in ('', None) for row in rows)]


def _sort_key(column: str) -> Callable[[Row], tuple[bool, Any]]:
    # A function such as LAST may find numbers in some groups and text in others.
    return lambda row: (isinstance(row[column], str), row[column])


def with_buckets(rows: Iterable[Row], window: Period, groups: Sequence[str]) -> list[Row]:
    """Return *rows* with the range of days for which each row's calendar groups stand.

    :param window: the span of the summary, to which the first and the last bucket are cut.
    :param groups: the groups of the summary, see query.parse_groupby().
    :raises InvalidInput: no group is one of the calendar, or a value stands for several spans, as
        a day of the year does in a summary of two years.
    """
    names = [name for name in groups if name in timeframe.CALENDAR_KEYS]
    if not names:
        raise errors.InvalidInput(reason=f'buckets needs a group by {", ".join(query.TIME_GROUPS)}')
    spans = _buckets(window, names)
    found: list[Row] = []
    for row in rows:
        # A series may have calendar attributes of its own, whose values can be anything.
        span = spans.get(_key(row, names)) or (None, None)
        found.append({**row, **dict(zip(BUCKET_COLUMNS, span, strict=True))})
    return found


def _buckets(window: Period, names: Sequence[str]) -> dict[tuple[Any, ...], Period]:
    if window.end - window.begin > BUCKETS_SPAN_MAX:
        raise errors.InvalidInput(
            reason=f'buckets needs a span of at most {BUCKETS_SPAN_MAX.days} days'
        )
    spans: dict[tuple[Any, ...], Period] = {}
    day = timeframe.midnight(window.begin.date())
    while day < window.end:
        key = _key(timeframe.calendar_of(day), names)
        part = Period(max(day, window.begin), min(day + DAY, window.end))
        before = spans.get(key)
        if before is not None and before.end != part.begin:
            raise errors.InvalidInput(
                reason='buckets: the same group stands for days of several years; add time-y to '
                'groupby or choose a shorter span'
            )
        spans[key] = part if before is None else Period(before.begin, part.end)
        day += DAY
    return spans


def previous(window: Period) -> Period:
    """Return the span to compare *window* with.

    As many months before it if it consists of months; the same days of the month before if it is
    the begin of a month; else as much time before it.
    """
    months = _months(window)
    if months:
        year, month = divmod(_count_months(window.begin) - months, 12)
        return Period(window.begin.replace(year=year, month=month + 1), window.begin)
    first = timeframe.month_at(window.begin)
    if window.begin == first.begin and window.end < first.end:
        before = timeframe.month_at(window.begin - DAY)
        return Period(before.begin, min(before.begin + (window.end - window.begin), before.end))
    return Period(window.begin - (window.end - window.begin), window.begin)


def _months(window: Period) -> int:
    """Return how many whole months *window* is; 0: it has parts of months."""
    if any(timeframe.month_at(bound).begin != bound for bound in window):
        return 0
    return max(0, _count_months(window.end) - _count_months(window.begin))


def _count_months(instant: datetime) -> int:
    """Return the number of months before that of *instant*, from the year 0 on."""
    return 12 * instant.year + instant.month - 1


def compare(
    rows: Iterable[Row], before: Iterable[Row], groups: Sequence[str], window: Period
) -> list[Row]:
    """Return *rows* with the measures of *before* beside their own, matched by their groups.

    A group that is in one of the two only has 0 in the other.
    """
    measures = [field.alias for field in query.DEFAULT_FIELDS]
    nothing: dict[str, Decimal] = dict.fromkeys(measures, decimals.ZERO)
    earlier = {_key(row, groups): row for row in before}
    joined: list[Row] = []
    for row in rows:
        other = earlier.pop(_key(row, groups), nothing)
        joined.append({**row, **{f'{PREVIOUS}{name}': other[name] for name in measures}})
    for row in earlier.values():
        gone = {**row, **nothing, 'begin': window.begin, 'end': window.end}
        joined.append({**gone, **{f'{PREVIOUS}{name}': row[name] for name in measures}})
    return joined


def with_attributes(custom_fields: str | None, names: Sequence[str]) -> str | None:
    """Return *custom_fields* with a column for the last value of each attribute."""
    if not names:
        return custom_fields
    base = custom_fields
    if not base or base.strip() in ('', '*'):
        fields = query.parse_fields(base, ())
        base = ', '.join(f'{one.function}({one.field}) AS {one.alias}' for one in fields)
    return ', '.join([base, *(f'LAST({name}) AS "{name}"' for name in names)])


def _key(row: Mapping[str, Any], names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)
