"""What is stored of usage is read over REST, by who may."""

import json
import os
import random
from decimal import Decimal

import pytest

from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.core.metering import facts
from cloudkitty.core.timeframe import Period
from cloudkitty.tests import usage
from cloudkitty.tests.functional.api import world
from cloudkitty.tests.usage import HOUR, ORIGIN, entry, fact, life, us

READER = {'X_Roles': 'reader', 'X_User_Id': 'u1', 'X_Project_Id': 'p1'}
OTHER = {**READER, 'X_Project_Id': 'p2'}
ADMIN = {'X_Roles': 'admin', 'X_User_Id': 'root', 'X_Project_Id': 'office'}
LISTS = {
    '/v2/meters': 'meters',
    '/v2/samples': 'samples',
    '/v2/resources': 'resources',
    '/v2/resources/v1': 'resources',
    '/v2/meters/volume.size/statistics?begin=2024-11-29T10:00&end=2024-11-29T13:00': 'results',
}

# 1,000 for a thorough run.
QUESTIONS = int(os.environ.get('CLOUDKITTY_TEST_QUESTIONS', '150'))


def metered(name, **attributes):
    return facts.Attributes({'name': name, **attributes})


@pytest.fixture(scope='module')
def shared(tmp_path_factory, sqlite_template):
    """Usage of p1 and p2, with the same names of resources."""
    with world.opened(tmp_path_factory.mktemp('meters'), sqlite_template) as made:
        intake = usage.intake(made.database)
        for scope_id, quantity in (('p1', '4'), ('p2', '9')):
            stated = [
                *life(us(10.5), us(12), quantity, scope_id=scope_id, attributes=metered(scope_id)),
                *life(us(11), None, '1', scope_id=scope_id, resource_id='v2'),
                fact(us(11.5), quantity, scope_id=scope_id, meter='request', unit='r', tag=5),
                fact(us(11.5), '3', scope_id=scope_id, meter='load', kind=facts.GAUGE),
            ]
            intake.store([entry(one) for one in stated], ORIGIN)
        made.application = made.behind_a_proxy({})
        yield made


def read(shared, path, caller=ADMIN, status=200):
    answer = world.call(shared.application, path, **caller)
    assert answer.status_int == status, answer.text
    return answer.json


def test_meters(shared):
    """What there is, how much of it, and how new it is."""
    found = read(shared, '/v2/meters', READER)

    assert found['total'] == 3
    assert found['meters'][2] == {
        'meter': 'volume.size',
        'kind': 'state',
        'unit': 'GiB',
        'resources': 2,
        'sources': 1,
        'newest': '2024-11-29T12:00:00.000000+00:00',
    }
    page = read(shared, '/v2/meters?limit=1&offset=1', READER)
    assert [meter['meter'] for meter in page['meters']] == ['request']


def test_statistics(shared):
    """In periods, by attributes, of one scope or of all."""
    path = '/v2/meters/volume.size/statistics?begin=2024-11-29T10:00&end=2024-11-29T13:00'

    whole = read(shared, f'{path}&per=hour')
    assert [(row['scope_id'], row['quantity']) for row in whole['results']] == [
        ('p1', 4 * 1.5 + 2),
        ('p2', 9 * 1.5 + 2),
    ]
    hours = read(shared, f'{path}&period=3600&groupby=id,name', READER)['results']
    assert [
        (row['begin'][11:13], row['groupby']['id'], row['groupby']['name'], row['quantity'])
        for row in hours
    ] == [('10', 'v1', 'p1', 2), ('11', 'v1', 'p1', 4), ('11', 'v2', '', 1), ('12', 'v2', '', 1)]
    most = read(shared, f'{path}&kind=state&aggregation=max&scope_id=p2')
    assert [row['quantity'] for row in most['results']] == [9]


@pytest.mark.parametrize(
    'query, named',
    [
        ('begin=2024-11-29', 'end'),
        ('begin=2024-11-29&end=2024-11-28', 'end must be after begin'),
        ('begin=2024-11-29&end=2024-11-30&period=7000', 'whole number of periods'),
        ('begin=2024-11-29&end=2024-11-30&period=1', 'whole number of periods'),
        ('begin=2024-11-29&end=2024-11-30&aggregation=max', 'needs kind'),
        ('begin=2024-11-29&end=2024-11-30&kind=state&aggregation=mean', 'this kind'),
        ('begin=2024-11-29&end=2024-11-30&per=day', 'per'),
        ('begin=2024-11-29&end=2024-11-30&groupby=' + ','.join('abcdefghijk'), 'groupby'),
    ],
)
def test_questions_that_are_refused(shared, query, named):
    """The reason names what is wrong."""
    message = read(shared, f'/v2/meters/m/statistics?{query}', status=400)['message']
    assert named in message


def test_samples_in_pages(shared):
    """Each once, and then no more."""
    seen, marker = [], ''
    while marker is not None:
        page = read(shared, f'/v2/samples?limit=2{marker and "&marker="}{marker}', READER)
        seen.extend(page['samples'])
        marker = page['marker']

    assert len({one['id'] for one in seen}) == len(seen) == 5
    assert {one['stage'] for one in seen} == {'begin', 'end', 'sample'}
    chosen = read(shared, '/v2/samples?meter=volume.size&begin=2024-11-29T12:00', READER)
    assert [(one['stage'], one['resource_id']) for one in chosen['samples']] == [('end', 'v1')]


def test_a_sample_with_its_message(shared):
    """As it was received; who sent it is the operator's matter."""
    (one,) = read(shared, '/v2/samples?meter=request', READER)['samples']

    whole = read(shared, f'/v2/samples/{one["id"]}', READER)
    assert (whole['message'], whole['trust']) == ('{"a": 1.50}', 'api')
    assert (whole['quantity'], whole['publisher']) == (4, None)
    assert read(shared, f'/v2/samples/{one["id"]}')['publisher'] == 'tester'
    for path in (one['id'], 'x', '1-2-3', '1-2-3-4', '9' * 30 + '-1-1-1', 'n-1-1-1'):
        read(shared, f'/v2/samples/{path}', OTHER, 404)


def test_resources(shared):
    """From when to when each existed, and how that is known."""
    found = read(shared, '/v2/resources', READER)['resources']

    assert [(one['resource_id'], one['begin'][11:16], one['end']) for one in found] == [
        ('v1', '10:30', '2024-11-29T12:00:00.000000+00:00'),
        ('v2', '11:00', None),
    ]
    assert found[0]['attributes'] == {'name': 'p1'}
    later = read(shared, '/v2/resources/v1?begin=2024-11-29T12:00', READER)['resources']
    assert later == []
    page = read(shared, '/v2/resources?limit=1', READER)
    rest = read(shared, f'/v2/resources?marker={page["marker"]}', READER)
    assert [one['resource_id'] for one in rest['resources']] == ['v2']


@pytest.mark.parametrize('path', LISTS)
def test_a_project_sees_its_own(shared, path):
    """Whatever scope it asks for, and in whatever field."""
    separator = '&' if '?' in path else '?'
    for chosen in ('', 'scope_id=p2', 'scope_id=p1,p2', 'scope_id='):
        answer = read(shared, f'{path}{separator}{chosen}', READER)
        rows = answer[LISTS[path]]
        assert rows
        text = str(rows)
        assert "'p2'" not in text
        if path != '/v2/meters':
            assert {row['scope_id'] for row in rows} == {'p1'}
    if path != '/v2/meters':
        everybody = read(shared, path)[LISTS[path]]
        assert {row['scope_id'] for row in everybody} == {'p1', 'p2'}


@pytest.mark.parametrize('path', LISTS)
def test_without_a_project_nothing_is_seen(shared, path):
    """A token of none is not one of all."""
    nobody = {'X_Roles': 'reader', 'X_User_Id': 'u'}
    assert world.call(shared.application, path, **nobody).status_int in (403, 404)


def test_statistics_are_what_is_rated(conf, database, noauth):
    """The quantity of a period is that of the collector, whatever is asked."""
    choose = random.Random(7)
    intake = usage.intake(database)
    meters = {'a': facts.STATE, 'b': facts.GAUGE, 'c': facts.CUMULATIVE, 'd': facts.DELTA}
    for number in range(200):
        meter = choose.choice('abcd')
        scope_id = f'p{choose.randrange(3)}'
        names = {'meter': meter, 'scope_id': scope_id, 'resource_id': f'r{choose.randrange(4)}'}
        at = us(choose.uniform(8, 13))
        quantity = str(Decimal(choose.randrange(100_000)) / 1000)
        if meters[meter] == facts.STATE:
            stated = fact(at, quantity, kind=facts.STATE, stage=choose.choice([1, 2, 4]), **names)
        else:
            stated = fact(at, quantity, kind=meters[meter], tag=number, **names)
        intake.store([entry(stated)], ORIGIN)
    driver = MeteringCollector(
        period=3600,
        service_conf=conf,
        conf={'metrics': {name: {'unit': 'u', 'groupby': ['id']} for name in meters}},
    )

    compared = 0
    for _ in range(QUESTIONS):
        meter, scope_id = choose.choice('abcd'), f'p{choose.randrange(3)}'
        begin = facts.from_us(us(choose.randrange(8, 13)))
        rated = {
            point.groupby['id']: point.qty
            for _, _, points in driver.collect(meter, [Period(begin, begin + HOUR)], [scope_id])
            for point in points
        }
        path = f'/v2/meters/{meter}/statistics?scope_id={scope_id}&groupby=id'
        bounds = f'&begin={begin:%Y-%m-%dT%H:%M}&end={begin + HOUR:%Y-%m-%dT%H:%M}'
        answer = world.call(noauth, path + bounds)
        told = {
            row['groupby']['id']: Decimal(row['quantity'])
            for row in json.loads(answer.body, parse_float=Decimal)['results']
        }
        assert told == rated
        compared += len(rated)
    assert compared > QUESTIONS / 2
