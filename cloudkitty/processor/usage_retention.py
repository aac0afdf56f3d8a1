"""Packs and removes old usage, but nothing that is still to be rated."""

from collections.abc import Callable
from datetime import datetime, timedelta

from cloudkitty import db
from cloudkitty.core.metering import facts
from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings
from cloudkitty.scopes import reprocessing, state
from cloudkitty.usage import late, retention


class UsageRetention(LockedJob):
    """Does a bounded part at each step.

    :param terms: for how long usage is kept.
    """

    LOCK = 'usage-retention'
    TITLE = 'Packing and removing old usage'
    PAUSE = timedelta(hours=1)

    def __init__(
        self,
        *,
        database: db.Database,
        terms: retention.Terms,
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
    ):
        super().__init__(locks=locks, settings=settings, clock=clock)
        self._database = database
        self._identity = settings.identity
        self._retention = retention.Retention(database, terms)

    def work(self, now: datetime) -> bool:
        return self._retention.step(now, self._needed_from())

    def _needed_from(self) -> datetime | None:
        """Return the begin of what may not have been rated yet, or is to be rated again."""
        with self._database.reader() as connection:
            late_us = late.oldest(connection)
            instants = (
                state.oldest_mark(connection, self._identity),
                reprocessing.oldest_unfinished(connection),
                None if late_us is None else facts.from_us(late_us),
            )
        return min((one for one in instants if one is not None), default=None)
