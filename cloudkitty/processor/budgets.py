"""Budgets: compares them with what accounts owe, a bounded number at each step."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from cloudkitty.billing import budgets
from cloudkitty.locks import Locks
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings

LOG = logging.getLogger(__name__)
# Accounts at each step; rating goes on between two of them.
ACCOUNTS_AT_ONCE = 20


class BudgetCheck(LockedJob):
    """Checks all accounts with budgets, in rounds."""

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

    def work(self, now: datetime) -> bool:
        database = self._evaluation.statements.database
        with database.reader() as connection:
            found = budgets.after(connection, self._last, ACCOUNTS_AT_ONCE)
        for account_id in found:
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
        if len(found) < ACCOUNTS_AT_ONCE:
            self._last = ''
            return False
        return True
