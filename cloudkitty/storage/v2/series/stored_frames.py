"""Points of stored frames: those that match a query, and pages of them."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint, FrozenDict
from cloudkitty.storage import query
from cloudkitty.storage.v2.series import series_ids

# Series ids, quantities and prices of a frame.
Columns = tuple[Sequence[int], Sequence[Decimal], Sequence[Decimal]]
NO_POINTS: Columns = ((), (), ())


class StoredFrame(NamedTuple):
    """The matching points of one scope in one period.

    :ivar begin, end: the period, aware UTC.
    :ivar points: (series id, quantity, price), at least one.
    :ivar entries: the entries of the series ids.
    """

    begin: datetime
    end: datetime
    points: list[tuple[int, Decimal, Decimal]]
    entries: dict[int, series_ids.Entry]


def matching(
    connection: sa.Connection,
    id_cache: series_ids.IdCache,
    frames: Sequence[tuple[datetime, datetime, Columns]],
    window: query.Window,
    series: frozenset[int] | None,
) -> Iterator[StoredFrame]:
    """Yield the matching points of *frames*, aware UTC.

    :param series: ids of the series that match; None: all.
    """
    calendar_filters = {
        name: values for name, values in window.filters.items() if name in timeframe.CALENDAR_KEYS
    }
    wanted = {series_id for _, _, columns in frames for series_id in columns[0]}
    if series is not None:
        wanted &= series
    entries = id_cache.entries(connection, wanted)
    for begin, end, columns in frames:
        points = list(zip(*columns, strict=True))
        if series is not None:
            points = [point for point in points if point[0] in wanted]
        if calendar_filters:
            calendar = timeframe.calendar_of(begin)
            points = [
                point for point in points if _fits(entries[point[0]], calendar, calendar_filters)
            ]
        if points:
            yield StoredFrame(begin, end, points, entries)


def _fits(
    entry: series_ids.Entry, calendar: Mapping[str, str], filters: Mapping[str, tuple[str, ...]]
) -> bool:
    return all(
        str(entry.series.groupby.get(name, calendar[name])) in values
        for name, values in filters.items()
    )


def as_dataframe(frame: StoredFrame) -> DataFrame:
    """Return *frame* as a DataFrame, with calendar attributes."""
    calendar = FrozenDict(timeframe.calendar_of(frame.begin))
    usage: dict[str, list[DataPoint]] = {}
    for series_id, qty, price in frame.points:
        entry = frame.entries[series_id]
        own = entry.series.groupby.keys() & calendar.keys()
        shown = (
            calendar
            if not own
            else FrozenDict({name: value for name, value in calendar.items() if name not in own})
        )
        usage.setdefault(entry.metric, []).append(DataPoint.of(entry.series, qty, price, shown))
    return DataFrame(frame.begin, frame.end, usage)


def merge(frame: DataFrame, columns: Columns, entries: Mapping[int, series_ids.Entry]) -> DataFrame:
    """Return *frame* with those stored points of its period that it does not contain itself.

    :param entries: the entries of the series ids in *columns*.
    """
    whole = DataFrame(frame.start, frame.end)
    named = {
        (name, series_ids.without_calendar(point.series, frame.start)) for name, point in frame
    }
    for series_id, qty, price in zip(*columns, strict=True):
        entry = entries[series_id]
        if (entry.metric, entry.series) not in named:
            whole.add_point(DataPoint.of(entry.series, qty, price), entry.metric)
    for name, points in frame.itertypes():
        whole.add_points(points, name)
    return whole


class Page:
    """Counts points and collects those of a slice."""

    def __init__(self, offset: int, limit: int | None) -> None:
        self.begin = offset
        self.end = None if limit is None else offset + limit
        self._kept: list[StoredFrame] = []
        self.count = 0

    def add(self, frame: StoredFrame) -> None:
        first = max(self.begin - self.count, 0)
        last = None if self.end is None else max(self.end - self.count, 0)
        self.count += len(frame.points)
        inside = frame.points[first:last]
        if inside:
            self._kept.append(frame._replace(points=inside))

    def is_full(self) -> bool:
        return self.end is not None and self.count >= self.end

    def frames(self) -> list[DataFrame]:
        """Return the collected points, one frame for each stored frame; callers merge them."""
        return [as_dataframe(kept) for kept in self._kept]
