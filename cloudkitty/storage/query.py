"""Parser for the query language of rated data; no text of a caller ever becomes part of SQL."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

from cloudkitty import errors
from cloudkitty.core import bounds, dataframe, decimals, timeframe

TYPE = 'type'
TIME = 'time'
UNIT = 'unit'
TIME_GROUPS = {
    'time-d': 'day_of_the_year',
    'time-w': 'week_of_the_year',
    'time-m': 'month',
    'time-y': 'year',
}
# Functions as reducers: how the value so far and the next value become one.
FOLDS: dict[str, Callable[[Any, Any], Any]] = {
    'sum': decimals.SUM_CONTEXT.add,
    'mean': decimals.SUM_CONTEXT.add,
    'min': min,
    'max': max,
    'first': lambda kept, new: kept,
    'last': lambda kept, new: new,
}
# Functions that accept text, too; text is compared by code points.
TEXT_FUNCTIONS = frozenset(('count', 'min', 'max', 'first', 'last'))
FUNCTIONS = ('sum', 'count', 'mean', 'min', 'max', 'first', 'last', 'median')
# Functions that roll-ups can answer without reading points.
ROLLED_UP = frozenset(
    (function, field) for function in ('sum', 'count', 'mean') for field in ('qty', 'price')
)

# Text that is shown as a number: the usual notation, which a number in a label has. Names and codes
# that a number could be read from, such as 007, stay as they are.
_NUMBER = re.compile(r'-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?', re.ASCII)
# A client reads numbers with a larger exponent as infinite.
_EXPONENT_MAX = 307

# Columns that every answer has; a group cannot have the same name.
FIXED_COLUMNS = ('begin', 'end', 'qty', 'rate')

_OTHER_TIME = re.compile(r'time-[^-]*')
_ITEM = re.compile(
    r'\s*(?P<function>[A-Za-z]+)\s*\(\s*(?P<field>[A-Za-z_][A-Za-z0-9_.]*)\s*\)'
    r'(?:\s+[Aa][Ss]\s+(?:(?P<alias>[A-Za-z_][A-Za-z0-9_]*)|"(?P<quoted>[A-Za-z0-9_ ]+)"))?\s*'
)


# One name or value, or several.
Names = str | Iterable[str]
Filters = Mapping[str, Any]


class Field(NamedTuple):
    """One output column: a function over a field, under a name."""

    function: str
    field: str
    alias: str


# Most columns in one query: each is computed over every point.
FIELDS_MAX = 32
DEFAULT_FIELDS = (Field('sum', 'qty', 'qty'), Field('sum', 'price', 'rate'))
ALL_FIELDS = (Field('sum', 'qty', 'qty'), Field('sum', 'price', 'price'))


class Page(TypedDict):
    """Return value of BaseStorage.retrieve(); *total* counts points."""

    total: int
    dataframes: list[dataframe.DataFrame]


class Totals(TypedDict):
    """Return value of BaseStorage.total(); *total* counts rows."""

    total: int
    results: list[dict[str, Any]]


class Window(NamedTuple):
    """A selection of points: a half open span and conditions, all of which must hold.

    :ivar metrics: metric names, or None for all.
    :ivar filters: attribute to allowed values, as text.
    """

    begin: datetime
    end: datetime
    metrics: tuple[str, ...] | None
    filters: dict[str, tuple[str, ...]]


def parse_window(
    begin: datetime | None,
    end: datetime | None,
    metric_types: Names | None,
    filters: Filters | None,
    now: datetime,
) -> Window:
    """Return the window for the arguments of BaseStorage.retrieve().

    A missing bound is that of the current month. A filter `type` narrows the metrics.
    """
    month = timeframe.month_at(now)
    metrics = _values(metric_types) or None
    # An empty list of values matches nothing; it never means "no filter".
    chosen = {str(name): _values(values) or () for name, values in (filters or {}).items()}
    by_filter = chosen.pop(TYPE, None)
    if by_filter is not None:
        metrics = by_filter if metrics is None else tuple(m for m in metrics if m in by_filter)
    return Window(
        month.begin if begin is None else timeframe.to_utc(begin),
        month.end if end is None else timeframe.to_utc(end),
        metrics,
        chosen,
    )


def parse_groupby(groupby: Names | None) -> tuple[str, ...]:
    """Return the group names in the given order; a calendar group has its attribute's name.

    :raises InvalidInput: an empty name, that of another column, or an unknown `time-x`.
    """
    names = []
    for name in _values(groupby) or ():
        is_wrong_time = _OTHER_TIME.fullmatch(name) and name not in TIME_GROUPS
        if not name or is_wrong_time or name in FIXED_COLUMNS:
            raise errors.InvalidInput(
                reason=f'Cannot group by {name!r}; allowed: {TYPE}, {TIME}, '
                f'{", ".join(TIME_GROUPS)} or the name of an attribute.'
            )
        names.append(TIME_GROUPS.get(name, name))
    return tuple(dict.fromkeys(names))


def parse_fields(text: str | None, groups: Iterable[str]) -> tuple[Field, ...]:
    """Return the output columns that *text* names; None and empty text: quantity and price sums.

    :raises InvalidInput: *text* is outside the grammar, names too many columns, or two of one name.

    Source: doc/source/contributor/compatibility/rest-v2.rst, "Custom fields".
    """
    if not text or not text.strip():
        return DEFAULT_FIELDS
    if text.strip() == '*':
        return ALL_FIELDS
    items = text.split(',')
    if len(items) > FIELDS_MAX:
        raise errors.InvalidInput(
            reason=f'custom_fields: {len(items)} columns are named, more than {FIELDS_MAX}'
        )
    fields = tuple(_parse_field(item) for item in items)
    names = ['begin', 'end', *groups, *(field.alias for field in fields)]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise errors.InvalidInput(
            reason=f'custom_fields: two columns are named {doubled[0]!r}; give one an alias'
        )
    return fields


def _parse_field(item: str) -> Field:
    match = _ITEM.fullmatch(item)
    if not match or match['function'].lower() not in FUNCTIONS:
        raise errors.InvalidInput(
            reason=f'custom_fields: {item.strip()!r} is not FUNCTION(field) [AS alias]; functions: '
            f'{", ".join(FUNCTIONS)}; an alias with blanks is written in double quotes'
        )
    function = match['function'].lower()
    return Field(function, match['field'], match['alias'] or match['quoted'] or function)


def read_value(value: Any) -> Decimal | str | None:
    """Return an attribute as the argument of a function: a number if it is one, else text.

    None: the attribute is missing or empty.
    """
    if value is None or value == '':
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return value
    try:
        number = bounds.to_decimal(value)
    except errors.InvalidInput:
        return str(value)
    return number or decimals.ZERO if number.adjusted() <= _EXPONENT_MAX else str(value)


class Aggregate:
    """A function over the values of one group, which are added in the order of time.

    Only a median keeps all values in memory.
    """

    __slots__ = ('_function', '_count', '_kept', '_numbers', '_text')

    def __init__(self, function: str) -> None:
        self._function = function
        self._count = 0
        self._kept: Any = None  # a value, or None: there was none
        # The least or greatest, should there be text among them.
        self._text: str | None = None
        self._numbers: list[Any] = []

    def add(self, value: Decimal | str) -> None:
        """Add another value.

        :raises InvalidInput: it is text, and the function needs numbers.
        """
        is_text = isinstance(value, str)
        if is_text and self._function not in TEXT_FUNCTIONS:
            raise errors.InvalidInput(
                reason=f'custom_fields: {self._function} needs numbers, and {value:.50} is none'
            )
        self._count += 1
        if self._function == 'median':
            self._numbers.append(value)
        elif self._function in ('min', 'max'):
            self._keep_extreme(value, is_text)
        elif self._function in FOLDS:
            self._kept = value if self._count == 1 else FOLDS[self._function](self._kept, value)

    def _keep_extreme(self, value: Decimal | str, is_text: bool) -> None:
        choose = FOLDS[self._function]
        text = str(value)
        self._text = text if self._text is None else choose(self._text, text)
        # Text and numbers can only be compared as text.
        if is_text or isinstance(self._kept, str):
            self._kept = self._text
        else:
            self._kept = value if self._kept is None else choose(self._kept, value)

    def value(self) -> Decimal | int | str | None:
        """Return the result; None: there was no value."""
        if self._function == 'count':
            return self._count
        if self._function == 'median' and self._numbers:
            return median(sorted(self._numbers))
        if self._function == 'mean' and self._count:
            return mean(self._kept, self._count)
        kept: Decimal | str | None = self._kept
        return kept


def median(ordered: list[Decimal]) -> Decimal:
    """Return the middle of sorted numbers; of an even number, the mean of the two."""
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return mean(decimals.SUM_CONTEXT.add(*ordered[middle - 1 : middle + 1]), 2)


def mean(total: Decimal, count: int) -> Decimal:
    """Return total / count, rounded as decimals.CONTEXT says."""
    return decimals.CONTEXT.divide(total, Decimal(count))


def _values(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        given = [given]
    return tuple(dict.fromkeys(str(value) for value in given))
