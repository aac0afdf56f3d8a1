"""Groups: records the domains and tags of scopes, for accounts that name them."""

from collections.abc import Callable
from datetime import datetime, timedelta

from cloudkitty import db
from cloudkitty.billing import members
from cloudkitty.fetcher import BaseFetcher
from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings


class Groups(LockedJob):
    """Calls the fetcher once an hour."""

    LOCK = 'groups'
    TITLE = 'Recording the groups of scopes'
    PAUSE = timedelta(hours=1)

    def __init__(
        self,
        *,
        database: db.Database,
        fetcher: BaseFetcher,
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
    ):
        super().__init__(locks=locks, settings=settings, clock=clock)
        self._database = database
        self._fetcher = fetcher

    def work(self, now: datetime) -> bool:
        found = self._fetcher.get_groups()
        if found:
            self._database.write(lambda connection: members.record(connection, found, now))
        return False
