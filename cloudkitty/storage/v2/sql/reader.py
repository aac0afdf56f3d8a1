"""Answers: whole days from roll-ups, parts of days and single periods from points."""

import decimal
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors, timeframe
from cloudkitty.dataframe import SUM_CONTEXT, ZERO, DataFrame, to_decimal
from cloudkitty.storage.v2.sql import catalogue as catalogues
from cloudkitty.storage.v2.sql import points, query, rollups

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

    def total(self, window: query.Window, groups: tuple[str, ...],
              fields: tuple[query.Field, ...], wanted: Slice) -> dict:
        """Return what BaseStorage.total() promises."""
        rolled_up = (query.TIME not in groups
                     and all((f.function, f.field) in query.ROLLED_UP for f in fields))
        if not rolled_up:
            return self._from_points(window, groups, fields, wanted)
        edges = split(window.begin, window.end)
        question = rollups.Question(window, groups, self.catalogue.scope_key,
                                    self._has_own_calendar(window, groups))
        if edges.body and not edges.parts:
            return self._from_rollups(question, edges.body, fields, wanted)
        sums = _Sums()
        if edges.body:
            for row in self.connection.execute(
                    rollups.sums(question, edges.body)).mappings():
                key = tuple(row[f'g{n}'] for n in range(len(groups)))
                sums.add(key, row['qty'], row['price'], row['points'])
        for part in edges.parts:
            for point in self._points(window._replace(begin=part.begin, end=part.end)):
                sums.add(self._key(point, groups), point.qty, point.price, 1)
        rows = [_row(window, groups, key, _outputs(fields, *total))
                for key, total in sorted(sums.by_key.items())]
        return {'total': len(rows), 'results': wanted.of(rows)}

    def _has_own_calendar(self, window, groups):
        if not any(name in timeframe.CALENDAR_KEYS for name in (*groups, *window.filters)):
            return False
        return self.connection.execute(rollups.has_own_calendar()).first() is not None

    def _from_rollups(self, question, span, fields, wanted):
        statement = rollups.sums(question, span)
        found = self.connection.execute(
            statement.offset(wanted.offset).limit(wanted.limit)).mappings().all()
        window, groups = question.window, question.groups
        rows = [_row(window, groups, tuple(row[f'g{n}'] for n in range(len(groups))),
                     _outputs(fields, row['qty'], row['price'], row['points'])) for row in found]
        total = wanted.offset + len(rows)
        if (not rows and wanted.offset) or (wanted.limit is not None and len(rows) == wanted.limit):
            total = self.connection.execute(
                sa.select(sa.func.count()).select_from(statement.order_by(None).subquery())
            ).scalar()
        return {'total': total, 'results': rows}

    def _from_points(self, window, groups, fields, wanted):
        """Answer what needs single points: groups by period, and functions such as max."""
        values = {}
        for point in self._points(window):
            columns = values.setdefault(self._key(point, groups), [[] for _ in fields])
            for column, field in zip(columns, fields, strict=True):
                number = _field_of(point, field.field)
                if number is not None:
                    column.append(number)
        rows = []
        for key in sorted(values):
            outputs = {field.alias: query.aggregate(field.function, column, _exact_sum)
                       for field, column in zip(fields, values[key], strict=True)}
            rows.append(_row(window, groups, key, outputs))
        return {'total': len(rows), 'results': wanted.of(rows)}

    def _points(self, window) -> Iterator[points.Stored]:
        choice = points.choose(self.connection, window, self.catalogue.scope_key)
        statement = points.frames(choice, window.begin, window.end, *KEY, points.FRAMES.c.end,
                                  points.FRAMES.c.block)
        yield from points.read(self.connection, self.catalogue, choice, statement, window)

    def _key(self, point, groups):
        attributes = point.entry.series.groupby
        calendar = timeframe.calendar_of(point.begin)
        key = []
        for name in groups:
            if name == query.TYPE:
                key.append(point.entry.metric)
            elif name == query.TIME:
                key.append((point.begin, point.end))
            elif name == self.catalogue.scope_key:
                key.append(self.catalogue.identifier(self.connection, point.entry.scope))
            else:
                key.append(str(attributes.get(name, calendar.get(name, ''))))
        return tuple(key)

    def retrieve(self, window: query.Window, wanted: Slice) -> dict:
        """Return what BaseStorage.retrieve() promises."""
        choice = points.choose(self.connection, window, self.catalogue.scope_key)
        filtered = choice.series is not None or any(
            name in timeframe.CALENDAR_KEYS for name in window.filters)
        if filtered:
            return self._page_of_points(window, choice, wanted)
        return self._page_of_frames(window, choice, wanted)

    def _page_of_points(self, window, choice, wanted):
        """Look at every point, because only some of a frame's may be wanted."""
        statement = points.frames(choice, window.begin, window.end, *KEY, points.FRAMES.c.end,
                                  points.FRAMES.c.block)
        end = None if wanted.limit is None else wanted.offset + wanted.limit
        page, count = [], 0
        for point in points.read(self.connection, self.catalogue, choice, statement, window):
            if count >= wanted.offset and (end is None or count < end):
                page.append(point)
            count += 1
        return {'total': count, 'dataframes': _frames(page)}

    def _page_of_frames(self, window, choice, wanted):
        """Find the frames of the page by their number of points; open no other block."""
        keys = self.connection.execute(points.frames(
            choice, window.begin, window.end, *KEY, points.FRAMES.c.points)).all()
        end = None if wanted.limit is None else wanted.offset + wanted.limit
        inside, count, skipped = [], 0, 0
        for row in keys:
            if count + row.points <= wanted.offset:
                skipped += row.points
            elif end is None or count < end:
                inside.append(row)
            count += row.points
        if not inside:
            return {'total': count, 'dataframes': []}
        first, last = inside[0], inside[-1]
        statement = points.frames(
            choice, timeframe.from_naive(first.begin),
            timeframe.from_naive(last.begin) + timedelta(microseconds=1), *KEY,
            points.FRAMES.c.end, points.FRAMES.c.block)
        # The statement also finds frames of other scopes that begin with the first of the page.
        skipped -= sum(row.points for row in keys if row.begin == first.begin
                       and (row.scope_id, row.origin) < (first.scope_id, first.origin))
        page = Slice(wanted.offset - skipped, wanted.limit)
        found = list(points.read(self.connection, self.catalogue, choice, statement, window))
        return {'total': count, 'dataframes': _frames(page.of(found))}


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


def _exact_sum(numbers):
    with decimal.localcontext(SUM_CONTEXT):
        return sum(numbers, ZERO)


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


def _field_of(point, name):
    """Return the number that *name* is in a point; None: it has none."""
    if name in ('qty', 'price'):
        return getattr(point, name)
    value = point.entry.series.metadata.get(name)
    try:
        return None if value is None or isinstance(value, bool) else to_decimal(value)
    except errors.InvalidInput:
        return None


def _frames(page):
    """Return *page* as frames; scopes that share a period share a frame."""
    frames = {}
    for point in page:
        bounds = (point.begin, point.end)
        if bounds not in frames:
            frames[bounds] = DataFrame(*bounds)
        frames[bounds].add_point(points.point_of(point), point.entry.metric)
    return [DataFrame(*bounds, frame.usage) for bounds, frame in sorted(frames.items())]
