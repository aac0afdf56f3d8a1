"""GET /v2/explain over the tests' Prometheus: what it says, to whom, and what it hides."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from cloudkitty import db
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.storage.v2 import sql
from cloudkitty.tests.functional import worker_run
from cloudkitty.tests.functional.api import conftest, world
from cloudkitty.tests.functional.api.described import Described

DB = '/v2/explain?scope_id=alpha&resource=db&period=2024-05-01T00:00:00Z'
POLICY = {'explain:get': 'rule:project_reader_or_admin'}
ADMIN = {'X_Roles': 'admin,member,reader', 'X_User_Id': 'u', 'X_Project_Id': 'office'}
ALPHA = {'X_Roles': 'reader', 'X_User_Id': 'u', 'X_Project_Id': 'alpha'}
BETA = {'X_Roles': 'reader', 'X_User_Id': 'u', 'X_Project_Id': 'beta'}


@pytest.fixture
def open_application(database, tmp_path):
    """Return a function that returns the API of a configuration with this source and policy."""

    def _open(url, policy):
        worker_run.clear(database)
        path = worker_run.write_conf(
            tmp_path,
            connection=f'sqlite:///{database.engine.url.database}',
            prometheus_url=url,
            timeout_s=2,
        )
        conf = worker_run.load_conf(path)
        rules = tmp_path / 'policy.yaml'
        rules.write_text(yaml.safe_dump(policy))
        return conftest.behind_a_proxy(conf, db.Database(conf), sql.SQLStorage(conf), rules)

    return _open


def test_it_says_what_the_command_says(open_application, prometheus, tmp_path):
    application = Described(open_application(prometheus.url, {}))

    answer = world.call(application, DB, **ADMIN)

    assert answer.status_int == 200, answer.text
    assert answer.json == {
        'scope_id': 'alpha',
        'resource': 'db',
        'begin': '2024-05-01T00:00:00+00:00',
        'end': '2024-05-01T01:00:00+00:00',
        'results': [
            {
                'type': 'test_vcpus',
                'metric': 'test_vcpus',
                'measure': None,
                'series': [
                    {
                        'labels': {
                            'flavor': 'm1.large',
                            'project_id': 'alpha',
                            'resource': 'db',
                        },
                        'samples': [
                            {
                                'begin': '2024-05-01T00:01:00+00:00',
                                'end': '2024-05-01T01:00:00+00:00',
                                'value': '4',
                                'samples': 60,
                            }
                        ],
                    }
                ],
                'points': [
                    {
                        'qty': 4.0,
                        'unit': 'vcpu',
                        'groupby': {'resource': 'db', 'project_id': 'alpha'},
                        'steps': [
                            {
                                'module': 'hashmap',
                                'rules': [
                                    'service test_vcpus: flat 0.0123',
                                    'field flavor = m1.large: rate 1.5',
                                ],
                                'amounts': [
                                    {
                                        'group': None,
                                        'expression': '0.0123 * 1.5 * 4.0',
                                        'amount': 0.0738,
                                    }
                                ],
                                'price': 0.0738,
                            }
                        ],
                        'price': 0.0738,
                    }
                ],
            }
        ],
    }
    told = subprocess.run(
        [
            Path(sys.executable).parent / 'cloudkitty-metrics',
            *('--config-file', tmp_path / 'cloudkitty.conf', 'explain', '--scope', 'alpha'),
            *('--resource', 'db', '--period', '2024-05-01'),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert '  hashmap: field flavor = m1.large: rate 1.5\n' in told.stdout


def test_what_is_stored_is_explained_without_the_source(open_application, tmp_path):
    """To the reader of its project by default; a price that the rules no longer give is shown."""
    application = Described(open_application('http://127.0.0.1:1', {}))
    storage = sql.SQLStorage(worker_run.load_conf(tmp_path / 'cloudkitty.conf'))
    begin = datetime(2024, 5, 1, tzinfo=UTC)
    for scope, price in (('alpha', '0.0738'), ('beta', '9')):
        attributes = {'project_id': scope, 'resource': 'db'}
        point = DataPoint('vcpu', 4, price, attributes, {'flavor': 'm1.large'})
        usage = {'test_vcpus': [point], 'other': [DataPoint('GB', 1, 0, attributes, {})]}
        storage.push([DataFrame(begin, begin + timedelta(hours=1), usage)], scope)
    stored = DB.replace('/explain', '/explain/stored')

    free, priced = world.call(application, stored, **ALPHA).json['results']
    assert (priced['type'], free['type']) == ('test_vcpus', 'other')
    (point,) = priced['points']
    assert (point['qty'], point['price'], point['stored']) == (4, 0.0738, 0.0738)
    (step,) = point['steps']
    assert step['rules'][1] == 'field flavor = m1.large: rate 1.5'
    assert [one['expression'] for one in step['amounts']] == ['0.0123 * 1.5 * 4.0']
    assert free['points'][0]['steps'] == []
    (_, changed) = world.call(application, stored.replace('alpha', 'beta'), **BETA).json['results']
    assert (changed['points'][0]['price'], changed['points'][0]['stored']) == (0.0738, 9)
    for caller in (ALPHA, {'X_Roles': 'reader', 'X_User_Id': 'u'}):
        assert world.call(application, stored.replace('alpha', 'beta'), **caller).status_int == 404
    later = stored.replace('T00:00', 'T01:00')
    assert world.call(application, later, **ADMIN).status_int == 404


def test_others_than_an_admin_need_a_policy(open_application, prometheus):
    application = open_application(prometheus.url, {})

    for caller in (ALPHA, BETA):
        assert world.call(application, DB, **caller).status_int == 403


def test_a_reader_sees_the_own_scope_only(open_application, prometheus):
    """If the operator lets readers ask; a resource of another scope is unknown in the own one."""
    application = open_application(prometheus.url, POLICY)

    assert world.call(application, DB, **ALPHA).json['results'][0]['type'] == 'test_vcpus'
    assert world.call(application, DB, **BETA).status_int == 404
    own = DB.replace('alpha', 'beta')
    assert world.call(application, own, **BETA).status_int == 404
    assert world.call(application, own, **ALPHA).status_int == 404
    injected = DB.replace('alpha', 'alpha%7Cbeta').replace('resource=db', 'resource=job')
    for caller in (ALPHA, BETA, ADMIN):
        assert world.call(application, injected, **caller).status_int == 404
    nobody = {'X_Roles': 'reader', 'X_User_Id': 'u'}
    assert world.call(application, DB, **nobody).status_int == 404


def test_the_address_of_the_source_is_the_administrators(open_application):
    """A source that does not answer is an error that says so, and to an admin why."""
    application = open_application('http://127.0.0.1:1', POLICY)

    told = world.call(application, DB, **ADMIN)
    assert told.status_int == 422
    assert '127.0.0.1:1' in told.json['message']
    untold = world.call(application, DB, **ALPHA)
    assert untold.status_int == 422
    assert untold.json == {'message': 'This cannot be explained now: the operator sees why'}


@pytest.mark.parametrize(
    ('query', 'told'),
    [
        ('', 'scope_id'),
        ('?scope_id=alpha&resource=db', 'period'),
        ('?scope_id=alpha&resource=&period=2024-05-01T00:00:00Z', 'resource'),
        ('?scope_id=alpha&resource=db&period=soon', 'period'),
        (f'?scope_id=alpha&resource={"x" * 1001}&period=2024-05-01T00:00:00Z', 'resource'),
    ],
)
def test_what_is_wrong_is_named(open_application, query, told):
    application = open_application('http://127.0.0.1:1', {})

    answer = world.call(application, f'/v2/explain{query}', **ADMIN)

    assert answer.status_int == 400
    assert told in answer.json['message']
