"""Writes frames to ClickHouse, under revisions that the SQL database closes with the marks."""

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa

from cloudkitty import db, errors
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.v2.clickhouse import folding, literals, revisions
from cloudkitty.storage.v2.clickhouse.body import Row, Where
from cloudkitty.storage.v2.clickhouse.revisions import Ticket
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.storage.v2.series import overlaps, retention_cutoff, series_ids
from cloudkitty.storage.v2.series.changes import Changes
from cloudkitty.storage.v2.series.frame_rows import RATED, Frame, IdAssignment, Part

ATTEMPTS_MAX = 6
_Result = TypeVar('_Result')
EVER = Period(literals.EARLIEST, literals.LATEST)


class Stale(Exception):
    """A scope was changed meanwhile: all is done again with another revision."""


class Written(NamedTuple):
    """What was written for one part, and does not exist before its ticket is closed.

    :ivar owner: number of the scope.
    :ivar touched: (begin of a period, naive UTC, ids of series) of what comes and what goes.
    :ivar days: scopes and days that change.
    :ivar rated_until: end of the last rated period, aware UTC; None: none is rated.
    """

    owner: int
    ticket: Ticket
    touched: Sequence[tuple[datetime, Sequence[int]]]
    rated_until: datetime | None
    days: Collection[folding.ScopeDay]


def _now() -> datetime:
    return datetime.now(UTC)


class Writer:
    """Writes rows, and closes their revisions.

    :param clock: returns the current time, aware UTC.
    """

    def __init__(
        self,
        database: db.Database,
        id_cache: series_ids.IdCache,
        body: Shards,
        changes: Changes | None,
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self.database = database
        self.id_cache = id_cache
        self.body = body
        self.changes = changes
        self._clock = clock

    def begin(self, groups: Iterable[Collection[int]]) -> list[Ticket]:
        """Take a revision for each group of scopes, by their numbers."""
        wanted = list(groups)
        return self.database.write(
            lambda connection: revisions.begin(connection, wanted, self._clock())
        )

    def write(
        self, parts: Sequence[Part], tickets: Sequence[Ticket] | None = None
    ) -> list[Written]:
        """Write the new content of each (scope, period, origin) of *parts*, each of one scope.

        Periods before the retention cut-off are left out.

        :param tickets: one for each part; None: new ones are taken.
        :raises PeriodsOverlap: a rated period would overlap another one of its scope.
        """
        ids, numbered = self._number(parts)
        owners = [ids.scopes[part.owner] for part in parts]
        if tickets is None:
            tickets = self.begin([owner] for owner in owners)
        with self.database.reader() as connection:
            kept_from = timeframe.to_naive(retention_cutoff.read(connection).begin)
        frames = [[frame for frame in one.frames if frame.begin >= kept_from] for one in numbered]
        found = [
            self._written(owner, own, ticket, part.origin)
            for owner, own, ticket, part in zip(owners, frames, tickets, parts, strict=True)
        ]
        self.body.insert(
            (frame, ticket) for own, ticket in zip(frames, tickets, strict=True) for frame in own
        )
        return found

    def _number(self, parts: Sequence[Part]) -> tuple[IdAssignment, Any]:
        """Give the series their ids, and write those that ClickHouse lacks."""

        def change(connection: sa.Connection) -> tuple[IdAssignment, Any]:
            ids = IdAssignment(connection, self.id_cache)
            return ids, ids.assign(parts)

        ids, numbered = self.database.write(change)
        if ids.series:
            self.body.insert_series(
                {number: entry for entry, number in ids.series.items()},
                self.id_cache.scope_key,
                {number: name for name, number in ids.scopes.items()},
            )
        # Not earlier: what is in the cache is in ClickHouse.
        ids.fill_cache()
        return ids, numbered

    def _written(self, owner: int, frames: Sequence[Frame], ticket: Ticket, origin: int) -> Written:
        ends = [timeframe.from_naive(frame.end) for frame in frames]
        if origin == RATED and frames:
            self._require_apart(owner, frames, ticket)
        touched = [(frame.begin, frame.ids) for frame in frames]
        return Written(
            owner,
            ticket,
            [*touched, *self._replaced(owner, frames, ticket, origin)],
            max(ends) if origin == RATED and ends else None,
            {(owner, frame.begin.date()) for frame in frames},
        )

    def _require_apart(self, owner: int, frames: Sequence[Frame], ticket: Ticket) -> None:
        first = timeframe.from_naive(min(frame.begin for frame in frames))
        last = timeframe.from_naive(max(frame.end for frame in frames))
        until = ticket.states[owner].rated_until
        stored: list[Row] = []
        # Mostly nothing was rated from then on.
        if until is not None and first < until:
            where = Where(EVER.begin, last, [owner], RATED)
            stored = self.body.keys(ticket.snapshot, where, first)
        spans = [(timeframe.to_naive(row.begin), timeframe.to_naive(row.end)) for row in stored]
        overlaps.require_apart(frames, {owner: spans})

    def _replaced(
        self, owner: int, frames: Sequence[Frame], ticket: Ticket, origin: int
    ) -> list[tuple[datetime, Sequence[int]]]:
        """Return the begins, naive UTC, and series of what *frames* replace."""
        if self.changes is None or not frames:
            return []
        begins = [timeframe.from_naive(frame.begin) for frame in frames]
        where = Where(min(begins), max(begins) + literals.MICROSECOND, [owner], origin)
        return self.body.series_of(ticket.snapshot, where)

    def remove(self, ticket: Ticket, where: Where) -> Written:
        """Write that the frames of *where*, of the scopes of *ticket*, are gone."""
        touched = [] if self.changes is None else self.body.series_of(ticket.snapshot, where)
        self.body.insert_removal(ticket, where)
        return Written(0, ticket, touched, None, self.body.days_of(ticket.snapshot, where))

    def close(self, connection: sa.Connection, written: Sequence[Written]) -> list[Written]:
        """Make what was written exist with this transaction; return what is stale.

        Call it after all other checks, with the marks of the scopes locked.
        """
        until = {one.owner: one.rated_until for one in written if one.rated_until is not None}
        tickets = [one.ticket for one in written]
        stale = revisions.close(connection, tickets, until, self._clock())
        valid = [one for one in written if one.ticket not in stale]
        folding.note(connection, ((*day, one.ticket.revision) for one in valid for day in one.days))
        if self.changes is not None:
            self.changes.note(
                connection,
                lambda ids: self.id_cache.places(connection, ids),
                [change for one in valid for change in one.touched],
            )
        return [one for one in written if one.ticket in stale]

    def settle(self, work: Callable[[], _Result]) -> _Result:
        """Return the result of *work*, which is done again while it raises Stale.

        :raises DatabaseAway: scopes are changed all the time.
        """
        for attempt in range(1, ATTEMPTS_MAX + 1):
            try:
                return work()
            except Stale:
                self.database.sleep(random.uniform(0.5, 1) * 0.05 * 2**attempt)
        raise errors.DatabaseAway
