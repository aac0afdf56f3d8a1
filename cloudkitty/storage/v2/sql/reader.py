"""Answers: whole days from roll-ups, parts of days and single periods from points."""

import decimal
import functools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors, timeframe
from cloudkitty.dataframe import SUM_CONTEXT, ZERO, to_decimal
from cloudkitty.storage.v2.sql import catalogue as catalogues
from cloudkitty.storage.v2.sql import horizon, points, query, rollups

KEY = (points.FRAMES.c.begin, points.FRAMES.c.scope_id, points.FRAMES.c.origin)


class Slice(NamedTuple):
    """Which rows of an answer are wanted; limit None: all from offset on."""

    offset: int
    limit: int | None

    def of(self, rows: list) -> list:
        end = None if self.limit is None else self.offset + self.limit
        return rows[self.offset:end]


class Edges(NamedTuple):
    """A window as whole days in the middle and the parts of days around them."""

    body: rollups.Span | None
    parts: list[timeframe.Period]


def split(begin: datetime, end: datetime) -> Edges:
    """Return [begin, end), aware UTC, as whole days and the rest."""
    if begin >= end:
        return Edges(None, [])
    first = timeframe.midnight(begin.date())
    if first < begin:
        first += timedelta(days=1)
    last = timeframe.midnight(end.date())
    if first >= last:
        return Edges(None, [timeframe.Period(begin, end)])
    around = (timeframe.Period(begin, first), timeframe.Period(last, end))
    return Edges(rollups.Span(first.date(), last.date()),
                 [part for part in around if part.begin < part.end])


class Reader:
    """Answers questions over one connection."""

    def __init__(self, connection: sa.Connection, catalogue: catalogues.Catalogue):
        self.connection = connection
        self.catalogue = catalogue

    @functools.cached_property
    def horizon(self) -> datetime:
        """Where points begin, aware UTC; roll-ups may be kept longer."""
        return horizon.read(self.connection).begin

    def total(self, window: query.Window, groups: tuple[str, ...],
              fields: tuple[query.Field, ...], wanted: Slice) -> dict:
        """Return what BaseStorage.total() promises."""
        rolled_up = (query.TIME not in groups
                     and all((f.function, f.field) in query.ROLLED_UP for f in fields))
        if not rolled_up:
            return self._from_frames(window, groups, fields, wanted)
        edges = split(window.begin, window.end)
        question = self.question(window, groups)
        if edges.body and not edges.parts:
            return self._from_rollups(question, edges.body, fields, wanted)
        sums = _Sums()
        if edges.body:
            for row in self.connection.execute(
                    *rollups.sums(question, edges.body)).mappings():
                key = tuple(row[f'g{n}'] for n in range(len(groups)))
                sums.add(key, row['qty'], row['price'], row['points'])
        for part in edges.parts:
            self._add_points(sums, window._replace(begin=part.begin, end=part.end), groups)
        rows = [_row(window, groups, key, _outputs(fields, *total))
                for key, total in sorted(sums.by_key.items())]
        return {'total': len(rows), 'results': wanted.of(rows)}

    def question(self, window: query.Window, groups: tuple[str, ...]) -> rollups.Question:
        """Return what to ask of the roll-ups."""
        return rollups.Question(window, groups, self.catalogue.scope_key,
                                self._has_own_calendar(window, groups))

    def _has_own_calendar(self, window, groups):
        if not any(name in timeframe.CALENDAR_KEYS for name in (*groups, *window.filters)):
            return False
        return self.connection.execute(rollups.has_own_calendar()).first() is not None

    def _from_rollups(self, question, span, fields, wanted):
        page = None if wanted.limit is None else (wanted.offset, wanted.limit)
        found = self.connection.execute(*rollups.sums(question, span, page)).all()
        window, groups = question.window, question.groups
        rows = [_row(window, groups, key, _outputs(fields, qty, price, points_))
                for qty, price, points_, _, *key in found]
        total = found[0].total if found else 0
        if not found and wanted.offset:
            total = self.connection.execute(*rollups.count(question, span)).scalar()
        return {'total': total, 'results': rows}

    def _from_frames(self, window, groups, fields, wanted):
        """Answer what roll-ups cannot; sums by period need no single points."""
        choice = points.choose(self.connection, window, self.catalogue.scope_key)
        is_rolled_up = all((field.function, field.field) in query.ROLLED_UP for field in fields)
        if groups != (query.TIME,) or not is_rolled_up or not points.is_whole(choice, window):
            return self._from_points(window, groups, fields, wanted)
        statement = points.sums(choice, max(window.begin, self.horizon), window.end)
        found = self.connection.execute(statement.offset(wanted.offset).limit(wanted.limit)).all()
        rows = []
        for row in found:
            period = timeframe.from_naive(row.begin), timeframe.from_naive(row.end)
            rows.append(_row(window, groups, (period,), _outputs(fields, *row[2:5])))
        total = found[0].total if found else 0
        if not found and wanted.offset:
            total = self.connection.execute(sa.select(sa.func.count()).select_from(
                statement.order_by(None).subquery())).scalar()
        return {'total': total, 'results': rows}

    def _from_points(self, window, groups, fields, wanted):
        """Answer what needs single points: groups by period, and functions such as max."""
        if all((field.function, field.field) in query.ROLLED_UP for field in fields):
            sums = _Sums()
            self._add_points(sums, window, groups)
            outputs = {key: _outputs(fields, *total) for key, total in sums.by_key.items()}
        else:
            outputs = self._functions(window, groups, fields)
        rows = [_row(window, groups, key, outputs[key]) for key in sorted(outputs)]
        return {'total': len(rows), 'results': wanted.of(rows)}

    def _add_points(self, sums, window, groups):
        """Add the points of *window* to *sums*, by group."""
        keys = _Keys(self, groups)
        found = {}
        with decimal.localcontext(SUM_CONTEXT):
            for frame in self._frames(window):
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

    def _functions(self, window, groups, fields):
        """Return the outputs of *fields* by group key."""
        keys = _Keys(self, groups)
        values = {}
        for frame in self._frames(window):
            of_frame = keys.of_frame(frame)
            for point in frame.points:
                key = keys.join(of_frame, keys.of_series(point[0], frame))
                if key not in values:
                    values[key] = [query.Aggregate(field.function) for field in fields]
                for aggregate, field in zip(values[key], fields, strict=True):
                    number = _field_of(point, frame, field.field)
                    if number is not None:
                        aggregate.add(number)
        return {key: {field.alias: aggregate.value()
                      for field, aggregate in zip(fields, aggregates, strict=True)}
                for key, aggregates in values.items()}

    def _frames(self, window) -> Iterator[points.StoredFrame]:
        window = window._replace(begin=max(window.begin, self.horizon))
        choice = points.choose(self.connection, window, self.catalogue.scope_key)
        statement = points.frames(choice, window.begin, window.end, *KEY, points.FRAMES.c.end,
                                  points.FRAMES.c.block)
        return points.read(self.connection, self.catalogue, choice, statement, window)

    def group_value(self, entry: catalogues.Entry, name: str) -> str | None:
        """Return what a series has for a group; None: the period says it."""
        if name == query.TYPE:
            return entry.metric
        if name == self.catalogue.scope_key:
            return self.catalogue.identifier(self.connection, entry.scope)
        value = entry.series.groupby.get(name)
        if value is None and (name in timeframe.CALENDAR_KEYS or name == query.TIME):
            return None
        return str(entry.series.groupby.get(name, ''))


class _Keys:
    """Finds the group of a point; what follows from its series is looked up once a series."""

    def __init__(self, reader, groups):
        self._reader = reader
        self._groups = groups
        self._has_time = query.TIME in groups
        self._has_calendar = any(name in timeframe.CALENDAR_KEYS for name in groups)
        self._of_series = {}

    def of_frame(self, frame):
        """Return the part of the key that the period says."""
        values = []
        calendar = timeframe.calendar_of(frame.begin) if self._has_calendar else {}
        if self._has_time or self._has_calendar:
            values = [(frame.begin, frame.end) if name == query.TIME else calendar.get(name)
                      for name in self._groups]
        return tuple(values)

    def of_series(self, series_id, frame):
        """Return the part of the key that the series says."""
        values = self._of_series.get(series_id)
        if values is None:
            entry = frame.entries[series_id]
            values = tuple(None if name == query.TIME else self._reader.group_value(entry, name)
                           for name in self._groups)
            self._of_series[series_id] = values
        return values

    @staticmethod
    def join(of_frame, of_series):
        """Return the whole key; what the series says wins."""
        if not of_frame:
            return of_series
        return tuple(period if own is None else own
                     for period, own in zip(of_frame, of_series, strict=True))


class _Sums:
    """Exact sums by key."""

    def __init__(self):
        self.by_key = {}

    def add(self, key, qty, price, count):
        total = self.by_key.get(key)
        if total is None:
            total = self.by_key[key] = [ZERO, ZERO, 0]
        total[0] = SUM_CONTEXT.add(total[0], qty)
        total[1] = SUM_CONTEXT.add(total[1], price)
        total[2] += count


def _outputs(fields, qty, price, count):
    sums = {'qty': qty, 'price': price}
    outputs = {}
    for field in fields:
        if field.function == 'count':
            outputs[field.alias] = count
        elif field.function == 'mean':
            outputs[field.alias] = query.mean(sums[field.field], count)
        else:
            outputs[field.alias] = sums[field.field]
    return outputs


def _row(window, groups, key, outputs):
    values = dict(zip(groups, key, strict=True))
    begin, end = values.pop(query.TIME, (window.begin, window.end))
    return {'begin': begin, 'end': end, **outputs, **values}


def _field_of(point, frame, name):
    """Return the number that *name* is in a point; None: it has none."""
    series_id, qty, price = point
    if name in ('qty', 'price'):
        return qty if name == 'qty' else price
    value = frame.entries[series_id].series.metadata.get(name)
    try:
        return None if value is None or isinstance(value, bool) else to_decimal(value)
    except errors.InvalidInput:
        return None

