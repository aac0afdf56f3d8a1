"""Drafts of statements: what is stored, priced by the plan, on every database.

CLOUDKITTY_TEST_SCOPES says of how many scopes list prices are added up.
"""

import os
import random
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from cloudkitty import errors
from cloudkitty.core.billing import form, month
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment

PLAN = {
    'currency': 'EUR',
    'items': [
        {
            'name': 'cpu',
            'metric': 'cpu',
            'price': {'graduated': [{'up_to': '10', 'unit': '2'}, {'unit': '1'}]},
        },
        {'name': 'disk', 'metric': 'disk', 'by': ['kind'], 'price': 'rated'},
    ],
}
SCOPES = int(os.environ.get('CLOUDKITTY_TEST_SCOPES', '12'))
ZONES = ('UTC', 'Europe/Paris', 'Asia/Kolkata')


@pytest.fixture
def world(any_conf, any_database):
    return World(any_conf)


def test_a_draft_is_what_the_plan_makes_of_the_sums(world):
    """Scopes of the account share the tiers; the series that no item takes is at list price."""
    world.apply({'plans': {'p': PLAN}, 'accounts': {'acme': {'scopes': ['a', 'b'], 'plan': 'p'}}})
    world.push('a', OCTOBER, '8', '0.80')
    world.store(
        [
            ('b', OCTOBER, 'cpu', '4', '0.40', {}),
            ('b', OCTOBER, 'disk', '1', '0.125', {'kind': 'ssd'}),
            ('b', OCTOBER, 'ip', '1', '0.335', {}),
            ('c', OCTOBER, 'cpu', '1000', '99', {}),
        ]
    )

    draft = world.draft('acme')

    shown = [
        (line.scope_id, line.item, dict(line.key), str(line.amount), str(line.list_price))
        for line in draft.statement.lines
    ]
    assert shown == [
        ('a', 'cpu', {}, '14.67', '0.8'),
        ('b', 'cpu', {}, '7.33', '0.4'),
        ('b', 'disk', {'kind': 'ssd'}, '0.13', '0.125'),
        ('b', 'list', {'metric': 'ip'}, '0.34', '0.335'),
    ]
    assert draft.blockers == []
    assert draft.to_form()['list'] == '1.66'
    assert draft.to_form()['total'] == '22.47'


def test_list_prices_add_up_to_the_summary(world):
    """For random scopes in three zones, to the digit, with the bounds of the local month."""
    dice = random.Random(14)
    scopes = [f's{number}' for number in range(SCOPES)]
    accounts = {
        f'a{number}': {'scopes': scopes[number::3], 'plan': 'p', 'zone': zone}
        for number, zone in enumerate(ZONES)
    }
    world.apply({'plans': {'p': PLAN}, 'accounts': accounts})
    begins = [
        OCTOBER + timedelta(days=days, hours=hours)
        for days in (-1, 0, 15, 30, 31)
        for hours in (0, 5, 18, 19, 21, 22, 23)
    ]
    world.store(
        [
            (
                scope,
                begin,
                dice.choice(('cpu', 'disk', 'ip')),
                Decimal(dice.randrange(10**12)).scaleb(-9),
                Decimal(dice.randrange(10**20)).scaleb(-18),
                {'kind': dice.choice(('ssd', 'hdd'))},
            )
            for scope in scopes
            for begin in dice.sample(begins, 12)
        ]
    )

    for account_id, account in accounts.items():
        made = world.draft(account_id).statement
        span = month.bounds('2026-10', month.parse_zone(account['zone']))
        for scope in account['scopes']:
            [row] = world.storage.total(None, *span, filters={'project_id': [scope]})['results']
            assert row['rate'] == sum(
                (line.list_price for line in made.lines if line.scope_id == scope), Decimal(0)
            )
        assert made.totals.list_price == sum(line.list_price for line in made.lines)
        assert made.totals.list_price > 0


def test_a_period_belongs_where_it_begins(world):
    """In Kolkata the hour at 18:00Z begins in September."""
    world.apply({'defaults': {'currency': 'INR', 'zone': 'Asia/Kolkata'}})
    for hour, price in (('18', '1'), ('19', '2')):
        world.push('a', moment(f'2026-09-30T{hour}:00'), '1', price)

    assert str(world.draft('a', '2026-09').statement.totals.net) == '1.00'
    assert str(world.draft('a', '2026-10').statement.totals.net) == '2.00'


def test_a_scope_alone_is_an_account(world):
    """Unless an account names it."""
    world.apply({'defaults': {'currency': 'EUR'}, 'accounts': {'acme': {'scopes': ['b']}}})
    world.push('a', OCTOBER, '1', '5')

    assert str(world.draft('a').statement.totals.total) == '5.00'
    assert world.draft('acme').statement.lines == []
    with pytest.raises(errors.NotFound):
        world.draft('b')


def test_without_a_document_everything_is_at_list_price(world):
    world.push('a', OCTOBER, '1', '0.125')
    draft = world.draft('a')

    assert str(draft.statement.totals.total) == '0.13'
    assert [problem for problem in draft.blockers if 'no currency is set' in problem]


def rate(world, until, *scopes):
    """Let a processor have rated *scopes* up to some time."""
    identity = scope_state.Identity.of(world.conf)
    with world.database.writer() as connection:
        scope_state.record_seen(
            connection,
            identity,
            scopes,
            now=world.now,
            initial_mark=until - HOUR,
            final_mark=until + timedelta(days=90),
        )
        scope_state.claim_fetch(connection, identity, seen=None, now=world.now)


@pytest.mark.parametrize(
    'until, now, told',
    [
        ('2026-11-02T00:00', '2026-11-20', []),
        ('2026-10-15T00:00', '2026-11-20', ['scope a is waiting']),
        ('2026-11-02T00:00', '2026-11-02', ['it can be closed from 2026-11-04T00:00:00+00:00 on']),
        (
            '2026-10-15T00:00',
            '2026-10-15',
            ['scope a is waiting', 'scopes were last listed', 'it can be'],
        ),
    ],
)
def test_blockers_say_why_a_month_is_open(world, until, now, told):
    world.now = moment(now)
    world.apply({'defaults': {'currency': 'EUR'}})
    rate(world, moment(until), 'a', 'b')

    draft = world.draft('a')

    assert len(draft.blockers) == len(told), draft.blockers
    assert all(map(str.startswith, draft.blockers, told)), draft.blockers
    assert draft.complete_until == min(moment(until), moment(now), moment('2026-11-01'))


def test_a_negative_quantity_under_tiers_is_a_blocker(world):
    world.apply({'plans': {'p': PLAN}, 'defaults': {'plan': 'p'}})
    world.push('a', OCTOBER, '-1')

    assert world.draft('a').blockers == ['item cpu: -1 is negative, and has no graduated price']


def test_a_scope_sees_its_own_lines():
    """And the sums of those."""
    lines = [
        {'scope_id': scope, 'list': '1.005', 'amount': amount}
        for scope, amount in (('a', '1.01'), ('b', '5.00'), (None, '7.00'))
    ]
    names = {'a': 'production', 'b': 'test'}
    seen = form.share_of({'lines': lines, 'names': names, 'net': '13.01', 'total': '15.00'}, 'a')

    assert (seen['lines'], seen['names']) == (lines[:1], {'a': 'production'})
    assert (seen['list'], seen['net'], seen['total']) == ('1.005', '1.01', None)
    assert Fraction(seen['net']) > Fraction(seen['list'])
