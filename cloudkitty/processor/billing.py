"""The background jobs of billing."""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from importlib import util

from cloudkitty import rpc
from cloudkitty.billing import ledger, outbox
from cloudkitty.billing.budgets import Evaluation
from cloudkitty.billing.closing import Closing
from cloudkitty.billing.delivery import Sender
from cloudkitty.billing.statements import Statements
from cloudkitty.conf.options import AUTOMATIC
from cloudkitty.core import timeframe
from cloudkitty.fetcher import BaseFetcher
from cloudkitty.locks import Locks
from cloudkitty.processor.budgets import BudgetCheck
from cloudkitty.processor.closing import MonthClosing
from cloudkitty.processor.delivery import Delivery
from cloudkitty.processor.groups import Groups
from cloudkitty.processor.locked_job import LockedJob
from cloudkitty.processor.settings import Settings


def build(
    statements: Statements,
    write_files: Callable[[ledger.Entry], Iterable[object]],
    *,
    fetcher: BaseFetcher,
    locks: Locks,
    settings: Settings,
    clock: Callable[[], datetime],
) -> list[LockedJob]:
    """Return the jobs that the section [billing] asks for.

    :param write_files: writes the report files of a statement.
    :raises ConfigurationError: an option is wrong.
    """
    conf = statements.conf
    evaluation = Evaluation(statements, notifies_bus=conf.billing.notify)
    jobs: list[LockedJob] = [
        Groups(
            database=statements.database,
            fetcher=fetcher,
            locks=locks,
            settings=settings,
            clock=clock,
        ),
        BudgetCheck(evaluation=evaluation, locks=locks, settings=settings, clock=clock),
        Delivery(
            database=statements.database,
            sender=Sender.of(conf) if util.find_spec('standardwebhooks') else None,
            notify=_notify(rpc.Notifier(conf)) if conf.billing.notify else None,
            locks=locks,
            settings=settings,
            clock=clock,
        ),
    ]
    if conf.billing.close == AUTOMATIC:
        jobs.append(
            MonthClosing(
                closing=Closing(statements),
                write_files=write_files,
                locks=locks,
                settings=settings,
                clock=clock,
            )
        )
    return jobs


def _notify(notifier: rpc.Notifier) -> Callable[[outbox.Message], str]:
    def notify(message: outbox.Message) -> str:
        form = json.loads(message.payload)
        at = timeframe.parse(form['timestamp'])
        return notifier.emit(message.event, message.message, form['data'], at)

    return notify
