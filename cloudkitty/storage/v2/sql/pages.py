"""Pages of points: roll-ups say on which days a page lies, so that only those are opened."""

from datetime import timedelta
from typing import NamedTuple

from cloudkitty import timeframe
from cloudkitty.dataframe import DataFrame
from cloudkitty.storage.v2.sql import points, query, rollups
from cloudkitty.storage.v2.sql.reader import KEY, Reader, Slice, split

FRAMES = points.FRAMES


class _Part(NamedTuple):
    """A part of the asked time, and how many wanted points it has."""

    period: timeframe.Period
    count: int


class Pages:
    """Answers retrieve() over the connection of *reader*."""

    def __init__(self, reader: Reader):
        self.reader = reader
        self.connection = reader.connection

    def retrieve(self, window: query.Window, wanted: Slice) -> dict:
        """Return what BaseStorage.retrieve() promises."""
        choice = points.choose(self.connection, window, self.reader.catalogue.scope_key)
        end = None if wanted.limit is None else wanted.offset + wanted.limit
        before, count, inside = 0, 0, []
        for part in self._parts(window, choice):
            if count + part.count <= wanted.offset:
                before += part.count
            elif end is None or count < end:
                inside.append(part)
            count += part.count
        if not inside:
            return {'total': count, 'dataframes': []}
        page = _Page(Slice(wanted.offset - before, wanted.limit))
        self._open(page, window._replace(begin=inside[0].period.begin,
                                         end=inside[-1].period.end), choice)
        return {'total': count, 'dataframes': page.frames()}

    def _parts(self, window, choice):
        """Return the parts of the asked time that hold wanted points, in order."""
        edges = split(max(window.begin, self.reader.horizon), window.end)
        found = [_Part(part, self._count(window, choice, part)) for part in edges.parts]
        if edges.body:
            question = self.reader.question(window, ())
            for day, count in self.connection.execute(
                    *rollups.day_counts(question, edges.body)):
                midnight = timeframe.midnight(day)
                found.append(_Part(
                    timeframe.Period(midnight, midnight + timedelta(days=1)), count))
        return sorted(part for part in found if part.count)

    def _count(self, window, choice, period):
        """Return how many wanted points a part of a day holds."""
        if points.is_whole(choice, window):
            return self.connection.execute(points.count(choice, *period)).scalar()
        return sum(len(frame.points) for frame in self._read(
            window._replace(begin=period.begin, end=period.end), choice))

    def _read(self, window, choice):
        statement = points.frames(choice, window.begin, window.end, *KEY, FRAMES.c.end,
                                  FRAMES.c.block)
        return points.read(self.connection, self.reader.catalogue, choice, statement, window)

    def _open(self, page, window, choice):
        """Add the points of *window* to *page* until that is full."""
        if page.end is not None and points.is_whole(choice, window):
            rows = self.connection.execute(
                points.page(choice, window, page.begin, page.end)).all()
            page.count = int(rows[0].before) if rows else 0
            frames = points.decode(self.connection, self.reader.catalogue, choice, rows, window)
        else:
            frames = self._read(window, choice)
        for frame in frames:
            page.add(frame)
            if page.is_full():
                return


class _Page:
    """Counts points, and keeps those of a slice."""

    def __init__(self, wanted):
        self.begin = wanted.offset
        self.end = None if wanted.limit is None else wanted.offset + wanted.limit
        self._kept = []
        self.count = 0

    def add(self, frame):
        first = max(self.begin - self.count, 0)
        last = None if self.end is None else max(self.end - self.count, 0)
        self.count += len(frame.points)
        inside = frame.points[first:last]
        if inside:
            self._kept.append(frame._replace(points=inside))

    def is_full(self):
        return self.end is not None and self.count >= self.end

    def frames(self):
        """Return what was kept as frames; scopes that share a period share a frame."""
        found = {}
        for kept in self._kept:
            frame = found.setdefault((kept.begin, kept.end), DataFrame(kept.begin, kept.end))
            for metric, point in points.points_of(kept):
                frame.add_point(point, metric)
        return [DataFrame(*bounds, frame.usage) for bounds, frame in sorted(found.items())]
