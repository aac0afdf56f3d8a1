"""Removes what is no longer needed: rows of revisions that came to nothing, and old months."""

import logging
from datetime import datetime, timedelta
from typing import Any

from cloudkitty import db
from cloudkitty.scopes import source_gaps
from cloudkitty.storage.v2.clickhouse import revisions
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.storage.v2.series import retention_cutoff

LOG = logging.getLogger(__name__)

# Most revisions of one removal, which rewrites the parts that have rows of them.
REVISIONS_AT_ONCE = 10_000
GAPS_AT_ONCE = 100


def sweep(database: db.Database, body: Shards, now: datetime) -> bool:
    """Remove rows that were written and never committed; return whether there are more.

    :param now: aware UTC.
    """
    # A process that was suspended may close one of them now, in a transaction that is as old.
    dead = database.write(
        lambda connection: revisions.find_dead(connection, now, REVISIONS_AT_ONCE)
    )
    if dead:
        body.remove_revisions(dead)
        database.write(lambda connection: revisions.forget(connection, dead))
        LOG.info('Rows of %s revisions that were never committed are removed', len(dead))
    return len(dead) == REVISIONS_AT_ONCE


def expire(database: db.Database, body: Shards, options: Any, now: datetime) -> bool:
    """Remove whole months past the retention in [storage]; return whether there is more.

    :param options: section [storage].
    :param now: aware UTC.
    """
    if options.retention_period is None:
        return False
    wanted = (now - timedelta(hours=options.retention_period)).date().replace(day=1)
    current = retention_cutoff.settle(database, wanted, now)
    if current is None:
        return False
    body.remove_months(current.day)
    removed = database.write(
        lambda connection: source_gaps.remove_unused(connection, current.begin, limit=GAPS_AT_ONCE)
    )
    return removed == GAPS_AT_ONCE
