"""Budgets: each threshold is told once, whatever happens; on every database."""

import json
import random
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing import budgets, outbox, webhooks
from cloudkitty.billing.forecasts import Forecasts
from cloudkitty.core.billing import sharing
from cloudkitty.db import billing_tables
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment

DOCUMENT = {
    'plans': {
        'p': {
            'currency': 'EUR',
            'items': [{'name': 'cpu', 'metric': 'cpu', 'price': {'unit': '2'}}],
            'minimum': '10',
        }
    },
    'accounts': {'acme': {'scopes': ['a'], 'plan': 'p'}},
}


@pytest.fixture
def world(any_conf, any_database):
    made = World(any_conf)
    made.apply(DOCUMENT)
    made.now = OCTOBER + timedelta(days=10)
    return made


def budget(world, amount, account='acme', **more):
    values = {'name': 'b', 'basis': 'net', 'measure': 'actual', 'thresholds': (50, 80, 100), **more}
    values['amount'] = Decimal(amount)
    return world.database.write(
        lambda connection: budgets.create(connection, account, values, world.now)
    )


def evaluation(world):
    return budgets.Evaluation(world.statements, notifies_bus=True)


def check(world, account='acme'):
    return [one.threshold for one in evaluation(world).check(account)]


def messages(world):
    with world.database.reader() as connection:
        rows = connection.execute(sa.select(billing_tables.outbox)).all()
    return [json.loads(row.payload)['data'] for row in rows]


def test_a_threshold_is_told_once(world):
    """What is owed may fall and rise again; the next month begins anew."""
    made = budget(world, '100')
    world.push('a', OCTOBER, '41', '7')
    assert check(world) == [50, 80]
    world.push('a', OCTOBER, '1')
    assert check(world) == []
    world.push('a', OCTOBER, '60')
    assert check(world) == [100]
    assert check(world) == []

    told = messages(world)
    assert [(one['threshold'], one['amount'], one['budgeted']) for one in told] == [
        (50, '82', '100'),
        (80, '82', '100'),
        (100, '120', '100'),
    ]
    world.now = moment('2026-11-05')
    world.push('a', moment('2026-11-01'), '30')
    assert check(world) == [50]
    with world.database.reader() as connection:
        assert [(one.month, one.threshold) for one in budgets.alerts(connection, made.id)] == [
            ('2026-11', 50),
            ('2026-10', 100),
            ('2026-10', 80),
            ('2026-10', 50),
        ]


def test_a_lowered_budget_tells_higher_thresholds_only(world):
    made = budget(world, '100')
    world.push('a', OCTOBER, '30')
    assert check(world) == [50]

    def lower(connection):
        budgets.update(connection, made.id, {'amount': Decimal('50')})

    world.database.write(lower)
    assert check(world) == [80, 100]


def test_list_prices_and_forecasts_have_budgets_of_their_own(world):
    """With a day of 3 and 21 days to come the list price will be 93, and the net 124."""
    budget(world, '90', basis='list')
    budget(world, '90', basis='list', measure='forecast', thresholds=(100, 110))
    budget(world, '100', measure='forecast', thresholds=(120, 130))
    world.store([('a', OCTOBER + timedelta(days=day), 'cpu', '2', '3', {}) for day in range(10)])

    found = evaluation(world).check('acme')
    assert sorted((one.basis, one.measure, one.threshold, str(one.amount)) for one in found) == [
        ('list', 'forecast', 100, '93'),
        ('net', 'forecast', 120, '124.00'),
    ]


def test_a_random_walk_with_restarts_tells_each_threshold_once(world):
    """A new object each time, as after a restart; two at once are one."""
    dice = random.Random(36)
    made = budget(world, '100', thresholds=(25, 50, 75, 100, 150))
    highest, told = Decimal(0), []
    for _ in range(25):
        quantity = Decimal(dice.randrange(0, 1600)).scaleb(-1)
        world.push('a', OCTOBER, str(quantity / 2))
        highest = max(highest, quantity, Decimal(10))
        both = evaluation(world), evaluation(world)
        told += [one.threshold for each in both for one in each.check('acme')]
        assert sorted(told) == [one for one in made.thresholds if highest >= one]
    assert len(messages(world)) == len(told)


def test_thousands_of_walks_tell_each_threshold_once():
    """The rule alone: what is known is never told again, what is reached always once."""
    dice = random.Random(3)
    made = budgets.Budget('b', 'a', '', Decimal(80), 'net', 'actual', (10, 50, 100), OCTOBER)
    for _ in range(10_000):
        known, highest = [], Decimal(0)
        for _ in range(dice.randrange(1, 8)):
            amount = Decimal(dice.randrange(0, 1000)).scaleb(-1)
            highest = max(highest, amount)
            known += budgets.crossed(made, amount, known)
        assert sorted(known) == [one for one in made.thresholds if highest * 100 >= 80 * one]
        assert len(known) == len(set(known))


def test_an_account_that_is_gone_is_left_alone(world):
    budget(world, '1', account='nobody')
    world.apply({'accounts': {'other': {'scopes': ['nobody']}}})
    assert check(world, 'nobody') == []


@pytest.mark.parametrize(
    'amount, more, reason',
    [
        ('0', {}, 'more than 0'),
        ('1', {'thresholds': ()}, '1 to 10 thresholds'),
        ('1', {'thresholds': (50, 50)}, 'must ascend'),
    ],
)
def test_budgets_that_are_refused(world, amount, more, reason):
    with pytest.raises(errors.InvalidInput, match=reason):
        budget(world, amount, **more)


def test_an_account_has_a_bounded_number(world):
    for _ in range(budgets.BUDGETS_MAX):
        budget(world, '1')
    with pytest.raises(errors.Conflict, match='20 budgets'):
        budget(world, '1')


def test_closing_and_taking_back_are_told_in_their_transaction(world):
    """To each webhook of the account; what is rolled back is not told."""
    world.database.write(
        lambda connection: webhooks.create(connection, 'acme', 'https://example.org/', world.now)
    )
    world.now = moment('2026-11-20')
    with pytest.raises(errors.Conflict):
        world.close('acme', '2026-12')
    entry = world.close('acme')
    world.closing.void(entry.number, 'wrong', 'ann')

    with world.database.reader() as connection:
        [receiver] = outbox.receivers(connection, world.now, 10)
        found = outbox.due(connection, receiver, world.now, 10)
        rows = connection.execute(sa.select(billing_tables.outbox.c.event)).scalars().all()
    assert rows == [outbox.CLOSED, outbox.VOIDED]
    assert json.loads(found[0].payload)['data']['total'] == '10.00'


def test_a_forecast_is_told_with_its_error(world):
    """Usage of a day costs 2; the months before had twice as much in their second half."""
    days = [
        (month, day, '2' if month < 10 and day > 10 else '1')
        for month in (8, 9, 10)
        for day in range(1, 31)
        if month < 10 or day <= 10
    ]
    world.store(
        [
            ('a', moment(f'2026-{month:02}-{day:02}') + HOUR, 'cpu', quantity, '1', {})
            for month, day, quantity in days
        ]
    )
    with world.database.reader() as connection:
        found = Forecasts(world.statements).make(connection, 'acme', '2026-10')
        with pytest.raises(errors.Conflict, match='is over'):
            Forecasts(world.statements).make(connection, 'acme', '2026-09')

    assert (str(sharing.total(found.so_far)), str(sharing.total(found.lines))) == ('20.00', '62.00')
    # August: 62 of 100; September: 60 of 100.
    assert str(found.miss) == '0.3900'
