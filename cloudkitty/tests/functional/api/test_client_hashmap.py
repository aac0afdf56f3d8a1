"""The real client and its command line work with our hashmap."""

import json
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from wsgiref import simple_server

import pytest
from cloudkittyclient import auth, client
from keystoneauth1 import session
from keystoneauth1.exceptions.http import HttpError

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.rating.modules import ModuleSet

BEFORE = '2090-01-01T00:00:00'
END = '2100-01-31'
HOUR = timedelta(hours=1)


class _Quiet(simple_server.WSGIRequestHandler):
    def log_message(self, *args):
        """Keep requests out of the output of the tests."""


@pytest.fixture
def url(noauth):
    """The URL on which the application is served meanwhile."""
    server = simple_server.make_server('127.0.0.1', 0, noauth, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def rating(url):
    """The client's rating commands."""
    opened = session.Session(auth=auth.CloudKittyNoAuthPlugin(endpoint=url))
    return client.Client('1', session=opened).rating


@pytest.fixture
def hashmap(rating):
    """The client's hashmap commands."""
    return rating.hashmap


def test_types(hashmap):
    assert hashmap.get_mapping_types() == ['flat', 'rate']


def test_services_fields_and_groups(hashmap):
    service = hashmap.create_service(name='instance')
    assert hashmap.get_service() == {'services': [service]}
    assert hashmap.get_service(service_id=service['service_id']) == service

    field = hashmap.create_field(name='flavor', service_id=service['service_id'])
    assert hashmap.get_field(service_id=service['service_id']) == {'fields': [field]}
    assert hashmap.get_field(field_id=field['field_id']) == field

    group = hashmap.create_group(name='g')
    assert hashmap.get_group() == {'groups': [group]}
    assert hashmap.get_group(group_id=group['group_id']) == group

    with pytest.raises(HttpError, match='Service instance already exists'):
        hashmap.create_service(name='instance')
    hashmap.delete_group(group_id=group['group_id'], recursive=True)
    hashmap.delete_field(field_id=field['field_id'])
    hashmap.delete_service(service_id=service['service_id'])
    assert hashmap.get_service() == {'services': []}
    with pytest.raises(HttpError, match='No such field'):
        hashmap.get_field(field_id=field['field_id'])


@pytest.fixture
def service_id(hashmap):
    return hashmap.create_service(name='instance')['service_id']


def test_a_running_mapping_gets_its_end_though_the_client_sends_it_31_times(hashmap, service_id):
    mapping = hashmap.create_mapping(cost=0.2, service_id=service_id, tenant_id='t')
    assert mapping['cost'] == '0.2000000000000000000000000000'

    updated = hashmap.update_mapping(mapping_id=mapping['mapping_id'], end=END)

    assert updated == {**mapping, 'end': f'{END}T23:59:59', 'updated_by': 'unknown'}
    with pytest.raises(HttpError, match='already processed'):
        hashmap.update_mapping(mapping_id=mapping['mapping_id'], end='2101-01-01')
    with pytest.raises(HttpError, match='already processed'):
        hashmap.update_mapping(mapping_id=mapping['mapping_id'], cost=1)
    hashmap.delete_mapping(mapping_id=mapping['mapping_id'])
    assert hashmap.get_mapping(service_id=service_id) == {'mappings': []}
    assert hashmap.get_mapping(mapping_id=mapping['mapping_id'])['deleted']


def test_a_future_mapping_can_be_changed(hashmap, service_id):
    field_id = hashmap.create_field(name='flavor', service_id=service_id)['field_id']
    group = hashmap.create_group(name='g')
    mapping = hashmap.create_mapping(
        cost='1.5',
        field_id=field_id,
        value='m1',
        type='rate',
        group_id=group['group_id'],
        start=BEFORE.replace('T', ' '),
        end=END,
        description='d',
        name='n',
    )
    assert (mapping['start'], mapping['end']) == (BEFORE, f'{END}T23:59:59')

    updated = hashmap.update_mapping(mapping_id=mapping['mapping_id'], cost='2.5', description='e')

    assert updated == {
        **mapping,
        'cost': '2.5000000000000000000000000000',
        'description': 'e',
        'updated_by': 'unknown',
    }
    assert hashmap.get_mapping(field_id=field_id, filter_tenant=True)['mappings'] == [updated]
    assert hashmap.get_mapping(field_id=field_id, no_group=True)['mappings'] == []
    assert hashmap.get_mapping_group(mapping_id=mapping['mapping_id']) == group
    assert hashmap.get_group_mappings(group_id=group['group_id'])['mappings'] == [updated]


def test_thresholds(hashmap, service_id):
    group = hashmap.create_group(name='g')
    threshold = hashmap.create_threshold(
        cost=0.5,
        level=10,
        service_id=service_id,
        type='rate',
        group_id=group['group_id'],
        tenant_id='t',
    )

    updated = hashmap.update_threshold(threshold_id=threshold['threshold_id'], level='20')

    assert updated == {**threshold, 'level': '20.00000000'}
    assert hashmap.get_threshold(service_id=service_id)['thresholds'] == [updated]
    assert hashmap.get_threshold_group(threshold_id=threshold['threshold_id']) == group
    assert hashmap.get_group_thresholds(group_id=group['group_id'])['thresholds'] == [updated]
    hashmap.delete_threshold(threshold_id=threshold['threshold_id'])
    assert hashmap.get_threshold(service_id=service_id)['thresholds'] == []


def test_what_the_client_sets_is_what_points_cost(conf, database, rating, hashmap, service_id):
    """A worked example, then the deletion of a rule, which spares the past."""
    for name, value, cost, kind in (
        ('flavor', 'm1.tiny', 0.5, 'flat'),
        ('image', 'img1', 2, 'flat'),
        ('vcpus', '2', 1.5, 'rate'),
    ):
        field = hashmap.create_field(name=name, service_id=service_id)
        hashmap.create_mapping(cost=cost, field_id=field['field_id'], value=value, type=kind)
    hashmap.create_mapping(cost=1.25, service_id=service_id)
    modules = ModuleSet(conf, database)
    now = datetime.now(UTC)

    def price(begin):
        modules.refresh()
        point = DataPoint(
            'instance',
            4,
            0,
            {'project_id': 'p'},
            {'flavor': 'm1.tiny', 'image': 'img1', 'vcpus': 2},
        )
        rated = modules.rate(DataFrame(begin, begin + HOUR, {'instance': [point]}), 'p')
        return rated.usage['instance'][0].price

    assert price(now) == 0
    rating.update_module(module_id='hashmap', enabled=True)
    assert [price(now - HOUR), price(now), price(now + HOUR)] == [0, 12, 12]
    hashmap.delete_service(service_id=service_id)
    assert [price(now), price(now + HOUR)] == [12, 0]


def test_the_command_line(url):
    def run(*arguments):
        ended = subprocess.run(
            [
                sys.executable,
                '-c',
                'from cloudkittyclient.shell import main; main()',
                '--os-auth-type',
                'cloudkitty-noauth',
                '--os-endpoint',
                url,
                *arguments,
                '-f',
                'json',
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)[0]

    service = run('hashmap', 'service', 'create', 'instance')
    mapping = run('hashmap', 'mapping', 'create', '0.25', '-s', service['Service ID'])
    ended = run('hashmap', 'mapping', 'update', mapping['Mapping ID'], '--end', END)
    assert ended['Cost'] == '0.2500000000000000000000000000'
