"""Report files: written at the interval [output]interval."""

import itertools
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings
from cloudkitty.write_orchestrator import WriteOrchestrator

# Scopes and statements at each step; rating goes on between two of them.
SCOPES_AT_ONCE = 20
# Months that are checked; files of older ones are written by cloudkitty-writer.
MONTHS = 3


class Output(LockedJob):
    """Writes the files of a bounded number of scopes and statements at each step.

    :param scopes: returns the scopes with usage in a period.
    :param interval: between the begins of two rounds.
    """

    LOCK = 'output'
    TITLE = 'Writing report files'

    def __init__(
        self,
        *,
        orchestrator: WriteOrchestrator,
        scopes: Callable[[Period], list[str]],
        interval: timedelta,
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
    ):
        super().__init__(locks=locks, settings=settings, clock=clock)
        self._orchestrator = orchestrator
        self._scopes = scopes
        self._interval = interval
        # What is left of this round; None: the next one has not begun.
        self._left: Iterator[None] | None = None

    def work(self, now: datetime) -> bool:
        if self._left is None:
            self._left, self._began = self._round(now), now
        left, self._left = self._left, None
        done = sum(1 for _ in itertools.islice(left, SCOPES_AT_ONCE))
        if done == SCOPES_AT_ONCE:
            self._left = left
            return True
        self.next_at = max(self._began + self._interval, now)
        return False

    def _round(self, now: datetime) -> Iterator[None]:
        """Write what is to be written, the oldest month first, and pause after each scope."""
        months = [timeframe.month_at(now)]
        while len(months) < MONTHS:
            months.insert(0, timeframe.month_at(months[0].begin - timedelta(days=1)))
        for month in months:
            for scope_id in sorted(
                {*self._scopes(month), *self._orchestrator.scopes(f'{month.begin:%Y-%m}')}
            ):
                # What failed is logged, noted, and tried again in the next round.
                for _ in self._orchestrator.generate(scope_id, month):
                    pass
                yield
            for _ in self._orchestrator.generate_statements(f'{month.begin:%Y-%m}'):
                yield
            self._orchestrator.finish(month, is_all=True)
        self._orchestrator.expire()
