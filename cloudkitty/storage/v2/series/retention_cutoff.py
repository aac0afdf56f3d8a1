"""The retention cut-off: of days before it only the sums are kept.

The cut-off is one row for all scopes and only moves forward. It is announced first; the points
before it are removed later, when every transaction that may not know of it has ended. From the
announcement on, points before it are never read, and storing such points only adds to the
sums. So the removal needs no lock, and no reader takes a sum for wrong because points are gone.
"""

import logging
from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import db, errors
from cloudkitty.core import timeframe
from cloudkitty.db import tables, upsert
from cloudkitty.scopes.progress import Replacement

LOG = logging.getLogger(__name__)

# Longer than any transaction or query that began before the cut-off moved, see
# Database.idle_transaction_s.
SETTLED = timedelta(hours=1)
TABLE = tables.rated_horizon
ROW_ID = 1


class RetentionCutoff(NamedTuple):
    """The first day whose points are kept, and when it was announced.

    :ivar since: aware UTC.
    """

    day: date
    since: datetime

    @property
    def begin(self) -> datetime:
        """The cut-off as an instant, aware UTC: earlier points are not kept."""
        return timeframe.midnight(self.day)


NONE = RetentionCutoff(timeframe.EPOCH.date(), timeframe.EPOCH)


def read(connection: sa.Connection) -> RetentionCutoff:
    """Return the cut-off; NONE: no points were ever removed."""
    row = connection.execute(
        sa.select(TABLE.c.day, TABLE.c.since).where(TABLE.c.id == ROW_ID)
    ).first()
    return NONE if row is None else RetentionCutoff(row.day, timeframe.from_naive(row.since))


def move(connection: sa.Connection, day: date, now: datetime) -> None:
    """Move the cut-off to *day*; does nothing if it is already there or later."""
    new = {'day': day, 'since': timeframe.to_naive(now)}
    upsert.insert_missing(connection, TABLE, [{'id': ROW_ID, **new}])
    connection.execute(sa.update(TABLE).where(TABLE.c.id == ROW_ID, TABLE.c.day < day).values(new))


def settle(database: db.Database, day: date, now: datetime) -> RetentionCutoff | None:
    """Move the cut-off to *day*; return it once the points before it may be removed.

    :param now: aware UTC.
    """
    with database.reader() as connection:
        current = read(connection)
    if current.day < day:
        database.write(lambda connection: move(connection, day, now))
        LOG.info(
            'Points before %s exceed the retention period; they are removed after %s',
            day,
            now + SETTLED,
        )
        return None
    if now < current.since + SETTLED:
        return None
    return current


def require_points(cutoff: datetime, begins: Iterable[datetime]) -> None:
    """Make sure that no period begins before the cut-off, where stored points are unknown.

    :param cutoff, begins: aware UTC.
    :raises InvalidInput: one of them is of a time of which only sums are kept.
    """
    for begin in begins:
        if begin < cutoff:
            raise errors.InvalidInput(
                reason=f'The period that begins at {timeframe.render(begin)} is older '
                f'than [storage]retention_period; points are kept from '
                f'{timeframe.render(cutoff)} on'
            )


def shortened(replacement: Replacement, cutoff: datetime) -> Replacement:
    """Return *replacement* without the periods before *cutoff*, of which only sums are kept."""
    usage = replacement.batch.usage
    kept = usage.at([offset for offset in usage.offsets if usage.periods[offset].begin >= cutoff])
    return replacement._replace(batch=replacement.batch._replace(frames=kept))
