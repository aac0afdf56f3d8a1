"""Accounts that the document names no longer: what changes in their months is still booked."""

import pytest

from cloudkitty import errors
from cloudkitty.billing import reconciliation
from cloudkitty.tests.drivers.billing.test_closing import DOCUMENT
from cloudkitty.tests.drivers.billing.test_drafts import rate
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment

DEFAULTS = {
    'plan': 'fee',
    'currency': 'CHF',
}
FEE = {'fee': {'currency': 'CHF', 'items': [{'name': 'fee', 'price': {'flat': '9'}}]}}


@pytest.fixture
def world(conf, database):
    made = World(conf)
    accounts = {
        'acme': {**DOCUMENT['accounts']['acme'], 'owner': 'p1'},
        'p2': {'scopes': ['p2'], 'plan': 'p'},
    }
    made.apply({**DOCUMENT, 'accounts': accounts, 'defaults': {'plan': 'p'}})
    for scope in ('a', 'd', 'p2'):
        made.push(scope, OCTOBER, '100', '1')
        made.close({'a': 'acme'}.get(scope, scope))
    others = {'other': {'scopes': ['a', 'd'], 'plan': 'p'}}
    made.apply(
        {
            **DOCUMENT,
            'plans': {**DOCUMENT['plans'], **FEE},
            'accounts': others,
            'defaults': DEFAULTS,
        },
        '2026-11',
    )
    made.now = moment('2026-12-20')
    return made


def unbooked(world):
    with world.database.reader() as connection:
        return reconciliation.unbooked_months(connection, world.statements.documents, 'project_id')


@pytest.mark.parametrize(
    'scope, account, owner', [('a', 'acme', 'p1'), ('d', 'd', 'd')], ids=['named', 'a-scope']
)
def test_late_usage_of_a_former_account_is_booked(world, scope, account, owner):
    """In the currency that it had, to whom it belonged; it owes nothing else."""
    assert account not in world.closing.open_accounts('2026-11')
    world.push(scope, OCTOBER + HOUR, '20', '0.5')
    world.push(scope, moment('2026-11-05'), '7', '3')
    assert unbooked(world) == {(account, '2026-10')}
    assert account in world.closing.due_accounts('2026-11')

    entry = world.close(account, '2026-11')

    assert (entry.owner, entry.currency, str(entry.net)) == (owner, 'EUR', '0.80')
    assert unbooked(world) == set()
    assert world.close('other', '2026-11').list_price == 3
    world.push(scope, OCTOBER + 2 * HOUR, '10', '0.5')
    assert world.pending(account, '2026-12') == [('2026-10', '0.5', '0.40')]
    assert world.faults() == []


def test_a_scope_that_was_an_account_by_name_is_one_of_its_own(world):
    """Its usage goes on, and nothing passes unbilled."""
    world.push('p2', moment('2026-11-05'), '7', '3')

    assert 'p2' in world.closing.open_accounts('2026-11')
    assert world.close('p2', '2026-11').list_price == 3


def test_a_scope_of_another_account_is_none_without_statements(world):
    world.apply({**DOCUMENT, 'accounts': {'other': {'scopes': ['x']}}}, '2027-01')

    with pytest.raises(errors.NotFound):
        world.draft('x', '2027-01')


def test_an_account_without_scopes_waits_for_nobody(world):
    """Its fees are owed whatever is not rated."""
    form = {'fees': {'plan': 'fee'}, 'other': {'scopes': ['a', 'd'], 'plan': 'p'}}
    plans = {**DOCUMENT['plans'], **FEE}
    world.apply({**DOCUMENT, 'plans': plans, 'accounts': form, 'defaults': DEFAULTS}, '2026-11')
    rate(world, moment('2026-11-15'), 'a')

    assert world.draft('other', '2026-11').blockers != []
    assert str(world.close('fees', '2026-11').net) == '9.00'
