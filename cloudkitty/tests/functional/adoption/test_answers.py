"""The API answers from an adopted database what the former API answered from it."""

import csv
import json
import zlib
from decimal import Decimal

import pytest
import sqlalchemy as sa
import webob
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import storage
from cloudkitty.api import app
from cloudkitty.tests import formers
from cloudkitty.tests.functional.adoption.conftest import adopt, opened

HASHMAP = '/v1/rating/module_config/hashmap'


# What the former API answered of what was not deleted, by the key in its answers.
ROWS = {
    'services': 'SELECT service_id, name FROM hashmap_services',
    'groups': 'SELECT group_id, name FROM hashmap_groups',
    'scripts': 'SELECT script_id, name, checksum, description, created_by, data '
    'FROM pyscripts_scripts WHERE deleted IS NULL',
    'mappings': 'SELECT service, collector FROM service_to_collector_mappings',
}


@pytest.fixture(scope='module')
def adopted():
    """(The API over the adopted database of release 25, the former rows); only for reading."""
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('auth_strategy', 'noauth')
    with opened('25-mariadb-influxdb', conf) as database:
        with database.reader() as connection:
            rows = {
                key: [dict(row) for row in connection.execute(sa.text(statement)).mappings()]
                for key, statement in ROWS.items()
            }
        adopt(database)
        yield app.build(conf, database=database, storage=storage.get_driver(conf)), rows


@pytest.fixture
def application(adopted):
    return adopted[0]


def _get(application, path):
    answer = webob.Request.blank(path).get_response(application)
    assert answer.status_int == 200, (path, answer.text)
    return answer.json


def _mappings(answers):
    return {
        mapping['mapping_id']: {**mapping, 'cost': Decimal(mapping['cost'])}
        for answer in answers
        for mapping in answer['mappings']
    }


@pytest.mark.parametrize('parent', ['field', 'service'])
def test_mappings_are_those_of_before(application, parent):
    """Deleted ones and long descriptions too, each field of each."""
    expected = _mappings(formers.expected_lines(f'{parent}-mappings'))

    found = _mappings([_get(application, f'{HASHMAP}/mappings?deleted=true')])

    assert {key: found.get(key) for key in expected} == expected
    assert len(expected) > 1
    if parent == 'field':
        assert max(len(one['description'] or '') for one in found.values()) == 300


def test_tasks_are_those_of_before(application):
    """But an unfinished one ends after its last period, not with its begin."""
    expected = json.loads((formers.FOLDER / 'expected-tasks.json').read_text())['results']

    found = _get(application, '/v2/task/reprocesses')['results']

    shown = [
        {key: value.removesuffix('+00:00') for key, value in task.items() if key in expected[0]}
        for task in found
    ]
    later = {'00:00:00': '01:00:00', '01:00:00': '02:00:00', '02:00:00': '03:00:00'}
    later['08:00:00'] = '09:00:00'
    for task in expected:
        day, _, hour = task['end_reprocess_time'].partition('T')
        if task['reason'] != 'done':
            task['end_reprocess_time'] = f'{day}T{later[hour]}'
    assert shown == expected


def test_scopes_are_those_of_before(application):
    """But those that named no fetcher, collector or scope key have the configured ones."""
    with (formers.FOLDER / 'expected-scopes.tsv').open() as file:
        rows = list(csv.DictReader(file, delimiter='\t'))
    # Row 16 is the same scope as row 17, which is more advanced.
    expected = [row for row in rows if row['id'] != '16']

    found = _get(application, '/v2/scope?active=0&active=1')['results']

    assert [_scope(scope) for scope in found] == [
        (
            row['identifier'],
            row['scope_key'].replace('NULL', 'project_id'),
            row['fetcher'].replace('NULL', 'source'),
            row['collector'].replace('NULL', 'prometheus'),
            row['last_processed_timestamp'].replace(' ', 'T') + '+00:00',
            row['active'] == '1',
        )
        for row in expected
    ]


def _scope(scope):
    names = ('scope_id', 'scope_key', 'fetcher', 'collector', 'last_processed_timestamp', 'active')
    return tuple(scope[name] for name in names)


@pytest.mark.parametrize(
    'path, key, count',
    [
        (f'{HASHMAP}/services', 'services', 6),
        (f'{HASHMAP}/groups', 'groups', 4),
        ('/v1/rating/module_config/pyscripts/scripts', 'scripts', 4),
        ('/v1/collector/mappings', 'mappings', 2),
    ],
)
def test_the_rest_is_there(adopted, path, key, count):
    """Services, groups, scripts with their source, and collectors: each member of each."""
    application, rows = adopted
    expected = rows[key]
    for row in expected:
        if isinstance(row.get('data'), bytes):
            row['data'] = zlib.decompress(row['data']).decode()

    found = _get(application, path)[key]

    assert len(found) == count
    shown = [{name: one[name] for name in expected[0]} for one in found]
    assert _sorted(shown) == _sorted(expected)


def _sorted(rows):
    return sorted(rows, key=lambda row: str(row.values()))


def test_sums_of_storage_v1_are_those_of_before(former_v1, conf):
    """To the sixth digit, which is the last that a dump of MariaDB shows of a price there."""
    conf.set_override('auth_strategy', 'noauth')
    conf.set_override('version', 1, 'storage')
    conf.set_override('backend', 'sqlalchemy', 'storage')
    text = (formers.FOLDER / 'expected-sqlv1-v1-summary.json').read_text()
    expected = _sums(json.loads(text))
    adopt(former_v1)
    application = app.build(conf, database=former_v1, storage=storage.get_driver(conf))

    found = _sums(
        _get(
            application,
            '/v1/report/summary?begin=2026-10-31T00:00:00&end=2026-11-04T00:00:00'
            '&groupby=tenant_id,res_type&all_tenants=true',
        )
    )

    assert found.keys() == expected.keys()
    assert len(found) > 40
    for key, rate in expected.items():
        assert abs(found[key] - rate) <= max(Decimal('1e-5'), abs(rate) * Decimal('5e-6')), key


def _sums(answer):
    return {
        (item['tenant_id'], item['res_type']): Decimal(item['rate']) for item in answer['summary']
    }
