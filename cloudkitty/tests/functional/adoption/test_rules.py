"""The rules of an adopted database are those of before, and price as they did."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
import webob

from cloudkitty import storage
from cloudkitty.api import app
from cloudkitty.core import decimals
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.tests.functional.adoption.conftest import adopt, opened

HASHMAP = '/v1/rating/module_config/hashmap'
THRESHOLDS = """
    SELECT t.threshold_id, t.level, t.cost, t.map_type AS type, t.tenant_id,
           s.service_id, f.field_id, g.group_id
    FROM hashmap_thresholds t
    LEFT JOIN hashmap_services s ON s.id = t.service_id
    LEFT JOIN hashmap_fields f ON f.id = t.field_id
    LEFT JOIN hashmap_groups g ON g.id = t.group_id
"""
FIELDS = """
    SELECT f.field_id, f.name, s.service_id
    FROM hashmap_fields f JOIN hashmap_services s ON s.id = f.service_id
"""
MAPPINGS = """
    SELECT m.value, m.cost, f.name AS field, s.name AS service
    FROM hashmap_mappings m
    JOIN hashmap_fields f ON f.id = m.field_id JOIN hashmap_services s ON s.id = f.service_id
    WHERE m.tenant_id IS NULL AND m.group_id IS NULL AND m.map_type = 'flat'
    ORDER BY m.id
"""


def _select(database, statement):
    with database.reader() as connection:
        return [dict(row) for row in connection.execute(sa.text(statement)).mappings()]


def _exact(row):
    numbers = {name: Decimal(row[name]) for name in ('level', 'cost')}
    return {**row, **numbers, 'type': str(row['type'])}


def test_thresholds_fields_and_modules_are_those_of_before(any_former, conf):
    """On both kinds of server, each member of each."""
    thresholds = [_exact(row) for row in _select(any_former, THRESHOLDS)]
    fields = _select(any_former, FIELDS)
    modules = _select(any_former, 'SELECT name, state, priority FROM modules_state')
    adopt(any_former)
    conf.set_override('auth_strategy', 'noauth')
    application = app.build(conf, database=any_former, storage=storage.get_driver(conf))

    def get(path):
        answer = webob.Request.blank(path).get_response(application)
        assert answer.status_int == 200, (path, answer.text)
        return answer.json

    services = [one['service_id'] for one in get(f'{HASHMAP}/services')['services']]
    owners = [f'service_id={key}' for key in services]
    owners += [f'field_id={field["field_id"]}' for field in fields]
    found = [
        _exact(row)
        for owner in owners
        for row in get(f'{HASHMAP}/thresholds?{owner}')['thresholds']
    ]
    assert _by_key(found, 'threshold_id') == _by_key(thresholds, 'threshold_id')
    shown = [
        field
        for service_id in services
        for field in get(f'{HASHMAP}/fields?service_id={service_id}')['fields']
    ]
    assert _by_key(shown, 'field_id') == _by_key(fields, 'field_id')
    states = {one['module_id']: one for one in get('/v1/rating/modules')['modules']}
    for module in modules:
        if module['name'] in states:
            one = states[module['name']]
            assert one['enabled'] == bool(module['state']), module
            assert one['priority'] == module['priority'], module
    assert len(thresholds) > 1 and len(fields) > 1 and len(modules) > 0


def _by_key(rows, key):
    return {row[key]: row for row in rows}


@pytest.mark.parametrize('name', ['13-mariadb-sqlv1', '21-postgresql-sqlv1', '22-mariadb'])
def test_rules_without_times_price_any_period(name, conf):
    """Releases before 23 knew no times of rules: they always applied, and go on to."""
    with opened(name, conf) as database:
        rule = _select(database, MAPPINGS)[0]
        adopt(database)
        modules = ModuleSet(conf, database)
        modules.refresh()
        prices = [_price(modules, rule, datetime(year, 11, 1, tzinfo=UTC)) for year in (2015, 2026)]
    assert rule['cost'] > 0
    assert [decimals.round_to(price, 12) for price in prices] == [
        decimals.round_to(rule['cost'], 12)
    ] * 2


def _price(modules, rule, begin):
    attributes = {rule['field']: rule['value'], 'project_id': 'p00000'}
    point = DataPoint('u', 1, 0, attributes, {})
    frame = DataFrame(begin, begin + timedelta(hours=1), {rule['service']: [point]})
    rated, failure = modules.rate_periods(ScopePeriods.of_frames('p00000', [frame]))
    assert failure is None
    return rated[0].usage[rule['service']][0].price
