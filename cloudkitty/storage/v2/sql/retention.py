"""Removing what is too old, a bounded number of rows at a time."""

import logging
from datetime import date, datetime, timedelta

import sqlalchemy as sa

from cloudkitty import db, timeframe
from cloudkitty.db import models
from cloudkitty.storage.v2.sql import horizon
from cloudkitty.storage.v2.sql.catalogue import Catalogue
from cloudkitty.storage.v2.sql.writer import FRAMES, Writer

LOG = logging.getLogger(__name__)

# Rows of one transaction, which takes some hundredths of a second.
ROWS_AT_ONCE = 1000
# No transaction that began before the horizon moved lasts so long, see Database.idle_transaction_s.
SETTLED = timedelta(hours=1)
SERIES, DAYS = models.rated_series, models.rated_days


def step(database: db.Database, catalogue: Catalogue, options, now: datetime) -> bool:
    """Do a part of what [storage] orders; say whether there is more to do at once.

    :param options: section [storage].
    :param now: aware UTC.
    """
    if options.retention_period is None:
        return False
    wanted = (now - timedelta(hours=options.retention_period)).date()
    with database.reader() as connection:
        current = horizon.read(connection)
    if current.day < wanted:
        database.write(lambda connection: horizon.move(connection, wanted, now))
        LOG.info('Points of periods before %s are too old; they are removed from %s on', wanted,
                 now + SETTLED)
        return False
    if now < current.since + SETTLED:
        return False
    if _remove_points(database, current):
        return True
    if options.rollup_retention_period is None:
        return False
    first = (now - timedelta(hours=options.rollup_retention_period)).date()
    return _remove_sums(database, catalogue, min(first, current.day).replace(day=1))


def _remove_points(database, current) -> bool:
    """Remove the oldest frames before the horizon; their sums stay."""
    key = (FRAMES.c.begin, FRAMES.c.scope_id, FRAMES.c.origin)
    oldest = sa.select(*key).where(FRAMES.c.begin < timeframe.to_naive(current.begin)).order_by(
        *key).limit(ROWS_AT_ONCE)

    def change(connection):
        found = connection.execute(oldest).all()
        if found:
            # One statement; the plain comparison finds the index, the other one decides.
            connection.execute(sa.delete(FRAMES).where(
                FRAMES.c.begin <= found[-1].begin, sa.tuple_(*key) <= sa.tuple_(*found[-1])))
        return len(found)

    return database.write(change) == ROWS_AT_ONCE


def _remove_sums(database: db.Database, catalogue: Catalogue, first_kept: date) -> bool:
    """Remove the oldest sums of days before *first_kept*, the first of a month."""
    oldest = (sa.select(DAYS.c.series_id, DAYS.c.day, SERIES.c.owner_id)
              .join_from(DAYS, SERIES, SERIES.c.id == DAYS.c.series_id)
              .where(DAYS.c.day < first_kept).order_by(DAYS.c.day).limit(ROWS_AT_ONCE))
    with database.reader() as connection:
        found = connection.execute(oldest).all()
    if not found:
        return False

    def change(connection):
        writer = Writer(connection, catalogue)
        # First of all, so that nobody who deletes takes the same rows off the sums by month.
        writer.lock({row.owner_id for row in found})
        writer.remove_days(DAYS.c.series_id.in_([row.series_id for row in found]),
                           DAYS.c.day.in_({row.day for row in found}))

    database.write(change)
    return len(found) == ROWS_AT_ONCE
