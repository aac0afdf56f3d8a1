"""Which accounts the processor compares with their budgets: with a clock that the tests move."""

from datetime import timedelta
from decimal import Decimal

import pytest

from cloudkitty import locks
from cloudkitty.billing import budgets
from cloudkitty.processor.budgets import LONGEST, BudgetCheck
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.drivers.billing.test_drafts import rate
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World
from cloudkitty.tests.unit.processor.test_closing import SETTINGS

DOCUMENT = {
    'defaults': {'currency': 'EUR'},
    'accounts': {'acme': {'scopes': ['a', 'b']}, 'other': {'scopes': ['c']}},
}
UNTIL = OCTOBER + timedelta(days=5)


class Counted(budgets.Evaluation):
    """Knows which accounts were computed."""

    def __init__(self, statements):
        super().__init__(statements, notifies_bus=False)
        self.accounts = []

    def check(self, account_id):
        self.accounts.append(account_id)
        return super().check(account_id)


@pytest.fixture
def world(conf, database):
    made = World(conf)
    made.now = UNTIL + 2 * HOUR
    made.apply(DOCUMENT)
    rate(made, UNTIL, 'a', 'b', 'c')
    for account in ('acme', 'other', 'gone'):
        add(made, account)
    return made


def add(world, account):
    values = {
        'name': '',
        'amount': Decimal(100),
        'basis': budgets.NET,
        'measure': budgets.ACTUAL,
        'thresholds': (50,),
    }
    return world.database.write(
        lambda connection: budgets.create(connection, account, values, world.now)
    )


@pytest.fixture
def computed(world, tmp_path):
    """Return what does a round and returns the accounts that were computed."""
    evaluation = Counted(world.statements)
    job = BudgetCheck(
        evaluation=evaluation,
        settings=SETTINGS,
        clock=lambda: world.now,
        locks=locks.Locks(f'file://{tmp_path}/job'),
    )

    def run():
        job.next_at = world.now
        evaluation.accounts = []
        while job.step():
            pass
        return evaluation.accounts

    return run


def test_only_accounts_of_which_more_was_rated_are_computed(world, computed):
    """Or whose budgets or plan have changed, and all of them once an hour."""
    assert computed() == ['acme', 'gone', 'other']
    assert computed() == []

    with world.database.writer() as connection:
        [scope] = scope_state.list_scopes(connection, scope_id=['b'])[1]
        scope_state.advance(connection, {scope.id: UNTIL})
    assert computed() == ['acme']
    add(world, 'other')
    assert computed() == ['other']
    world.apply(DOCUMENT)
    assert computed() == ['acme', 'gone', 'other']
    world.now += LONGEST
    assert computed() == ['acme', 'gone', 'other']
    assert computed() == []


def test_many_accounts_are_computed_a_few_at_a_time(world, computed, monkeypatch):
    monkeypatch.setattr('cloudkitty.processor.budgets.ACCOUNTS_AT_ONCE', 2)
    monkeypatch.setattr('cloudkitty.processor.budgets.ACCOUNTS_READ', 4)
    for number in range(6):
        add(world, f'p{number}')

    assert computed() == ['acme', 'gone', 'other', *(f'p{number}' for number in range(6))]
    assert computed() == []
