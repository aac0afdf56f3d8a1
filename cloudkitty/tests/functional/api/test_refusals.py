"""What every route refuses, with which status and in which shape."""

import re

import pytest
import webob

from cloudkitty.api import rest, root
from cloudkitty.rating import module_state as db_modules
from cloudkitty.tests.functional.api import world

METHODS = ('GET', 'POST', 'PUT', 'PATCH', 'DELETE')
HASHMAP = '/v1/rating/module_config/hashmap'
PUBLIC = ('/healthcheck', '/metrics')
PATHS = {
    re.sub(r'{[^}]*}', 'x', path): sorted(method.upper() for method in methods)
    for path, methods in root.RootController().description['paths'].items()
    if path not in PUBLIC
}


@pytest.fixture(scope='module')
def made(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('refusals'), sqlite_template) as opened:
        yield opened


@pytest.fixture(scope='module')
def application(made):
    return made.noauth()


def _fault(path, answer):
    """Return the text of an error, once its shape is that of its version."""
    assert answer.content_type == 'application/json'
    if path == '/v1' or path.startswith('/v1/'):
        kind = 'Server' if answer.status_int >= 500 else 'Client'
        told = answer.json['faultstring']
        assert answer.json == {'faultcode': kind, 'faultstring': told, 'debuginfo': None}
    else:
        told = answer.json['message']
        assert answer.json == {'message': told}
    assert told
    return told


@pytest.mark.parametrize('path', PATHS)
def test_a_method_that_is_none_is_told_from_those_that_are(application, path):
    """405 with the methods that there are, which OPTIONS tells too."""
    allowed = world.call(application, path, 'OPTIONS')
    methods = allowed.json['methods']

    assert sorted(allowed.allow) == methods == rest.with_derived(methods)
    assert set(PATHS[path]) <= set(methods)
    for method in (*set(METHODS).difference(methods), 'BREW'):
        answer = world.call(application, path, method, json={})
        assert answer.status_int == 405
        assert _fault(path, answer) == 'The method is not allowed for the requested URL.'
        if method != 'BREW':
            assert sorted(answer.allow) == methods


@pytest.mark.parametrize('path', PATHS)
def test_an_argument_that_nobody_knows_is_refused(application, path):
    """A wrong name of a filter would otherwise show everything."""
    if path in ('/', '/v1', '/v2', '/openapi.json'):
        return
    for method in PATHS[path]:
        answer = world.call(application, f'{path}?colour=red', method)
        if path == '/v1/collector':
            continue
        assert answer.status_int in (400, 415), (method, answer.text)
        _fault(path, answer)


@pytest.mark.parametrize('path', PATHS)
def test_a_method_cannot_be_smuggled_into_a_query(application, path):
    """A link must not delete."""
    answer = world.call(application, f'{path}?_method=DELETE')

    assert answer.status_int in (400, 405), answer.text
    _fault(path, answer)


@pytest.mark.parametrize(
    'path', ['/v1/nope', '/v1/rating/nope', f'{HASHMAP}/nope', '/v2/nope', '/v2/scope/x', '/nope']
)
def test_what_is_not_there(application, path):
    for method in METHODS:
        answer = world.call(application, path, method, json={})
        assert answer.status_int == 404, method
        assert _fault(path, answer) == 'The requested URL was not found on the server.'


@pytest.mark.parametrize('path', PATHS)
def test_a_head_is_a_get_without_its_body(application, path):
    if 'GET' not in PATHS[path]:
        return
    whole, head = (world.call(application, path, method) for method in ('GET', 'HEAD'))

    assert (head.status_int, head.content_type) == (whole.status_int, whole.content_type)
    assert head.body == b''


@pytest.mark.parametrize(
    'path',
    [
        '/v2/scope?scope_id=a%00',
        '/v2/scope?%00=a',
        '/v2/summary?filters=id:%ed%a0%80',
        '/v1/report/total?tenant_id=a%00',
        '/v2/task/reprocesses/%00?limit=1',
        '/v1/rating/modules/%00?x=1',
    ],
)
def test_a_character_that_cannot_be_stored_is_refused_anywhere(application, path):
    """Not by the database, each of which says something else."""
    answer = world.call(application, path)

    assert answer.status_int == 400
    assert 'The URL ' in _fault(path, answer)


@pytest.mark.parametrize('name', ['a\0b', '\ud800', 'a\udfff'])
def test_neither_is_it_taken_in_a_body(application, name):
    for path, body in (
        ('/v2/scope', {'scope_id': name, 'last_processed_timestamp': '2019-01-01'}),
        (f'{HASHMAP}/groups', {'name': name}),
    ):
        answer = world.call(application, path, 'POST', json=body)
        assert answer.status_int == 400
        assert _fault(path, answer) == 'Request is not in valid JSON format'


WRITING = [
    (f'{HASHMAP}/groups', 'POST'),
    ('/v1/rating/modules/noop', 'PUT'),
    ('/v1/rating/quote', 'POST'),
    ('/v2/rating/modules/noop', 'PUT'),
    ('/v2/dataframes', 'POST'),
    ('/v2/scope', 'POST'),
    ('/v2/scope', 'PUT'),
    ('/v2/scope', 'PATCH'),
    ('/v2/task/reprocesses', 'POST'),
]


@pytest.mark.parametrize('path, method', WRITING)
@pytest.mark.parametrize(
    'body, status',
    [
        ('{', 400),
        ('[]', 400),
        ('"text"', 400),
        ('null', 400),
        ('{"a": NaN}', 400),
        ('{"\\u0000": 1}', 400),
        ('{"\\ud800": 1}', 400),
        ('\xff', 400),
        ('[' * 100_000, 400),
        ('{"colour": "red"}', 400),
    ],
)
def test_a_body_that_is_none_is_refused(application, path, method, body, status):
    request = webob.Request.blank(
        path, method=method, body=body.encode('latin-1'), content_type='application/json'
    )

    answer = request.get_response(application)

    assert answer.status_int == status
    _fault(path, answer)


@pytest.mark.parametrize('path, method', WRITING)
@pytest.mark.parametrize('kind', ['text/plain', 'application/x-www-form-urlencoded', 'text/json'])
def test_a_body_of_another_type_is_refused(application, path, method, kind):
    request = webob.Request.blank(path, method=method, body=b'{"a": 1}', content_type=kind)

    answer = request.get_response(application)

    assert answer.status_int == 415
    assert kind in _fault(path, answer)


def test_a_body_without_a_length_is_limited_too(tmp_path, sqlite_template):
    """A length is what a caller may leave out; the server then marks the end."""
    with world.opened(tmp_path, sqlite_template) as made:
        application = made.noauth()
        made.conf.set_override('max_request_body_size', 100, 'oslo_middleware')
        for path, method in WRITING:
            for size, told in ((101, 413), (100, 400)):
                request = webob.Request.blank(
                    path, method=method, body=b' ' * size, content_type='application/json'
                )
                del request.environ['CONTENT_LENGTH']
                request.environ['wsgi.input_terminated'] = True
                answer = request.get_response(application)
                assert answer.status_int == told, (path, size)
                _fault(path, answer)


def test_the_text_of_an_internal_error_stays_inside(application, made):
    """Also of one that was foreseen: it may name a path or a server."""
    with made.database.writer() as connection:
        db_modules.update(connection, 'http://10.0.0.7', enabled=True)

    answer = world.call(
        application,
        '/v1/rating/quote',
        'POST',
        json={'resources': [{'service': 'cpu', 'volume': 1}]},
    )

    with made.database.writer() as connection:
        db_modules.update(connection, 'http://10.0.0.7', enabled=False)
    assert answer.status_int == 500
    assert _fault('/v1/rating/quote', answer) == 'Internal Server Error'


def test_what_was_sent_is_not_sent_back_in_full(application):
    """An answer is no place for megabytes."""
    long = 'x' * 100_000
    for path, body in (
        ('/v1/rating/quote', {'resources': [{'service': 'cpu', 'volume': long}]}),
        (f'{HASHMAP}/groups', {long: 1}),
        ('/v2/dataframes', {long: 1}),
        ('/v2/task/reprocesses', {'reason': long}),
    ):
        answer = world.call(application, path, 'POST', json=body)
        assert answer.status_int == 400
        assert len(_fault(path, answer)) < 2100, path
