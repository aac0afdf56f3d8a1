"""What a month would have cost: rated by the real modules, asked again; on every database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing.whatif import Limits, Scenario, Whatif
from cloudkitty.core.billing import document
from cloudkitty.core.dataframe import DataFrame, DataPoint, FrozenDict
from cloudkitty.core.pricing import forms
from cloudkitty.core.timeframe import calendar_of
from cloudkitty.db import tables
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import fields, groups, mappings, services, thresholds
from cloudkitty.rating.hashmap.store import rules as stored_rules
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
DOCUMENT = {
    'plans': {
        'p': {
            'currency': 'EUR',
            'items': [
                {'name': 'vm', 'metric': 'vm', 'by': ['flavor'], 'price': 'rated'},
                {'name': 'disk', 'metric': 'disk', 'price': 'rated', 'discount': '50 %'},
            ],
        }
    },
    'accounts': {
        'acme': {'scopes': ['a', 'b'], 'plan': 'p'},
        'tokyo': {'scopes': ['c'], 'plan': 'p', 'zone': 'Asia/Tokyo'},
    },
    'defaults': {'currency': 'EUR'},
}


def make_rules(connection):
    """Prices of flavors, a threshold with a rate, one of a scope, one that was replaced."""
    module_state.update(connection, 'hashmap', enabled=True)

    def add(cost, **more):
        new = mappings.NewMapping(**{'value': None, 'start': LONG_AGO, **more}, cost=Decimal(cost))
        return mappings.create(connection, new, now=LONG_AGO, author='test', force=True)

    vm, disk = (services.create(connection, name).service_id for name in ('vm', 'disk'))
    flavor = fields.create(connection, 'flavor', vm).field_id
    add('0.1234567', field_id=flavor, value='small')
    add('0.7', field_id=flavor, value='big', end=OCTOBER + 30 * HOUR)
    add('0.9', field_id=flavor, value='big', start=OCTOBER + 30 * HOUR)
    add('0.05', service_id=vm, tenant_id='b', group_id=groups.create(connection, 'x').group_id)
    add('0.001', service_id=disk)
    new = thresholds.NewThreshold(
        level=Decimal(50), cost=Decimal('0.8'), type='rate', service_id=disk
    )
    thresholds.create(connection, new)


@pytest.fixture
def world(any_conf, any_database):
    made = World(any_conf)
    made.apply(DOCUMENT)
    made.database.write(make_rules)
    modules = ModuleSet(any_conf, made.database)
    for place, scope in enumerate('abcd'):
        frames = []
        for number in range(20):
            begin = OCTOBER - timedelta(hours=12) + 38 * number * HOUR
            frame = DataFrame(begin, begin + HOUR)
            for metric, quantity in (('vm', '1'), ('disk', f'{3 * number + place}.3')):
                groupby = {'project_id': scope, 'flavor': ('small', 'big')[number % 2]}
                point = DataPoint('u', Decimal(quantity), 0, groupby, {})
                point.calendar = FrozenDict(calendar_of(begin))
                frame.add_point(point, metric)
            frames.append(modules.rate(frame, scope))
        made.storage.push(frames, scope)
    # Of no scope: pushed, not rated.
    pushed = DataFrame(OCTOBER, OCTOBER + HOUR)
    groupby = {'project_id': 'a', 'flavor': 'small'}
    pushed.add_point(DataPoint('u', Decimal(2), Decimal('0.77'), groupby, {}), 'vm')
    made.storage.push([pushed])
    return made


def rules_of(world):
    with world.database.reader() as connection:
        return forms.parse(forms.to_form(stored_rules.load(connection)))


def ask(world, limits=None, **scenario):
    asked = Whatif(world.statements)
    scenario = Scenario('2026-10', **scenario)
    return {
        one.account_id: one
        for one in asked.answer(scenario, asked.account_ids(scenario), limits or Limits())
    }


def everything(world):
    """Return the number of rows of every table."""
    with world.database.reader() as connection:
        return {
            name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for name, table in tables.metadata.tables.items()
        }


def test_the_same_rules_change_nothing_and_doubled_ones_double(world):
    """To the digit, for every account and zone; what was pushed keeps its price."""
    rules, before = rules_of(world), everything(world)

    same = ask(world, rules=rules)
    assert set(same) == {'acme', 'tokyo', 'd'}
    assert [(one.deltas, one.is_exact) for one in same.values()] == [((0, 0), True)] * 3
    assert same['acme'].before.list_price > 5
    doubled = [rule._replace(cost=rule.cost * (1 if rule.type == 'rate' else 2)) for rule in rules]
    pushed = {'acme': Decimal('0.77')}
    for name, one in ask(world, rules=doubled).items():
        assert one.deltas[0] == one.before.list_price - pushed.get(name, 0)
        assert one.is_exact
    assert everything(world) == before


def test_other_plans_are_applied_to_the_same_sums(world):
    """Together with other rules, too; an account may be new, or gone."""
    other = {**DOCUMENT, 'accounts': {'acme': {'scopes': ['a'], 'plan': 'p'}, 'new': {}}}
    other['plans'] = {'p': {**DOCUMENT['plans']['p'], 'discount': '10 %'}}
    found = ask(world, document=document.parse(other), rules=rules_of(world))

    assert (found['b'].before, found['b'].deltas) == (None, None)
    assert found['tokyo'].after.net == found['new'].before.net == 0
    alone = ask(world, document=document.parse(other))
    assert {name: one.after for name, one in alone.items()} == {
        name: one.after for name, one in found.items()
    }


def test_points_that_are_gone_make_it_inexact(world):
    """Roll-ups may be kept longer than points."""
    with world.database.writer() as connection:
        frames = tables.rated_frames
        connection.execute(frames.delete().where(frames.c.begin > OCTOBER.replace(tzinfo=None)))

    assert not ask(world, rules=rules_of(world))['acme'].is_exact


def test_it_ends_before_it_takes_long(world):
    rules = rules_of(world)
    with pytest.raises(errors.Conflict, match='More than 50 points would be priced again'):
        ask(world, Limits(points_max=50), rules=rules)
    ticks = iter(range(0, 1000, 7))
    with pytest.raises(errors.Conflict, match='more than 20 seconds'):
        ask(world, Limits(seconds=20, clock=lambda: next(ticks)), rules=rules)


def test_rules_of_a_module_that_is_off_price_nothing(world):
    rules = rules_of(world)
    world.database.write(
        lambda connection: module_state.update(connection, 'hashmap', enabled=False)
    )
    with pytest.raises(errors.Conflict, match='hashmap is not enabled'):
        ask(world, rules=rules)


@pytest.mark.parametrize(
    'rule, reason',
    [
        ({'cost': '1'}, 'rules[0].service: is missing'),
        ({'service': 'vm'}, 'rules[0].cost: is missing'),
        ({'service': 'vm', 'cost': '1', 'value': 'x'}, 'a value needs a field'),
        ({'service': 'vm', 'cost': '1', 'field': 'x'}, 'a field needs a value or a level'),
        ({'service': 'vm', 'cost': '1e9'}, 'rules[0].cost: must be a number'),
        ({'service': 'vm', 'cost': '1', 'type': 'x'}, 'must be one of flat, rate'),
        ({'service': 'vm', 'cost': '1', 'start': 'x'}, 'rules[0].start: '),
        ({'service': 'vm', 'cost': '1', 'extra': 'x'}, 'rules[0].extra: unknown'),
    ],
)
def test_rules_that_are_refused(rule, reason):
    with pytest.raises(errors.InvalidInput) as caught:
        forms.parse([rule])
    assert reason in str(caught.value)
