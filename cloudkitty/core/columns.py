"""Usage in columns: a series with its quantities and prices over the periods of a batch. Pure.

Most series occur in every period, so what depends on a series is computed once for all periods and
not once per point.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from cloudkitty.core import repeated
from cloudkitty.core.dataframe import NO_ATTRIBUTES, Attributes, DataPoint, FrozenDict, Series
from cloudkitty.core.decimals import ZERO
from cloudkitty.core.timeframe import Period, calendar_of

# Why values cannot be used.
NOT_NUMBERS = 'NaN, infinite or too large'
NEGATIVE = 'below 0'
# Marker: the points have the calendar attributes of their own period.
OF_PERIOD: Literal[True] = True
Calendar = Literal[True] | Mapping[str, Any] | None


class Column(NamedTuple):
    """A series over the periods of a batch.

    :ivar metric: published name.
    :ivar offsets: of its periods in the batch, ascending, from 0; often shared by many columns.
    :ivar quantities, prices: one for each of *offsets*.
    :ivar calendar: calendar attributes of its points: OF_PERIOD, a mapping, or None.
    """

    metric: str
    series: Series
    offsets: Sequence[int]
    quantities: Sequence[Decimal]
    prices: Sequence[Decimal]
    calendar: Calendar = OF_PERIOD

    @classmethod
    def unpriced(
        cls,
        metric: str,
        series: Series,
        offsets: Sequence[int],
        quantities: Sequence[Decimal],
    ) -> 'Column':
        """Return a column whose prices are 0."""
        return cls(metric, series, offsets, quantities, repeated.constant(ZERO, quantities))

    def point(self, index: int, calendars: Sequence[Mapping[str, Any]]) -> DataPoint:
        """Return the point at *index* of the column.

        :param calendars: those of the batch's periods, see calendars_of().
        """
        return DataPoint.of(
            self.series,
            self.quantities[index],
            self.prices[index],
            self.calendar_at(index, calendars),
        )

    def calendar_at(self, index: int, calendars: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the calendar attributes of the point at *index*, see point()."""
        if self.calendar is OF_PERIOD:
            return calendars[self.offsets[index]]
        return self.calendar or NO_ATTRIBUTES

    def moved(self, shift: int) -> 'Column':
        """Return the column with its offsets shifted by *shift*."""
        return self._replace(offsets=[offset + shift for offset in self.offsets]) if shift else self

    def kept(self, indexes: Sequence[int]) -> 'Column':
        """Return the column with its points at *indexes* only."""
        if len(indexes) == len(self.offsets):
            return self
        return self._replace(
            offsets=[self.offsets[index] for index in indexes],
            quantities=[self.quantities[index] for index in indexes],
            prices=[self.prices[index] for index in indexes],
        )


class Unusable(NamedTuple):
    """What a collector yields in place of a column for values that cannot be used.

    :ivar offsets: of the periods that lack usage because of them, ascending, from 0.
    :ivar reason: what the values are, such as NEGATIVE.
    """

    offsets: Sequence[int]
    reason: str

    def moved(self, shift: int) -> 'Unusable':
        """Return the same with its offsets shifted by *shift*."""
        return self._replace(offsets=[offset + shift for offset in self.offsets]) if shift else self


def calendars_of(periods: Iterable[Period]) -> list[Attributes]:
    """Return the calendar attributes of each of *periods*, see time.calendar_of()."""
    return [FrozenDict(calendar_of(period.begin)) for period in periods]


def points_of(
    found: Iterable[tuple[str, Column | Unusable]], periods: Sequence[Period]
) -> Iterator[tuple[str, Period, list[DataPoint]]]:
    """Yield (scope id, period, points) for each scope and period that has points, by scope.

    :param found: pairs of a scope id and a column, whose offsets are those of *periods*.
    """
    calendars = calendars_of(periods)
    rows: dict[str, dict[int, list[DataPoint]]] = {}
    for scope_id, column in found:
        if isinstance(column, Unusable):
            continue
        own = rows.setdefault(scope_id, {})
        for index, offset in enumerate(column.offsets):
            own.setdefault(offset, []).append(column.point(index, calendars))
    for scope_id, own in rows.items():
        for offset in sorted(own):
            yield scope_id, periods[offset], own[offset]


def columns_of(
    metric: str, found: Iterable[tuple[str, Period, Iterable[DataPoint]]], periods: Sequence[Period]
) -> Iterator[tuple[str, Column]]:
    """Yield pairs of a scope id and a column whose offsets are those of *periods*.

    :param metric: published name.
    :param found: (scope id, period, points).
    """
    calendars = calendars_of(periods)
    offsets = {period: offset for offset, period in enumerate(periods)}
    builders: dict[str, ColumnBuilder] = {}
    for scope_id, period, points in found:
        builder = builders.get(scope_id)
        if builder is None:
            builder = builders[scope_id] = ColumnBuilder(calendars)
        builder.add(metric, offsets[period], points)
    for scope_id, builder in builders.items():
        for column in builder.columns():
            yield scope_id, column


class ColumnBuilder:
    """Builds columns from points that are added period by period.

    In each period the order of the columns is that of its points. So a series gets a second column
    if it has two points in a period, or if the order differs from that of earlier periods.

    :param calendars: those of the periods, see calendars_of().
    """

    def __init__(self, calendars: Sequence[Mapping[str, Any]]) -> None:
        self._calendars = calendars
        self._columns: list[Column] = []
        # Offsets, quantities and prices of each column so far.
        self._lists: list[tuple[list[int], list[Decimal], list[Decimal]]] = []
        # Index of the column by metric and series, and of the last point by metric and offset.
        self._known: dict[str, dict[tuple[Series, bool], int]] = {}
        self._last: dict[tuple[str, int], int] = {}

    def add(self, metric: str, offset: int, points: Iterable[DataPoint]) -> int:
        """Append points of one metric in one period; return how many there were."""
        known, own = self._known.setdefault(metric, {}), self._calendars[offset]
        last, count = self._last.get((metric, offset), -1), 0
        for count, point in enumerate(points, 1):  # noqa: B007 (it is returned)
            calendar = _kind(point.calendar, own)
            index = known.get((point.series, calendar is None))
            if (
                index is None
                or index <= last
                or self._lists[index][0][-1] >= offset
                or self._columns[index].calendar != calendar
            ):
                index = known[point.series, calendar is None] = len(self._columns)
                self._lists.append(([], [], []))
                self._columns.append(Column(metric, point.series, *self._lists[-1], calendar))
            offsets, quantities, prices = self._lists[index]
            offsets.append(offset)
            quantities.append(point.qty)
            prices.append(point.price)
            last = index
        self._last[metric, offset] = last
        return count

    def columns(self) -> list[Column]:
        """Return the columns in the order of their first points."""
        return self._columns


def _kind(calendar: Mapping[str, Any], own: Mapping[str, Any]) -> Calendar:
    if calendar is own or calendar == own:
        return OF_PERIOD
    return calendar or None
