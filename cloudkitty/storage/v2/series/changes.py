"""Records which scopes changed in months that may be closed.

A note is a counter by scope and calendar month (UTC), which grows in the transaction of the usage.
A consumer deletes a note if the counter is still the one that it read, so a change that is stored
meanwhile is never missed. Changes of the current month are not recorded: it cannot be closed yet.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty.core import timeframe
from cloudkitty.db import billing_tables, upsert
from cloudkitty.storage.v2.series.series_ids import Place

TABLE = billing_tables.changes
COLUMNS = ('scope_id', 'month', 'changes')
# The first and the last zone in which a month begins.
EAST, WEST = timedelta(hours=14), timedelta(hours=12)


def border(now: datetime) -> datetime:
    """Return the time before which a period may belong to a month that is over in some zone."""
    newest = timeframe.month_at(now + EAST)
    return min(now, newest.begin + WEST)


class Changes:
    """Records changes of usage.

    :param clock: returns the current time, aware UTC.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock

    def note(
        self,
        connection: sa.Connection,
        places_of: Callable[[set[int]], Mapping[int, Place]],
        touched: Iterable[tuple[datetime, Iterable[int]]],
    ) -> None:
        """Record that series change in periods.

        :param places_of: returns the places of series ids.
        :param touched: (begin of a period, naive UTC, series ids).
        """
        end = timeframe.to_naive(border(self.clock()))
        series: dict[date, set[int]] = {}
        for begin, ids in touched:
            if begin < end:
                series.setdefault(begin.date().replace(day=1), set()).update(ids)
        if series:
            places = places_of(set().union(*series.values()))
            found = {
                (places[number].scope, month) for month, ids in series.items() for number in ids
            }
            # In order of the key, so that two writers never deadlock.
            upsert.add(connection, TABLE, COLUMNS, [(*key, 1) for key in sorted(found)])


def of(conf: cfg.ConfigOpts) -> Changes | None:
    """Return the recorder of changes; None: billing is off."""
    return Changes(lambda: datetime.now(UTC)) if conf.billing.enabled else None
