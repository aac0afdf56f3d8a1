"""What one caller names or sends takes nobody's time and nobody's memory."""

import json

import pytest
import webob

from cloudkitty.api import rest
from cloudkitty.tests import conftest

QUOTE = '/v1/rating/quote'
FUTURE_BOMB = '1e999999999'
PERIOD = {'begin': '2019-03-01T00:00:00', 'end': '2019-03-01T01:00:00'}
MARCH = 'begin=2019-03-01&end=2019-04-01'


@pytest.fixture(params=conftest.KINDS)
def conf(request, conf, server_schemas):
    """The configuration, once with each kind of database."""
    with conftest.on_schema(request.param, conf, server_schemas) as configured:
        yield configured


ON_SQLITE = pytest.mark.parametrize('conf', ['sqlite'], indirect=True)


def _call(application, path, method='GET', body=None):
    request = webob.Request.blank(path, method=method)
    if body is not None:
        request.content_type = 'application/json'
        request.body = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return request.get_response(application)


def _push(application, attributes, qty='1'):
    point = {
        'vol': {'unit': 'EUR', 'qty': qty},
        'groupby': {'project_id': 'p1'},
        'metadata': attributes,
    }
    frame = {'period': PERIOD, 'usage': {'server': [point]}}
    body = json.dumps({'dataframes': [frame]})
    # A number that Python would not write.
    return _call(application, '/v2/dataframes', 'POST', body.replace('"BOMB"', FUTURE_BOMB))


def _resource(desc):
    return {'service': 'instance', 'desc': desc, 'volume': 1}


@ON_SQLITE
@pytest.mark.parametrize(
    'desc, reason',
    [
        (f'{{"a": {FUTURE_BOMB}}}', 'has an exponent beyond 400'),
        ('{"a": 18446744073709551616}', 'cannot be stored'),
        ('{"a": ' + '[' * 900 + ']' * 900 + '}', 'more than 64 levels'),
        ('{"a": "' + 'x' * 70000 + '"}', 'more than 65535'),
        ('{"a": ' + '9' * 5000 + '}', 'more than 500 characters'),
    ],
)
def test_a_quote_of_what_nobody_can_store_is_refused(noauth, desc, reason):
    body = f'{{"resources": [{{"service": "instance", "desc": {desc}, "volume": 1}}]}}'

    answer = _call(noauth, QUOTE, 'POST', body)

    assert answer.status_int == 400
    assert reason in answer.json['faultstring']


@ON_SQLITE
@pytest.mark.parametrize('count, status', [(1000, 200), (1001, 400)])
def test_a_quote_is_of_a_thousand_resources_at_most(noauth, count, status):
    answer = _call(noauth, QUOTE, 'POST', {'resources': [_resource({})] * count})

    assert answer.status_int == status


def test_a_name_that_is_a_huge_number_is_text(noauth):
    """The answer does not write its digits."""
    assert _push(noauth, {'name': FUTURE_BOMB}).status_int == 204

    shown = _call(noauth, f'/v2/summary?{MARCH}&custom_fields=MAX(name),COUNT(name)')
    refused = _call(noauth, f'/v2/summary?{MARCH}&custom_fields=SUM(name)')

    assert shown.json['results'][0][2:] == [FUTURE_BOMB, 1]
    assert refused.status_int == 400
    assert 'sum needs numbers' in refused.json['message']


def test_custom_fields_are_of_any_attribute(noauth):
    """Of text as well, of the metric and of the calendar; arithmetic on text is refused."""
    fields = 'LAST(flavor_name) AS f,COUNT(flavor_name) AS n,LAST(unit) AS u,MAX(type) AS t'
    january = 'begin=2019-01-01&end=2019-02-01'

    shown = _call(noauth, f'/v2/summary?{january}&custom_fields={fields},FIRST(month) AS m')

    assert shown.json['results'][0][2:] == ['m1', 5, 'instance', 'ip', 1]
    for wrong in ('MEAN(flavor_name)', 'SUM(type)', 'MEDIAN(unit)'):
        refused = _call(noauth, f'/v2/summary?{january}&custom_fields={wrong}')
        assert refused.status_int == 400
        assert 'needs numbers' in refused.json['message']


@ON_SQLITE
@pytest.mark.parametrize('scope_id', [None, True, ['p1'], {'id': 'p1'}, 1.5])
def test_the_scope_of_a_pushed_point_is_text(noauth, scope_id):
    """What has no text of its own must not become that of another scope, such as None."""
    point = {
        'vol': {'unit': 'u', 'qty': 1},
        'groupby': {'project_id': scope_id},
        'metadata': {},
    }
    body = {'dataframes': [{'period': PERIOD, 'usage': {'server': [point]}}]}

    answer = _call(noauth, '/v2/dataframes', 'POST', body)

    assert answer.status_int == 400
    assert 'project_id must be text' in answer.json['message']


@ON_SQLITE
def test_a_huge_number_is_not_pushed(noauth):
    """Neither as an attribute nor as a quantity."""
    for attributes, qty in (({'size': 'BOMB'}, '1'), ({}, 'BOMB'), ({}, FUTURE_BOMB)):
        answer = _push(noauth, attributes, qty)
        assert answer.status_int == 400
        assert 'has an exponent beyond 400' in answer.json['message']


def test_sums_of_the_largest_quantities_are_exact(noauth):
    """What has no room for sums is refused when it is written."""
    largest = '9' * 20
    assert _push(noauth, {'name': 'a'}, largest).status_int == 204
    assert _push(noauth, {'name': 'b'}, largest).status_int == 204
    assert _push(noauth, {'name': 'c'}, '1' + '0' * 20).status_int == 400

    answer = _call(noauth, f'/v2/summary?{MARCH}')

    assert '199999999999999999998.0' in answer.text


def test_an_attribute_has_one_form_in_every_process(noauth):
    """That of the database, also where it was pushed."""
    assert _push(noauth, {'factor': 1.50, 'cores': 2, 'flag': True}).status_int == 204

    answer = _call(noauth, f'/v2/dataframes?{MARCH}')

    point = answer.json['dataframes'][0]['usage']['server'][0]
    assert point['metadata'] == {'factor': '1.5', 'cores': 2, 'flag': True}


@ON_SQLITE
@pytest.mark.parametrize('count, status', [(1000, 200), (1001, 400), (40000, 400)])
def test_a_query_has_a_thousand_parameters_at_most(noauth, count, status):
    """And reading so many is soon done."""
    asked = '&'.join(['scope_id=p1'] * count)

    answer = _call(noauth, f'/v2/scope?{asked}')

    assert answer.status_int == status


@ON_SQLITE
def test_points_of_v1_are_bounded(noauth, conf):
    """The refusal says where pages are."""
    path = '/v1/storage/dataframes?begin=2019-01-01&end=2019-02-01'
    conf.set_override('limit_max', 5, 'api')
    assert len(_call(noauth, path).json['dataframes']) == 5
    conf.set_override('limit_max', 4, 'api')

    answer = _call(noauth, path)

    assert answer.status_int == 400
    assert '5 points match, more than 4' in answer.json['faultstring']
    assert '/v2/dataframes' in answer.json['faultstring']


@ON_SQLITE
def test_an_answer_is_of_64_mib_at_most(noauth, monkeypatch):
    assert noauth.document['paths']
    monkeypatch.setattr(rest, 'ANSWER_SIZE_MAX', 100)

    answer = _call(noauth, '/v2/scope')

    assert answer.status_int == 400
    assert 'smaller page' in answer.json['message']
