"""Removes data past its retention, a bounded number of rows at a time."""

from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.scopes import source_gaps
from cloudkitty.storage.v2.series import retention_cutoff
from cloudkitty.storage.v2.series.series_ids import IdCache
from cloudkitty.storage.v2.sql.unused_series import UnusedSeries
from cloudkitty.storage.v2.sql.writer import FRAMES, Writer, fold_left

# Most rows per transaction, which then takes some hundredths of a second.
ROWS_AT_ONCE = 1000
GAPS_AT_ONCE = 100
SERIES, DAYS = tables.rated_series, tables.rated_days


def step(
    database: db.Database, id_cache: IdCache, options: Any, now: datetime, unused: UnusedSeries
) -> bool:
    """Do one bounded part of the retention in [storage]; return whether more can be done at once.

    :param options: section [storage].
    :param now: aware UTC.
    :param unused: removes series, once all else is removed.
    """
    if options.retention_period is None:
        return False
    wanted = (now - timedelta(hours=options.retention_period)).date()
    current = retention_cutoff.settle(database, wanted, now)
    if current is None:
        return False
    # The sums of what is removed stay.
    if fold_left(database, id_cache, current.begin):
        return True
    if _remove_points(database, current) or _remove_gaps(database, current):
        return True
    if options.rollup_retention_period is not None:
        first = (now - timedelta(hours=options.rollup_retention_period)).date()
        if _remove_sums(database, id_cache, min(first, current.day).replace(day=1)):
            return True
    return unused.step(now)


def _remove_points(database: db.Database, current: retention_cutoff.RetentionCutoff) -> bool:
    """Remove the oldest frames before the cut-off; their sums are kept."""
    key = (FRAMES.c.begin, FRAMES.c.scope_id, FRAMES.c.origin)
    oldest = (
        sa.select(*key)
        .where(FRAMES.c.begin < timeframe.to_naive(current.begin))
        .order_by(*key)
        .limit(ROWS_AT_ONCE)
    )

    def change(connection: sa.Connection) -> int:
        found = connection.execute(oldest).all()
        if found:
            # One statement; the plain comparison can use the index, the other one decides.
            connection.execute(
                sa.delete(FRAMES).where(
                    FRAMES.c.begin <= found[-1].begin, sa.tuple_(*key) <= sa.tuple_(*found[-1])
                )
            )
        return len(found)

    return database.write(change) == ROWS_AT_ONCE


def _remove_gaps(database: db.Database, current: retention_cutoff.RetentionCutoff) -> bool:
    """Remove the records of unused times whose points are removed."""
    removed = database.write(
        lambda connection: source_gaps.remove_unused(connection, current.begin, limit=GAPS_AT_ONCE)
    )
    return removed == GAPS_AT_ONCE


def _remove_sums(database: db.Database, id_cache: IdCache, first_kept: date) -> bool:
    """Remove the oldest sums of days before *first_kept*, the first of a month."""
    oldest = (
        sa.select(DAYS.c.series_id, DAYS.c.day, SERIES.c.owner_id)
        .join_from(DAYS, SERIES, SERIES.c.id == DAYS.c.series_id)
        .where(DAYS.c.day < first_kept)
        .order_by(DAYS.c.day)
        .limit(ROWS_AT_ONCE)
    )
    with database.reader() as connection:
        found = connection.execute(oldest).all()
    if not found:
        return False

    def change(connection: sa.Connection) -> None:
        writer = Writer(connection, id_cache)
        # Locked first, so that no concurrent delete subtracts the same rows from the sums by month.
        writer.lock({row.owner_id for row in found})
        writer.remove_days(
            DAYS.c.series_id.in_([row.series_id for row in found]),
            DAYS.c.day.in_({row.day for row in found}),
        )

    database.write(change)
    return len(found) == ROWS_AT_ONCE
