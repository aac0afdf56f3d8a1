"""Since when there are points: of older days only the sums are kept.

The horizon is one row for all scopes, and only moves on. It is announced first, and what lies
before it is removed later, when every transaction that may not know of it has ended. From the
announcement on nobody reads points before it, and whoever stores some adds to the sums alone; so
the removal needs no lock, and no sum is ever taken for incomplete because points are gone.
"""

from datetime import date, datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, upsert

TABLE = models.rated_horizon
ROW_ID = 1


class Horizon(NamedTuple):
    """The first day that has points, and since when it is that.

    :ivar since: aware UTC.
    """

    day: date
    since: datetime

    @property
    def begin(self) -> datetime:
        """The instant before which there are no points, aware UTC."""
        return timeframe.midnight(self.day)


NONE = Horizon(timeframe.EPOCH.date(), timeframe.EPOCH)


def read(connection: sa.Connection) -> Horizon:
    """Return the horizon; NONE: all days that were ever stored have their points."""
    row = connection.execute(
        sa.select(TABLE.c.day, TABLE.c.since).where(TABLE.c.id == ROW_ID)).first()
    return NONE if row is None else Horizon(row.day, timeframe.from_naive(row.since))


def move(connection: sa.Connection, day: date, now: datetime) -> None:
    """Let *day* be the first that has points; an earlier one than that of now changes nothing."""
    new = {'day': day, 'since': timeframe.to_naive(now)}
    upsert.insert_missing(connection, TABLE, [{'id': ROW_ID, **new}])
    connection.execute(sa.update(TABLE).where(TABLE.c.id == ROW_ID, TABLE.c.day < day).values(new))
