"""Rated data in the SQL database: one row per scope and period, plus roll-ups."""

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration, tables
from cloudkitty.scopes import progress, resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import owners, query, v2
from cloudkitty.storage.v2.series import changes, retention_cutoff
from cloudkitty.storage.v2.series.cells import Cell, parts_of
from cloudkitty.storage.v2.series.driver import Repair, SeriesStorage
from cloudkitty.storage.v2.series.faults import Fault, Scope
from cloudkitty.storage.v2.series.frame_rows import PUSHED, RATED, Part
from cloudkitty.storage.v2.series.series_ids import chunks
from cloudkitty.storage.v2.sql import folding, period_prices, rebuild, retention, rollups, verify
from cloudkitty.storage.v2.sql.cells import Cells
from cloudkitty.storage.v2.sql.pages import PageReader
from cloudkitty.storage.v2.sql.unused_series import UnusedSeries
from cloudkitty.storage.v2.sql.writer import Writer, fold_left

# Scopes that are still rated are folded by then; the others get no more periods.
LEFT = timedelta(days=1)


def _rated(batch: v2.ScopeBatch, can_wait: bool = False) -> Part:
    return Part(RATED, batch.usage, can_wait)


class SQLStorage(SeriesStorage):
    """The default store: exact, transactional, the same on SQLite, PostgreSQL and MariaDB."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self.changes = changes.of(conf)
        self.unused_series = UnusedSeries(self.database, self.id_cache)

    @functools.cached_property
    def cells(self) -> Cells:
        return Cells(self.database, self.id_cache)

    def verify(
        self, scope: Scope, begin: datetime | None = None, end: datetime | None = None
    ) -> Iterator[Fault]:
        return verify.check(self.database, scope, begin, end)

    @property
    def repairs(self) -> Sequence[Repair]:
        # The sums of a scope may depend on the days of others.
        return [
            functools.partial(make, self.database)
            for make in (rebuild.rebuild_days, rebuild.rebuild_totals)
        ]

    def _writer(self, connection: sa.Connection) -> Writer:
        return Writer(connection, self.id_cache, self.changes)

    def init(self) -> None:
        migration.upgrade(self.database)

    def push(self, dataframes: Iterable[DataFrame], scope_id: str | None = None) -> None:
        if scope_id is not None:
            cells = [Cell(scope_id, RATED, frame) for frame in dataframes]
        else:
            cells = [
                Cell(owner, PUSHED, frame)
                for owner, frame in owners.split(dataframes, self.id_cache.scope_key)
            ]
        numbers = self._numbers({cell.owner for cell in cells}).values()

        def change(connection: sa.Connection) -> Writer:
            writer = self._writer(connection)
            # Locked first, so that the reads that follow see what the previous holder committed.
            writer.lock(numbers)
            begins = (cell.frame.start for cell in cells)
            retention_cutoff.require_points(writer.retention_cutoff, begins)
            writer.store(parts_of(cells if scope_id is not None else writer.merged(cells)))
            return writer

        try:
            self._cache_ids(self.database.write(change))
        except db_exception.DBDataError as exc:
            raise errors.InvalidInput(
                reason='A number, or a sum with what is stored already, is too large'
            ) from exc

    def commit(self, batch: Sequence[v2.ScopeBatch]) -> list[v2.ScopeBatch]:
        def change(connection: sa.Connection) -> tuple[Writer, list[v2.ScopeBatch]]:
            moved = progress.find_moved(connection, batch, self.terms)
            valid = [part for part in batch if part not in moved]
            writer = self._writer(connection)
            writer.store([_rated(part, not self._is_fold_due(part)) for part in valid])
            progress.advance(connection, valid, self.conf.collect.period)
            return writer, moved

        writer, moved = self.database.write(change)
        self._cache_ids(writer)
        return moved

    def _is_fold_due(self, batch: v2.ScopeBatch) -> bool:
        return folding.is_due(
            batch.state_id,
            batch.mark,
            batch.new_mark,
            self.conf.collect.period,
            self.conf.storage.fold_periods,
        )

    def fold(self, now: datetime) -> bool:
        return fold_left(self.database, self.id_cache, now - LEFT)

    def expire(self, now: datetime) -> bool:
        return retention.step(
            self.database, self.id_cache, self.conf.storage, now, self.unused_series
        )

    def reset(self, reset: resets.Reset) -> bool:
        with self.database.reader() as connection:
            kept_from = retention_cutoff.read(connection).begin

        def change(connection: sa.Connection) -> bool:
            mark = progress.take_order(connection, reset, self.terms, kept_from)
            if mark is None:
                return False
            owner = self.id_cache.find_scopes(connection, [reset.scope_id]).values()
            self._writer(connection).remove(owner, mark + progress.NEXT, None, origin=RATED)
            scope_state.advance(connection, {reset.state_id: mark})
            return True

        return self.database.write(change)

    def count_pushed(self, scope_ids: Collection[str], begin: datetime) -> int:
        table = tables.rated_frames
        with self.database.reader() as connection:
            numbers = self.id_cache.find_scopes(connection, scope_ids)
            return sum(
                connection.execute(
                    sa.select(sa.func.coalesce(sa.func.sum(table.c.points), 0)).where(
                        table.c.scope_id.in_(chunk),
                        table.c.begin > timeframe.to_naive(begin),
                        table.c.origin == PUSHED,
                    )
                ).scalar_one()
                for chunk in chunks(sorted(numbers.values()))
            )

    def remove_pushed(
        self,
        scope_ids: Collection[str],
        begin: datetime,
        end: datetime,
        note: Callable[[sa.Connection, Mapping[str, int]], None],
    ) -> dict[str, int]:
        with self.database.reader() as connection:
            numbers = self.id_cache.find_scopes(connection, scope_ids)
        names = {number: scope_id for scope_id, number in numbers.items()}

        def change(connection: sa.Connection) -> dict[str, int]:
            writer = self._writer(connection)
            # First of all, as in push().
            writer.lock(numbers.values())
            found = writer.remove(names, begin, end, origin=PUSHED)
            removed = {names[number]: points for number, points in sorted(found.items())}
            if removed:
                note(connection, removed)
            return removed

        return self.database.write(change)

    def replace(self, replacements: Sequence[v2.Replacement]) -> list[v2.Replacement]:
        def change(connection: sa.Connection) -> tuple[Writer, list[v2.Replacement]]:
            late = progress.find_late(connection, replacements, self.terms)
            valid = [one for one in replacements if one not in late]
            writer = self._writer(connection)
            kept = self._count_kept(connection, valid, writer.retention_cutoff)
            valid = [retention_cutoff.shortened(one, writer.retention_cutoff) for one in valid]
            writer.store([_rated(one.batch) for one in valid])
            progress.finish(connection, valid, kept)
            return writer, late

        writer, late = self.database.write(change)
        self._cache_ids(writer)
        return late

    def rated_prices(
        self, scope_id: str, begin: datetime, end: datetime
    ) -> dict[tuple[datetime, str], Decimal]:
        with self.database.reader() as connection:
            return period_prices.prices(connection, self.id_cache, scope_id, Period(begin, end))

    def _count_kept(
        self, connection: sa.Connection, replacements: Sequence[v2.Replacement], kept_from: datetime
    ) -> dict[int, int]:
        """Return by task how many stored periods *replacements* leave unchanged.

        Periods that begin before *kept_from* are not counted.
        """
        if not replacements:
            return {}
        numbers = self.id_cache.find_scopes(
            connection, {one.batch.scope_id for one in replacements}
        )
        stored = self._writer(connection).rated_begins(
            numbers.values(),
            min(one.batch.mark for one in replacements),
            max(one.batch.new_mark for one in replacements),
        )
        kept: dict[int, int] = {}
        for task_id, _, _, batch in replacements:
            # 0 matches no scope.
            number = numbers.get(batch.scope_id, 0)
            begins = {
                begin for begin in stored.get(number, ()) if batch.mark < begin <= batch.new_mark
            }
            given = set(batch.usage.begins)
            kept[task_id] = len(begins - given) + sum(begin < kept_from for begin in given)
        return kept

    def _cache_ids(self, writer: Writer) -> None:
        writer.ids.fill_cache()

    @contextlib.contextmanager
    def _reader(self, *names: Collection[str]) -> Iterator[PageReader]:
        """Yield a reader for a query that uses these attributes."""
        with self.database.replica() as connection:
            if sum(map(len, names)) > rollups.KEPT_NAMES_MAX:
                connection.execution_options(compiled_cache=None)
            db.hold_snapshot(connection)
            yield self._reader_on(connection)

    def _reader_on(self, connection: sa.Connection) -> PageReader:
        return PageReader(connection, self.id_cache)

    def delete(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        filters: query.Filters | None = None,
    ) -> None:
        chosen = self._find_deleted(filters)
        locked = self._list_numbers() if chosen is None else chosen

        def change(connection: sa.Connection) -> None:
            writer = self._writer(connection)
            # First of all, as in push().
            writer.lock(locked)
            writer.remove(chosen, begin, end)

        self.database.write(change)
