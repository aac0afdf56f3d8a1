"""Removes series that nothing refers to any more, a bounded number at a time.

A series is in use while there are sums of it; unfolded frames have no sums yet, so a scope is
folded first. A writer that still has the id of a removed series in its cache sees in the row of the
scope, which it locks, that series were removed, see Writer.lock().

Source: doc/source/contributor/storage.rst, "Retention".
"""

import itertools
import logging
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.db import clickhouse_tables, tables
from cloudkitty.storage.v2.series.series_ids import IdCache
from cloudkitty.storage.v2.sql.writer import SCOPES_AT_ONCE, Writer

LOG = logging.getLogger(__name__)

# Series that are examined at once, which takes some hundredths of a second.
SERIES_AT_ONCE = 1000
SCOPES, SERIES = tables.rated_scopes, tables.rated_series
HAS_NO_SUMS = sa.and_(
    *(
        ~sa.exists().where(table.c.series_id == SERIES.c.id)
        for table in (tables.rated_days, tables.rated_series_months)
    )
)


class _Candidate(NamedTuple):
    owner: int
    id: int


class UnusedSeries:
    """Examines all series once a day, in the order of their ids."""

    def __init__(self, database: db.Database, id_cache: IdCache) -> None:
        self._database = database
        self._id_cache = id_cache
        self._after = 0
        self._done: date | None = None

    def step(self, now: datetime) -> bool:
        """Examine some series; return whether there are more to be examined today."""
        if self._done == now.date():
            return False
        with self._database.reader() as connection:
            last, found = self._find(connection)
        by_owner = itertools.groupby(sorted(found), key=lambda one: one.owner)
        owners = [(owner, [one.id for one in part]) for owner, part in by_owner]
        for first in range(0, len(owners), SCOPES_AT_ONCE):
            self._remove(owners[first : first + SCOPES_AT_ONCE])
        self._after = last or 0
        if last is None:
            self._done = now.date()
        return last is not None

    def _find(self, connection: sa.Connection) -> tuple[int | None, list[_Candidate]]:
        """Return the last examined id, None: there are no more, and series that seem unused."""
        following = sa.select(SERIES.c.id).where(SERIES.c.id > self._after).order_by(SERIES.c.id)
        last = connection.scalar(following.offset(SERIES_AT_ONCE - 1).limit(1))
        chosen = [
            SERIES.c.id > self._after,
            # SQLite would give its id to another series.
            SERIES.c.id < sa.select(sa.func.max(SERIES.c.id)).scalar_subquery(),
            HAS_NO_SUMS,
            # Their sums are in ClickHouse.
            SERIES.c.owner_id.not_in(sa.select(clickhouse_tables.latest.c.scope_id)),
        ]
        if last is not None:
            chosen.append(SERIES.c.id <= last)
        rows = connection.execute(sa.select(SERIES.c.owner_id, SERIES.c.id).where(*chosen))
        return last, [_Candidate(row.owner_id, row.id) for row in rows]

    def _remove(self, owners: Sequence[tuple[int, Iterable[int]]]) -> None:
        """Remove those of the series that are still unused, by the numbers of their scopes."""
        numbers = [owner for owner, _ in owners]
        ids = [number for _, members in owners for number in members]

        def change(connection: sa.Connection) -> int:
            writer = Writer(connection, self._id_cache)
            # Locked first: whoever stores points of them waits, or has already done so.
            writer.lock(numbers)
            writer.fold(numbers)
            deletion = sa.delete(SERIES).where(SERIES.c.id.in_(ids), HAS_NO_SUMS)
            removed = connection.execute(deletion).rowcount
            if removed:
                connection.execute(
                    sa.update(SCOPES)
                    .where(SCOPES.c.id.in_(numbers))
                    .values(removals=SCOPES.c.removals + 1)
                )
            return removed

        removed = self._database.write(change)
        if removed:
            LOG.info('Removed %s series to which nothing refers any more', removed)
