"""Whatever happens in whatever order: nothing closed changes, and nothing is lost.

CLOUDKITTY_TEST_EXAMPLES and CLOUDKITTY_TEST_STEPS say how long it goes on. A step takes as long as
the statements of SQL that look after it (a draft alone has a dozen), so after each step only the
accounts that it touched are looked at, and all of them at the end of a run.
"""

import os
from datetime import timedelta
from decimal import Decimal

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import stateful
from hypothesis import strategies as st

from cloudkitty import errors
from cloudkitty.billing import ledger
from cloudkitty.core.billing import month
from cloudkitty.db import tables
from cloudkitty.tests.drivers.billing.world import HOUR, World, moment

RUNS = int(os.environ.get('CLOUDKITTY_TEST_EXAMPLES', '3'))
STEPS = int(os.environ.get('CLOUDKITTY_TEST_STEPS', '12'))
TIERS = [{'up_to': '20', 'unit': '2', 'flat': '1'}, {'unit': '0.7'}]
DOCUMENT = {
    'plans': {
        'p': {
            'currency': 'EUR',
            'items': [
                {'name': 'cpu', 'metric': 'cpu', 'price': {'volume': TIERS}},
                {'name': 'disk', 'metric': 'disk', 'price': 'rated', 'discount': '7 %'},
                {'name': 'fee', 'price': {'flat': '3.33'}},
            ],
            'coupon': '1.50',
            'minimum': '4',
        }
    },
    'taxes': {'VAT': [{'from': '2020-01-01', 'rate': '20 %'}]},
    'accounts': {
        'acme': {'scopes': ['a', 'b'], 'plan': 'p', 'tax': {'standard': 'VAT'}},
        'paris': {'scopes': ['c'], 'plan': 'p', 'zone': 'Europe/Paris'},
    },
    'defaults': {'currency': 'EUR', 'zone': 'America/New_York'},
}
ACCOUNTS = ('acme', 'paris', 'd')
OWNERS = {'a': 'acme', 'b': 'acme', 'c': 'paris', 'd': 'd'}
# Seconds that a step may take on a busy machine; a run that hangs is ended.
STEP_MAX_S = 5
SCOPES = ('a', 'b', 'c', 'd')
MONTHS = ('2026-10', '2026-11')
# Open for ever: its draft has the corrections of the others.
LATER = '2027-03'
BEGINS = [
    moment(day) + timedelta(hours=hours)
    for day in ('2026-09-30', '2026-10-01', '2026-10-31', '2026-11-01', '2026-11-30')
    for hours in (0, 4, 22, 23)
]
begins = st.sampled_from(BEGINS)
scopes = st.sampled_from(SCOPES)


class Ledger(stateful.RuleBasedStateMachine):
    """Usage comes, changes and goes while months are closed and taken back."""

    world: World

    def __init__(self):
        super().__init__()
        with self.world.database.writer() as connection:
            for table in reversed(tables.metadata.sorted_tables):
                connection.execute(table.delete())
        self.world.storage.id_cache.clear()
        self.world.statements.documents.forget()
        self.world.now = moment('2026-12-20')
        self.world.apply(DOCUMENT)
        self.kept = {}
        self.touched = set()
        self.has_new_statement = False

    @stateful.rule(
        scope=scopes,
        begin=begins,
        metric=st.sampled_from(('cpu', 'disk', 'ip')),
        quantity=st.decimals(0, 30, places=3),
        price=st.decimals(0, 9, places=5),
    )
    def store(self, scope, begin, metric, quantity, price):
        self.touched.add(OWNERS[scope])
        self.world.store([(scope, begin, metric, quantity, price, {})])

    @stateful.rule(scope=scopes, begin=begins, hours=st.integers(1, 48))
    def delete(self, scope, begin, hours):
        self.touched.add(OWNERS[scope])
        self.world.storage.delete(begin, begin + hours * HOUR, {'project_id': scope})

    @stateful.rule(account=st.sampled_from(ACCOUNTS), period=st.sampled_from(MONTHS))
    def close(self, account, period):
        try:
            entry = self.world.close(account, period)
        except errors.Conflict as exc:
            assert 'is closed' in str(exc)
        else:
            self._keep(entry)

    def _keep(self, entry):
        self.touched.add(entry.account)
        self.has_new_statement = True
        with self.world.database.reader() as connection:
            [self.kept[entry.number]] = self._texts(connection, [entry.number])

    @staticmethod
    def _texts(connection, numbers):
        table = ledger.TABLE.c
        return connection.execute(
            sa.select(table.document).where(table.number.in_(numbers)).order_by(table.number)
        ).scalars()

    @stateful.rule(account=st.sampled_from(ACCOUNTS))
    def void(self, account):
        with self.world.database.reader() as connection:
            _, found = ledger.find(connection, ledger.Selection(account), 0, 100)
        newest = max(found, key=lambda entry: entry.sequence, default=None)
        if newest is not None and newest.voids is None:
            self._keep(self.world.closing.void(newest.number, 'wrong', 'ann'))

    @stateful.invariant()
    def all_is_well(self):
        """Nothing closed has changed, and what was touched adds up."""
        self._nothing_closed_changes()
        for account in sorted(self.touched):
            self._booked_and_pending_are_the_usage(account)
        if self.has_new_statement:
            assert self.world.faults() == []
        self.touched, self.has_new_statement = set(), False

    def teardown(self):
        for account in ACCOUNTS:
            self._booked_and_pending_are_the_usage(account)
        assert self.world.faults() == []

    def _booked_and_pending_are_the_usage(self, account):
        draft = self.world.draft(account, LATER).statement
        with self.world.database.reader() as connection:
            closed = ledger.closed_months(connection, account)
            for period in MONTHS:
                booked = ledger.booked(connection, account, period)
                pending = [line for line in draft.lines if line.period == period]
                found = sum((line.list_price for line in (*booked, *pending)), Decimal(0))
                usage = Decimal(0)
                if period in closed:
                    span = month.bounds(period, draft.account.zone)
                    usage = self.world.statements.sums.list_price(
                        connection, draft.account.scopes, span
                    )
                assert found == usage, (account, period)

    def _nothing_closed_changes(self):
        with self.world.database.reader() as connection:
            found = list(self._texts(connection, list(self.kept)))
        assert found == [self.kept[number] for number in sorted(self.kept)]


@pytest.mark.timeout(120 + RUNS * STEPS * STEP_MAX_S)
def test_nothing_is_lost_whatever_happens(any_conf, any_database):
    machine = type('Machine', (Ledger,), {'world': World(any_conf)})

    stateful.run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=RUNS,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )
