"""Writing frames: blocks and roll-ups change together, in the transaction they are handed.

What is written is the difference between the old and the new content of a (scope, period,
origin), so that storing the same thing twice changes nothing.
"""

import decimal
import functools
from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa

from cloudkitty import block, errors, timeframe
from cloudkitty.dataframe import SUM_CONTEXT, ZERO, DataFrame, DataPoint
from cloudkitty.db import models, upsert
from cloudkitty.storage.v2.sql import catalogue as catalogues
from cloudkitty.storage.v2.sql import horizon
from cloudkitty.storage.v2.sql.numbering import Cell, Numbering

RATED = 0                            # origin of frames that the processor rated
PUSHED = 1                           # origin of frames pushed over the API
SUMS = ('qty', 'price', 'points')
FRAMES, DAYS, SERIES = models.rated_frames, models.rated_days, models.rated_series
FRAME_COLUMNS = ('scope_id', 'begin', 'origin', 'end', 'points', 'qty', 'price', 'revision',
                 'block')


class Writer:
    """Stores cells in one transaction; after the commit `numbering` remembers what it made."""

    def __init__(self, connection: sa.Connection, catalogue: catalogues.Catalogue):
        self.connection = connection
        self.catalogue = catalogue
        self.numbering = Numbering(connection, catalogue)

    @functools.cached_property
    def horizon(self) -> datetime:
        """Where points begin, aware UTC, as the transaction sees it."""
        return horizon.read(self.connection).begin

    def require_points(self, frames: Iterable[DataFrame]) -> None:
        """Make sure that points of *frames* can be told from those that are stored.

        :raises InvalidInput: one is of a time that only has its sums.
        """
        for frame in frames:
            if frame.start < self.horizon:
                raise errors.InvalidInput(
                    reason=f'The period that begins at {timeframe.render(frame.start)} is older '
                           f'than [storage]retention_period; points are kept from '
                           f'{timeframe.render(self.horizon)} on')

    def lock(self, owners: Iterable[int]) -> None:
        """Let nobody else push or delete frames of *owners* until the transaction ends.

        On MariaDB the rows are changed and not only locked, because the nodes of a Galera cluster
        do not see each other's locks: of two that change the same row one fails, and is tried
        again.
        """
        table = models.rated_scopes
        is_mysql = self.connection.dialect.name in ('mysql', 'mariadb')
        # Rows that refer to these may still be inserted meanwhile.
        statement = sa.update(table).values(changes=table.c.changes + 1) if is_mysql else (
            sa.select(table.c.id).order_by(table.c.id).with_for_update(key_share=True))
        for chunk in catalogues.chunks(sorted(owners)):
            self.connection.execute(statement.where(table.c.id.in_(chunk)))

    def store(self, cells: Sequence[Cell]) -> None:
        """Make each cell's (scope, period, origin) hold its points and nothing else.

        Of a period before the horizon only the sums are kept, to which its points are added; so
        the caller must know that they are not in there yet.
        """
        with decimal.localcontext(SUM_CONTEXT):
            frames = self.numbering.frames(cells)
            kept_from = timeframe.to_naive(self.horizon)
            old = self._existing([frame for frame in frames if frame.begin >= kept_from])
            days = _Days()
            rows = []
            for frame in frames:
                revision = 1
                stored = old.get((frame.owner, frame.begin, frame.origin))
                if stored is not None:
                    revision = stored.revision + 1
                    days.add(frame.begin, block.decode(stored.block), sign=-1)
                if frame.ids:
                    days.add(frame.begin, (frame.ids, frame.quantities, frame.prices))
                    if frame.begin >= kept_from:
                        rows.append(_row(frame, revision))
            self._delete_keys(old)
            upsert.insert(self.connection, FRAMES, FRAME_COLUMNS, rows)
            self._roll_up(days.sums())

    def remove(self, owners: Iterable[int] | None, begin: datetime | None,
               end: datetime | None, *, origin: int | None = None) -> None:
        """Remove the frames of *owners* (None: of all) that begin in [begin, end).

        Of days before the horizon, the sums of those that lie in there as a whole are removed.

        :param origin: only those; None: all. Sums do not tell, and stay if it is given.
        """
        table = models.rated_frames
        owners = None if owners is None else list(owners)
        if origin is None:
            self._remove_old_days(owners, begin, end)
        begin = self.horizon if begin is None else max(begin, self.horizon)
        chosen = [table.c.begin >= timeframe.to_naive(begin)]
        if owners is not None:
            chosen.append(table.c.scope_id.in_(owners))
        if end is not None:
            chosen.append(table.c.begin < timeframe.to_naive(end))
        if origin is not None:
            chosen.append(table.c.origin == origin)
        with decimal.localcontext(SUM_CONTEXT):
            days = _Days()
            # Just these are deleted: whatever is committed meanwhile stays, in sums and points.
            found = self.connection.execute(
                sa.select(table.c.scope_id, table.c.begin, table.c.origin, table.c.block)
                .where(*chosen).with_for_update())
            keys = []
            for row in found:
                keys.append((row.scope_id, row.begin, row.origin))
                days.add(row.begin, block.decode(row.block), sign=-1)
            self._delete_keys(keys)
            self._roll_up(days.sums())

    def _remove_old_days(self, owners, begin, end):
        """Remove the sums of whole days in [begin, end) that have no points any more."""
        end = self.horizon if end is None else min(end, self.horizon)
        chosen = [DAYS.c.day < timeframe.to_utc(end).date()]
        if begin is not None:
            day = timeframe.to_utc(begin).date()
            chosen.append(DAYS.c.day >= day if timeframe.midnight(day) == begin
                          else DAYS.c.day > day)
        if owners is not None:
            chosen.append(DAYS.c.series_id.in_(
                sa.select(SERIES.c.id).where(SERIES.c.owner_id.in_(owners))))
        self.remove_days(*chosen)

    def remove_days(self, *chosen: sa.ColumnElement) -> None:
        """Remove the sums by series and day that are chosen, from those by month and scope too."""
        rows = self.connection.execute(sa.select(
            DAYS.c.series_id, DAYS.c.day, DAYS.c.qty, DAYS.c.price, DAYS.c.points).where(*chosen))
        with decimal.localcontext(SUM_CONTEXT):
            self._roll_up({(row.series_id, row.day): (-row.qty, -row.price, -row.points)
                           for row in rows})

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
        self.numbering.number_owners(cells)
        table = models.rated_frames
        result = []
        for cell in cells:
            stored = self.connection.execute(
                sa.select(table.c.block).where(
                    table.c.scope_id == self.numbering.scopes[cell.owner],
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

    def _roll_up(self, sums):
        """Add sums by (series, day) to the roll-ups; rows that hold no point any more go."""
        if not sums:
            return
        entries = self.numbering.entries({series for series, _ in sums})
        months = {day: day.replace(day=1) for _, day in sums}
        # A month's sums are found by its first day, whether that holds data or not.
        self._fill_calendar({*months, *months.values()})
        series_months = _grouped(((series, months[day]), total)
                                 for (series, day), total in sums.items())
        totals = _grouped(((entries[series].scope, entries[series].metric, day), total)
                          for (series, day), total in sums.items())
        months = _grouped(((scope, metric, months[day]), total)
                          for (scope, metric, day), total in totals.items())
        self._apply(models.rated_days, ('series_id', 'day'), sums)
        self._apply(models.rated_series_months, ('series_id', 'day'), series_months)
        self._apply(models.rated_totals, ('scope_id', 'metric', 'day'), totals)
        self._apply(models.rated_months, ('scope_id', 'metric', 'day'), months)

    def _apply(self, table, names, sums):
        # In order of the key, so that two writers never wait for each other in a circle.
        rows = [(*key, *sums[key]) for key in sorted(sums)]
        upsert.add(self.connection, table, (*names, *SUMS), rows)
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
    """Sums by (series id, day); the caller sets the context that makes them exact.

    Frames of a scope mostly hold the same series, so their columns are added as a whole.
    """

    def __init__(self):
        self._columns = {}

    def add(self, begin, columns, sign=1):
        ids, quantities, prices = columns
        gathered = self._columns.setdefault((begin.date(), tuple(ids), sign), ([], []))
        gathered[0].append(quantities)
        gathered[1].append(prices)

    def sums(self):
        """Return (quantity, price, points); what comes to nothing is left out."""
        totals = {}
        for (day, ids, sign), columns in self._columns.items():
            count = sign * len(columns[0])
            # The first series of each column, then the second and so on.
            for series_id, qty, price in zip(
                    ids, *(map(sum, zip(*column, strict=True)) for column in columns),
                    strict=True):
                if sign < 0:
                    qty, price = -qty, -price
                old = totals.get((series_id, day))
                totals[series_id, day] = (qty, price, count) if old is None else (
                    old[0] + qty, old[1] + price, old[2] + count)
        return {key: total for key, total in totals.items() if any(total)}


def _grouped(sums):
    """Return (key, sums) pairs as sums by key."""
    totals = {}
    for key, (qty, price, points) in sums:
        total = totals.get(key)
        if total is None:
            totals[key] = [qty, price, points]
        else:
            total[0] += qty
            total[1] += price
            total[2] += points
    return totals


def _row(frame, revision):
    return (frame.owner, frame.begin, frame.origin, frame.end, len(frame.ids),
            sum(frame.quantities, ZERO), sum(frame.prices, ZERO), revision, frame.block)
