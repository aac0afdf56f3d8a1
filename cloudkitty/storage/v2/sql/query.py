"""What callers ask of rated data, parsed into values. Pure; nothing is ever pasted into SQL."""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from cloudkitty import dataframe, errors, timeframe

TYPE = 'type'
TIME = 'time'
TIME_GROUPS = {'time-d': 'day_of_the_year', 'time-w': 'week_of_the_year',
               'time-m': 'month', 'time-y': 'year'}
# How a function makes one value of what it has and the next value.
FOLDS = {'sum': dataframe.SUM_CONTEXT.add, 'mean': dataframe.SUM_CONTEXT.add, 'min': min,
         'max': max, 'first': lambda kept, new: kept, 'last': lambda kept, new: new}
FUNCTIONS = ('sum', 'count', 'mean', 'min', 'max', 'first', 'last', 'median')
# What the roll-ups can answer without looking at points.
ROLLED_UP = frozenset((function, field) for function in ('sum', 'count', 'mean')
                      for field in ('qty', 'price'))

_OTHER_TIME = re.compile(r'time-[^-]*')
_ITEM = re.compile(
    r'\s*(?P<function>[A-Za-z]+)\s*\(\s*(?P<field>[A-Za-z_][A-Za-z0-9_.]*)\s*\)'
    r'(?:\s+[Aa][Ss]\s+(?:(?P<alias>[A-Za-z_][A-Za-z0-9_]*)|"(?P<quoted>[A-Za-z0-9_ ]+)"))?\s*')


class Field(NamedTuple):
    """One output column: a function over a field, under a name."""

    function: str
    field: str
    alias: str


# Columns that one question may name: each looks at every point.
FIELDS_MAX = 32
DEFAULT_FIELDS = (Field('sum', 'qty', 'qty'), Field('sum', 'price', 'rate'))
ALL_FIELDS = (Field('sum', 'qty', 'qty'), Field('sum', 'price', 'price'))


class Window(NamedTuple):
    """The choice of points: a half open span and conditions that all hold.

    :ivar metrics: metric names, or None for all.
    :ivar filters: attribute to allowed values, as text.
    """

    begin: datetime
    end: datetime
    metrics: tuple[str, ...] | None
    filters: dict[str, tuple[str, ...]]


def parse_window(begin: datetime | None, end: datetime | None, metric_types,
                 filters: Mapping | None, now: datetime) -> Window:
    """Return the window that arguments of BaseStorage.retrieve() name.

    A missing bound is that of the current month. A filter `type` narrows the metrics.
    """
    month = timeframe.month_at(now)
    metrics = _values(metric_types) or None
    # An empty list of values lets nothing through; it never means "no filter".
    chosen = {str(name): _values(values) or () for name, values in (filters or {}).items()}
    by_filter = chosen.pop(TYPE, None)
    if by_filter is not None:
        metrics = by_filter if metrics is None else tuple(m for m in metrics if m in by_filter)
    return Window(month.begin if begin is None else timeframe.to_utc(begin),
                  month.end if end is None else timeframe.to_utc(end), metrics, chosen)


def parse_groupby(groupby) -> tuple[str, ...]:
    """Return the group names in the order asked for, calendar groups by the attribute's name.

    :raises InvalidInput: an empty name or an unknown `time-x`.
    """
    names = []
    for name in _values(groupby) or ():
        if not name or (_OTHER_TIME.fullmatch(name) and name not in TIME_GROUPS):
            raise errors.InvalidInput(
                reason=f'cannot group by {name!r}; allowed: {TYPE}, {TIME}, '
                       f'{", ".join(TIME_GROUPS)} or the name of an attribute')
        names.append(TIME_GROUPS.get(name, name))
    return tuple(dict.fromkeys(names))


def parse_fields(text: str | None, groups: Iterable[str]) -> tuple[Field, ...]:
    """Return the output columns that *text* names; None and empty text: quantity and price sums.

    :raises InvalidInput: *text* is outside the grammar, names too many columns, or two of one name.

    Source: contract rest-v2, section 6.4, "Target grammar".
    """
    if not text or not text.strip():
        return DEFAULT_FIELDS
    if text.strip() == '*':
        return ALL_FIELDS
    items = text.split(',')
    if len(items) > FIELDS_MAX:
        raise errors.InvalidInput(
            reason=f'custom_fields: {len(items)} columns are named, more than {FIELDS_MAX}')
    fields = tuple(_parse_field(item) for item in items)
    names = ['begin', 'end', *groups, *(field.alias for field in fields)]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise errors.InvalidInput(
            reason=f'custom_fields: two columns are named {doubled[0]!r}; give one an alias')
    return fields


def _parse_field(item):
    match = _ITEM.fullmatch(item)
    if not match or match['function'].lower() not in FUNCTIONS:
        raise errors.InvalidInput(
            reason=f'custom_fields: {item.strip()!r} is not FUNCTION(field) [AS alias]; functions: '
                   f'{", ".join(FUNCTIONS)}; an alias with blanks is written in double quotes')
    function = match['function'].lower()
    return Field(function, match['field'], match['alias'] or match['quoted'] or function)


class Aggregate:
    """A function over the values of one group, added in the order of time.

    Only a median keeps them all.
    """

    __slots__ = ('_function', '_count', '_kept', '_numbers')

    def __init__(self, function: str):
        self._function = function
        self._count = 0
        self._kept: Decimal | None = None
        self._numbers: list[Decimal] = []

    def add(self, number: Decimal) -> None:
        """Take another value in."""
        self._count += 1
        if self._function == 'median':
            self._numbers.append(number)
        elif self._function in FOLDS:
            self._kept = number if self._count == 1 else FOLDS[self._function](self._kept, number)

    def value(self) -> Decimal | int | None:
        """Return the result; None: there was no value."""
        if self._function == 'count':
            return self._count
        if self._function == 'median' and self._numbers:
            return median(sorted(self._numbers))
        if self._function == 'mean' and self._count:
            return mean(self._kept, self._count)
        return self._kept


def median(ordered: list[Decimal]) -> Decimal:
    """Return the middle of sorted numbers; of an even number, the mean of the two."""
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return mean(dataframe.SUM_CONTEXT.add(*ordered[middle - 1:middle + 1]), 2)


def mean(total: Decimal, count: int) -> Decimal:
    """Return total / count, rounded by the one rounding rule."""
    return dataframe.CONTEXT.divide(total, Decimal(count))


def _values(given):
    if given is None:
        return None
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        given = [given]
    return tuple(dict.fromkeys(str(value) for value in given))
