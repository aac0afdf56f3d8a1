"""Import from a former store: window by window, oldest first.

It may be stopped at any moment and run again: what is stored already is read, compared, and left
as it is. So a second run also checks the first one.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.former import Point, Reader, WindowTooLarge, bills
from cloudkitty.storage.v2.series.cells import Cell, CellStore, Extent
from cloudkitty.storage.v2.series.frame_rows import RATED

DAY = timedelta(days=1)
# Points in memory, about 500 bytes each. A window with more of them is halved, down to a period.
POINTS_MAX = 200_000
# A 64-bit float is exact for decimals of so many significant digits.
FLOAT_DIGITS = 15

# Called with what was done: the length of the window.
Done = Callable[[timedelta], None]
# Called with a scope id: begins of periods from this instant on are not to be replaced, None: any.
KeepFrom = Callable[[str], datetime | None]


class Choice(NamedTuple):
    """Selection and mode of an import.

    :ivar extent: periods and scopes.
    :ivar is_dry_run: count only.
    :ivar is_replacing: replace periods that have different points here.
    :ivar keep_from: see KeepFrom; what this service rated itself is never replaced.
    """

    extent: Extent
    is_dry_run: bool = False
    is_replacing: bool = False
    keep_from: KeepFrom = lambda scope_id: None


class Span(NamedTuple):
    """The periods that a scope has: begins of the first and the last, and how many."""

    first: datetime
    last: datetime
    periods: int


@dataclass
class Counts:
    """Results of a run, in numbers of periods unless stated otherwise.

    :ivar points: rated points that were read.
    :ivar without_scope: points among them that name no scope.
    :ivar doubles: points that duplicate another point of their period.
    :ivar long_numbers: quantities and prices with more digits than a float holds exactly.
    :ivar different: periods that have different points here and are not changed, by scope.
    :ivar spans: by scope.
    """

    points: int = 0
    without_scope: int = 0
    doubles: int = 0
    long_numbers: int = 0
    stored: int = 0
    kept: int = 0
    replaced: int = 0
    different: Counter[str] = field(default_factory=Counter)
    spans: dict[str, Span] = field(default_factory=dict)

    @property
    def window(self) -> Period | None:
        """From the begin of the first period to that of the last, inclusive; None: no periods."""
        if not self.spans:
            return None
        first = min(span.first for span in self.spans.values())
        last = max(span.last for span in self.spans.values())
        return Period(first, last + timedelta(seconds=1))

    def holes(self, length_s: int) -> dict[str, int]:
        """Return how many periods are missing between the first and the last one, by scope."""
        length = timedelta(seconds=length_s)
        found = {
            scope_id: (span.last - span.first) // length + 1 - span.periods
            for scope_id, span in self.spans.items()
        }
        return {scope_id: count for scope_id, count in found.items() if count > 0}


class Importer:
    """One import."""

    def __init__(self, store: CellStore, reader: Reader, choice: Choice) -> None:
        self.store = store
        self.reader = reader
        self.choice = choice
        self.counts = Counts()

    def window(self) -> Period | None:
        """Return the chosen part of what the store holds; None: nothing.

        :raises SourceError: see Reader.
        """
        extent = self.choice.extent
        if extent.begin and extent.end:
            # Asking some stores takes many queries.
            return Period(extent.begin, extent.end) if extent.begin < extent.end else None
        held = self.reader.extent()
        if held is None:
            return None
        begin = max(held.begin, extent.begin or held.begin)
        end = min(held.end, extent.end or held.end)
        return Period(begin, end) if begin < end else None

    def run(self, window: Period, done: Done = lambda length: None) -> Counts:
        """Import what begins in *window*.

        :raises SourceError: see Reader; windows before are stored.
        """
        period = timedelta(seconds=self.reader.period_s)
        length = DAY
        begin = timeframe.midnight(window.begin.date())
        while begin < window.end:
            part = Period(max(begin, window.begin), min(begin + length, window.end))
            try:
                cells = self._cells(part, is_bounded=length > period)
            except WindowTooLarge:
                length = max(period, length / 2 // period * period)
                continue
            self._count(cells)
            self._store(cells)
            done(part.end - part.begin)
            begin += length
        return self.counts

    def _cells(self, window: Period, *, is_bounded: bool) -> list[Cell]:
        """Return what the store holds of *window*, by scope and begin."""
        scope_ids = self.choice.extent.scope_ids
        cells: dict[tuple[str, datetime], Cell] = {}
        count = 0
        self.reader.points_max = POINTS_MAX if is_bounded else None
        for point in self.reader.read(window):
            scope_id = str(point.series.groupby.get(self.reader.scope_key, ''))
            if scope_ids and scope_id not in scope_ids:
                continue
            count += 1
            if is_bounded and count > POINTS_MAX:
                raise WindowTooLarge
            _add(cells, scope_id, point)
        return [cells[key] for key in sorted(cells)]

    def _count(self, cells: Iterable[Cell]) -> None:
        counts = self.counts
        for cell in cells:
            points = list(cell.frame)
            counts.points += len(points)
            counts.without_scope += len(points) if not cell.owner else 0
            alike = Counter((name, one.series, one.qty, one.price) for name, one in points)
            counts.doubles += len(points) - len(alike)
            counts.long_numbers += sum(is_long(one.qty) + is_long(one.price) for _, one in points)
            begin = cell.frame.start
            span = counts.spans.get(cell.owner, Span(begin, begin, 0))
            counts.spans[cell.owner] = Span(
                min(span.first, begin), max(span.last, begin), span.periods + 1
            )

    def _store(self, cells: Iterable[Cell]) -> None:
        new = self._new(cells)
        if self.choice.is_dry_run:
            for _ in new:
                pass
            return
        for _ in self.store.write(new):
            pass

    def _new(self, cells: Iterable[Cell]) -> Iterator[Cell]:
        """Yield the cells that are to be stored, and count all of them."""
        counts = self.counts
        for cell, is_same in self.store.sort_known(cells):
            if is_same:
                counts.kept += 1
            elif is_same is None:
                counts.stored += 1
                yield cell
            elif self.choice.is_replacing and self._is_replaceable(cell):
                counts.replaced += 1
                yield cell
            else:
                counts.different[cell.owner] += 1

    def _is_replaceable(self, cell: Cell) -> bool:
        keep_from = self.choice.keep_from(cell.owner)
        return keep_from is None or cell.frame.start < keep_from


def _add(cells: dict[tuple[str, datetime], Cell], scope_id: str, point: Point) -> None:
    key = scope_id, point.begin
    cell = cells.get(key)
    if cell is None:
        cell = cells[key] = Cell(scope_id, RATED, DataFrame(point.begin, point.end))
    cell.frame.end = max(cell.frame.end, point.end)
    cell.frame.add_point(DataPoint.of(point.series, point.qty, point.price), point.metric)


@functools.lru_cache(10_000)
def is_long(number: Decimal) -> bool:
    """Return whether a 64-bit float may not hold *number* exactly."""
    return len(number.as_tuple().digits) > FLOAT_DIGITS


def count_unknown(database: db.Database, scope_ids: Sequence[str]) -> int:
    """Return how many of *scope_ids* have no progress here."""
    known: set[str] = set()
    with database.reader() as connection:
        for chunk in scope_state.chunks(sorted(scope_ids)):
            known.update(
                connection.scalars(
                    sa.select(tables.scopes.c.identifier).where(
                        tables.scopes.c.identifier.in_(chunk)
                    )
                )
            )
    return len(set(scope_ids) - known)


class Difference(NamedTuple):
    """A total of the former store that is not the one here."""

    month: datetime
    scope_id: str
    metric: str
    name: str
    old: Decimal
    new: Decimal


# Quantity, price and number of points by scope id and metric.
Totals = Mapping[tuple[str, str], tuple[Decimal, Decimal, int]]


def compare_sums(
    reader: Reader,
    totals: Callable[[Period], Totals],
    window: Period,
    scope_ids: Sequence[str] | None,
) -> Iterator[Difference] | None:
    """Return how the former store's own sums differ from ours, month by month.

    None: it computes none.

    :param totals: ours of a span.
    """
    if reader.sums(Period(window.begin, window.begin)) is None:
        return None
    return _differences(reader, totals, window, scope_ids)


def _differences(
    reader: Reader,
    totals: Callable[[Period], Totals],
    window: Period,
    scope_ids: Sequence[str] | None,
) -> Iterator[Difference]:
    tolerance = bills.FLOATS._replace(relative=reader.sums_tolerance)
    begin = window.begin
    while begin < window.end:
        month = timeframe.month_at(begin)
        part = Period(begin, min(month.end, window.end))
        ours = totals(part)
        for key, theirs in sorted((reader.sums(part) or {}).items()):
            if scope_ids and key[0] not in scope_ids:
                continue
            qty, price, points = ours.get(key, (Decimal(0), Decimal(0), 0))
            for name, old, new in (('qty', theirs.qty, qty), ('price', theirs.price, price)):
                if not tolerance.allows(old, new, points):
                    yield Difference(month.begin, *key, name, old, new)
        begin = part.end
