"""Budgets: compares them with what accounts owe, a bounded number at each step."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from cloudkitty.billing import budgets
from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings

LOG = logging.getLogger(__name__)
# Accounts that are computed at each step, and looked at; rating goes on between two steps.
ACCOUNTS_AT_ONCE = 20
ACCOUNTS_READ = 500
# An account is computed so often though nothing of it was rated: usage may be pushed.
LONGEST = timedelta(hours=1)


class BudgetCheck(LockedJob):
    """Checks all accounts with budgets, in rounds; computes those with newly rated usage."""

    LOCK = 'budgets'
    TITLE = 'Checking budgets'
    PAUSE = timedelta(minutes=5)

    def __init__(
        self,
        *,
        evaluation: budgets.Evaluation,
        locks: Locks,
        settings: Settings,
        clock: Callable[[], datetime],
    ):
        super().__init__(locks=locks, settings=settings, clock=clock)
        self._evaluation = evaluation
        # The last account of this round; '': it has not begun.
        self._last = ''
        # By account what it looked like when it was computed last, and when that was.
        self._computed: dict[str, tuple[str, datetime]] = {}

    def work(self, now: datetime) -> bool:
        database = self._evaluation.statements.database
        with database.reader() as connection:
            found = budgets.after(connection, self._last, ACCOUNTS_READ)
            stamps = self._evaluation.stamps(connection, found)
        computed = 0
        for account_id in found:
            if self._is_known(account_id, stamps[account_id], now):
                self._last = account_id
                continue
            if computed == ACCOUNTS_AT_ONCE:
                return True
            computed += 1
            # Before, so that an account that cannot be computed does not hold up the others.
            self._last = account_id
            for alert in self._evaluation.check(account_id):
                LOG.info(
                    'Budget %s of account %s: %s %% of it are reached in %s',
                    alert.budget,
                    alert.account,
                    alert.threshold,
                    alert.month,
                )
            self._computed[account_id] = stamps[account_id], now
        if len(found) < ACCOUNTS_READ:
            self._last = ''
            self._computed = {
                one: (stamp, at)
                for one, (stamp, at) in self._computed.items()
                if now < at + LONGEST
            }
            return False
        return True

    def _is_known(self, account_id: str, stamp: str, now: datetime) -> bool:
        """Return whether an account was computed of late, and looks as it did then."""
        known, at = self._computed.get(account_id, ('', now))
        return known == stamp and now < at + LONGEST
