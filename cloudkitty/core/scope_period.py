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
    :ivar offsets: indexes of the periods in *periods* that have frames, ascending.
    """

    __slots__ = ('_calendars', 'columns', 'offsets', 'periods', 'scope_id')

    def __init__(
        self,
        scope_id: str | None,
        periods: Sequence[Period],
        columns: Iterable[Column],
        *,
        offsets: Sequence[int] | None = None,
        calendars: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """
        :param offsets: None: all that have points.
        :param calendars: those of *periods*, if they are known, see columns.calendars_of().
        """
        self.scope_id = scope_id
        self.periods = periods
        self.columns = sorted(
            (column for column in columns if column.offsets), key=lambda column: column.metric
        )
        self.offsets = _offsets(self.columns, len(periods)) if offsets is None else offsets
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
        for offset, frame in enumerate(frames):
            for metric, points in frame.itertypes():
                builder.add(metric, offset, points)
        return cls(
            scope_id, periods, builder.columns(), offsets=range(len(frames)), calendars=calendars
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
        return sum(len(column.offsets) for column in self.columns)

    @property
    def begins(self) -> list[datetime]:
        """Begins of the periods that have frames."""
        return [self.periods[offset].begin for offset in self.offsets]

    def with_columns(self, columns: Iterable[Column]) -> 'ScopePeriods':
        """Return the same periods with other columns."""
        return ScopePeriods(
            self.scope_id, self.periods, columns, offsets=self.offsets, calendars=self._calendars
        )

    def at(self, offsets: Sequence[int]) -> 'ScopePeriods':
        """Return the part at *offsets* of the batch, which are ascending."""
        wanted = set(offsets)
        kept = (
            column.kept([n for n, offset in enumerate(column.offsets) if offset in wanted])
            for column in self.columns
        )
        return ScopePeriods(
            self.scope_id, self.periods, kept, offsets=offsets, calendars=self._calendars
        )

    def with_points(self) -> 'ScopePeriods':
        """Return the part with the periods that have points."""
        offsets = _offsets(self.columns, len(self.periods))
        return self if len(offsets) == len(self.offsets) else self.at(offsets)

    def scope_periods(self) -> Iterator['ScopePeriod']:
        """Yield a ScopePeriod for each period that has a frame."""
        return (ScopePeriod(self, offset) for offset in self.offsets)

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> DataFrame: ...

    @overload
    def __getitem__(self, index: slice) -> 'ScopePeriods': ...

    def __getitem__(self, index: int | slice) -> 'DataFrame | ScopePeriods':
        if isinstance(index, slice):
            return self.at(self.offsets[index])
        return ScopePeriod(self, self.offsets[index]).frame()

    def __iter__(self) -> Iterator[DataFrame]:
        # In one pass, so that columns are not searched once per period.
        usage: dict[int, dict[str, list[DataPoint]]] = {offset: {} for offset in self.offsets}
        for column in self.columns:
            for index, offset in enumerate(column.offsets):
                usage[offset].setdefault(column.metric, []).append(
                    column.point(index, self.calendars)
                )
        return (DataFrame(*self.periods[offset], usage.pop(offset)) for offset in self.offsets)

    def __repr__(self) -> str:
        return f'ScopePeriods({self.scope_id!r}, {len(self)} periods, {len(self.columns)} columns)'


class ScopePeriod(NamedTuple):
    """A view of one period of a scope.

    :ivar offset: index of the period in the batch.
    """

    periods: ScopePeriods
    offset: int

    @property
    def scope_id(self) -> str | None:
        return self.periods.scope_id

    @property
    def begin(self) -> datetime:
        return self.periods.periods[self.offset].begin

    @property
    def end(self) -> datetime:
        return self.periods.periods[self.offset].end

    def points(self) -> Iterator[NamedPoint]:
        """Yield (metric name, point), ordered by metric."""
        whole = self.periods
        for column in whole.columns:
            if self.offset in column.offsets:
                index = column.offsets.index(self.offset)
                yield NamedPoint(column.metric, column.point(index, whole.calendars))

    def frame(self) -> DataFrame:
        """Return a new frame."""
        usage: dict[str, list[DataPoint]] = {}
        for metric, point in self.points():
            usage.setdefault(metric, []).append(point)
        return DataFrame(self.begin, self.end, usage)


def _offsets(columns: Iterable[Column], count: int) -> Sequence[int]:
    """Return the offsets that have points, ascending."""
    found: set[int] = set()
    for column in columns:
        if len(column.offsets) == count:
            return range(count)
        found.update(column.offsets)
    return sorted(found)
