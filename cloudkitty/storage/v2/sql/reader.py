"""Query execution: whole days from roll-ups, parts of days and single periods from points."""

import decimal
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty.core import timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO, trim
from cloudkitty.storage import query
from cloudkitty.storage.v2.sql import folding, points, retention_cutoff, rollups, series_ids

# How often whole days are read until no scope is folded meanwhile.
READS_MAX = 10
KEY = (points.FRAMES.c.begin, points.FRAMES.c.scope_id, points.FRAMES.c.origin)


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


class Edges(NamedTuple):
    """A window divided into whole days and the parts of days before and after them."""

    body: rollups.Span | None
    parts: list[timeframe.Period]


def split(begin: datetime, end: datetime) -> Edges:
    """Divide [begin, end), aware UTC, into whole days and the rest."""
    if begin >= end:
        return Edges(None, [])
    first = timeframe.midnight(begin.date())
    if first < begin:
        first += timedelta(days=1)
    last = timeframe.midnight(end.date())
    if first >= last:
        return Edges(None, [timeframe.Period(begin, end)])
    around = (timeframe.Period(begin, first), timeframe.Period(last, end))
    return Edges(
        rollups.Span(first.date(), last.date()), [part for part in around if part.begin < part.end]
    )


class Reader:
    """Executes queries on one connection."""

    def __init__(self, connection: sa.Connection, id_cache: series_ids.IdCache) -> None:
        self.connection = connection
        self.id_cache = id_cache

    @functools.cached_property
    def retention_cutoff(self) -> datetime:
        """The retention cut-off of points, aware UTC; roll-ups may be kept longer."""
        return retention_cutoff.read(self.connection).begin

    def total(
        self,
        window: query.Window,
        groups: tuple[str, ...],
        fields: tuple[query.Field, ...],
        wanted: Slice,
    ) -> query.Totals:
        """Implement BaseStorage.total()."""
        rolled_up = query.TIME not in groups and all(
            (f.function, f.field) in query.ROLLED_UP for f in fields
        )
        if not rolled_up:
            return self._from_frames(window, groups, fields, wanted)
        edges = split(window.begin, window.end)
        spec = self.spec(window, groups)
        if edges.body and not edges.parts and not self._unfolded(spec, edges.body):
            return self._from_rollups(spec, edges.body, fields, wanted)
        sums = self._whole_days(spec, edges.body) if edges.body else _Sums()
        for part in edges.parts:
            self._add_points(sums, window._replace(begin=part.begin, end=part.end), groups)
        rows = [_row(window, groups, key, _outputs(fields, *total)) for key, total in sums.totals()]
        return {'total': len(rows), 'results': wanted.of(rows)}

    def spec(self, window: query.Window, groups: tuple[str, ...]) -> rollups.QuerySpec:
        """Return the query for the roll-ups."""
        return rollups.QuerySpec(
            window, groups, self.id_cache.scope_key, self._has_own_calendar(window, groups)
        )

    def _has_own_calendar(self, window: query.Window, groups: Groups) -> bool:
        if not any(name in timeframe.CALENDAR_KEYS for name in (*groups, *window.filters)):
            return False
        return self.connection.execute(rollups.has_own_calendar()).first() is not None

    def _from_rollups(
        self, spec: rollups.QuerySpec, span: rollups.Span, fields: Fields, wanted: Slice
    ) -> query.Totals:
        page = None if wanted.limit is None else (wanted.offset, wanted.limit)
        found = self.connection.execute(*rollups.sums(spec, span, page)).all()
        window, groups = spec.window, spec.groups
        rows = [
            _row(window, groups, key, _outputs(fields, qty, price, points_))
            for qty, price, points_, _, *key in found
        ]
        total = found[0].total if found else 0
        if not found and wanted.offset:
            total = self.connection.execute(*rollups.count(spec, span)).scalar_one()
        return {'total': total, 'results': rows}

    def _unfolded(self, spec: rollups.QuerySpec, span: rollups.Span) -> dict[int, datetime]:
        """Return which scopes have frames that are missing in the roll-ups of a query."""
        if not rollups.needs_series(spec):
            return {}
        choice = points.choose_owners(self.connection, spec.window, spec.scope_key)
        return folding.unfolded_from(self.connection, timeframe.midnight(span.end), choice)

    def _whole_days(self, spec: rollups.QuerySpec, span: rollups.Span) -> '_Sums':
        """Return the sums of whole days: those of the roll-ups and of unfolded frames."""
        for _ in range(READS_MAX):
            unfolded = self._unfolded(spec, span)
            sums = _Sums()
            for row in self.connection.execute(*rollups.sums(spec, span)).mappings():
                key = tuple(row[f'g{n}'] for n in range(len(spec.groups)))
                sums.add(key, row['qty'], row['price'], row['points'])
            if unfolded:
                self._add_frames(sums, self.unfolded_frames(spec.window, span), spec.groups)
            # A transaction without a snapshot may see some of them folded in between.
            if unfolded == self._unfolded(spec, span):
                return sums
        raise db_exception.DBDeadlock('the sums by series change all the time')

    def unfolded_frames(
        self, window: query.Window, span: rollups.Span
    ) -> Iterator[points.StoredFrame]:
        """Yield the matching points of *span* that are in no sums by series yet."""
        window = window._replace(
            begin=timeframe.midnight(span.first), end=timeframe.midnight(span.end)
        )
        choice = points.choose(self.connection, window, self.id_cache.scope_key)
        statement = points.frames(
            choice, window.begin, window.end, *KEY, points.FRAMES.c.end, points.FRAMES.c.block
        ).join(folding.UNFOLDED, folding.IS_UNFOLDED)
        return points.read(self.connection, self.id_cache, choice, statement, window)

    def _from_frames(
        self, window: query.Window, groups: Groups, fields: Fields, wanted: Slice
    ) -> query.Totals:
        """Answer a query that roll-ups cannot; sums by period do not decode points."""
        choice = points.choose(self.connection, window, self.id_cache.scope_key)
        is_rolled_up = all((field.function, field.field) in query.ROLLED_UP for field in fields)
        if groups != (query.TIME,) or not is_rolled_up or not points.is_whole(choice, window):
            return self._from_points(window, groups, fields, wanted)
        statement = points.sums(choice, max(window.begin, self.retention_cutoff), window.end)
        found = self.connection.execute(statement.offset(wanted.offset).limit(wanted.limit)).all()
        rows = []
        for row in found:
            period = timeframe.from_naive(row.begin), timeframe.from_naive(row.end)
            rows.append(_row(window, groups, (period,), _outputs(fields, *row[2:5])))
        total = found[0].total if found else 0
        if not found and wanted.offset:
            total = self.connection.execute(
                sa.select(sa.func.count()).select_from(statement.order_by(None).subquery())
            ).scalar_one()
        return {'total': total, 'results': rows}

    def _from_points(
        self, window: query.Window, groups: Groups, fields: Fields, wanted: Slice
    ) -> query.Totals:
        """Answer a query that needs single points: groups by period, or functions such as max."""
        if all((field.function, field.field) in query.ROLLED_UP for field in fields):
            sums = _Sums()
            self._add_points(sums, window, groups)
            outputs = {key: _outputs(fields, *total) for key, total in sums.totals()}
        else:
            outputs = self._functions(window, groups, fields)
        rows = [_row(window, groups, key, outputs[key]) for key in sorted(outputs)]
        return {'total': len(rows), 'results': wanted.of(rows)}

    def _add_points(self, sums: '_Sums', window: query.Window, groups: Groups) -> None:
        """Add the points of *window* to *sums*, by group."""
        self._add_frames(sums, self._frames(window), groups)

    def _add_frames(
        self, sums: '_Sums', frames: Iterable[points.StoredFrame], groups: Groups
    ) -> None:
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

    def _frames(self, window: query.Window) -> Iterator[points.StoredFrame]:
        window = window._replace(begin=max(window.begin, self.retention_cutoff))
        choice = points.choose(self.connection, window, self.id_cache.scope_key)
        statement = points.frames(
            choice, window.begin, window.end, *KEY, points.FRAMES.c.end, points.FRAMES.c.block
        )
        return points.read(self.connection, self.id_cache, choice, statement, window)

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

    def __init__(self, reader: Reader, groups: Groups) -> None:
        self._reader = reader
        self._groups = groups
        self._has_time = query.TIME in groups
        self._has_calendar = any(name in timeframe.CALENDAR_KEYS for name in groups)
        self._of_series: dict[int, Group] = {}

    def of_frame(self, frame: points.StoredFrame) -> Group:
        """Return the part of the key that depends on the period."""
        values: list[Any] = []
        calendar = timeframe.calendar_of(frame.begin) if self._has_calendar else {}
        if self._has_time or self._has_calendar:
            values = [
                (frame.begin, frame.end) if name == query.TIME else calendar.get(name)
                for name in self._groups
            ]
        return tuple(values)

    def of_series(self, series_id: int, frame: points.StoredFrame) -> Group:
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


class _Sums:
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


def _outputs(fields: Fields, qty: Decimal, price: Decimal, count: int) -> dict[str, Any]:
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


def _row(
    window: query.Window, groups: Groups, key: Sequence[Any], outputs: Mapping[str, Any]
) -> dict[str, Any]:
    values = dict(zip(groups, key, strict=True))
    begin, end = values.pop(query.TIME, (window.begin, window.end))
    return {'begin': begin, 'end': end, **outputs, **values}


def _field_of(
    point: tuple[int, Decimal, Decimal], frame: points.StoredFrame, name: str
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
