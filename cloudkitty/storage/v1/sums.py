"""Grouping, filtering and summing, in Python, of the rows of a store of interface 1. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty.core import timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.storage import query


class Row(NamedTuple):
    """A point, or the sum of points that differ only in their numbers.

    :ivar begin, end: the period, aware UTC; of a sum at least the day, if the query needs it.
    :ivar scope_id: the scope; '' for none.
    :ivar attributes: groupby and metadata as one.
    :ivar points: how many points the row sums up.
    :ivar unit: of the points; '' for a sum that no query by unit asked for.
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


class QuerySpec(NamedTuple):
    """A query over rows.

    :ivar groups: see query.parse_groupby.
    :ivar scope_key: the attribute that stands for the scope.
    """

    window: query.Window
    groups: tuple[str, ...]
    fields: tuple[query.Field, ...]
    scope_key: str

    @property
    def is_of_sums(self) -> bool:
        """Whether sums of points are enough to answer it."""
        return all((one.function, one.field) in query.ROLLED_UP for one in self.fields)


def fits(row: Row, filters: Mapping[str, tuple[str, ...]], scope_key: str) -> bool:
    """Return whether *row* matches every filter; a missing attribute counts as ''."""
    return all(_value(row, name, scope_key) in values for name, values in filters.items())


def answer(rows: Iterable[Row], spec: QuerySpec, offset: int, limit: int | None) -> query.Totals:
    """Implement v2.BaseStorage.total().

    :param rows: all rows of the window's span and metrics, in the order of time.
    """
    gather: type[_Sums | _Values] = _Sums if spec.is_of_sums else _Values
    gathered: dict[tuple[Any, ...], _Sums | _Values] = {}
    for row in rows:
        if not fits(row, spec.window.filters, spec.scope_key):
            continue
        key = tuple(_value(row, name, spec.scope_key) for name in spec.groups)
        if key not in gathered:
            gathered[key] = gather(spec.fields)
        gathered[key].add(row)
    results = [_result(spec, key, gathered[key]) for key in sorted(gathered)]
    end = None if limit is None else offset + limit
    return {'total': len(results), 'results': results[offset:end]}


def _result(spec: QuerySpec, key: tuple[Any, ...], gathered: '_Sums | _Values') -> dict[str, Any]:
    values = dict(zip(spec.groups, key, strict=True))
    begin, end = values.pop(query.TIME, (spec.window.begin, spec.window.end))
    return {'begin': begin, 'end': end, **gathered.outputs(), **values}


def _value(row: Row, name: str, scope_key: str) -> Any:
    if name == query.TIME:
        return row.begin, row.end
    if name == query.TYPE:
        return row.metric
    if name == scope_key:
        return row.scope_id
    if name in timeframe.CALENDAR_KEYS and name not in row.attributes:
        return timeframe.calendar_of(row.begin)[name]
    return str(row.attributes.get(name, row.unit if name == query.UNIT else ''))


class _Sums:
    """Output columns that follow from sums and numbers of points."""

    def __init__(self, fields: Sequence[query.Field]) -> None:
        self._fields = fields
        self._sums = {'qty': ZERO, 'price': ZERO}
        self._points = 0

    def add(self, row: Row) -> None:
        self._sums['qty'] = SUM_CONTEXT.add(self._sums['qty'], row.qty)
        self._sums['price'] = SUM_CONTEXT.add(self._sums['price'], row.price)
        self._points += row.points

    def outputs(self) -> dict[str, Any]:
        return {field.alias: self._output(field) for field in self._fields}

    def _output(self, field: query.Field) -> Decimal | int:
        if field.function == 'count':
            return self._points
        total = self._sums[field.field]
        return total if field.function == 'sum' else query.mean(total, self._points)


class _Values:
    """Output columns that need every point."""

    def __init__(self, fields: Sequence[query.Field]) -> None:
        self._columns = [(field, query.Aggregate(field.function)) for field in fields]

    def add(self, row: Row) -> None:
        for field, aggregate in self._columns:
            value = _field_of(row, field.field)
            if value is not None:
                aggregate.add(value)

    def outputs(self) -> dict[str, Any]:
        return {field.alias: aggregate.value() for field, aggregate in self._columns}


def _field_of(row: Row, name: str) -> Decimal | str | None:
    if name in ('qty', 'price'):
        return row.qty if name == 'qty' else row.price
    if name == query.UNIT:
        return row.unit
    value = row.attributes.get(name)
    if value is None and name == query.TYPE:
        return row.metric
    if value is None and name in timeframe.CALENDAR_KEYS:
        value = timeframe.calendar_of(row.begin)[name]
    return query.read_value(value)
