"""Explained prices of stored usage are the stored ones, and their steps are how they came about."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.explain import Explainer
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import fields, groups, mappings, services, thresholds
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.storage.v2 import sql
from cloudkitty.tests.unit.core.pricing.tariffs import value_of

BEGIN = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
# 10,000 points of one resource.
PERIODS, POINTS = 100, 100
FLAVORS = ('m1', 'm2', 'm3', 'other')


def _set_rules(connection):
    """Set mappings and thresholds of the service and of a field, in two groups and in none."""

    def add_mapping(cost, **values):
        new = mappings.NewMapping(cost=Decimal(cost), start=BEGIN, **values)
        mappings.create(connection, new, now=BEGIN, author='me', force=True)

    def add_threshold(level, cost, **values):
        new = thresholds.NewThreshold(level=Decimal(level), cost=Decimal(cost), **values)
        thresholds.create(connection, new)

    group_ids = [None, *(groups.create(connection, name).group_id for name in ('g', 'h'))]
    for name in ('cpu', 'disk'):
        service_id = services.create(connection, name).service_id
        field_id = fields.create(connection, 'flavor', service_id).field_id
        size_id = fields.create(connection, 'size', service_id).field_id
        for place, group_id in enumerate(group_ids):
            common = {'group_id': group_id}
            add_mapping(f'0.0{place + 3}7', service_id=service_id, **common)
            for flavor, cost, kind in (('m1', '0.123', 'flat'), ('m2', '1.0007', 'rate')):
                add_mapping(cost, field_id=field_id, value=flavor, type=kind, **common)
            if place:
                add_threshold(20, '0.91', service_id=service_id, type='rate', **common)
                add_threshold(5, '0.033', field_id=size_id, type='flat', **common)
    module_state.update(connection, 'hashmap', enabled=True)


def _frames(dice):
    for hour in range(PERIODS):
        usage = {}
        for number in range(POINTS):
            groupby = {'project_id': 'p', 'resource': 'r', 'number': str(number)}
            metadata = {'flavor': dice.choice(FLAVORS), 'size': str(dice.randrange(9))}
            quantity = Decimal(dice.randrange(10**12)).scaleb(-dice.randrange(8, 13))
            point = DataPoint('unit', quantity, 0, groupby, metadata)
            usage.setdefault(dice.choice(('cpu', 'disk', 'free')), []).append(point)
        yield DataFrame(BEGIN + hour * HOUR, BEGIN + (hour + 1) * HOUR, usage)


def test_the_price_of_each_stored_point_is_explained(conf, database):
    """Of 10,000: it is the price after the last step, and the amounts of the steps add up to it."""
    database.write(_set_rules)
    modules, storage = ModuleSet(conf, database), sql.SQLStorage(conf)
    modules.refresh()
    periods = []
    for frame in _frames(random.Random(39)):
        periods.append(Period(frame.start, frame.end))
        storage.push([modules.rate(frame, 'p')], 'p')
    explainer = Explainer(conf, modules, storage)

    found = [
        point
        for period in periods
        for one in explainer.explain_stored('p', 'r', period.begin)
        for point in one.points
    ]

    assert len(found) == PERIODS * POINTS
    assert sum(point.stored > 0 for point in found) > len(found) / 2
    for point in found:
        amounts = [amount for step in point.steps for amount in step.amounts]
        assert sum((one.amount for one in amounts), Decimal(0)) == point.price == point.stored
        for one in amounts:
            assert value_of(one.expression) == one.amount, one
