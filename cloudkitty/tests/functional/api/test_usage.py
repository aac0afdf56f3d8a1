"""Usage is pushed over REST, once, by who may, and for whom."""

import gzip
import json
import secrets
from datetime import UTC, datetime, timedelta

import pytest
import webob
from prometheus_client import values

from cloudkitty.api import app
from cloudkitty.core.metering import cloudevents
from cloudkitty.db import usage_tables
from cloudkitty.storage.v2 import sql
from cloudkitty.tests import usage
from cloudkitty.tests.functional.api import conftest, world
from cloudkitty.usage import entries

SINGLE = 'application/cloudevents+json'
BATCH = 'application/cloudevents-batch+json'
METERING = {'X_Roles': 'metering', 'X_User_Id': 'u1', 'X_Project_Id': 'p1'}
KEPT = (usage_tables.series, usage_tables.attributes, usage_tables.batches)
ADMIN = {'X_Roles': 'admin', 'X_User_Id': 'root', 'X_Project_Id': 'office'}


def event(event_id='e1', data=None, *, ago_s=60, **changes):
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=ago_s)
    return {
        'specversion': '1.0',
        'type': 'volume.size',
        'source': 'cinder',
        'id': event_id,
        'subject': 'v1',
        'time': at.isoformat(),
        'data': {'scope_id': 'p1', 'quantity': '1.5', 'unit': 'GiB', **(data or {})},
        **changes,
    }


def push(application, body, *, caller=ADMIN, media=None, **headers):
    """Return the answer to a push."""
    if not isinstance(body, (bytes, str)):
        media = media or (BATCH if isinstance(body, list) else SINGLE)
        body = json.dumps(body)
    request = webob.Request.blank('/v2/usage', method='POST')
    request.headers.update(
        {name.replace('_', '-'): value for name, value in {**caller, **headers}.items()}
    )
    request.body = body if isinstance(body, bytes) else body.encode()
    request.content_type = media or BATCH
    return request.get_response(application)


def told(answer):
    """Return the numbers of an answer, and the reasons by index."""
    form = answer.json
    rejected = {item['index']: (item['code'], item['reason']) for item in form['rejected']}
    return form['accepted'], form['duplicates'], rejected


@pytest.fixture
def secured(tmp_path, sqlite_template):
    """A world whose application believes identity headers."""
    with world.opened(tmp_path, sqlite_template) as made:
        made.application = made.behind_a_proxy({})
        yield made


def sources(database):
    return usage.rows(database, usage_tables.series, 'source', 'scope_id')


def test_a_batch_and_a_single_event(noauth, database):
    """Are stored before they are answered; the same again is a duplicate."""
    batch = [event('a'), event('b', ago_s=50)]

    assert told(push(noauth, batch)) == (2, 0, {})
    assert told(push(noauth, batch)) == (0, 2, {})
    assert told(push(noauth, event('c'))) == (1, 0, {})
    assert told(push(noauth, batch[0])) == (0, 1, {})
    assert len(usage.rows(database, usage_tables.samples, 'at')) == 3


def test_a_packed_batch(noauth):
    """As the client's library packs it."""
    body = gzip.compress(json.dumps([event('a')]).encode())

    assert told(push(noauth, body, Content_Encoding='gzip')) == (1, 0, {})


def test_bad_events_are_named_and_the_others_stored(noauth):
    """By index and id, with the reason."""
    batch = [event('a'), event('b', {'quantity': 'much'}), 7, event('c', ago_s=-3600)]

    accepted, _, rejected = told(push(noauth, batch))

    assert accepted == 1
    assert {index: code for index, (code, _) in rejected.items()} == dict.fromkeys((1, 2, 3), 400)
    assert "'much' is not a number" in rejected[1][1]
    assert 'future' in rejected[3][1]


def test_a_single_event_that_is_refused_is_no_success(noauth):
    """A client that looks at the status only must not lose it."""
    assert push(noauth, event('a', {'quantity': 'much'})).status_int == 400
    assert push(noauth, event('a')).status_int == 200
    other = push(noauth, event('a', {'quantity': 7}))
    assert other.status_int == 409
    assert 'a higher ckrevision would take its place' in other.json['message']
    assert told(push(noauth, event('a', {'quantity': 7}, ckrevision=1))) == (1, 0, {})


def test_a_request_with_a_key_is_answered_once(noauth, database):
    """Again with its first answer; with another body it is refused."""
    batch = [event('a'), event('b', {'quantity': 'much'})]

    first = push(noauth, batch, Idempotency_Key='k')
    again = push(noauth, batch, Idempotency_Key='k')
    other = push(noauth, [event('c')], Idempotency_Key='k')

    assert told(again) == told(first)
    assert other.status_int == 409
    assert told(push(noauth, batch))[:2] == (0, 1)
    assert push(noauth, batch, Idempotency_Key='k' * 256).status_int == 400


def test_a_long_answer_is_kept_packed(any_conf, any_database):
    """It is told again as it was, and needs about as much as the request."""
    any_conf.set_override('auth_strategy', 'noauth')
    application = app.build(any_conf, database=any_database, storage=sql.SQLStorage(any_conf))
    body = json.dumps([event('a'), *[7] * 999])

    first = push(application, body, Idempotency_Key='k')
    again = push(application, body, Idempotency_Key='k')

    assert len(first.body) > 60_000
    assert {**again.json, 'server_time': ''} == {**first.json, 'server_time': ''}
    assert again.json['accepted'] == 1
    ((kept,),) = usage.rows(any_database, usage_tables.requests, 'answer')
    assert len(kept) < 2 * len(body)


def test_an_answer_that_is_too_long_is_not_kept(noauth, database):
    """The request is refused as a whole; without a key its good events are stored."""
    batch = [event('a'), *[event(secrets.token_hex(127), {'quantity': 'much'}) for _ in range(999)]]

    refused = push(noauth, batch, Idempotency_Key='k')

    assert refused.status_int == 400
    assert 'send fewer events' in refused.json['message']
    assert usage.rows(database, usage_tables.requests, 'digest') == []
    assert told(push(noauth, batch))[0] == 1


@pytest.fixture
def counting(any_conf, any_database, tmp_path, monkeypatch):
    """Return the application with metrics and the default policies, and own limits of 2."""
    # Metrics in files are for one test only.
    monkeypatch.setenv('PROMETHEUS_MULTIPROC_DIR', str(tmp_path))
    monkeypatch.setattr(values, 'ValueClass', values.ValueClass)
    (tmp_path / 'policy.yaml').write_text('{}')
    for option in entries.OWN_OPTIONS:
        any_conf.set_override(option, 2, 'metering')
    any_conf.set_override('metrics_folder', str(tmp_path / 'metrics'), 'api')
    return conftest.behind_a_proxy(
        any_conf, any_database, sql.SQLStorage(any_conf), tmp_path / 'policy.yaml'
    )


def test_a_project_has_a_bounded_number_of_series(counting, any_database):
    """Those of others do not count, and what it has goes on."""
    application = counting
    for number in range(3):
        assert push(application, event(f'admin-{number}', subject=f'a{number}')).status_int == 200
    batch = [event(f'e{number}', subject=f'v{number}') for number in range(4)]

    accepted, _, rejected = told(push(application, batch, caller=METERING))

    assert (accepted, len(rejected)) == (2, 2)
    assert {code for code, _ in rejected.values()} == {400}
    assert 'own_series_max' in next(iter(rejected.values()))[1]
    assert usage.rows(any_database, usage_tables.series, 'source').count(('p1:cinder',)) == 2
    known = min(set(range(4)) - rejected.keys())
    more = event('more', subject=f'v{known}', ago_s=30)
    assert told(push(application, more, caller=METERING))[0] == 1
    single = push(application, event('new', subject='v9'), caller=METERING)
    assert (single.status_int, 'own_series_max' in single.json['message']) == (400, True)
    assert push(application, event('admin-9', subject='a9')).status_int == 200
    metrics = world.call(application, '/metrics').text
    assert 'cloudkitty_api_refused_usage_total{limit="own_series_max"} 3.0' in metrics


def test_a_project_has_a_bounded_number_of_sets_of_attributes(counting, any_database):
    """Those of others do not count, known ones go on, and nothing is stored of what is refused."""
    for number in range(3):
        by_admin = event(f'admin-{number}', {'attributes': {'n': f'admin {number}'}})
        assert push(counting, by_admin).status_int == 200
    batch = [
        event(f'e{number}', {'attributes': {'n': str(number)}}, ago_s=60 + number)
        for number in range(4)
    ]

    accepted, _, rejected = told(push(counting, batch, caller=METERING))

    assert (accepted, sorted(rejected)) == (2, [2, 3])
    assert {code for code, _ in rejected.values()} == {400}
    assert 'own_attributes_max' in rejected[2][1]
    single = push(
        counting,
        event('new', {'attributes': {'n': 'new'}}, subject='v7', ago_s=30),
        caller=METERING,
    )
    assert (single.status_int, 'own_attributes_max' in single.json['message']) == (400, True)
    for known in ('1', 'admin 2'):
        more = event(f'more {known}', {'attributes': {'n': known}}, ago_s=20)
        assert told(push(counting, more, caller=METERING))[0] == 1
    assert usage.rows(any_database, usage_tables.batches, 'messages') == [(1,)] * 5 + [(2,)]
    assert ('v7',) not in usage.rows(any_database, usage_tables.series, 'resource_id')
    bodies = usage.rows(any_database, usage_tables.attributes, 'body')
    assert sorted(json.loads(body)['n'] for (body,) in bodies) == [
        *('0', '1'),
        *(f'admin {number}' for number in range(3)),
    ]
    metrics = world.call(counting, '/metrics').text
    assert 'cloudkitty_api_refused_usage_total{limit="own_attributes_max"} 3.0' in metrics


def test_what_is_refused_for_its_series_leaves_nothing(counting, any_database):
    """Neither attributes nor a message."""
    for number in range(2):
        assert push(counting, event(f'{number}', subject=f'v{number}'), caller=METERING).json
    before = [usage.rows(any_database, table, 'id') for table in KEPT]

    beyond = event('new', {'attributes': {'n': 'new'}}, subject='v9')
    assert push(counting, beyond, caller=METERING).status_int == 400

    assert [usage.rows(any_database, table, 'id') for table in KEPT] == before


def test_an_event_is_taken_back(noauth, database):
    """By source and id, and the audit trail says so."""
    push(noauth, [event('a', {'action': 'start'})])
    assert len(usage.lives(database)) == 1

    path = '/v2/usage?source=cinder&id=a'
    assert world.call(noauth, path, 'DELETE').status_int == 204
    assert usage.lives(database) == []
    assert world.call(noauth, '/v2/usage?source=cinder&id=b', 'DELETE').status_int == 404
    (entry,) = world.call(noauth, '/v2/audit?kind=pushed_usage').json['results']
    assert entry['object_id'] == 'a'


@pytest.mark.parametrize(
    'body, media, headers, status, text',
    [
        ('[]', BATCH, {}, 400, 'no event'),
        ('{', SINGLE, {}, 400, 'not valid JSON'),
        ('{},{}', SINGLE, {}, 400, 'more than'),
        ('[' * 100_000, BATCH, {}, 400, 'not valid JSON'),
        ('[' + '{},' * 1000 + '{}]', BATCH, {}, 400, 'more than 1000'),
        (b'\xff', BATCH, {}, 400, 'UTF-8'),
        ('[1e999999]', BATCH, {}, 400, 'exponent'),
        ('[NaN]', BATCH, {}, 400, 'not valid JSON'),
        ('[{}]', 'application/json', {}, 415, 'application/json'),
        ('[{}]', BATCH, {'Content_Encoding': 'br'}, 415, 'br'),
        ('[{}]', BATCH, {'Content_Encoding': 'gzip'}, 400, 'gzip'),
        (gzip.compress(b'[{}]')[:-9], BATCH, {'Content_Encoding': 'gzip'}, 400, 'end of the gzip'),
        (gzip.compress(b'[{}]') + b'x', BATCH, {'Content_Encoding': 'gzip'}, 400, 'follows'),
        (gzip.compress(b' ' * 2**23), BATCH, {'Content_Encoding': 'gzip'}, 400, 'more than'),
        ('[' + ' ' * 2**22 + ']', BATCH, {}, 413, 'too large'),
    ],
    ids=lambda value: value if isinstance(value, (int, str)) and len(str(value)) < 40 else '',
)
def test_bodies_that_are_refused(noauth, body, media, headers, status, text):
    """Whatever they are, they cost little."""
    answer = push(noauth, body, media=media, **headers)

    assert (answer.status_int, text in answer.json['message']) == (status, True), answer.json


def test_a_project_pushes_its_own_usage_only(secured):
    """Under a source of its own, which cannot touch what others measured."""
    push(secured.application, [event('a', {'action': 'start'}, ago_s=100)])

    answer = push(
        secured.application,
        [
            event('a', {'action': 'stop'}),
            event('b', {'scope_id': 'p2'}),
            event('c', type=cloudevents.COMPLETE) | {'data': {'meter': 'volume.size'}},
        ],
        caller=METERING,
    )

    accepted, _, rejected = told(answer)
    assert (accepted, sorted(rejected)) == (1, [1, 2])
    assert sources(secured.database) == [('cinder', 'p1'), ('p1:cinder', 'p1')]
    # What the operator measured goes on.
    assert [end for _, end, _, _ in usage.lives(secured.database)] == [None]


@pytest.mark.parametrize(
    'caller, status',
    [
        ({**METERING, 'X_Roles': 'member,reader'}, 403),
        ({'X_Roles': 'metering', 'X_User_Id': 'u'}, 403),
        (METERING, 200),
        (ADMIN, 200),
    ],
)
def test_who_may_push(secured, caller, status):
    """An administrator, or who has the role metering in the project."""
    answer = push(secured.application, [event()], caller=caller)
    assert answer.status_int == status
    path = '/v2/usage?source=cinder&id=a'
    if caller is not ADMIN:
        assert world.call(secured.application, path, 'DELETE', **caller).status_int == 403


def test_a_source_with_a_long_name(secured):
    """The name of the project in front must fit as well."""
    answer = push(secured.application, [event(source='s' * 255)], caller=METERING)

    assert list(told(answer)[2]) == [0]


NASTY = [
    '',
    'a\0b',
    '\ud800',
    '\u2028',
    'x' * 300,
    None,
    True,
    -1,
    1.5,
    10**30,
    '1e400',
    'NaN',
    '0001-01-01',
    '9999-12-31T23:59:59-23:59',
    [],
    {},
    {'\ud800': 1},
    {'a\0b': 'c'},
    {'a': [{}]},
]


def mutated(form, *path):
    """Yield copies of *form*, each with something nasty in one place."""
    at = form
    for step in path:
        at = at[step]
    for name in at:
        for value in NASTY:
            copy = json.loads(json.dumps(form))
            below = copy
            for step in path:
                below = below[step]
            below[name] = value
            yield copy
    for name in NASTY[1:5]:
        copy = json.loads(json.dumps(form))
        below = copy
        for step in path:
            below = below[step]
        below[name] = 'x'
        yield copy


def test_nothing_in_an_event_is_an_error_of_the_service(any_conf, any_database, tmp_path):
    """Each is stored, or refused with a reason; on all databases."""
    (tmp_path / 'policy.yaml').write_text('{}')
    application = conftest.behind_a_proxy(
        any_conf, any_database, sql.SQLStorage(any_conf), tmp_path / 'policy.yaml'
    )
    forms = (
        event('a', {'attributes': {'zone': 'z'}}),
        event('b', {'action': 'start', 'begin': None}),
        event('c') | {'type': cloudevents.COMPLETE, 'data': {'meter': 'm'}},
    )
    batch = [
        one
        for index, form in enumerate(forms)
        for path in ((), ('data',))
        for one in mutated({**form, 'source': f's{index}'}, *path)
    ]
    answer = push(application, batch, Idempotency_Key='k').json
    assert answer['accepted'] > 20
    assert answer['accepted'] + answer['duplicates'] + len(answer['rejected']) == len(batch)
    assert all(one['reason'] for one in answer['rejected'])
