"""Rated data in ClickHouse, for clouds that outgrow one SQL database.

The SQL database stays the place of progress and decides what is stored, see revisions.
"""

import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import db
from cloudkitty.core import schedule
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration
from cloudkitty.scopes import agreement, progress, resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import owners, query, v2
from cloudkitty.storage.v2.clickhouse import chores, client, folding, revisions
from cloudkitty.storage.v2.clickhouse.body import Where
from cloudkitty.storage.v2.clickhouse.cells import Cells
from cloudkitty.storage.v2.clickhouse.literals import MICROSECOND
from cloudkitty.storage.v2.clickhouse.reader import Reader
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.storage.v2.clickhouse.verify import Verifier
from cloudkitty.storage.v2.clickhouse.writer import EVER, Stale, Writer, Written
from cloudkitty.storage.v2.series import changes, retention_cutoff
from cloudkitty.storage.v2.series.driver import Repair, SeriesStorage
from cloudkitty.storage.v2.series.faults import Fault, Scope
from cloudkitty.storage.v2.series.frame_rows import PUSHED, RATED, Part
from cloudkitty.storage.v2.series.series_ids import chunks
from cloudkitty.storage.v2.series.stored_frames import NO_POINTS, merge

# Members of a batch that moved, and those to be written again.
_Sorted = tuple[list[v2.ScopeBatch], list[v2.ScopeBatch]]


class ClickHouseStorage(SeriesStorage):
    """The store for clouds that outgrow one SQL database."""

    GROUP = client.GROUP
    OPTS = client.OPTS

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self.body = Shards(self.options)
        self._writer = Writer(self.database, self.id_cache, self.body, changes.of(conf))

    @functools.cached_property
    def cells(self) -> Cells:
        return Cells(self.database, self.id_cache, self.body)

    def verify(
        self, scope: Scope, begin: datetime | None = None, end: datetime | None = None
    ) -> Iterator[Fault]:
        return Verifier(self.database, self.id_cache, self.body).check(scope, begin, end)

    @property
    def repairs(self) -> Sequence[Repair]:
        return [Verifier(self.database, self.id_cache, self.body).rebuild]

    def init(self) -> None:
        migration.upgrade(self.database)
        self.body.create()

    def push(self, dataframes: Iterable[DataFrame], scope_id: str | None = None) -> None:
        frames: dict[str, list[DataFrame]] = {}
        if scope_id is not None:
            frames[scope_id] = list(dataframes)
        else:
            for owner, frame in owners.split(dataframes, self.id_cache.scope_key):
                frames.setdefault(owner, []).append(frame)
        with self.database.reader() as connection:
            kept_from = retention_cutoff.read(connection).begin
        retention_cutoff.require_points(
            kept_from, (frame.start for frame in itertools.chain(*frames.values()))
        )

        def work() -> None:
            if scope_id is not None:
                parts = [Part(RATED, ScopePeriods.of_frames(scope_id, frames[scope_id]))]
                self._close(self._writer.write(parts))
            else:
                self._push_more(frames)

        self._writer.settle(work)

    def _push_more(self, frames: Mapping[str, Sequence[DataFrame]]) -> None:
        """Add pushed points to those that are stored; the same ones are replaced."""
        numbers = self._numbers(frames)
        tickets = self._writer.begin([numbers[owner]] for owner in frames)
        parts = []
        for (owner, own), ticket in zip(frames.items(), tickets, strict=True):
            merged = self._merged(own, ticket, numbers[owner])
            parts.append(Part(PUSHED, ScopePeriods.of_frames(owner, merged)))
        self._close(self._writer.write(parts, tickets))

    def _merged(
        self, frames: Sequence[DataFrame], ticket: revisions.Ticket, owner: int
    ) -> list[DataFrame]:
        """Return pushed *frames* with the stored points that they do not contain themselves."""
        begins = [frame.start for frame in frames]
        where = Where(min(begins), max(begins) + MICROSECOND, [owner], PUSHED)
        stored = {one.begin: one.columns for one in self.body.points(ticket.snapshot, where)}
        merged = []
        with self.database.reader() as connection:
            for frame in frames:
                columns = stored.get(frame.start, NO_POINTS)
                entries = self.id_cache.entries(connection, columns[0])
                merged.append(merge(frame, columns, entries))
        return merged

    def _close(
        self,
        written: Sequence[Written],
        change: Callable[[sa.Connection], None] = lambda connection: None,
    ) -> None:
        """Make what was written exist, or nothing of it.

        :param change: what else happens in the transaction.
        :raises Stale: some of it is stale.
        """

        def close(connection: sa.Connection) -> None:
            if self._writer.close(connection, written):
                raise Stale
            change(connection)

        self.database.write(close)

    def commit(self, batch: Sequence[v2.ScopeBatch]) -> list[v2.ScopeBatch]:
        pending = list(batch)
        moved: list[v2.ScopeBatch] = []

        def work() -> None:
            written = self._writer.write([Part(RATED, one.usage) for one in pending])

            def change(
                connection: sa.Connection,
            ) -> _Sorted:
                gone = progress.find_moved(connection, pending, self.terms)
                pairs = [pair for pair in zip(pending, written, strict=True) if pair[0] not in gone]
                stale = self._writer.close(connection, [one for _, one in pairs])
                again = [part for part, one in pairs if one in stale]
                valid = [part for part, one in pairs if one not in stale]
                progress.advance(connection, valid, self.conf.collect.period)
                return gone, again

            gone, pending[:] = self.database.write(change)
            moved.extend(gone)
            if pending:
                raise Stale

        self._writer.settle(work)
        return [part for part in batch if part in moved]

    def fold(self, now: datetime) -> bool:
        more = chores.sweep(self.database, self.body, now)
        return folding.step(self.database, self.body, now) or more

    def expire(self, now: datetime) -> bool:
        return chores.expire(self.database, self.body, self.conf.storage, now)

    def reset(self, reset: resets.Reset) -> bool:
        return self._writer.settle(lambda: self._reset(reset))

    def _reset(self, reset: resets.Reset) -> bool:
        with self.database.reader() as connection:
            kept_from = retention_cutoff.read(connection).begin
            state = agreement.require(connection, self.terms)
            scopes = scope_state.get_scopes(connection, [reset.state_id])
            owner = list(self.id_cache.find_scopes(connection, [reset.scope_id]).values())
        if not scopes:
            return False
        (ticket,) = self._writer.begin([owner])
        bounds = [bound for bound in (kept_from, state.changed_at) if bound is not None]
        expected = schedule.reset_mark(scopes[0].mark, reset.mark, self.terms.period_s, max(bounds))
        written = self._writer.remove(
            ticket, Where(expected + progress.NEXT, EVER.end, owner, RATED)
        )

        def change(connection: sa.Connection) -> bool:
            mark = progress.take_order(connection, reset, self.terms, kept_from)
            if mark is None:
                return False
            if mark != expected or self._writer.close(connection, [written]):
                raise Stale
            scope_state.advance(connection, {reset.state_id: mark})
            return True

        return self.database.write(change)

    def replace(self, replacements: Sequence[v2.Replacement]) -> list[v2.Replacement]:
        return self._writer.settle(lambda: self._replace(replacements))

    def _replace(self, replacements: Sequence[v2.Replacement]) -> list[v2.Replacement]:
        written = self._writer.write([Part(RATED, one.batch.usage) for one in replacements])
        with self.database.reader() as connection:
            kept_from = retention_cutoff.read(connection).begin
        kept = {
            one.task_id: self._count_kept(one, of.ticket, of.owner, kept_from)
            for one, of in zip(replacements, written, strict=True)
        }

        def change(connection: sa.Connection) -> list[v2.Replacement]:
            late = progress.find_late(connection, replacements, self.terms)
            pairs = zip(replacements, written, strict=True)
            valid = {one.task_id: (one, of) for one, of in pairs if one not in late}
            if self._writer.close(connection, [of for _, of in valid.values()]):
                raise Stale
            progress.finish(
                connection,
                [retention_cutoff.shortened(one, kept_from) for one, _ in valid.values()],
                {task: kept[task] for task in valid},
            )
            return late

        return self.database.write(change)

    def _count_kept(
        self,
        replacement: v2.Replacement,
        ticket: revisions.Ticket,
        owner: int,
        kept_from: datetime,
    ) -> int:
        """Return how many stored periods a replacement leaves unchanged."""
        batch = replacement.batch
        where = Where(
            max(batch.mark + MICROSECOND, kept_from),
            batch.new_mark + MICROSECOND,
            [owner],
            RATED,
        )
        stored = {row.begin for row in self.body.keys(ticket.snapshot, where)}
        given = set(batch.usage.begins)
        return len(stored - given) + sum(begin < kept_from for begin in given)

    def count_pushed(self, scope_ids: Collection[str], begin: datetime) -> int:
        with self.database.reader() as connection:
            numbers = self.id_cache.find_scopes(connection, scope_ids)
            seen = revisions.snapshot(connection)
        where = Where(begin + MICROSECOND, EVER.end, list(numbers.values()), PUSHED)
        return sum(row.points for row in self.body.keys(seen, where))

    def remove_pushed(
        self,
        scope_ids: Collection[str],
        begin: datetime,
        end: datetime,
        note: Callable[[sa.Connection, Mapping[str, int]], None],
    ) -> dict[str, int]:
        with self.database.reader() as connection:
            numbers = self.id_cache.find_scopes(connection, scope_ids)
        names = {number: scope_id for scope_id, number in sorted(numbers.items())}

        def work() -> dict[str, int]:
            (ticket,) = self._writer.begin([names])
            where = Where(begin, end, list(names), PUSHED)
            points: Counter[int] = Counter()
            for row in self.body.keys(ticket.snapshot, where):
                points[row.scope] += row.points
            removed = {names[number]: points[number] for number in names if points[number]}
            if removed:
                written = self._writer.remove(ticket, where)
                self._close([written], lambda connection: note(connection, removed))
            return removed

        return self._writer.settle(work)

    def rated_prices(
        self, scope_id: str, begin: datetime, end: datetime
    ) -> dict[tuple[datetime, str], Decimal]:
        with self.database.reader() as connection:
            owner = self.id_cache.find_scopes(connection, [scope_id]).values()
            return Reader(connection, self.id_cache, self.body).rated_prices(
                list(owner), Period(begin, end)
            )

    @contextlib.contextmanager
    def _reader(self, *names: Collection[str]) -> Iterator[Reader]:
        with self.database.replica() as connection:
            db.hold_snapshot(connection)
            yield self._reader_on(connection)

    def _reader_on(self, connection: sa.Connection) -> Reader:
        return Reader(connection, self.id_cache, self.body)

    def delete(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        filters: query.Filters | None = None,
    ) -> None:
        chosen = self._find_deleted(filters)
        if chosen is None:
            chosen = self._list_numbers()
        for part in chunks(chosen):
            self._writer.settle(functools.partial(self._delete, part, begin, end))

    def _delete(self, owners_: Sequence[int], begin: datetime | None, end: datetime | None) -> None:
        (ticket,) = self._writer.begin([owners_])
        where = Where(begin or EVER.begin, end or EVER.end, owners_)
        self._close([self._writer.remove(ticket, where)])
