"""POST /v2/rating/preview: it says what rating again then stores, and stores nothing itself."""

import json
from decimal import Decimal

import pytest

from cloudkitty import db, storage
from cloudkitty.core.timeframe import Period
from cloudkitty.rating.hashmap.store import mappings, services
from cloudkitty.report import price_preview
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.storage.v2 import sql
from cloudkitty.tests import history
from cloudkitty.tests.functional import daemon, worker_run
from cloudkitty.tests.functional.api import conftest, world
from cloudkitty.tests.functional.api.described import Described

ADMIN = {'X_Roles': 'admin,member,reader', 'X_User_Id': 'u', 'X_Project_Id': 'office'}
READER = {'X_Roles': 'reader', 'X_User_Id': 'u', 'X_Project_Id': 'alpha'}
WINDOW = Period(history.hour(1).begin, history.hour(4).begin)
SPAN = {name: bound.isoformat() for name, bound in WINDOW._asdict().items()}
# More digits than a float has.
COST = '0.0000333333333333333333333333'
VOLUMES = {'service': 'test_volume_gib', 'cost': COST}


@pytest.fixture
def rated(database, tmp_path, prometheus):
    worker_run.clear(database)
    path = worker_run.write_conf(
        tmp_path,
        connection=database.engine.url.render_as_string(False),
        prometheus_url=prometheus.url,
    )
    conf = worker_run.load_conf(path)
    worker_run.build(conf).worker.turn()
    return conf


@pytest.fixture
def application(rated, tmp_path):
    rules = tmp_path / 'policy.yaml'
    rules.write_text('{}')
    # Another object, so that its overrides are not the processor's.
    conf = worker_run.load_conf(tmp_path / 'cloudkitty.conf')
    return Described(conftest.behind_a_proxy(conf, db.Database(conf), sql.SQLStorage(conf), rules))


def _sums(conf):
    rows = storage.get_driver(conf).total(
        ['project_id', 'type'], *WINDOW, metric_types=['test_volume_gib'], paginate=False
    )
    return {row['project_id']: row['rate'] for row in rows['results']}


def _ask(application, caller=ADMIN, **form):
    return world.call(application, '/v2/rating/preview', 'POST', json={**SPAN, **form}, **caller)


def _exact(answer, side):
    found = json.loads(answer.text, parse_float=str)['results']
    return {
        one['scope_id']: Decimal(one[side]) for one in found if one['type'] == 'test_volume_gib'
    }


def test_a_preview_is_what_rating_again_then_stores_to_the_last_digit(rated, application, database):
    before = _sums(rated)
    answer = _ask(application, changes=[VOLUMES])

    assert answer.status_int == 200, answer.text
    assert _exact(answer, 'old') == before == _sums(rated)
    expected = _exact(answer, 'new')
    assert expected.keys() == before.keys() != set()
    assert expected != before
    database.write(_change_price)
    database.write(
        lambda connection: scope_reprocessing.create(
            connection, None, identity=daemon.IDENTITY, window=WINDOW, reason='another price'
        )
    )
    worker_run.build(rated).worker.turn()
    assert _sums(rated) == expected


def _change_price(connection):
    (volumes,) = [one for one in services.list_all(connection) if one.name == 'test_volume_gib']
    wanted = mappings.Wanted(service_id=volumes.service_id)
    (former,) = mappings.list_of(connection, wanted, now=worker_run.NOW)
    mappings.delete(connection, former.mapping_id, now=worker_run.NOW, author='test')
    mappings.create(
        connection,
        mappings.NewMapping(
            cost=Decimal(COST), service_id=volumes.service_id, value=None, start=worker_run.LONG_AGO
        ),
        now=worker_run.NOW,
        author='test',
        force=True,
    )


def test_what_does_not_change_costs_what_it_did(application):
    """The same price, then none, then one for another project."""
    same = _ask(application, changes=[{**VOLUMES, 'cost': '0.00004'}])
    none = _ask(application, changes=[{**VOLUMES, 'cost': None}])
    other = _ask(application, changes=[{**VOLUMES, 'tenant_id': 'beta'}], scope_id=['alpha'])

    assert _exact(same, 'new') == _exact(same, 'old')
    assert set(_exact(none, 'new').values()) == {Decimal(0)}
    assert _exact(other, 'new') == _exact(other, 'old')
    assert set(_exact(other, 'old')) == {'alpha'}


def test_rules_are_listed_with_the_names_of_what_they_belong_to(application):
    def ask(query):
        return world.call(application, f'/v2/rating/rules{query}', **ADMIN).json

    found = ask('')
    shown = [
        (rule['service'], rule['field'], rule['value'], rule['cost']) for rule in found['results']
    ]
    assert shown == [
        ('cpu', None, None, 0.1),
        ('test_vcpus', None, None, 0.0123),
        ('test_vcpus', 'flavor', 'm1.large', 1.5),
        ('test_volume_gib', None, None, 0.00004),
    ]
    assert found['results'][0]['start'] == worker_run.LONG_AGO.isoformat()
    assert ask('?offset=2&limit=1') == {
        'total': 4,
        'enabled': True,
        'results': [found['results'][2]],
    }


def test_others_than_an_admin_may_not_ask(application):
    assert _ask(application, READER, changes=[VOLUMES]).status_int == 403


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        ([], 'list of 1 to 100'),
        ([VOLUMES] * 101, 'list of 1 to 100'),
        ([{'service': 'x'}], 'cost'),
        ([{**VOLUMES, 'type': 'free'}], 'type'),
        ([{**VOLUMES, 'field': 'flavor'}], 'both field and value'),
        ([{**VOLUMES, 'cost': 'NaN'}], 'changes'),
        ([{**VOLUMES, 'service': 'x' * 256}], 'service'),
        ([{**VOLUMES, 'other': 1}], 'what it needs'),
        ([VOLUMES, VOLUMES], 'twice'),
    ],
)
def test_what_is_wrong_is_named(application, changes, told):
    answer = _ask(application, changes=changes)

    assert answer.status_int == 400
    assert told in answer.json['message']


def test_a_preview_has_bounds(application, monkeypatch):
    monkeypatch.setattr(price_preview, 'FRAMES_MAX', 1)
    assert 'choose a shorter time' in _ask(application, changes=[VOLUMES]).json['message']

    monkeypatch.setattr(price_preview, 'FRAMES_MAX', 100)
    monkeypatch.setattr(price_preview, 'SECONDS_MAX', -1)
    answer = _ask(application, changes=[VOLUMES])
    assert (answer.status_int, 'seconds' in answer.json['message']) == (409, True)
