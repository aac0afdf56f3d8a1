"""Stored frames as cells, for whoever reads or writes many of them: dumps, imports, report files.

A cell is the content of a (scope, period, origin), whatever the driver.
"""

import abc
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, TypeVar

import sqlalchemy as sa

from cloudkitty import db, errors
from cloudkitty.core import decimals, timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.v2.series import retention_cutoff
from cloudkitty.storage.v2.series.changes import Changes
from cloudkitty.storage.v2.series.frame_rows import Part
from cloudkitty.storage.v2.series.series_ids import IdCache, without_calendar
from cloudkitty.storage.v2.series.stored_frames import Columns

# What is in memory at once, whatever is read or written.
KEYS_AT_ONCE = 5_000
FRAMES_AT_ONCE = 200
POINTS_AT_ONCE = 20_000

_Item = TypeVar('_Item')


class Cell(NamedTuple):
    """The content of a (scope, period, origin).

    :ivar owner: scope id.
    :ivar frame: points; aware UTC bounds.
    """

    owner: str
    origin: int
    frame: DataFrame


# Scope, begin of the period, origin.
Key = tuple[str, datetime, int]


class Extent(NamedTuple):
    """The selection: periods that begin in [begin, end), aware UTC, of some scopes; None: all."""

    begin: datetime | None = None
    end: datetime | None = None
    scope_ids: Sequence[str] | None = None


class FrameKey(NamedTuple):
    """The key of a stored frame, and the number of its points.

    :ivar scope: number of the scope.
    :ivar begin: aware UTC.
    """

    scope: int
    begin: datetime
    origin: int
    points: int


class FrameContent(NamedTuple):
    """A stored frame.

    :ivar scope: number of the scope.
    :ivar begin, end: aware UTC.
    """

    scope: int
    begin: datetime
    origin: int
    end: datetime
    columns: Columns


class FrameDigest(NamedTuple):
    """The digest of the content of a frame; equal ones are of equal points.

    :ivar begin, end: aware UTC.
    """

    begin: datetime
    end: datetime
    origin: int
    digest: bytes


class Chosen(NamedTuple):
    """An extent as drivers select it.

    :ivar begin: not before the retention cut-off, aware UTC.
    :ivar owners: numbers of the scopes; None: all.
    """

    begin: datetime
    end: datetime | None
    owners: Sequence[int] | None


class Updated(NamedTuple):
    """Result of a transaction.

    :ivar cells: number of cells that it was about.
    :ivar stored: number of those that it stored; the others were there.
    """

    cells: int
    stored: int


class View(abc.ABC):
    """What is stored, for one reader."""

    @abc.abstractmethod
    def count(self, chosen: Chosen) -> int:
        """Return how many frames there are."""

    @abc.abstractmethod
    def keys(self, chosen: Chosen) -> Iterator[Sequence[FrameKey]]:
        """Yield lists of keys, by scope, begin and origin."""

    @abc.abstractmethod
    def find(self, spans: Mapping[int, Period]) -> list[FrameContent]:
        """Return the frames of scopes that begin in spans, by number of the scope.

        The end of a span is part of it.
        """


class CellStore(abc.ABC):
    """The frames of a driver.

    No transaction is open between two parts of what is read or written.
    """

    def __init__(self, database: db.Database, id_cache: IdCache) -> None:
        self.database = database
        self.id_cache = id_cache

    @abc.abstractmethod
    def _view(self) -> View:
        """Return what is stored."""

    @abc.abstractmethod
    def _write(self, parts: Sequence[Part], changes: Changes | None) -> None:
        """Store parts, of different scopes or origins, and whole cells only.

        :raises InvalidInput: a period is before the retention cut-off.
        """

    @abc.abstractmethod
    def digests(self, scope_id: str, span: Period) -> list[FrameDigest]:
        """Return the digests of the frames of a scope that begin in *span*, by their begin."""

    def count(self, extent: Extent) -> int:
        """Return how many cells read() yields."""
        return self._view().count(self._choose(extent))

    def read(self, extent: Extent) -> Iterator[Cell]:
        """Yield the stored cells by scope, time and origin, with a bounded number in memory.

        :raises InvalidInput: what is stored is damaged.
        """
        view = self._view()
        for keys in view.keys(self._choose(extent)):
            for part in _parts(keys, lambda key: key.points):
                wanted = {(key.scope, key.begin, key.origin) for key in part}
                found = view.find(_spans((key.scope, key.begin) for key in part))
                frames = [one for one in found if one[:3] in wanted]
                yield from self._cells(sorted(frames, key=lambda one: one[:3]))

    def _choose(self, extent: Extent) -> Chosen:
        with self.database.reader() as connection:
            begin = retention_cutoff.read(connection).begin
            owners = None
            if extent.scope_ids:
                owners = sorted(self.id_cache.find_scopes(connection, extent.scope_ids).values())
        if extent.begin is not None:
            begin = max(begin, timeframe.to_utc(extent.begin))
        return Chosen(begin, extent.end, owners)

    def _cells(self, frames: Iterable[FrameContent]) -> list[Cell]:
        with self.database.reader() as connection:
            return [self._cell(connection, frame) for frame in frames]

    def _cell(self, connection: sa.Connection, content: FrameContent) -> Cell:
        try:
            entries = self.id_cache.entries(connection, content.columns[0])
        except KeyError as exc:
            raise errors.InvalidInput(
                reason=f'rated_series: {exc} is missing, to which the frame of scope_id '
                f'{content.scope}, begin {timeframe.render(content.begin)}, refers'
            ) from exc
        frame = DataFrame(content.begin, content.end)
        for series_id, qty, price in zip(*content.columns, strict=True):
            entry = entries[series_id]
            frame.add_point(DataPoint.of(entry.series, qty, price), entry.metric)
        return Cell(self.id_cache.identifier(connection, content.scope), content.origin, frame)

    def find(self, cells: Iterable[Cell]) -> dict[Key, Cell]:
        """Return the stored content of the scopes, periods and origins of *cells*."""
        wanted = {key_of(cell) for cell in cells}
        with self.database.reader() as connection:
            numbers = self.id_cache.find_scopes(connection, {scope_id for scope_id, _, _ in wanted})
        spans = _spans((numbers[one], begin) for one, begin, _ in wanted if one in numbers)
        stored = self._cells(self._view().find(spans)) if spans else []
        return {key_of(cell): cell for cell in stored if key_of(cell) in wanted}

    def sort_known(self, cells: Iterable[Cell]) -> Iterator[tuple[Cell, bool | None]]:
        """Yield (cell, whether the same points are stored); None: nothing is stored for its key."""
        for batch in _parts(cells, _points_of):
            stored = self.find(batch)
            for cell in batch:
                found = stored.get(key_of(cell))
                yield cell, None if found is None else is_same(cell, found)

    def write(self, cells: Iterable[Cell], changes: Changes | None = None) -> Iterator[int]:
        """Store cells; each replaces the stored content of its scope, period and origin.

        Yields the number of cells of each transaction after its commit.

        :param changes: records changes in months that may be closed; None: they are not recorded.
        :raises InvalidInput: a period is before the retention cut-off.
        """
        for batch in _parts(cells, _points_of):
            # Of two cells with the same key the last one wins, as if they were stored one after
            # the other.
            whole = {key_of(cell): cell for cell in batch}
            self._write(parts_of(whole.values()), changes)
            yield len(batch)

    def update(self, cells: Iterable[Cell], changes: Changes | None) -> Iterator[Updated]:
        """Store those cells that are not stored yet as they are, see write()."""
        for batch in _parts(cells, _points_of):
            whole = {key_of(cell): cell for cell in batch}
            stored = self.find(whole.values())
            new = [
                cell
                for key, cell in whole.items()
                if not is_same(cell, stored.get(key, _nothing(cell)))
            ]
            if new:
                self._write(parts_of(new), changes)
            yield Updated(len(batch), len(new))


def _nothing(cell: Cell) -> Cell:
    """Return what a cell is of which nothing is stored."""
    return cell._replace(frame=DataFrame(cell.frame.start, cell.frame.end))


def _spans(begins: Iterable[tuple[int, datetime]]) -> dict[int, Period]:
    """Return the first and the last begin of each scope."""
    found: dict[int, Period] = {}
    for scope, begin in begins:
        first, last = found.get(scope, (begin, begin))
        found[scope] = Period(min(first, begin), max(last, begin))
    return found


def parts_of(cells: Iterable[Cell]) -> list[Part]:
    """Return *cells* in columns; their (scope, period, origin) must be unique."""
    frames: dict[tuple[str, int], list[DataFrame]] = {}
    for cell in cells:
        frames.setdefault((cell.owner, cell.origin), []).append(cell.frame)
    return [
        Part(origin, ScopePeriods.of_frames(owner, found))
        for (owner, origin), found in frames.items()
    ]


def key_of(cell: Cell) -> Key:
    """Return the key of a cell."""
    return cell.owner, cell.frame.start, cell.origin


def is_same(cell: Cell, other: Cell) -> bool:
    """Return whether two cells end alike and have the same points, calendar attributes aside."""
    return cell.frame.end == other.frame.end and _content(cell) == _content(other)


def _content(cell: Cell) -> Counter[tuple[str, Series, Decimal, Decimal]]:
    return Counter(
        (
            metric,
            without_calendar(point.series, cell.frame.start),
            decimals.on_grid(point.qty),
            decimals.on_grid(point.price),
        )
        for metric, point in cell.frame
    )


def _points_of(cell: Cell) -> int:
    return sum(len(points) for _, points in cell.frame.itertypes())


def _parts(items: Iterable[_Item], points_of: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """Yield *items* in lists with a bounded number of frames and points."""
    part: list[_Item] = []
    points = 0
    for item in items:
        own = points_of(item)
        if part and (len(part) >= FRAMES_AT_ONCE or points + own > POINTS_AT_ONCE):
            yield part
            part, points = [], 0
        part.append(item)
        points += own
    if part:
        yield part


def combine(frames: Sequence[FrameDigest]) -> str:
    """Return one digest of *frames*, hexadecimal."""
    whole = hashlib.sha256()
    for frame in frames:
        whole.update(f'{frame.begin.isoformat()} {frame.end.isoformat()} {frame.origin} '.encode())
        whole.update(frame.digest)
    return whole.hexdigest()
