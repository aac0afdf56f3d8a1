"""Billing: pricing sums, drafts, and closing months, beside what reading and adding alone take.

python -m benchmarks.billing [--accounts N] [--series N] [--kind KIND]
"""

import argparse
import gc
import resource
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa

from benchmarks import rated
from cloudkitty.audit import trail
from cloudkitty.billing import budgets, ledger, reconciliation
from cloudkitty.billing.closing import Closing
from cloudkitty.billing.statements import Statements
from cloudkitty.core.billing import document, statement
from cloudkitty.core.billing.statement import Terms, Usage
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.db import types
from cloudkitty.storage.v2.series import changes

MAY = rated.MAY
PERIOD = '2024-05'
DRAFTS = 50
FORM = {
    'plans': {
        'p': {
            'currency': 'EUR',
            'items': [
                {
                    'name': metric,
                    'metric': metric,
                    'by': ['flavor'],
                    'price': {'graduated': [{'up_to': '100', 'unit': '0.05'}, {'unit': '0.03'}]},
                }
                for metric in rated.METRICS[:3]
            ],
            'discount': '5 %',
        }
    },
    'defaults': {'plan': 'p'},
}


def main() -> None:
    arguments = _arguments()
    _pricing(arguments.series)
    with (
        tempfile.TemporaryDirectory() as folder,
        rated.store(arguments.kind, Path(folder)) as storage,
    ):
        _statements(storage, arguments)


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--accounts', type=int, default=200)
    parser.add_argument('--series', type=int, default=100, help='of each account')
    parser.add_argument('--kind', choices=rated.KINDS, default='postgresql')
    return parser.parse_args()


def _usage(series):
    return [
        Usage(
            'a',
            rated.METRICS[number % 5],
            (('flavor', f'f{number % 10}'),),
            Decimal(number) / 7,
            Decimal(number) / 9,
        )
        for number in range(series)
    ]


def _pricing(series):
    """Print the time of a million series, and of adding their numbers."""
    plan, usage = document.parse(FORM).plans['p'], _usage(series)
    count = 100
    begin = time.process_time()
    for _ in range(count):
        statement.totals(statement.compute(plan, usage, Terms(PERIOD)).lines, {}, 2)
    priced = time.process_time() - begin
    begin = time.process_time()
    for _ in range(count):
        sum((one.list_price for one in usage), Decimal(0))
    added = time.process_time() - begin
    scale = 1e6 / (count * series)
    print(f'pricing: {priced * scale:.1f} s CPU a million series; adding: {added * scale:.2f} s')


def _statements(storage, arguments):
    storage.conf.set_override('enabled', True, 'billing')
    # As when the last hours of a month are rated in the next one, which is always so.
    storage.changes = changes.of(storage.conf)
    service = Statements(
        storage.conf, storage.database, storage, lambda: datetime(2024, 7, 1, tzinfo=UTC)
    )
    service.documents.apply(FORM, '2024-01', actor=trail.Actor(), now=MAY)
    accounts = [f'project-{number:05}' for number in range(arguments.accounts)]
    for account in accounts:
        frame = DataFrame(MAY, MAY + timedelta(hours=1))
        for number, one in enumerate(_usage(arguments.series)):
            groupby = {'project_id': account, 'id': str(number), **dict(one.attributes)}
            frame.add_point(
                DataPoint('unit', one.quantity, one.list_price, groupby, {}), one.metric
            )
        storage.push([frame], account)
    _drafts(service, accounts)
    _budgets(service, accounts)
    closing = Closing(service)
    begin, cpu = time.monotonic(), time.process_time()
    for outcome in closing.close_many(accounts, PERIOD, None):
        if isinstance(outcome.result, Exception):
            raise outcome.result
    each_ms = (time.monotonic() - begin) / len(accounts) * 1000
    cpu_ms = (time.process_time() - cpu) / len(accounts) * 1000
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f'closing: {each_ms:.1f} ms an account ({cpu_ms:.1f} ms CPU), {memory:.0f} MB')
    begin = time.monotonic()
    with storage.database.reader() as connection:
        changed = reconciliation.unbooked_months(connection, service.documents, 'project_id')
    print(f'changes of closed months, {len(changed)}: {(time.monotonic() - begin) * 1000:.1f} ms')
    floor_ms, floor_cpu_ms = _floor(storage, accounts)
    print(
        f'floor: {floor_ms:.1f} ms an account ({floor_cpu_ms:.1f} ms CPU); closing takes '
        f'{each_ms / floor_ms:.1f} times as long; 10,000 accounts: {each_ms * 10:.0f} s'
    )


def _floor(storage, accounts):
    """Return the milliseconds, and those of CPU, of reading the same sums and storing the same."""
    copy = sa.Table(
        'benchmark_statements',
        sa.MetaData(),
        sa.Column('number', sa.String(40), primary_key=True),
        sa.Column('document', types.text()),
    )
    with storage.database.writer() as connection:
        copy.create(connection)
        texts = connection.execute(
            sa.select(ledger.TABLE.c.account, ledger.TABLE.c.number, ledger.TABLE.c.document)
        ).all()
    by_account = {row.account: row for row in texts}
    begin, cpu = time.monotonic(), time.process_time()
    for account in accounts:
        _bare_query(storage, account)
        row = by_account[account]
        with storage.database.writer() as connection:
            connection.execute(copy.insert(), {'number': row.number, 'document': row.document})
    spent, spent_cpu = time.monotonic() - begin, time.process_time() - cpu
    return spent / len(accounts) * 1000, spent_cpu / len(accounts) * 1000


def _bare_query(storage, account):
    storage.total(
        ['project_id', 'type', 'flavor'],
        MAY,
        rated.JUNE,
        filters={'project_id': [account]},
        paginate=False,
    )


def _drafts(service, accounts):
    """Print the median and the 95th percentile of drafts, and of the bare query."""
    drafts, queries, cpu_ms = [], [], 0.0
    # What is left of making the usage is not the drafts' to clear.
    gc.collect()
    for number in range(DRAFTS):
        account = accounts[number % len(accounts)]
        begin, cpu = time.monotonic(), time.process_time()
        service.draft(account, PERIOD).to_form()
        drafts.append((time.monotonic() - begin) * 1000)
        cpu_ms += (time.process_time() - cpu) * 1000
        begin = time.monotonic()
        _bare_query(service.sums.storage, account)
        queries.append((time.monotonic() - begin) * 1000)
    for name, times in (('draft', drafts), ('query', queries)):
        print(
            f'{name}: median {statistics.median(times):.1f} ms, '
            f'p95 {statistics.quantiles(times, n=20)[-1]:.1f} ms'
        )
    print(f'draft: {cpu_ms / DRAFTS:.1f} ms CPU')


def _budgets(service, accounts):
    """Print the time of a round of budgets, of as many accounts as there are drafts."""
    chosen = accounts[:DRAFTS]
    values = {'name': '', 'amount': Decimal(10**9), 'basis': 'net', 'measure': 'actual'}
    for account in chosen:
        service.database.write(
            lambda connection, account=account: budgets.create(
                connection, account, {**values, 'thresholds': (50, 100)}, MAY
            )
        )
    evaluation = budgets.Evaluation(service, notifies_bus=False)
    begin = time.monotonic()
    with service.database.reader() as connection:
        evaluation.stamps(connection, chosen)
    looked = (time.monotonic() - begin) / len(chosen)
    begin, cpu = time.monotonic(), time.process_time()
    for account in chosen:
        evaluation.check(account)
    computed = (time.monotonic() - begin) / len(chosen)
    cpu = (time.process_time() - cpu) / len(chosen)
    print(
        f'budget: {computed * 1000:.1f} ms ({cpu * 1000:.1f} ms CPU) if more was rated, else '
        f'{looked * 1000:.2f} ms; 10,000: {computed * 1e4:.0f} s and {looked * 1e4:.1f} s'
    )


if __name__ == '__main__':
    main()
