"""Answers computed from points, for readers of stores that refer to series by ids."""

import abc
import decimal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO, trim
from cloudkitty.storage import query
from cloudkitty.storage.v2.series import series_ids
from cloudkitty.storage.v2.series.stored_frames import StoredFrame

_Row = TypeVar('_Row')
# Group values to exact sums of quantities and prices and the number of points.
Group = tuple[Any, ...]
Total = list[Any]
Groups = tuple[str, ...]
Fields = tuple[query.Field, ...]


class Slice(NamedTuple):
    """A page of the rows of a result; limit None: all from offset on."""

    offset: int
    limit: int | None

    def of(self, rows: list[_Row]) -> list[_Row]:
        end = None if self.limit is None else self.offset + self.limit
        return rows[self.offset : end]


class FrameReader(abc.ABC):
    """Computes answers from points, with the ids of series on one connection."""

    def __init__(self, connection: sa.Connection, id_cache: series_ids.IdCache) -> None:
        self.connection = connection
        self.id_cache = id_cache

    @abc.abstractmethod
    def _frames(self, window: query.Window) -> Iterator[StoredFrame]:
        """Yield the matching points of *window*, in the order of pages."""

    def _from_points(
        self, window: query.Window, groups: Groups, fields: Fields, wanted: Slice
    ) -> query.Totals:
        """Answer a query that needs single points: groups by period, or functions such as max."""
        if all((field.function, field.field) in query.ROLLED_UP for field in fields):
            sums = Sums()
            self._add_points(sums, window, groups)
            outputs = {key: outputs_of(fields, *total) for key, total in sums.totals()}
        else:
            outputs = self._functions(window, groups, fields)
        rows = [row_of(window, groups, key, outputs[key]) for key in sorted(outputs)]
        return {'total': len(rows), 'results': wanted.of(rows)}

    def _add_points(self, sums: 'Sums', window: query.Window, groups: Groups) -> None:
        """Add the points of *window* to *sums*, by group."""
        self._add_frames(sums, self._frames(window), groups)

    def _add_frames(self, sums: 'Sums', frames: Iterable[StoredFrame], groups: Groups) -> None:
        keys = _Keys(self, groups)
        found: dict[Group, dict[Group, Total]] = {}
        with decimal.localcontext(SUM_CONTEXT):
            for frame in frames:
                totals = found.setdefault(keys.of_frame(frame), {})
                for series_id, qty, price in frame.points:
                    part = keys.of_series(series_id, frame)
                    total = totals.get(part)
                    if total is None:
                        total = totals[part] = [ZERO, ZERO, 0]
                    total[0] += qty
                    total[1] += price
                    total[2] += 1
        for of_frame, totals in found.items():
            for of_series, total in totals.items():
                sums.add(keys.join(of_frame, of_series), *total)

    def _functions(
        self, window: query.Window, groups: Groups, fields: Fields
    ) -> dict[Group, dict[str, Any]]:
        """Return the values of *fields* by group key."""
        keys = _Keys(self, groups)
        values: dict[Group, list[query.Aggregate]] = {}
        for frame in self._frames(window):
            of_frame = keys.of_frame(frame)
            for point in frame.points:
                key = keys.join(of_frame, keys.of_series(point[0], frame))
                if key not in values:
                    values[key] = [query.Aggregate(field.function) for field in fields]
                for aggregate, field in zip(values[key], fields, strict=True):
                    value = _field_of(point, frame, field.field)
                    if value is not None:
                        aggregate.add(value)
        return {
            key: {
                field.alias: aggregate.value()
                for field, aggregate in zip(fields, aggregates, strict=True)
            }
            for key, aggregates in values.items()
        }

    def group_value(self, entry: series_ids.Entry, name: str) -> str | None:
        """Return the value of a series for a group; None: it depends on the period."""
        if name == query.TYPE:
            return entry.metric
        if name == self.id_cache.scope_key:
            return self.id_cache.identifier(self.connection, entry.scope)
        value = entry.series.groupby.get(name)
        if value is None and (name in timeframe.CALENDAR_KEYS or name == query.TIME):
            return None
        otherwise = entry.series.unit if name == query.UNIT else ''
        return str(entry.series.groupby.get(name, otherwise))


class _Keys:
    """Computes the group key of points; the part that depends on the series is cached by series."""

    def __init__(self, reader: 'FrameReader', groups: Groups) -> None:
        self._reader = reader
        self._groups = groups
        self._has_time = query.TIME in groups
        self._has_calendar = any(name in timeframe.CALENDAR_KEYS for name in groups)
        self._of_series: dict[int, Group] = {}

    def of_frame(self, frame: StoredFrame) -> Group:
        """Return the part of the key that depends on the period."""
        values: list[Any] = []
        calendar = timeframe.calendar_of(frame.begin) if self._has_calendar else {}
        if self._has_time or self._has_calendar:
            values = [
                (frame.begin, frame.end) if name == query.TIME else calendar.get(name)
                for name in self._groups
            ]
        return tuple(values)

    def of_series(self, series_id: int, frame: StoredFrame) -> Group:
        """Return the part of the key that depends on the series."""
        values = self._of_series.get(series_id)
        if values is None:
            entry = frame.entries[series_id]
            values = tuple(
                None if name == query.TIME else self._reader.group_value(entry, name)
                for name in self._groups
            )
            self._of_series[series_id] = values
        return values

    @staticmethod
    def join(of_frame: Group, of_series: Group) -> Group:
        """Return the whole key; values of the series take precedence."""
        if not of_frame:
            return of_series
        return tuple(
            period if own is None else own for period, own in zip(of_frame, of_series, strict=True)
        )


class Sums:
    """Exact sums by key."""

    def __init__(self) -> None:
        self.by_key: dict[Group, Total] = {}

    def add(self, key: Group, qty: Decimal, price: Decimal, count: int) -> None:
        total = self.by_key.get(key)
        if total is None:
            total = self.by_key[key] = [ZERO, ZERO, 0]
        total[0] = SUM_CONTEXT.add(total[0], qty)
        total[1] = SUM_CONTEXT.add(total[1], price)
        total[2] += count

    def totals(self) -> Iterator[tuple[Group, Total]]:
        """Yield the sums, sorted by key, without trailing zeros: as the roll-ups have them."""
        for key, (qty, price, count) in sorted(self.by_key.items()):
            yield key, [trim(qty), trim(price), count]


def outputs_of(fields: Fields, qty: Decimal, price: Decimal, count: int) -> dict[str, Any]:
    sums = {'qty': qty, 'price': price}
    outputs: dict[str, Decimal | int] = {}
    for field in fields:
        if field.function == 'count':
            outputs[field.alias] = count
        elif field.function == 'mean':
            outputs[field.alias] = query.mean(sums[field.field], count)
        else:
            outputs[field.alias] = sums[field.field]
    return outputs


def row_of(
    window: query.Window, groups: Groups, key: Sequence[Any], outputs: Mapping[str, Any]
) -> dict[str, Any]:
    values = dict(zip(groups, key, strict=True))
    begin, end = values.pop(query.TIME, (window.begin, window.end))
    return {'begin': begin, 'end': end, **outputs, **values}


def _field_of(
    point: tuple[int, Decimal, Decimal], frame: StoredFrame, name: str
) -> Decimal | str | None:
    """Return the value of *name* in a point, see query.read_value()."""
    series_id, qty, price = point
    if name in ('qty', 'price'):
        return qty if name == 'qty' else price
    entry = frame.entries[series_id]
    series = entry.series
    if name == query.UNIT:
        return series.unit
    value = series.groupby.get(name, series.metadata.get(name))
    if value is None and name == query.TYPE:
        return entry.metric
    if value is None and name in timeframe.CALENDAR_KEYS:
        value = timeframe.calendar_of(frame.begin)[name]
    return query.read_value(value)
