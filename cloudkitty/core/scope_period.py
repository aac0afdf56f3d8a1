"""A scope in a period: the unit of collecting, rating, storing and replacing. Pure.

The periods of a scope in a batch are kept in columns; a single one is a view of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, overload

from cloudkitty.core.columns import Column, ColumnBuilder, calendars_of
from cloudkitty.core.dataframe import DataFrame, DataPoint, NamedPoint
from cloudkitty.core.timeframe import Period


class ScopePeriods(Sequence[DataFrame]):
    """The usage of a scope in the periods of a batch, in columns.

    For rating modules and storage drivers that expect frames it is a sequence of frames, which are
    built on access.

    :ivar periods: those of the batch; scopes share them.
    :ivar columns: columns that have points, by metric; those of one metric in the source's order.
    :ivar places: indexes of the periods in *periods* that have frames, ascending.
    """

    __slots__ = ('_calendars', 'columns', 'periods', 'places', 'scope_id')

    def __init__(
        self,
        scope_id: str | None,
        periods: Sequence[Period],
        columns: Iterable[Column],
        *,
        places: Sequence[int] | None = None,
        calendars: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """
        :param places: None: all that have points.
        :param calendars: those of *periods*, if they are known, see columns.calendars_of().
        """
        self.scope_id = scope_id
        self.periods = periods
        self.columns = sorted(
            (column for column in columns if column.places), key=lambda column: column.metric
        )
        self.places = _places(self.columns, len(periods)) if places is None else places
        self._calendars = calendars

    @classmethod
    def of_frames(cls, scope_id: str | None, frames: Iterable[DataFrame]) -> 'ScopePeriods':
        """Return *frames* of one scope in columns; ScopePeriods are returned unchanged."""
        if isinstance(frames, cls):
            return frames
        frames = list(frames)
        periods = [Period(frame.start, frame.end) for frame in frames]
        calendars = calendars_of(periods)
        builder = ColumnBuilder(calendars)
        for place, frame in enumerate(frames):
            for metric, points in frame.itertypes():
                builder.add(metric, place, points)
        return cls(
            scope_id, periods, builder.columns(), places=range(len(frames)), calendars=calendars
        )

    @property
    def calendars(self) -> Sequence[Mapping[str, Any]]:
        """Calendar attributes of each of the periods."""
        if self._calendars is None:
            self._calendars = calendars_of(self.periods)
        return self._calendars

    @property
    def points(self) -> int:
        """Number of points."""
        return sum(len(column.places) for column in self.columns)

    @property
    def begins(self) -> list[datetime]:
        """Begins of the periods that have frames."""
        return [self.periods[place].begin for place in self.places]

    def with_columns(self, columns: Iterable[Column]) -> 'ScopePeriods':
        """Return the same periods with other columns."""
        return ScopePeriods(
            self.scope_id, self.periods, columns, places=self.places, calendars=self._calendars
        )

    def at(self, places: Sequence[int]) -> 'ScopePeriods':
        """Return the part at *places* of the batch, which are ascending."""
        wanted = set(places)
        kept = (
            column.kept([n for n, place in enumerate(column.places) if place in wanted])
            for column in self.columns
        )
        return ScopePeriods(
            self.scope_id, self.periods, kept, places=places, calendars=self._calendars
        )

    def with_points(self) -> 'ScopePeriods':
        """Return the part with the periods that have points."""
        places = _places(self.columns, len(self.periods))
        return self if len(places) == len(self.places) else self.at(places)

    def scope_periods(self) -> Iterator['ScopePeriod']:
        """Yield a ScopePeriod for each period that has a frame."""
        return (ScopePeriod(self, place) for place in self.places)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> DataFrame: ...

    @overload
    def __getitem__(self, index: slice) -> 'ScopePeriods': ...

    def __getitem__(self, index: int | slice) -> 'DataFrame | ScopePeriods':
        if isinstance(index, slice):
            return self.at(self.places[index])
        return ScopePeriod(self, self.places[index]).frame()

    def __iter__(self) -> Iterator[DataFrame]:
        # In one pass, so that columns are not searched once per period.
        usage: dict[int, dict[str, list[DataPoint]]] = {place: {} for place in self.places}
        for column in self.columns:
            for index, place in enumerate(column.places):
                usage[place].setdefault(column.metric, []).append(
                    column.point(index, self.calendars)
                )
        return (DataFrame(*self.periods[place], usage.pop(place)) for place in self.places)

    def __repr__(self) -> str:
        return f'ScopePeriods({self.scope_id!r}, {len(self)} periods, {len(self.columns)} columns)'


class ScopePeriod(NamedTuple):
    """A view of one period of a scope.

    :ivar place: index of the period in the batch.
    """

    periods: ScopePeriods
    place: int

    @property
    def scope_id(self) -> str | None:
        return self.periods.scope_id

    @property
    def begin(self) -> datetime:
        return self.periods.periods[self.place].begin

    @property
    def end(self) -> datetime:
        return self.periods.periods[self.place].end

    def points(self) -> Iterator[NamedPoint]:
        """Yield (metric name, point), ordered by metric."""
        whole = self.periods
        for column in whole.columns:
            if self.place in column.places:
                index = column.places.index(self.place)
                yield NamedPoint(column.metric, column.point(index, whole.calendars))

    def frame(self) -> DataFrame:
        """Return a new frame."""
        usage: dict[str, list[DataPoint]] = {}
        for metric, point in self.points():
            usage.setdefault(metric, []).append(point)
        return DataFrame(self.begin, self.end, usage)


def _places(columns: Iterable[Column], count: int) -> Sequence[int]:
    """Return the places that have points, ascending."""
    found: set[int] = set()
    for column in columns:
        if len(column.places) == count:
            return range(count)
        found.update(column.places)
    return sorted(found)
