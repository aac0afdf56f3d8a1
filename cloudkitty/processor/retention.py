"""Retention: removes rated data past the retention periods in [storage]."""

from collections.abc import Callable
from datetime import datetime

from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import PAUSE, LockedJob
from cloudkitty.processor.settings import Settings

__all__ = ('PAUSE', 'Retention')


class Retention(LockedJob):
    """Removes a bounded part at each step.

    :param expire: removes a bounded part, as BaseStorage.expire does.
    """

    LOCK = 'retention'
    TITLE = 'Removing old data'

    def __init__(
        self,
        *,
        expire: Callable[[datetime], bool],
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
    ):
        super().__init__(locks=locks, settings=settings, clock=clock)
        self._expire = expire

    def work(self, now: datetime) -> bool:
        return self._expire(now)
