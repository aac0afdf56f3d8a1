"""Whatever a caller writes wherever text goes: no failure, and no row of another scope.

Driven by the description, so that a new route is attacked without a word here.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import webob

from cloudkitty.api import app
from cloudkitty.api.parameters import NAMES_MAX
from cloudkitty.tests import conftest
from cloudkitty.tests.functional.api.described import Described

ATTACKS = {
    'double quotes': 'p1" OR ""="\\',
    'backslash': "\\' OR 1=1#",
    'union': "p1') UNION SELECT identifier, 1, 1 FROM rated_scopes--",
    'stacked': "p1'; DROP TABLE rated_frames; --",
    'PromQL': 'p1"} or up{project_id=~".*',
    'patterns': '%_*?.*|(a+)+$%s{0}{{7*7}}',
    'NUL': 'p1\0',
    'half a pair': '\ud800',
    'lines': 'p1\r\nX-Roles: admin/../../etc/passwd',
    'pairs': 'id:u1,project_id:p2',
    'field': 'SUM(price) AS total, project_id',
    'field with SQL': 'MAX(qty)) FROM rated_totals --',
    'astral': '\U0001f4a9' * 300,
    'long': 'x' * 5000,
    'empty': '',
}
# What only the data of p2 hold.
SECRETS = ('u2', '0.5000000000000000000000000001', '1.0000000000000000000000000002')
TIME = {'begin': '2019-01-01', 'end': '2019-02-01'}
BODY_SIZE = 10 * 1024 * 1024


def _resolved(document, schema: Mapping) -> Mapping:
    while '$ref' in schema:
        schema = document['components']['schemas'][schema['$ref'].rpartition('/')[2]]
    for kind in ('anyOf', 'oneOf'):
        if kind in schema:
            return _resolved(document, schema[kind][0])
    return schema


def _example(document, schema: Mapping) -> Any:
    """Return something that fits, as far as types go."""
    schema = _resolved(document, schema)
    kind = schema.get('type')
    kind = kind[0] if isinstance(kind, list) else kind
    if 'enum' in schema:
        return schema['enum'][0]
    if kind == 'object':
        return {
            name: _example(document, schema['properties'][name])
            for name in schema.get('required', ())
        }
    if kind == 'array':
        return [_example(document, schema['items'])]
    return {'integer': 1, 'number': 1, 'boolean': True}.get(kind, 'x')


def _attacked(document, schema: Mapping, text: str) -> Iterator[Any]:
    """Yield bodies, each with *text* in another place: a value, an element, a name."""
    yield text
    schema = _resolved(document, schema)
    if schema.get('type') == 'object':
        base = _example(document, schema)
        for name, member in schema.get('properties', {}).items():
            for value in _attacked(document, member, text):
                yield {**base, name: value}
        yield {**base, text: text}
    elif schema.get('type') == 'array':
        for value in _attacked(document, schema['items'], text):
            yield [value]


class Body(NamedTuple):
    """The body of a request: its media type, and what is sent as JSON, or its bytes."""

    kind: str
    form: Any


def _requests(document, text: str) -> Iterator[tuple[str, str, Mapping, Any]]:
    """Yield (method, path, query, body) with *text* in each place of each operation."""
    for path, operations in document['paths'].items():
        for method, operation in operations.items():
            if operation.get('deprecated'):
                continue
            parameters = operation.get('parameters', ())
            names = {
                where: [parameter['name'] for parameter in parameters if parameter['in'] == where]
                for where in ('path', 'query')
            }
            yield from _in_address(method, path, names, text)
            body = operation.get('requestBody')
            if body:
                plain = path.format(**dict.fromkeys(names['path'], 'hashmap'))
                for kind, content in body['content'].items():
                    for form in _attacked(document, content['schema'], text):
                        yield method, plain, {}, Body(kind, form)


def _in_address(method, path, names, text):
    def fill(attacked=None):
        return path.format(
            **{name: text if name == attacked else 'hashmap' for name in names['path']}
        )

    time = {name: value for name, value in TIME.items() if name in names['query']}
    # An empty segment is none.
    for name in names['path'] if text else ():
        yield method, fill(name), time, None
    for name in names['query']:
        yield method, fill(), {**time, name: text}, None
    yield method, fill(), {**time, text or 'x': text}, None


def _send(application, method, path, query, body, token=None):
    """Return the answer; the address is given as the server decodes it."""
    environ = {'PATH_INFO': _wsgi(path)}
    request = webob.Request.blank('/', method=method.upper(), environ=environ)
    request.query_string = '&'.join(
        f'{_quoted(name)}={_quoted(value)}' for name, value in query.items()
    )
    if body is not None:
        request.content_type = body.kind
        request.body = json.dumps(body.form).encode()
    if token:
        request.headers['X-Auth-Token'] = token
    return request.get_response(application)


def _wsgi(text):
    return text.encode('utf-8', 'surrogatepass').decode('latin-1')


def _quoted(text):
    return ''.join(f'%{byte:02X}' for byte in text.encode('utf-8', 'surrogatepass'))


@pytest.fixture(params=conftest.KINDS)
def conf(request, conf, server_schemas):
    """The configuration, once with each kind of database."""
    with conftest.on_schema(request.param, conf, server_schemas) as configured:
        yield configured


# What is refused for its size never reaches a database.
ON_SQLITE = pytest.mark.parametrize('conf', ['sqlite'], indirect=True)


@pytest.mark.parametrize('attack', ATTACKS)
def test_text_never_makes_it_fail(noauth, attack):
    """An administrator writes it everywhere; the data are still there afterwards."""
    sent = 0
    for method, path, query, body in _requests(noauth.document, ATTACKS[attack]):
        answer = _send(noauth, method, path, query, body)
        sent += 1
        assert answer.status_int < 500, (method, path, query, body)

    assert sent > 300
    kept = _send(noauth, 'GET', '/v2/summary', {**TIME, 'groupby': 'project_id'}, None)
    assert kept.json['total'] == 2
    assert kept.text.count('p2') == 1


@pytest.mark.parametrize('attack', ATTACKS)
def test_a_reader_never_sees_another_scope(authenticated, attack):
    """What is refused is refused; all else is of the own project."""
    answered = 0
    for method, path, query, body in _requests(authenticated.document, ATTACKS[attack]):
        answer = _send(authenticated, method, path, query, body, 'reader-p1')
        assert answer.status_int < 500, (method, path, query, body)
        assert not any(secret in answer.text for secret in SECRETS), (method, path, query, body)
        answered += answer.status_int == 200

    assert answered


@pytest.mark.parametrize('path', ['/v2/summary', '/v2/dataframes'])
@pytest.mark.parametrize('count', [NAMES_MAX, 500])
def test_no_number_of_names_makes_it_fail(noauth, path, count):
    """A database joins 60 tables at most; an expression of SQL may be so and so deep."""
    names = [f'a{number}' for number in range(count)]
    asked = {**TIME, 'filters': ','.join(f'{name}:' for name in names)}
    if path == '/v2/summary':
        asked |= {
            'groupby': ','.join(names),
            'custom_fields': ','.join(f'median(qty) AS m{name}' for name in names),
        }

    answer = _send(noauth, 'GET', path, asked, None)
    assert answer.status_int == (200 if count == NAMES_MAX else 400), answer.text
    asked.pop('custom_fields', None)
    again = _send(noauth, 'GET', path, asked, None)
    assert again.status_int == answer.status_int, again.text


@pytest.fixture
def large(conf, database, storage, known_scopes, metrics_file):
    """The application with a limit that lets large bodies pass."""
    conf.set_override('auth_strategy', 'noauth')
    for group, options in app.library_options(conf):
        conf.register_opts(options, group=group)
    conf.set_override('max_request_body_size', 2 * BODY_SIZE, 'oslo_middleware')
    return Described(app.build(conf, database=database, storage=storage))


def _large_requests(document):
    for method, path, query, body in _requests(document, '@'):
        if body is not None:
            raw = json.dumps(body.form).replace('@', 'x' * BODY_SIZE).encode()
            yield method, path, query, Body(body.kind, raw)


def _send_raw(application, method, path, query, raw):
    request = webob.Request.blank(path, method=method.upper(), body=raw.form, content_type=raw.kind)
    return request.get_response(application)


@ON_SQLITE
def test_ten_megabytes_in_every_field_are_refused(noauth):
    """By the limit that is the default, before anything is read."""
    for method, path, query, raw in _large_requests(noauth.document):
        answer = _send_raw(noauth, method, path, query, raw)
        assert answer.status_int == 413, (method, path)


@ON_SQLITE
def test_ten_megabytes_are_no_failure_where_they_are_let_in(large):
    """Refused by length, or taken where a text may be of any length; never repeated in full."""
    for method, path, query, raw in _large_requests(large.document):
        answer = _send_raw(large, method, path, query, raw)
        assert answer.status_int < 500, (method, path)
        if answer.status_int >= 400:
            assert len(answer.body) < BODY_SIZE // 10, (method, path)
