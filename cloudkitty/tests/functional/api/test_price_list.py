"""GET /v2/rating/rules for one project: the prices that apply to it, and no others."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty.rating.hashmap.store import fields, groups, mappings, services, thresholds
from cloudkitty.tests.functional.api import world
from cloudkitty.tests.functional.api.described import Described

ADMIN = {'X_Roles': 'admin,member,reader', 'X_User_Id': 'u', 'X_Project_Id': 'office'}
READER = {'X_Roles': 'reader', 'X_User_Id': 'u', 'X_Project_Id': 'p1'}
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
AGO, AHEAD = NOW - 30 * DAY, NOW + 30 * DAY
PATH = '/v2/rating/rules'


def _make(connection):
    """Make rules whose costs tell them apart: general ones from 1, those of p1 from 101."""
    volume, machine = (
        services.create(connection, name).service_id for name in ('volume', 'machine')
    )
    flavor = fields.create(connection, 'flavor', machine).field_id
    group = groups.create(connection, 'disks').group_id

    def price(cost, scope=None, *, begin=AGO, end=None, **where):
        new = mappings.NewMapping(
            cost=Decimal(cost), tenant_id=scope, start=begin, end=end, **where
        )
        return mappings.create(connection, new, now=NOW, author='u', force=True).mapping_id

    price(1, service_id=volume)
    price(2, service_id=volume, group_id=group)
    price(3, field_id=flavor, value='large')
    price(4, field_id=flavor, value='small')
    price(5, service_id=machine)
    price(101, 'p1', service_id=volume)
    # Only for a while, so the general one applies before or after.
    price(103, 'p1', field_id=flavor, value='large', begin=AHEAD)
    price(105, 'p1', service_id=machine, end=AHEAD)
    price(104, 'p1', field_id=flavor, value='small', end=AGO + DAY)
    mappings.delete(
        connection, price(106, 'p1', service_id=volume, group_id=group), now=NOW, author='u'
    )
    price(201, 'p2', service_id=volume, group_id=group)
    for cost, level, scope in ((11, 10, None), (12, 20, None), (111, 10, 'p1'), (212, 20, 'p2')):
        new = thresholds.NewThreshold(
            level=Decimal(level), cost=Decimal(cost), service_id=volume, tenant_id=scope
        )
        thresholds.create(connection, new)


@pytest.fixture(scope='module')
def application(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('prices'), sqlite_template) as made:
        made.database.write(_make)
        yield Described(made.behind_a_proxy({}))


def _costs(application, query='', caller=READER):
    answer = world.call(application, PATH + query, **caller)
    assert answer.status_int == 200, answer.text
    costs = [int(rule['cost']) for rule in answer.json['results']]
    assert answer.json['total'] == len(costs)
    return sorted(costs)


OWN = [2, 3, 4, 5, 12, 101, 103, 105, 111]


def test_a_reader_sees_what_applies_to_the_own_project(application):
    """Not the general price that an own one replaces now and ever after."""
    assert _costs(application) == OWN
    assert _costs(application, '?scope_id=p2') == OWN


def test_an_administrator_sees_all_rules_or_those_of_one_project(application):
    everything = [1, 2, 3, 4, 5, 11, 12, 101, 103, 105, 111, 201, 212]
    assert _costs(application, caller=ADMIN) == everything
    assert _costs(application, '?scope_id=p1', ADMIN) == OWN
    assert _costs(application, '?scope_id=p2', ADMIN) == [1, 3, 4, 5, 11, 201, 212]
    assert _costs(application, '?scope_id=p3', ADMIN) == [1, 2, 3, 4, 5, 11, 12]


def test_it_is_told_whether_the_rules_have_an_effect(application):
    """They have none until the module is enabled."""
    assert world.call(application, PATH, **READER).json['enabled'] is False
    form = {'enabled': True}
    world.call(application, '/v2/rating/modules/hashmap', 'PUT', json=form, **ADMIN)
    assert world.call(application, PATH, **READER).json['enabled'] is True


@pytest.mark.parametrize(
    'query', ['?scope_id=', f'?scope_id={"x" * 257}', '?scope_id=a&scope_id=b']
)
def test_one_project_is_named(application, query):
    assert world.call(application, PATH + query, **ADMIN).status_int == 400
