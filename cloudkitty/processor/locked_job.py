"""Background work in bounded parts, in one worker of all nodes at a time."""

import abc
from collections.abc import Callable
from datetime import datetime, timedelta

from cloudkitty.locks import Locks
from cloudkitty.processor.backoff import Backoff
from cloudkitty.processor.settings import Settings

# How often to look for work.
PAUSE = timedelta(minutes=10)


class LockedJob(abc.ABC):
    """Does a bounded part at each step; failures are logged and retried later.

    :cvar LOCK: last part of the name of its lock.
    :cvar TITLE: what it does, for the log.
    :cvar PAUSE: how often to look for work.
    :param clock: returns the current time, aware UTC.
    :ivar next_at: when there may be work again.
    """

    LOCK: str
    TITLE: str
    PAUSE: timedelta = PAUSE

    def __init__(self, *, locks: Locks, settings: Settings, clock: Callable[[], datetime]):
        self._locks = locks
        self._lock_name = settings.lock_name(self.LOCK)
        self._clock = clock
        self._backoff = Backoff(self.TITLE, settings.length_s)
        self.next_at = clock()

    @abc.abstractmethod
    def work(self, now: datetime) -> bool:
        """Do a bounded part; return whether there is more."""

    def step(self) -> bool:
        """Do a bounded part unless another worker does; return whether there is more."""
        now = self._clock()
        if now < self.next_at:
            return False
        self.next_at = now + self.PAUSE
        has_more, failure = False, None
        with self._locks.hold(self._lock_name) as is_mine:
            if is_mine:
                has_more, failure = self._try(now)
        if failure is not None:
            self.next_at = self._backoff.record_failure(now, failure)
        elif has_more:
            self.next_at = now
        return has_more

    def _try(self, now):
        """Do a part; return whether there is more, and the error if there was one."""
        try:
            has_more = self.work(now)
        # Whatever went wrong must not keep new data from being rated.
        except Exception as exc:
            return False, exc
        self._backoff.record_success(now)
        return has_more, None
