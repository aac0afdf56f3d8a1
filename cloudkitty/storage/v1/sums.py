"""Sums of rows that a store of interface 1 gives, grouped and filtered here. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty import errors, timeframe
from cloudkitty.dataframe import SUM_CONTEXT, ZERO, to_decimal
from cloudkitty.storage.v2.sql import query


class Row(NamedTuple):
    """A point, or the sum of points that have all but the numbers in common.

    :ivar begin, end: the period, aware UTC; of a sum at least the day, as far as it is asked for.
    :ivar scope_id: the scope; '' for none.
    :ivar attributes: groupby and metadata as one.
    :ivar points: how many points the row sums up.
    :ivar unit: of a point; nobody asks for that of a sum.
    """

    begin: datetime
    end: datetime
    scope_id: str
    metric: str
    attributes: Mapping[str, Any]
    qty: Decimal
    price: Decimal
    points: int = 1
    unit: str = ''


class Question(NamedTuple):
    """What is asked.

    :ivar groups: see query.parse_groupby.
    :ivar scope_key: the attribute that stands for the scope.
    """

    window: query.Window
    groups: tuple[str, ...]
    fields: tuple[query.Field, ...]
    scope_key: str

    @property
    def is_of_sums(self) -> bool:
        """Whether sums of points answer it as well as the points."""
        return all((one.function, one.field) in query.ROLLED_UP for one in self.fields)


def fits(row: Row, filters: Mapping[str, tuple[str, ...]], scope_key: str) -> bool:
    """Say whether *row* fulfils every filter; a missing attribute is ''."""
    return all(_value(row, name, scope_key) in values for name, values in filters.items())


def answer(rows: Iterable[Row], question: Question, offset: int, limit: int | None) -> dict:
    """Return what v2.BaseStorage.total() promises.

    :param rows: in the order of time, all of the window's span and metrics.
    """
    gather = _Sums if question.is_of_sums else _Values
    gathered = {}
    for row in rows:
        if not fits(row, question.window.filters, question.scope_key):
            continue
        key = tuple(_value(row, name, question.scope_key) for name in question.groups)
        if key not in gathered:
            gathered[key] = gather(question.fields)
        gathered[key].add(row)
    results = [_result(question, key, gathered[key]) for key in sorted(gathered)]
    end = None if limit is None else offset + limit
    return {'total': len(results), 'results': results[offset:end]}


def _result(question, key, gathered):
    values = dict(zip(question.groups, key, strict=True))
    begin, end = values.pop(query.TIME, (question.window.begin, question.window.end))
    return {'begin': begin, 'end': end, **gathered.outputs(), **values}


def _value(row, name, scope_key):
    if name == query.TIME:
        return row.begin, row.end
    if name == query.TYPE:
        return row.metric
    if name == scope_key:
        return row.scope_id
    if name in timeframe.CALENDAR_KEYS and name not in row.attributes:
        return timeframe.calendar_of(row.begin)[name]
    return str(row.attributes.get(name, ''))


class _Sums:
    """Outputs that follow from sums and numbers of points."""

    def __init__(self, fields):
        self._fields = fields
        self._sums = {'qty': ZERO, 'price': ZERO}
        self._points = 0

    def add(self, row):
        self._sums['qty'] = SUM_CONTEXT.add(self._sums['qty'], row.qty)
        self._sums['price'] = SUM_CONTEXT.add(self._sums['price'], row.price)
        self._points += row.points

    def outputs(self):
        return {field.alias: self._output(field) for field in self._fields}

    def _output(self, field):
        if field.function == 'count':
            return self._points
        total = self._sums[field.field]
        return total if field.function == 'sum' else query.mean(total, self._points)


class _Values:
    """Outputs that need each point."""

    def __init__(self, fields):
        self._columns = [(field, query.Aggregate(field.function)) for field in fields]

    def add(self, row):
        for field, aggregate in self._columns:
            number = _number(row, field.field)
            if number is not None:
                aggregate.add(number)

    def outputs(self):
        return {field.alias: aggregate.value() for field, aggregate in self._columns}


def _number(row, name):
    if name in ('qty', 'price'):
        return row.qty if name == 'qty' else row.price
    value = row.attributes.get(name)
    try:
        return None if value is None or isinstance(value, bool) else to_decimal(value)
    except errors.InvalidInput:
        return None
