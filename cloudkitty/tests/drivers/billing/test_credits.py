"""Credits: drawn once, given back, and looked after; on every database."""

from datetime import date
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.audit import trail
from cloudkitty.billing import credits
from cloudkitty.core.billing.credits import Credit, draw
from cloudkitty.db import billing_tables
from cloudkitty.tests.drivers.billing.world import ACTOR, OCTOBER, World, moment

DAYS = (date(2026, 10, 1), date(2026, 11, 1))
ACCOUNT = {'scopes': ['a'], 'currency': 'EUR', 'tax': {'standard': 'VAT'}}
DOCUMENT = {
    'taxes': {'VAT': [{'from': '2020-01-01', 'rate': '20 %'}]},
    'accounts': {'acme': ACCOUNT},
}


@pytest.fixture
def world(any_conf, any_database):
    made = World(any_conf)
    made.apply(DOCUMENT)
    made.push('a', OCTOBER, '1', '50')
    return made


def grant(world, amount, **more):
    form = {'currency': 'EUR', 'priority': 0, 'begin': None, 'end': None, 'note': '', **more}
    form['amount'] = Decimal(amount)
    return world.statements.grant('acme', form, actor=ACTOR)


def balances(world):
    with world.database.reader() as connection:
        # Both are granted in the same instant.
        found = sorted(one.balance for one in credits.find(connection, 'acme'))
    return [str(balance) for balance in found]


@pytest.mark.parametrize(
    'total, drawn',
    [
        ('0', []),
        ('-5', []),
        ('3', [('first', '3')]),
        ('12', [('first', '5'), ('soon', '7')]),
        ('100', [('first', '5'), ('soon', '10'), ('late', '10'), ('open', '10')]),
    ],
)
def test_credits_are_drawn_by_priority_then_end(total, drawn):
    """Others: empty, of another currency, over, or not begun."""
    ten = Decimal(10)
    found = [
        Credit('open', 'EUR', ten, priority=2),
        Credit('late', 'EUR', ten, end=date(2027, 1, 1), priority=2),
        Credit('soon', 'EUR', ten, end=date(2026, 10, 2), priority=2),
        Credit('first', 'EUR', Decimal(5), priority=1),
        Credit('empty', 'EUR', Decimal(0)),
        Credit('other', 'USD', ten),
        Credit('over', 'EUR', ten, end=date(2026, 10, 1)),
        Credit('next', 'EUR', ten, begin=date(2026, 11, 1)),
    ]

    made = draw(found, Decimal(total), 'EUR', DAYS)
    assert [(one.credit_id, str(one.amount)) for one in made] == drawn


def test_a_statement_draws_what_its_draft_showed(world):
    """After tax; what is left pays the next month; a void statement gives it back."""
    grant(world, '45', note='welcome')
    grant(world, '100', priority=1)
    draft = world.draft('acme').to_form()
    entry = world.close('acme')
    content = world.content(entry.number)

    assert [one['amount'] for one in content['credits']] == ['45', '15']
    assert (content['total'], content['drawn'], content['due']) == ('60.00', '60.00', '0.00')
    assert {name: draft[name] for name in ('credits', 'drawn', 'due')} == {
        name: content[name] for name in ('credits', 'drawn', 'due')
    }
    assert balances(world) == ['0', '85']
    assert world.faults() == []

    back = world.closing.void(entry.number, 'wrong', 'ann')
    assert world.content(back.number)['drawn'] == '-60.00'
    assert balances(world) == ['45', '100']
    assert world.draft('acme').to_form()['due'] == '0.00'
    assert world.close('acme').number == 'CK-2026-000003'
    assert balances(world) == ['0', '85']
    assert world.faults() == []


def test_a_draw_that_was_changed_is_found(world):
    """Whether its amount is another one, or it is gone."""
    grant(world, '45')
    entry = world.close('acme')
    table = billing_tables.draws
    for change in (table.update().values(amount=Decimal('44')), table.delete()):
        with world.database.writer() as connection:
            connection.execute(change)
        assert [one for one in world.faults() if entry.number in one and 'credits' in one]


def test_a_credit_is_withdrawn_until_something_was_drawn(world):
    """And both are in the audit trail."""
    first, second = grant(world, '45'), grant(world, '5')

    def withdraw(account_id, credit_id):
        world.database.write(
            lambda connection: credits.withdraw(
                connection, account_id, credit_id, actor=ACTOR, now=world.now
            )
        )

    withdraw('acme', second.id)
    assert balances(world) == ['45']
    with pytest.raises(errors.NotFound):
        withdraw('other', first.id)
    number = world.close('acme').number
    with pytest.raises(errors.Conflict, match=f'{number} has drawn of credit {first.id}'):
        withdraw('acme', first.id)
    with world.database.reader() as connection:
        audit = trail.tables.audit
        actions = connection.execute(
            sa.select(audit.c.action).where(audit.c.kind == trail.BILLING_CREDIT)
        )
        assert sorted(actions.scalars()) == ['create', 'create', 'delete']


@pytest.mark.parametrize(
    'amount, more, reason',
    [
        ('0', {}, 'more than 0'),
        ('1.001', {}, '2 digits after the point'),
        ('1', {'begin': date(2026, 10, 2), 'end': date(2026, 10, 2)}, 'until must be after from'),
    ],
)
def test_credits_that_are_refused(world, amount, more, reason):
    with pytest.raises(errors.InvalidInput, match=reason):
        grant(world, amount, **more)


def test_a_credit_belongs_to_an_account(world):
    world.apply({'accounts': {'other': {**ACCOUNT, 'tax': {}}}}, '2026-12')
    world.now = moment('2026-12-20')
    with pytest.raises(errors.NotFound):
        world.statements.grant('a', {'currency': 'EUR'}, actor=ACTOR)
