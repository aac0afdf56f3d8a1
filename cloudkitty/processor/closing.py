"""Closing: closes the statements of past months, if [billing]close is automatic."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from cloudkitty.billing import ledger
from cloudkitty.billing.closing import ACCOUNTS_MAX, Closing
from cloudkitty.core.billing import month
from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings

# Accounts at each step, one transaction; rating goes on between two of them.
ACCOUNTS_AT_ONCE = ACCOUNTS_MAX
# Months that are closed automatically; older ones are closed by hand.
MONTHS = 3
AUTHOR = 'cloudkitty-processor'


class MonthClosing(LockedJob):
    """Closes a bounded number of accounts at each step, months that are over first.

    :param write_files: writes the report files of a statement.
    """

    LOCK = 'closing'
    TITLE = 'Closing months'

    def __init__(
        self,
        *,
        closing: Closing,
        write_files: Callable[[ledger.Entry], Iterable[object]],
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
    ):
        super().__init__(locks=locks, settings=settings, clock=clock)
        self._closing = closing
        self._write_files = write_files
        # What is left of this round; None: the next one has not begun.
        self._left: Iterator[tuple[str, Sequence[str]]] | None = None

    def work(self, now: datetime) -> bool:
        left, self._left = self._left or self._due(now), None
        found = next(left, None)
        if found is None:
            return False
        self._close(*found)
        self._left = left
        return True

    def _due(self, now):
        """Yield (month, accounts) of what may be closed, the oldest month first."""
        current = now.strftime('%Y-%m')
        for back in range(MONTHS, -1, -1):
            period = month.following(current, -back)
            due = self._closing.due_accounts(period)
            for start in range(0, len(due), ACCOUNTS_AT_ONCE):
                yield period, due[start : start + ACCOUNTS_AT_ONCE]

    def _close(self, period, account_ids):
        for _, made in self._closing.close_many(account_ids, period, AUTHOR):
            # Of one that cannot be closed the draft says why; the next round tries again.
            if not isinstance(made, Exception):
                # What fails is logged and noted; cloudkitty-writer writes it then.
                for _ in self._write_files(made):
                    pass
