"""Shared costs and rates by day, from the store to the statement, on every database."""

import random
from datetime import timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.tests.drivers.billing.test_drafts import rate
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment

TARGETS = ('a', 'b', 'c')
PLAN = {'currency': 'EUR', 'items': [{'name': 'cpu', 'metric': 'cpu', 'price': 'rated'}]}


def document(**share):
    """Return a document where `infra` is divided among accounts a, b and c."""
    names = ('infra', *TARGETS)
    form = {
        'plans': {'p': PLAN},
        'accounts': {name: {'scopes': [f's{name}'], 'plan': 'p'} for name in names},
        'taxes': {'VAT': [{'from': '2020-01-01', 'rate': '20 %'}]},
        'shared': [{'from': ['infra'], 'over': {'accounts': list(TARGETS)}, **share}],
    }
    form['accounts']['a']['tax'] = {'standard': 'VAT'}
    return form


@pytest.fixture
def world(any_conf, any_database):
    return World(any_conf)


def shared(world, account, month='2026-10'):
    lines = world.draft(account, month).statement.lines
    return [(dict(line.key), str(line.amount)) for line in lines if line.kind == 'shared']


def test_a_cost_is_divided_equally(world):
    """E19: the source owes nothing, and tax is owed where the part is."""
    world.apply(document(by='equal'))
    world.push('sinfra', OCTOBER, '1', '100')

    found = {name: shared(world, name) for name in ('infra', *TARGETS)}
    assert found == {
        'infra': [({}, '-100.00')],
        'a': [({'from': 'infra'}, '33.34')],
        'b': [({'from': 'infra'}, '33.33')],
        'c': [({'from': 'infra'}, '33.33')],
    }
    assert str(world.draft('infra').statement.totals.net) == '0.00'
    assert str(world.draft('a').statement.totals.tax) == '6.67'


@pytest.mark.parametrize('by', ['list', 'equal', {'quantity': 'disk'}])
def test_the_sum_of_all_accounts_stays(world, by):
    """With and without `shared`, whatever the usage is."""
    dice = random.Random(21)
    world.store(
        [
            (f's{name}', OCTOBER + hours * HOUR, metric, '3', Decimal(price).scaleb(-4), {})
            for name in ('infra', *TARGETS)
            for hours, metric in enumerate(('cpu', 'disk'))
            for price in [dice.randrange(10**7)]
        ]
    )
    world.apply({**document(), 'shared': []})
    before = {name: world.draft(name).statement.totals.net for name in ('infra', *TARGETS)}
    world.apply(document(by=by))
    after = {name: world.draft(name).statement.totals.net for name in ('infra', *TARGETS)}

    assert sum(before.values()) == sum(after.values())
    assert after['infra'] == 0 != before['infra']
    assert all(after[name] > before[name] for name in TARGETS)


def test_late_usage_of_one_corrects_all(world):
    """What divides a cost may change after some are closed: the sum stays."""
    world.apply(document(by='list'))
    for name, price in (('infra', '90'), ('a', '1'), ('b', '1'), ('c', '1')):
        world.push(f's{name}', OCTOBER, '1', price)
    for name in ('a', 'infra', 'b'):
        world.close(name)
    world.push('sb', OCTOBER + HOUR, '1', '2')

    assert shared(world, 'c') == [({'from': 'infra'}, '18.00')]
    world.now = moment('2026-12-20')
    nets = {}
    for name in ('b', 'infra', 'a'):
        nets[name] = str(world.close(name, '2026-11').net)
    # b: 2 of its own, 54 instead of 30; a: 18 instead of 30.
    assert nets == {'b': '26.00', 'infra': '0.00', 'a': '-12.00'}
    assert world.faults() == []


def test_incomplete_partners_keep_a_month_open(world):
    """A part depends on the usage of others."""
    world.apply(document())
    rate(world, moment('2026-11-02T00:00'), 'sa', 'sb', 'sc')
    rate(world, moment('2026-10-15T00:00'), 'sinfra')

    told = world.draft('a').blockers
    assert [one for one in told if one.startswith('shared costs of infra: scope sinfra is waiting')]


def test_how_costs_are_divided_stays_in_a_closed_month(world):
    world.apply(document(by='equal'))
    world.push('sinfra', OCTOBER, '1', '100')
    world.close('a')

    with pytest.raises(errors.Conflict, match='Costs would be divided in another way in 2026-10'):
        world.apply(document(by='list'), '2026-10')
    world.apply(document(by='list'), '2026-11')


def test_a_part_is_converted(world):
    """The source's currency is divided; without a rate nothing is closed."""
    form = document(by='equal')
    form['accounts']['b']['currency'] = 'JPY'
    world.apply(form)
    world.push('sinfra', OCTOBER, '1', '100')
    assert 'no rate EUR/JPY is in force at the end of 2026-10' in world.draft('b').blockers

    world.apply({**form, 'rates': {'EUR/JPY': [{'from': '2026-10-01', 'rate': '149.37'}]}})
    assert shared(world, 'b') == [({'from': 'infra'}, '4979')]


def test_usage_is_converted_by_the_rate_of_its_day(world):
    """E11, with days of the store; a line without usage has the rate of the last day."""
    plan = {
        'currency': 'USD',
        'items': [
            {'name': 'cpu', 'metric': 'cpu', 'price': {'unit': '2.5'}},
            {'name': 'fee', 'price': {'flat': '10'}},
        ],
    }
    rates = [{'from': '2026-10-01', 'rate': '0.90'}, {'from': '2026-10-02', 'rate': '0.94'}]
    account = {'scopes': ['a'], 'plan': 'p', 'currency': 'EUR'}
    world.push('a', OCTOBER, '10', '20')
    world.push('a', OCTOBER + timedelta(days=3), '30', '60')
    nets = {}
    for conversion in ('month_end', 'daily'):
        accounts = {'acme': {**account, 'conversion': conversion}}
        world.apply({'plans': {'p': plan}, 'rates': {'USD/EUR': rates}, 'accounts': accounts})
        form = world.draft('acme').to_form()
        nets[conversion] = [line['amount'] for line in form['lines']], form['adjustment']

    assert nets == {
        'month_end': (['94.00', '9.40'], '28.2'),
        'daily': (['93.00', '9.40'], '28'),
    }
    assert form['lines'][0]['steps'][-1] == {
        'name': 'conversion',
        'operand': '0.93',
        'result': '93',
    }
