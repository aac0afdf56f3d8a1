"""The API answers from a store of interface 1 what it answers from the default one."""

import pytest
import webob

from cloudkitty import storage as storages
from cloudkitty.api import app
from cloudkitty.tests.functional.api.conftest import frames

WINDOW = 'begin=2019-01-01T00:00:00&end=2019-02-01T00:00:00'


@pytest.fixture
def from_v1(noauth, conf, database):
    """The application over table rated_data_frames with the frames of the default store."""
    conf.set_override('version', 1, 'storage')
    conf.set_override('backend', 'sqlalchemy', 'storage')
    store = storages.get_driver(conf)
    store.init()
    for scope_id, frame in frames():
        store.push([frame], scope_id)
    yield app.build(conf, database=database, storage=store)
    store.database.engine.dispose()


def test_answers_are_the_same(noauth, from_v1):
    for path in (
        '/v1/report/total?all_tenants=true',
        '/v1/report/total?tenant_id=p2',
        '/v1/report/summary?groupby=tenant_id,res_type&all_tenants=true',
        '/v1/report/tenants?',
        '/v1/storage/dataframes?',
        '/v1/storage/dataframes?tenant_id=p1&resource_type=instance',
        '/v2/summary?groupby=type&groupby=project_id',
        '/v2/summary?filters=id:u1',
        '/v2/summary?groupby=time&limit=1&offset=1',
        '/v1/report/tenants?',
    ):
        expected, answer = (
            webob.Request.blank(f'{path}&{WINDOW}').get_response(application)
            for application in (noauth, from_v1)
        )
        assert answer.status_int == expected.status_int == 200, path
        assert answer.json == expected.json, path


@pytest.mark.parametrize(
    'query, tenant_id, metric',
    [
        ('tenant_id=p1', 'p1', 'ALL'),
        ('tenant_id=p1&service=ip', 'p1', 'ip'),
        ('all_tenants=true', 'ALL', 'ALL'),
        ('all_tenants=true&service=ip', 'ALL', 'ip'),
    ],
)
def test_a_summary_names_what_it_was_asked_for(from_v1, query, tenant_id, metric):
    """So clients of interface 1 know it; with the default store an ungrouped column is ALL."""
    asked = webob.Request.blank(f'/v1/report/summary?{query}&{WINDOW}')

    (item,) = asked.get_response(from_v1).json['summary']

    assert (item['tenant_id'], item['res_type']) == (tenant_id, metric)


def test_points_are_answered_and_pushed(noauth, from_v1):
    """What was metadata is among the other attributes."""
    page = webob.Request.blank(f'/v2/dataframes?{WINDOW}').get_response(from_v1).json
    assert page['total'] == 5
    (address,) = page['dataframes'][0]['usage']['ip']
    assert (address['vol'], address['rating']) == ({'qty': 1.0, 'unit': 'instance'}, {'price': 0.1})
    assert address['groupby']['flavor_name'] == 'm1'

    pushed = webob.Request.blank(
        '/v2/dataframes',
        method='POST',
        content_type='application/json',
        json={'dataframes': [page['dataframes'][1]]},
    ).get_response(from_v1)

    assert pushed.status_int == 204
    page = webob.Request.blank(f'/v2/dataframes?{WINDOW}').get_response(from_v1).json
    assert page['total'] == 7
