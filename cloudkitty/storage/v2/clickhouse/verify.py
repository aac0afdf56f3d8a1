"""Consistency check of points in ClickHouse, and the repair of what derives from them.

Rows of frames that a snapshot shows are authoritative; rows of open revisions do not exist. A scope
is checked on one snapshot, so whatever is stored meanwhile causes no false alarm.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.v2.clickhouse import audit, folding, revisions
from cloudkitty.storage.v2.clickhouse.audit import DAYS, FRAMES, SERIES
from cloudkitty.storage.v2.clickhouse.body import Body, Row, Where, series_row
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.storage.v2.clickhouse.writer import EVER
from cloudkitty.storage.v2.series import faults, retention_cutoff
from cloudkitty.storage.v2.series.faults import Fault, Month, Outcome, Scope
from cloudkitty.storage.v2.series.frame_rows import RATED
from cloudkitty.storage.v2.series.series_ids import Entry, IdCache, chunks, entry_of

LATEST = revisions.LATEST


class _Seen(NamedTuple):
    """What the SQL database says of a scope, at one instant.

    :ivar view: the snapshot, and the days whose sums are to be right.
    :ivar kept_from: the retention cut-off, aware UTC.
    :ivar mark: progress, naive UTC; None: there is none.
    :ivar rated_until: naive UTC, see revisions.State.
    """

    view: folding.View
    kept_from: datetime
    mark: datetime | None
    rated_until: datetime | None


class Verifier:
    """Checks and repairs the scopes of one store."""

    def __init__(self, database: db.Database, id_cache: IdCache, shards: Shards) -> None:
        self.database = database
        self.id_cache = id_cache
        self.shards = shards

    def _body(self, scope: Scope) -> Body:
        """Return the tables that have the points of a scope."""
        (found,) = self.shards.of([scope.id])
        return found

    def check(
        self, scope: Scope, begin: datetime | None = None, end: datetime | None = None
    ) -> Iterator[Fault]:
        """Yield all faults of a scope.

        :param begin, end: bounds, aware UTC; the months they are in are checked as a whole.
        """
        with faults.snapshot(self.database) as connection:
            yield from faults.series_faults(connection, scope)
            seen = self._see(connection, scope)
        yield from self._unknown_revisions(scope, seen)
        body, checked = self._body(scope), _Rated(scope)
        used: set[int] = set()
        for month in self._months(scope, seen, begin, end):
            span = Period(timeframe.midnight(month.first), timeframe.midnight(month.end))
            where = Where(max(span.begin, seen.kept_from), span.end, [scope.id])
            yield from audit.frame_faults(body, seen.view.snapshot, where)
            yield from checked.add(body.keys(seen.view.snapshot, where._replace(origin=RATED)))
            used |= audit.series_in(body, seen.view.snapshot, where)
            yield from self._day_faults(scope, month, seen)
        yield from self._series(scope, used)
        yield from checked.end(seen.mark, seen.rated_until)

    def _see(self, connection: sa.Connection, scope: Scope) -> _Seen:
        state = connection.execute(
            sa.select(LATEST.c.rated_until).where(LATEST.c.scope_id == scope.id)
        ).first()
        return _Seen(
            folding.view(connection, EVER.begin, EVER.end, scope.id),
            retention_cutoff.read(connection).begin,
            faults.read_mark(connection, scope),
            None if state is None else state.rated_until,
        )

    def _unknown_revisions(self, scope: Scope, seen: _Seen) -> Iterator[Fault]:
        """Yield that there are rows with revisions that the SQL database never gave."""
        for table in (FRAMES, DAYS):
            newer = audit.revision_after(
                self._body(scope), table, scope.id, seen.view.snapshot.last
            )
            if newer is None:
                continue
            with self.database.reader() as connection:
                last = revisions.snapshot(connection).last
            if newer > last:
                yield Fault(
                    table,
                    {'scope_id': scope.id},
                    reason=f'revision {newer} is later than the last one of the SQL database, '
                    f'{last}, which is older than ClickHouse: it gives these numbers again',
                )

    def _months(
        self, scope: Scope, seen: _Seen, begin: datetime | None, end: datetime | None
    ) -> list[Month]:
        where = Where(seen.kept_from, EVER.end, [scope.id])
        bounds = audit.bounds(self._body(scope), seen.view.snapshot, where)
        return [] if bounds is None else faults.months_between(*bounds, begin, end)

    def _day_faults(self, scope: Scope, month: Month, seen: _Seen) -> Iterator[Fault]:
        """Yield the sums of folded days that are not those of their points."""
        view = seen.view
        if view.folded is None:
            return
        kept_from = seen.kept_from.date()
        first, end = max(month.first, view.folded[0], kept_from), min(month.end, view.folded[1])
        if first >= end:
            return
        right, found = audit.sums_of_days(
            self._body(scope), view.snapshot, scope.id, (first, end), view.changed
        )
        yield from faults.differences(DAYS, ('scope_id', 'day', 'series_id'), found, right)

    def _series(self, scope: Scope, used: set[int]) -> Iterator[Fault]:
        """Yield the series that points refer to and that are missing or others."""
        for ids in chunks(sorted(used)):
            known = self._entries(ids)
            stored = audit.stored_series(self._body(scope), scope.id, ids)
            for number in ids:
                key = {'scope_id': scope.id, 'id': number}
                entry = known.get(number)
                if entry is None or entry.owner != scope.id:
                    reason = f'points refer to series {number}, which is not one of this scope'
                    yield Fault(FRAMES, {'scope_id': scope.id}, reason=reason)
                    continue
                right = series_row(number, entry, *self._named(entry))
                copies = stored.get(number, [])
                if not copies:
                    yield Fault(SERIES, key, right)
                elif any(copy != right for copy in copies):
                    yield Fault(SERIES, key, reason='its content is not that of rated_series')

    def _entries(self, ids: Sequence[int]) -> dict[int, Entry]:
        table = faults.SERIES
        found = {}
        with self.database.reader() as connection:
            for row in connection.execute(sa.select(table).where(table.c.id.in_(ids))):
                try:
                    found[row.id] = entry_of(row)
                except ValueError:
                    # series_faults() tells.
                    continue
        return found

    def _named(self, entry: Entry) -> tuple[str, str]:
        """Return the scope key and the identifier that points of a series name."""
        with self.database.reader() as connection:
            return self.id_cache.scope_key, self.id_cache.identifier(connection, entry.scope)

    def rebuild(
        self, scope: Scope, begin: datetime | None = None, end: datetime | None = None
    ) -> Iterator[Outcome]:
        """Correct what derives from the points of a scope, see check()."""
        derived: list[Fault] = []
        others: list[Fault] = []
        for fault in self.check(scope, begin, end):
            (derived if fault.table in (DAYS, SERIES) and not fault.reason else others).append(
                fault
            )
        outcome = self.database.write(lambda connection: faults.correct(connection, others))
        missing = {fault.key['id'] for fault in derived if fault.table == SERIES}
        if missing:
            self._write_series(missing)
        days = sorted({(scope.id, fault.key['day']) for fault in derived if fault.table == DAYS})
        folding.fold_again(self.database, self.shards, days, datetime.now(UTC))
        yield Outcome(outcome.corrected + len(derived), outcome.left)

    def _write_series(self, ids: set[int]) -> None:
        for part in chunks(sorted(ids)):
            entries = self._entries(part)
            names = {entry.scope: self._named(entry)[1] for entry in entries.values()}
            self.shards.insert_series(entries, self.id_cache.scope_key, names)


class _Rated:
    """Checks the rated periods of a scope, which are added in order."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._last: Row | None = None
        self._begins: list[datetime] = []
        self._end: datetime | None = None

    def add(self, rows: Sequence[Row]) -> Iterator[Fault]:
        """Yield those that overlap."""
        for row in rows:
            last = self._last
            if last is not None and last.end > row.begin:
                key = {
                    'scope_id': self._scope.id,
                    'begin': timeframe.to_naive(last.begin),
                    'origin': RATED,
                }
                bounds = timeframe.to_naive(last.end), timeframe.to_naive(row.begin)
                yield Fault(FRAMES, key, reason=faults.overlap(*bounds))
            self._last = row
            self._begins.append(timeframe.to_naive(row.begin))
            end = timeframe.to_naive(row.end)
            self._end = end if self._end is None else max(self._end, end)

    def end(self, mark: datetime | None, rated_until: datetime | None) -> Iterator[Fault]:
        """Yield what does not fit the progress of the scope, naive UTC."""
        later = [] if mark is None else [begin for begin in self._begins if begin > mark]
        if mark is not None and later:
            yield faults.unexpected(self._scope, mark, len(later), later[0])
        if self._end is not None and (rated_until is None or rated_until < self._end):
            right: Mapping[str, Any] = {'rated_until': self._end}
            found = {'rated_until': rated_until}
            yield Fault(LATEST.name, {'scope_id': self._scope.id}, right, found)
