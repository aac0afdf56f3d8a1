"""Changes of the roll-ups: sums by series and by scope and metric, of days and of months."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

import sqlalchemy as sa

from cloudkitty.core import repeated, timeframe
from cloudkitty.core.decimals import ZERO
from cloudkitty.db import tables, upsert
from cloudkitty.storage.v2.series.frame_rows import NumberedPart
from cloudkitty.storage.v2.series.series_ids import Place

SUMS = ('qty', 'price', 'points')

# Sums of the points of a block.
Columns = tuple[Sequence[int], Sequence[Decimal], Sequence[Decimal]]
# Quantity, price, number of points; added up in place.
Sums = Sequence[Any]
SumsByDay = Mapping[tuple[int, date], Sums]
NO_SUMS: SumsByDay = {}
_Group = TypeVar('_Group')


class Rollups:
    """Adds sums to the tables; the caller sets the context that makes them exact.

    :param places: returns the places of series ids.
    """

    def __init__(
        self, connection: sa.Connection, places: Callable[[set[int]], Mapping[int, Place]]
    ) -> None:
        self.connection = connection
        self._places = places

    def add(self, sums: SumsByDay, later: SumsByDay = NO_SUMS, missed: SumsByDay = NO_SUMS) -> None:
        """Add sums by (series, day) to the roll-ups; rows without points are deleted.

        :param later: sums that are not added to those by series yet.
        :param missed: sums that have so far been added to all roll-ups but those by series.
        """
        if sums or later:
            self._add_by_scope([*sums.items(), *later.items()])
        by_series = sums
        if missed:
            found = _grouped(itertools.chain(sums.items(), missed.items()))
            by_series = {key: total for key, total in found.items() if any(total)}
        self.add_by_series(by_series)
        # Last, because workers that store the first points of a day wait here for each other.
        self._fill_calendar({day for _, day in itertools.chain(sums, later)})

    def _add_by_scope(self, sums: Sequence[tuple[tuple[int, date], Sums]]) -> None:
        places = self._places({series for (series, _), _ in sums})
        months = {day: day.replace(day=1) for (_, day), _ in sums}
        totals = _grouped(((*places[series], day), total) for (series, day), total in sums)
        scope_months = _grouped(
            ((scope, metric, months[day]), total) for (scope, metric, day), total in totals.items()
        )
        self._apply(tables.rated_totals, ('scope_id', 'metric', 'day'), totals)
        self._apply(tables.rated_months, ('scope_id', 'metric', 'day'), scope_months)

    def add_by_series(self, sums: SumsByDay) -> None:
        months = _grouped(
            ((series, day.replace(day=1)), total) for (series, day), total in sums.items()
        )
        self._apply(tables.rated_days, ('series_id', 'day'), sums)
        self._apply(tables.rated_series_months, ('series_id', 'day'), months)

    def _apply(self, table: sa.Table, names: Sequence[str], sums: Mapping[Any, Sums]) -> None:
        # In order of the key, so that two writers never deadlock.
        rows = [(*key, *sums[key]) for key in sorted(sums)]
        upsert.add(self.connection, table, (*names, *SUMS), rows)
        emptied = [key for key in sorted(sums) if sums[key][2] < 0]
        if emptied:
            self.connection.execute(
                sa.delete(table).where(
                    table.c.points == 0,
                    *(table.c[name] == sa.bindparam(f'key_{name}') for name in names),
                ),
                [
                    {f'key_{name}': part for name, part in zip(names, key, strict=True)}
                    for key in emptied
                ],
            )

    def _fill_calendar(self, days: set[date]) -> None:
        if not days:
            return
        table = tables.rated_calendar
        # A month's sums have its first day as key, whether that day has data or not.
        days = days | {day.replace(day=1) for day in days}
        known = set(
            self.connection.execute(
                sa.select(table.c.day).where(table.c.day.between(min(days), max(days)))
            ).scalars()
        )
        rows = [
            {'day': day, **timeframe.calendar_of(timeframe.midnight(day))}
            for day in sorted(days - known)
        ]
        if rows:
            upsert.insert_missing(self.connection, table, rows)


class Days:
    """Sums by (series id, day); the caller sets the context that makes them exact.

    Frames of a scope mostly have the same series, so their columns are added as a whole.
    """

    def __init__(self) -> None:
        self._columns: dict[tuple[date, tuple[int, ...], int], tuple[list[Any], list[Any]]] = {}
        self._totals: dict[tuple[int, date], Sums] = {}

    def add_part(self, part: NumberedPart) -> None:
        if part.columns is None:
            for frame in part.frames:
                self.add(frame.begin, (frame.ids, frame.quantities, frame.prices))
            return
        days = [timeframe.to_utc(period.begin).date() for period in part.usage.periods]
        # Columns mostly share the same list of offsets.
        runs: dict[int, list[tuple[date, int, int]]] = {}
        for column in part.columns or ():
            key = id(column.offsets)
            if key not in runs:
                runs[key] = _day_runs(column.offsets, days)
            for day, begin, end in runs[key]:
                self._add(
                    (column.id, day),
                    _sum(column.quantities, begin, end),
                    _sum(column.prices, begin, end),
                    end - begin,
                )

    def _add(self, key: tuple[int, date], qty: Decimal, price: Decimal, count: int) -> None:
        old = self._totals.get(key)
        self._totals[key] = (
            (qty, price, count) if old is None else (old[0] + qty, old[1] + price, old[2] + count)
        )

    def add(self, begin: datetime, columns: Columns, sign: int = 1) -> None:
        ids, quantities, prices = columns
        gathered = self._columns.setdefault((begin.date(), tuple(ids), sign), ([], []))
        gathered[0].append(quantities)
        gathered[1].append(prices)

    def sums(self) -> dict[tuple[int, date], Sums]:
        """Return (quantity, price, points); sums of nothing but zeros are left out."""
        for (day, ids, sign), columns in self._columns.items():
            count = sign * len(columns[0])
            # The first series of each column, then the second and so on.
            for series_id, qty, price in zip(ids, *map(_across, columns), strict=True):
                if sign < 0:
                    qty, price = -qty, -price
                self._add((series_id, day), qty, price, count)
        self._columns.clear()
        return {key: total for key, total in self._totals.items() if any(total)}


def _sum(numbers: Sequence[Decimal], begin: int, end: int) -> Decimal:
    """Return the sum of numbers[begin:end]."""
    distinct = repeated.distinct_of(numbers)
    return distinct[0] * (end - begin) if len(distinct) == 1 else sum(numbers[begin:end], ZERO)


def _across(columns: Sequence[Sequence[Decimal]]) -> Iterable[Decimal]:
    """Return the sums of the first numbers of all *columns*, of the second ones and so on."""
    if len(columns) == 1:
        return columns[0]
    return [sum(numbers, ZERO) for numbers in zip(*columns, strict=True)]


def _day_runs(offsets: Sequence[int], days: Sequence[date]) -> list[tuple[date, int, int]]:
    """Return (day, begin, end) of the parts of a column that lie in one day."""
    runs: list[tuple[date, int, int]] = []
    begin = 0
    for day, part in itertools.groupby(days[offset] for offset in offsets):
        end = begin + sum(1 for _ in part)
        runs.append((day, begin, end))
        begin = end
    return runs


def _grouped(sums: Iterable[tuple[_Group, Sums]]) -> Mapping[_Group, Sums]:
    """Group (key, sums) pairs and add them up by key."""
    totals: dict[_Group, list[Any]] = {}
    for key, (qty, price, points) in sums:
        total = totals.get(key)
        if total is None:
            totals[key] = [qty, price, points]
        else:
            total[0] += qty
            total[1] += price
            total[2] += points
    return totals
