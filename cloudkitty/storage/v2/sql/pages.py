"""Pages of points: roll-ups tell which days a page covers, so that only those are read."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from cloudkitty.core import timeframe
from cloudkitty.storage import query
from cloudkitty.storage.v2.series.answers import Slice
from cloudkitty.storage.v2.series.stored_frames import Page, StoredFrame
from cloudkitty.storage.v2.sql import points, rollups
from cloudkitty.storage.v2.sql.reader import KEY, Reader, split

FRAMES = points.FRAMES


class _Part(NamedTuple):
    """A part of the window, and how many matching points it has."""

    period: timeframe.Period
    points: int


class PageReader(Reader):
    """Executes queries of sums, and of pages of points."""

    def retrieve(self, window: query.Window, wanted: Slice) -> query.Page:
        """Implement BaseStorage.retrieve()."""
        choice = points.choose(self.connection, window, self.id_cache.scope_key)
        end = None if wanted.limit is None else wanted.offset + wanted.limit
        before, count = 0, 0
        inside: list[_Part] = []
        for part in self._parts(window, choice):
            if count + part.points <= wanted.offset:
                before += part.points
            elif end is None or count < end:
                inside.append(part)
            count += part.points
        if not inside:
            return {'total': count, 'dataframes': []}
        page = Page(wanted.offset - before, wanted.limit)
        self._open(
            page, window._replace(begin=inside[0].period.begin, end=inside[-1].period.end), choice
        )
        return {'total': count, 'dataframes': page.frames()}

    def _parts(self, window: query.Window, choice: points.Choice) -> list[_Part]:
        """Return the parts of the window that have matching points, in order."""
        edges = split(max(window.begin, self.retention_cutoff), window.end)
        found = [_Part(part, self._count(window, choice, part)) for part in edges.parts]
        if edges.body:
            spec = self.spec(window, ())
            counts = Counter(
                dict(map(tuple, self.connection.execute(*rollups.day_counts(spec, edges.body))))
            )
            if rollups.needs_series(spec):
                for frame in self.unfolded_frames(window, edges.body):
                    counts[frame.begin.date()] += len(frame.points)
            for day, count in counts.items():
                midnight = timeframe.midnight(day)
                found.append(_Part(timeframe.Period(midnight, midnight + timedelta(days=1)), count))
        return sorted(part for part in found if part.points)

    def _count(self, window: query.Window, choice: points.Choice, period: timeframe.Period) -> int:
        """Return how many matching points a part of a day has."""
        if points.is_whole(choice, window):
            number: int = self.connection.execute(points.count(choice, *period)).scalar_one()
            return number
        return sum(
            len(frame.points)
            for frame in self._read(window._replace(begin=period.begin, end=period.end), choice)
        )

    def _read(self, window: query.Window, choice: points.Choice) -> Iterator[StoredFrame]:
        statement = points.frames(
            choice, window.begin, window.end, *KEY, FRAMES.c.end, FRAMES.c.block
        )
        return points.read(self.connection, self.id_cache, choice, statement, window)

    def _open(self, page: Page, window: query.Window, choice: points.Choice) -> None:
        """Add the points of *window* to *page* until it is full."""
        if page.end is not None and points.is_whole(choice, window):
            rows = self.connection.execute(points.page(choice, window, page.begin, page.end)).all()
            page.count = int(rows[0].before) if rows else 0
            frames = points.decode(self.connection, self.id_cache, choice, rows, window)
        else:
            frames = self._read(window, choice)
        for frame in frames:
            page.add(frame)
            if page.is_full():
                return
