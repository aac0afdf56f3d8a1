"""Writing frames: blocks and roll-ups change together, in the transaction they are handed.

What is written is the difference between the old and the new content of a (scope, period,
origin), so that storing the same thing twice changes nothing.
"""

import decimal
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import block, timeframe
from cloudkitty.dataframe import SUM_CONTEXT, ZERO, DataFrame, DataPoint
from cloudkitty.db import models, types, upsert
from cloudkitty.storage.v2.sql import catalogue as catalogues

RATED = 0                            # origin of frames that the processor rated
PUSHED = 1                           # origin of frames pushed over the API
SUMS = ('qty', 'price', 'points')
PLAIN_DIGITS_MAX = 27                # shorter text without exponent always fits the columns


class Cell(NamedTuple):
    """The content that a (scope, period, origin) is to have.

    :ivar owner: scope id.
    :ivar frame: points; aware UTC bounds.
    """

    owner: str
    origin: int
    frame: DataFrame


class _Column(NamedTuple):
    """Decimals that fit the columns of every database, and their text."""

    numbers: Sequence[Decimal]
    texts: list[str]


class _Frame(NamedTuple):
    """One row of rated_frames in the making: columns sorted by series id."""

    owner: int
    origin: int
    begin: datetime
    end: datetime
    ids: Sequence[int]
    quantities: _Column
    prices: _Column


class Writer:
    """Stores cells in one transaction; afterwards remember() keeps the numbers it made."""

    def __init__(self, connection: sa.Connection, catalogue: catalogues.Catalogue):
        self.connection = connection
        self.catalogue = catalogue
        self.scopes: dict[str, int] = {}
        self.series: dict[catalogues.Entry, int] = {}

    def lock(self, owners: Iterable[int]) -> None:
        """Let nobody else push frames of *owners* until the transaction ends."""
        table = models.rated_scopes
        for chunk in catalogues.chunks(sorted(owners)):
            # Rows that refer to these may still be inserted meanwhile.
            self.connection.execute(
                sa.select(table.c.id).where(table.c.id.in_(chunk)).order_by(table.c.id)
                .with_for_update(key_share=True)).all()

    def store(self, cells: Sequence[Cell]) -> None:
        """Make each cell's (scope, period, origin) hold its points and nothing else."""
        self.scopes.update(
            self.catalogue.scope_numbers(self.connection, {cell.owner for cell in cells}))
        frames = self._number(cells)
        old = self._existing(frames)
        with decimal.localcontext(SUM_CONTEXT):
            days = _Days()
            rows = []
            for frame in frames:
                key = (frame.owner, frame.begin, frame.origin)
                revision = 1
                if key in old:
                    revision = old[key].revision + 1
                    days.add(frame.begin, block.decode(old[key].block), sign=-1)
                days.add(frame.begin, (frame.ids, frame.quantities.numbers, frame.prices.numbers))
                if frame.ids:
                    rows.append(_row(frame, revision))
            self._delete_keys(old)
            if rows:
                self.connection.execute(sa.insert(models.rated_frames), rows)
            self._roll_up(days)

    def remove(self, owners: Iterable[int] | None, begin: datetime | None,
               end: datetime | None, *, origin: int | None = None) -> None:
        """Remove the frames of *owners* (None: of all) that begin in [begin, end).

        :param origin: only those; None: all.
        """
        table = models.rated_frames
        chosen = [sa.true()]
        if owners is not None:
            chosen.append(table.c.scope_id.in_(list(owners)))
        if begin is not None:
            chosen.append(table.c.begin >= timeframe.to_naive(begin))
        if end is not None:
            chosen.append(table.c.begin < timeframe.to_naive(end))
        if origin is not None:
            chosen.append(table.c.origin == origin)
        with decimal.localcontext(SUM_CONTEXT):
            days = _Days()
            found = self.connection.execute(
                sa.select(table.c.begin, table.c.block).where(*chosen))
            for row in found:
                days.add(row.begin, block.decode(row.block), sign=-1)
            self.connection.execute(sa.delete(table).where(*chosen))
            self._roll_up(days)

    def rated_begins(self, owners: Iterable[int], after: datetime | None,
                     last: datetime | None) -> dict[int, set[datetime]]:
        """Return the begins of the rated frames in (after, last], aware UTC, by owner."""
        table = models.rated_frames
        found = {}
        for chunk in catalogues.chunks(sorted(owners)):
            rows = self.connection.execute(
                sa.select(table.c.scope_id, table.c.begin).where(
                    table.c.scope_id.in_(chunk), table.c.origin == RATED,
                    table.c.begin > timeframe.to_naive(after),
                    table.c.begin <= timeframe.to_naive(last)))
            for owner, begin in rows:
                found.setdefault(owner, set()).add(timeframe.from_naive(begin))
        return found

    def merged(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return *cells* with the points stored there that they do not name themselves."""
        self.scopes.update(
            self.catalogue.scope_numbers(self.connection, {cell.owner for cell in cells}))
        table = models.rated_frames
        result = []
        for cell in cells:
            stored = self.connection.execute(
                sa.select(table.c.block).where(
                    table.c.scope_id == self.scopes[cell.owner],
                    table.c.begin == timeframe.to_naive(cell.frame.start),
                    table.c.origin == cell.origin).with_for_update()).scalar()
            result.append(cell if stored is None else self._merge(cell, block.decode(stored)))
        return result

    def _merge(self, cell, columns):
        from_ids = self.catalogue.entries(self.connection, columns[0])
        frame = DataFrame(cell.frame.start, cell.frame.end)
        named = {(name, catalogues.without_calendar(point.series, frame.start))
                 for name, point in cell.frame}
        for series_id, qty, price in zip(*columns, strict=True):
            entry = from_ids[series_id]
            if (entry.metric, entry.series) not in named:
                frame.add_point(DataPoint.of(entry.series, qty, price), entry.metric)
        for name, points in cell.frame.itertypes():
            frame.add_points(points, name)
        return cell._replace(frame=frame)

    def _number(self, cells):
        """Return *cells* as _Frames: every series has its id."""
        numbers = self._number_series(cells)
        frames = []
        for cell in cells:
            owner = self.scopes[cell.owner]
            begin = cell.frame.start
            points = []
            for metric, members in cell.frame.itertypes():
                ids = numbers[owner, metric]
                points += [(ids.get(id(point.series)) or ids[id(point.series), begin],
                            point.qty, point.price) for point in members]
            points.sort(key=_by_series)
            ids, quantities, prices = zip(*points, strict=True) if points else ((), (), ())
            frames.append(_Frame(
                owner, cell.origin, timeframe.to_naive(cell.frame.start),
                timeframe.to_naive(cell.frame.end), ids, _column(quantities), _column(prices)))
        return frames

    def _number_series(self, cells):
        """Give an id to every series that has none yet.

        :returns: ids of series by (owner, metric) and identity of the object: the points of a
            batch share their series, and looking at the object is much faster than at its content.
            What a series with calendar attributes is depends on the period, so that one has the
            key (identity, begin).
        """
        numbers, missing = {}, {}
        for cell in cells:
            owner, begin = self.scopes[cell.owner], cell.frame.start
            for metric, members in cell.frame.itertypes():
                ids = numbers.setdefault((owner, metric), {})
                known = self.catalogue.known(owner, metric)
                for point in members:
                    key = id(point.series)
                    if key in ids:
                        continue
                    plain = catalogues.without_calendar(point.series, begin)
                    if catalogues.has_calendar(point.series):
                        key = (key, begin)
                    ids[key] = known.get(plain)
                    if ids[key] is None:
                        missing.setdefault((owner, metric, plain), []).append(key)
        owners = {number: name for name, number in self.scopes.items()}
        entries = self._entries(missing, owners)
        made = self.catalogue.series_ids(self.connection, entries.values()) if entries else {}
        self.series.update(made)
        for (owner, metric, plain), keys in missing.items():
            for key in keys:
                numbers[owner, metric][key] = made[entries[owner, metric, plain]]
        return numbers

    def _entries(self, missing, owners):
        """Return what is to be written of each (owner, metric, series) of *missing*."""
        key = self.catalogue.scope_key
        named = {(owner, series): str(series.groupby.get(key, owners[owner]))
                 for owner, _, series in missing}
        self.scopes.update(self.catalogue.scope_numbers(
            self.connection, set(named.values()) - self.scopes.keys()))
        return {(owner, metric, series): catalogues.Entry(
            owner, self.scopes[named[owner, series]], metric, series)
            for owner, metric, series in missing}

    def _existing(self, frames):
        """Return the rows that *frames* replace, by key."""
        if not frames:
            return {}
        table = models.rated_frames
        wanted = {(frame.owner, frame.begin, frame.origin) for frame in frames}
        found = {}
        for owners in catalogues.chunks(sorted({frame.owner for frame in frames})):
            rows = self.connection.execute(
                sa.select(table.c.scope_id, table.c.begin, table.c.origin, table.c.revision,
                          table.c.block)
                .where(table.c.scope_id.in_(owners),
                       table.c.begin.between(min(frame.begin for frame in frames),
                                             max(frame.begin for frame in frames))))
            found.update(((row.scope_id, row.begin, row.origin), row) for row in rows
                         if (row.scope_id, row.begin, row.origin) in wanted)
        return found

    def _delete_keys(self, keys):
        table = models.rated_frames
        if keys:
            self.connection.execute(
                sa.delete(table).where(table.c.scope_id == sa.bindparam('key_scope'),
                                       table.c.begin == sa.bindparam('key_begin'),
                                       table.c.origin == sa.bindparam('key_origin')),
                [{'key_scope': scope, 'key_begin': begin, 'key_origin': origin}
                 for scope, begin, origin in sorted(keys)])

    def _roll_up(self, days):
        """Add what *days* gathered to the roll-ups; rows that hold no point any more go."""
        sums = {key: total for key, total in days.sums.items() if any(total)}
        if not sums:
            return
        # A number made in this transaction must not enter the cache before the commit.
        entries = {series_id: entry for entry, series_id in self.series.items()}
        entries.update(self.catalogue.entries(
            self.connection, {series for series, _ in sums} - entries.keys()))
        days = {day for _, day in sums}
        # A month's sums are found by its first day, whether that holds data or not.
        self._fill_calendar(days | {day.replace(day=1) for day in days})
        totals, months, series_months = {}, {}, {}
        for (series, day), (qty, price, points) in sums.items():
            entry = entries[series]
            month = day.replace(day=1)
            for table, key in ((totals, (entry.scope, entry.metric, day)),
                               (months, (entry.scope, entry.metric, month)),
                               (series_months, (series, month))):
                total = table.setdefault(key, [ZERO, ZERO, 0])
                total[0] += qty
                total[1] += price
                total[2] += points
        self._apply(models.rated_days, ('series_id', 'day'), sums)
        self._apply(models.rated_series_months, ('series_id', 'day'), series_months)
        self._apply(models.rated_totals, ('scope_id', 'metric', 'day'), totals)
        self._apply(models.rated_months, ('scope_id', 'metric', 'day'), months)

    def _apply(self, table, names, sums):
        # In order of the key, so that two writers never wait for each other in a circle.
        rows = [dict(zip((*names, *SUMS), (*key, *sums[key]), strict=True))
                for key in sorted(sums)]
        upsert.add(self.connection, table, rows, SUMS)
        emptied = [key for key in sorted(sums) if sums[key][2] < 0]
        if emptied:
            self.connection.execute(
                sa.delete(table).where(
                    table.c.points == 0,
                    *(table.c[name] == sa.bindparam(f'key_{name}') for name in names)),
                [{f'key_{name}': part for name, part in zip(names, key, strict=True)}
                 for key in emptied])

    def _fill_calendar(self, days):
        table = models.rated_calendar
        known = set(self.connection.execute(
            sa.select(table.c.day).where(table.c.day.between(min(days), max(days)))).scalars())
        rows = [{'day': day, **timeframe.calendar_of(timeframe.midnight(day))}
                for day in sorted(days - known)]
        if rows:
            upsert.insert_missing(self.connection, table, rows)


class _Days:
    """Sums by (series id, day); the caller sets the context that makes them exact."""

    def __init__(self):
        self.sums = {}

    def add(self, begin, columns, sign=1):
        day = begin.date()
        for series_id, qty, price in zip(*columns, strict=True):
            total = self.sums.get((series_id, day))
            if total is None:
                total = self.sums[series_id, day] = [ZERO, ZERO, 0]
            if sign > 0:
                total[0] += qty
                total[1] += price
            else:
                total[0] -= qty
                total[1] -= price
            total[2] += sign


def _row(frame, revision):
    return {'scope_id': frame.owner, 'begin': frame.begin, 'origin': frame.origin,
            'end': frame.end, 'points': len(frame.ids),
            'qty': sum(frame.quantities.numbers, ZERO), 'price': sum(frame.prices.numbers, ZERO),
            'revision': revision,
            'block': block.encode(frame.ids, frame.quantities.texts, frame.prices.texts)}


def _by_series(point):
    return point[0]


def _column(numbers):
    texts = list(map(str, numbers))
    if max(map(len, texts), default=0) > PLAIN_DIGITS_MAX or 'E' in ''.join(texts):
        numbers = list(map(types.on_grid, numbers))
        texts = list(map(str, numbers))
    return _Column(numbers, texts)
