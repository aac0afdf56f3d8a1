"""Writes frames: blocks and roll-ups change together, in the caller's transaction.

Only the difference between the old and the new content of a (scope, period, origin) is written, so
storing is idempotent.
"""

import decimal
import functools
import itertools
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, time
from typing import Any

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core import block, timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.db import tables, upsert
from cloudkitty.storage.v2.series import retention_cutoff, series_ids
from cloudkitty.storage.v2.series.cells import Cell
from cloudkitty.storage.v2.series.changes import Changes
from cloudkitty.storage.v2.series.frame_rows import (
    PUSHED,
    RATED,
    Frame,
    IdAssignment,
    NumberedPart,
    Part,
)
from cloudkitty.storage.v2.series.stored_frames import merge
from cloudkitty.storage.v2.sql import folding, overlaps
from cloudkitty.storage.v2.sql.folding import Unfolded
from cloudkitty.storage.v2.sql.rollup_rows import Days, Rollups

FRAMES, DAYS, SERIES = tables.rated_frames, tables.rated_days, tables.rated_series
# Scopes that are folded in one transaction.
SCOPES_AT_ONCE = 50
FRAME_COLUMNS = (
    'scope_id',
    'begin',
    'origin',
    'end',
    'points',
    'qty',
    'price',
    'revision',
    'block',
)


# Scope, begin and origin of a frame.
Key = tuple[int, datetime, int]


class Writer:
    """Stores cells in one transaction; call ids.fill_cache() after the commit.

    :param changes: records changes in months that may be closed; None: they are not recorded.
    """

    def __init__(
        self,
        connection: sa.Connection,
        id_cache: series_ids.IdCache,
        changes: Changes | None = None,
    ) -> None:
        self.connection = connection
        self.id_cache = id_cache
        self.changes = changes
        self.ids = IdAssignment(connection, id_cache)
        self._unfolded = Unfolded(connection)
        self._rollups = Rollups(connection, self.ids.places)

    @functools.cached_property
    def retention_cutoff(self) -> datetime:
        """The retention cut-off, aware UTC, as the transaction sees it."""
        return retention_cutoff.read(self.connection).begin

    def lock(self, owners: Iterable[int]) -> None:
        """Lock *owners* against other writers until the transaction ends.

        On MariaDB the rows are updated and not only locked, because the nodes of a Galera cluster
        do not see each other's locks: of two transactions that update the same row one fails and is
        retried.
        """
        table = tables.rated_scopes
        statement = sa.select(table.c.id, table.c.removals).order_by(table.c.id)
        is_mysql = self.connection.dialect.name in ('mysql', 'mariadb')
        for chunk in series_ids.chunks(sorted(owners)):
            chosen = table.c.id.in_(chunk)
            if is_mysql:
                change = sa.update(table).values(changes=table.c.changes + 1)
                self.connection.execute(change.where(chosen))
                found = self.connection.execute(statement.where(chosen))
            else:
                # Other transactions may still insert rows that refer to these.
                locked = statement.where(chosen).with_for_update(key_share=True)
                found = self.connection.execute(locked)
            self.ids.removals.update((row.id, row.removals) for row in found)
        self.id_cache.forget_removed(self.ids.removals)

    def store(self, parts: Sequence[Part]) -> None:
        """Replace the content of each (scope, period, origin) of *parts*.

        Points of a period before the cut-off are only added to the sums, so the caller must
        know that the sums do not include them yet.

        :raises PeriodsOverlap: a rated period would overlap another one of its scope.
        """
        idle = self._find_idle(parts)
        parts = [part for part in parts if part.usage.offsets]
        rated = self._lock_rated(parts, idle)
        if not parts:
            self.fold(rated)
            return
        with decimal.localcontext(SUM_CONTEXT):
            numbered = self.ids.assign(parts)
            kept_from = timeframe.to_naive(self.retention_cutoff)
            frames = [frame for one in numbered for frame in one.frames if frame.begin >= kept_from]
            stored = overlaps.require_none(
                self.connection, [frame for frame in frames if frame.origin == RATED]
            )
            old = self._existing(
                frame
                for frame in frames
                if frame.origin != RATED or (frame.owner, frame.begin) in stored
            )
            waiting = self._defer(parts, numbered, kept_from)
            days, later = Days(), Days()
            for part, one in zip(parts, numbered, strict=True):
                (later if self._place_of(part) in waiting else days).add_part(one)
            for row in old.values():
                is_later = (row.scope_id, row.origin) in waiting
                (later if is_later else days).add(row.begin, block.decode(row.block), sign=-1)
            missed = self._take_unfolded(rated - {owner for owner, _ in waiting})
            self._delete_keys(old)
            rows = [
                _row(frame, old.get((frame.owner, frame.begin, frame.origin)))
                for frame in frames
                if frame.ids
            ]
            upsert.insert(self.connection, FRAMES, FRAME_COLUMNS, rows)
            self._rollups.add(days.sums(), later.sums(), missed.sums())
            new = ((frame.begin, frame.ids) for one in numbered for frame in one.frames)
            replaced = ((row.begin, block.decode(row.block)[0]) for row in old.values())
            self._note(itertools.chain(new, replaced))

    def fold(self, owners: Collection[int] | None) -> None:
        """Fold all frames of *owners* (None: of all), which are locked; see folding."""
        with decimal.localcontext(SUM_CONTEXT):
            self._rollups.add_by_series(self._take_unfolded(owners).sums())

    def _place_of(self, part: Part) -> tuple[int, int]:
        return self.ids.scopes[part.owner], part.origin

    def _find_idle(self, parts: Sequence[Part]) -> Collection[int]:
        """Return the numbers of the scopes of *parts* that are to be folded and used nothing.

        A scope that never used anything has no number, and gets none.
        """
        owners = [part.owner for part in parts if not part.usage.offsets and not part.can_wait]
        found = self.id_cache.find_scopes(self.connection, owners)
        self.ids.scopes.update(found)
        return found.values()

    def _lock_rated(self, parts: Sequence[Part], idle: Collection[int]) -> set[int]:
        """Lock the scopes of rated *parts* and those in *idle*; return their numbers."""
        self.ids.add_scopes(part.owner for part in parts)
        rated = {self.ids.scopes[part.owner] for part in parts if part.origin == RATED}
        rated.update(idle)
        self.lock(rated)
        return rated

    def _defer(
        self, parts: Sequence[Part], numbered: Sequence[NumberedPart], kept_from: datetime
    ) -> set[tuple[int, int]]:
        """Return (scope, origin) of *parts* whose sums by series are added later."""
        first: dict[int, datetime] = {}
        for part, one in zip(parts, numbered, strict=True):
            begin = min(frame.begin for frame in one.frames)
            # Of periods before the cut-off there is nothing but the sums.
            if part.can_wait and begin >= kept_from:
                first[self.ids.scopes[part.owner]] = begin
        return {(owner, RATED) for owner in self._unfolded.defer(first)}

    def _take_unfolded(self, owners: Iterable[int] | None) -> Days:
        """Return the sums of the frames that are folded now."""
        days = Days()
        for row in self._unfolded.take(owners):
            days.add(row.begin, block.decode(row.block))
        return days

    def _note(self, touched: Iterable[tuple[datetime, Iterable[int]]]) -> None:
        """Record that series change in periods, by their begin, naive UTC."""
        if self.changes is not None:
            self.changes.note(self.connection, self.ids.places, touched)

    def remove(
        self,
        owners: Iterable[int] | None,
        begin: datetime | None,
        end: datetime | None,
        *,
        origin: int | None = None,
    ) -> dict[int, int]:
        """Remove the frames of *owners* (None: of all) that begin in [begin, end).

        Returns how many points they had, by owner.

        Before the cut-off, the sums of days that lie in the span as a whole are removed.

        :param origin: only frames of this origin; None: all. Sums have no origin, so they are kept
            if one is given.
        """
        table = tables.rated_frames
        owners = None if owners is None else list(owners)
        if origin is None:
            self._remove_old_days(owners, begin, end)
        begin = self.retention_cutoff if begin is None else max(begin, self.retention_cutoff)
        chosen: list[sa.ColumnElement[bool]] = [table.c.begin >= timeframe.to_naive(begin)]
        if owners is not None:
            chosen.append(table.c.scope_id.in_(owners))
        if end is not None:
            chosen.append(table.c.begin < timeframe.to_naive(end))
        if origin is not None:
            chosen.append(table.c.origin == origin)
        with decimal.localcontext(SUM_CONTEXT):
            if origin != PUSHED:
                self._fold_first(owners)
            days = Days()
            # Only these rows are deleted: what others commit meanwhile is kept, in sums and points.
            found = self.connection.execute(
                sa.select(table.c.scope_id, table.c.begin, table.c.origin, table.c.block)
                .where(*chosen)
                .with_for_update()
            )
            keys: list[Key] = []
            removed: dict[int, int] = {}
            touched: list[tuple[datetime, Iterable[int]]] = []
            for row in found:
                keys.append((row.scope_id, row.begin, row.origin))
                columns = block.decode(row.block)
                days.add(row.begin, columns, sign=-1)
                removed[row.scope_id] = removed.get(row.scope_id, 0) + len(columns[0])
                touched.append((row.begin, columns[0]))
            self._delete_keys(keys)
            self._rollups.add(days.sums())
            self._note(touched)
        return removed

    def _fold_first(self, owners: Collection[int] | None) -> None:
        """Fold *owners*, so that the sums by series include all that is to be removed."""
        if owners is not None:
            self.lock(owners)
        self.fold(owners)

    def _remove_old_days(
        self, owners: list[int] | None, begin: datetime | None, end: datetime | None
    ) -> None:
        """Remove the sums of whole days in [begin, end) whose points are no longer kept."""
        end = self.retention_cutoff if end is None else min(end, self.retention_cutoff)
        chosen: list[sa.ColumnElement[bool]] = [DAYS.c.day < timeframe.to_utc(end).date()]
        if begin is not None:
            day = timeframe.to_utc(begin).date()
            chosen.append(
                DAYS.c.day >= day if timeframe.midnight(day) == begin else DAYS.c.day > day
            )
        if owners is not None:
            chosen.append(
                DAYS.c.series_id.in_(sa.select(SERIES.c.id).where(SERIES.c.owner_id.in_(owners)))
            )
        self.remove_days(*chosen)

    def remove_days(self, *chosen: sa.ColumnElement[bool]) -> None:
        """Remove the selected sums by series and day, also from those by month and scope."""
        rows = self.connection.execute(
            sa.select(DAYS.c.series_id, DAYS.c.day, DAYS.c.qty, DAYS.c.price, DAYS.c.points).where(
                *chosen
            )
        ).all()
        with decimal.localcontext(SUM_CONTEXT):
            self._rollups.add(
                {(row.series_id, row.day): (-row.qty, -row.price, -row.points) for row in rows}
            )
            self._note((datetime.combine(row.day, time()), [row.series_id]) for row in rows)

    def rated_begins(
        self, owners: Iterable[int], after: datetime, last: datetime
    ) -> dict[int, set[datetime]]:
        """Return the begins of the rated frames in (after, last], aware UTC, by owner."""
        table = tables.rated_frames
        found: dict[int, set[datetime]] = {}
        for chunk in series_ids.chunks(sorted(owners)):
            rows = self.connection.execute(
                sa.select(table.c.scope_id, table.c.begin).where(
                    table.c.scope_id.in_(chunk),
                    table.c.origin == RATED,
                    table.c.begin > timeframe.to_naive(after),
                    table.c.begin <= timeframe.to_naive(last),
                )
            )
            for owner, begin in rows:
                found.setdefault(owner, set()).add(timeframe.from_naive(begin))
        return found

    def merged(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return *cells* with the stored points that they do not contain themselves."""
        self.ids.add_scopes(cell.owner for cell in cells)
        table = tables.rated_frames
        result = []
        for cell in cells:
            stored = self.connection.execute(
                sa.select(table.c.block)
                .where(
                    table.c.scope_id == self.ids.scopes[cell.owner],
                    table.c.begin == timeframe.to_naive(cell.frame.start),
                    table.c.origin == cell.origin,
                )
                .with_for_update()
            ).scalar()
            if stored is not None:
                columns = block.decode(stored)
                entries = self.id_cache.entries(self.connection, columns[0])
                cell = cell._replace(frame=merge(cell.frame, columns, entries))
            result.append(cell)
        return result

    def _existing(self, frames: Iterable[Frame]) -> dict[Key, tables.Row]:
        """Return the rows that *frames* replace, by key."""
        frames = list(frames)
        if not frames:
            return {}
        table = tables.rated_frames
        wanted = {(frame.owner, frame.begin, frame.origin) for frame in frames}
        found: dict[Key, tables.Row] = {}
        for owners in series_ids.chunks(sorted({frame.owner for frame in frames})):
            rows = self.connection.execute(
                sa.select(
                    table.c.scope_id, table.c.begin, table.c.origin, table.c.revision, table.c.block
                ).where(
                    table.c.scope_id.in_(owners),
                    table.c.begin.between(
                        min(frame.begin for frame in frames), max(frame.begin for frame in frames)
                    ),
                )
            )
            found.update(
                ((row.scope_id, row.begin, row.origin), row)
                for row in rows
                if (row.scope_id, row.begin, row.origin) in wanted
            )
        return found

    def _delete_keys(self, keys: Iterable[Key]) -> None:
        table = tables.rated_frames
        if keys:
            self.connection.execute(
                sa.delete(table).where(
                    table.c.scope_id == sa.bindparam('key_scope'),
                    table.c.begin == sa.bindparam('key_begin'),
                    table.c.origin == sa.bindparam('key_origin'),
                ),
                [
                    {'key_scope': scope, 'key_begin': begin, 'key_origin': origin}
                    for scope, begin, origin in sorted(keys)
                ],
            )


def fold_left(database: db.Database, id_cache: series_ids.IdCache, before: datetime) -> bool:
    """Fold some scopes with unfolded frames that begin before an instant, aware UTC.

    Returns whether there may be more.
    """
    with database.reader() as connection:
        owners = folding.find_left(connection, before, SCOPES_AT_ONCE)

    def change(connection: sa.Connection) -> None:
        writer = Writer(connection, id_cache)
        # Locked first, so that the reads that follow see what the previous holder committed.
        writer.lock(owners)
        writer.fold(owners)

    if owners:
        database.write(change)
    return len(owners) == SCOPES_AT_ONCE


def _row(frame: Frame, replaced: tables.Row | None) -> tuple[Any, ...]:
    return (
        frame.owner,
        frame.begin,
        frame.origin,
        frame.end,
        len(frame.ids),
        sum(frame.quantities, ZERO),
        sum(frame.prices, ZERO),
        1 if replaced is None else replaced.revision + 1,
        frame.block,
    )
