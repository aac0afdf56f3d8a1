"""Removing rated data that is older than [storage] says."""

from collections.abc import Callable
from datetime import datetime, timedelta

from cloudkitty.locks import Locks
from cloudkitty.processor.outage import Outage
from cloudkitty.processor.settings import Settings

# How often to look for what became too old.
PAUSE = timedelta(minutes=10)


class Retention:
    """Removes a part at each step, in one worker at a time.

    :param expire: removes a part, as BaseStorage.expire does.
    :param clock: returns the current time, aware UTC.
    :ivar next_at: when there may be something to do again.
    """

    def __init__(self, *, expire: Callable[[datetime], bool], locks: Locks, settings: Settings,
                 clock: Callable[[], datetime]):
        self._expire = expire
        self._locks = locks
        self._lock_name = settings.lock_name('retention')
        self._clock = clock
        self._outage = Outage('Removing old data', settings.length_s)
        self.next_at: datetime | None = clock()

    def step(self) -> bool:
        """Remove a part of what is too old; say whether there is more."""
        now = self._clock()
        if now < self.next_at:
            return False
        self.next_at = now + PAUSE
        has_more, failure = False, None
        with self._locks.hold(self._lock_name) as is_mine:
            if is_mine:
                has_more, failure = self._try(now)
        if failure is not None:
            self.next_at = self._outage.begin(now, failure)
        elif has_more:
            self.next_at = now
        return has_more

    def _try(self, now):
        """Return whether there is more, and what went wrong."""
        try:
            has_more = self._expire(now)
        # Whatever it is, old data must not keep new data from being rated.
        except Exception as exc:
            return False, exc
        self._outage.end(now)
        return has_more, None
