"""Folding: adds pending points of scopes that are no longer rated to the sums by series."""

from collections.abc import Callable
from datetime import datetime

from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings


class Folding(LockedJob):
    """Folds a bounded number of scopes at each step.

    :param fold: folds them, as BaseStorage.fold does.
    """

    LOCK = 'folding'
    TITLE = 'Folding sums'

    def __init__(
        self,
        *,
        fold: Callable[[datetime], bool],
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
    ):
        super().__init__(locks=locks, settings=settings, clock=clock)
        self._fold = fold

    def work(self, now: datetime) -> bool:
        return self._fold(now)
