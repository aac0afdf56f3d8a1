"""What surrounds the resources: middleware, faults, arguments in v1, foreign modules."""

import logging

import pecan.rest
import pytest
import sqlalchemy as sa
import webob
import wsme.types
from oslo_config import cfg
from wsmeext.pecan import wsexpose

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.api import app, rest, types
from cloudkitty.api.v1 import rating
from cloudkitty.tests.functional.api import keystone
from cloudkitty.tests.functional.api.described import Described

JSON = {'content_type': 'application/json'}


def _call(application, path, method='GET', **kwargs):
    return webob.Request.blank(path, method=method, **kwargs).get_response(application)


@pytest.fixture
def bare(conf, database):
    """Build the application for noauth with options set: bare(group, name=value)."""

    def build(group=None, **options):
        conf.set_override('auth_strategy', 'noauth')
        for known, known_options in app.library_options(conf):
            conf.register_opts(known_options, group=known)
        for name, value in options.items():
            conf.set_override(name, value, group)
        return Described(app.build(conf, database=database, storage=None))

    return build


def test_links_follow_the_mount_prefix(bare):
    answer = _call(bare(), '/', environ={'SCRIPT_NAME': '/rating', 'PATH_INFO': '/'})

    assert answer.json['versions'][1]['links'][0]['href'] == 'http://localhost/rating/v2'


@pytest.mark.parametrize(
    'is_parsed, href', [(True, 'https://cloud.example/rating/v1'), (False, 'http://localhost/v1')]
)
def test_links_follow_a_proxy_only_if_told_to(bare, is_parsed, href):
    application = bare('oslo_middleware', enable_proxy_headers_parsing=is_parsed)

    answer = _call(
        application,
        '/',
        headers={
            'X-Forwarded-Proto': 'https',
            'X-Forwarded-Host': 'cloud.example',
            'X-Forwarded-Prefix': '/rating',
        },
    )

    assert answer.json['versions'][0]['links'][0]['href'] == href


def test_cors_reads_the_options_of_the_service(bare):
    application = bare('cors', allowed_origin=['http://dashboard.example'])

    preflight = _call(
        application,
        '/v2/summary',
        'OPTIONS',
        headers={
            'Origin': 'http://dashboard.example',
            'Access-Control-Request-Method': 'GET',
            'Access-Control-Request-Headers': 'X-Auth-Token',
        },
    )
    answer = _call(application, '/', headers={'Origin': 'http://dashboard.example'})

    assert preflight.headers['Access-Control-Allow-Headers'] == 'X-Auth-Token'
    assert answer.headers['Access-Control-Allow-Origin'] == 'http://dashboard.example'
    assert 'X-OpenStack-Request-ID' in answer.headers['Access-Control-Expose-Headers']


@pytest.mark.parametrize(
    'asked, path, query',
    [
        ('/v2/summary?begin=2019-01-01', '/v2/summary', ''),
        ('/v2/summary?begin=2019-01-01', '/v2/summary', 'begin=2019'),
        ('/v2/summary?begin=2019-01-01', '', 'begin=2019-01-01'),
        ('http://cloud.example/v1/report/total?tenant_id=p1', '/v1/report/total', ''),
    ],
)
def test_an_address_that_the_server_has_cut_is_refused(noauth, asked, path, query):
    """Its answer would be that to another question."""
    answer = _call(
        noauth, '/', environ={'REQUEST_URI': asked, 'PATH_INFO': path, 'QUERY_STRING': query}
    )

    assert answer.status_int == 414
    assert 'longer than the server takes' in answer.text
    assert list(answer.json) in (['message'], ['faultcode', 'faultstring', 'debuginfo'])


@pytest.mark.parametrize(
    'asked, environ',
    [
        ('/v2/scope?scope_id=p1', {'QUERY_STRING': 'scope_id=p1'}),
        ('/v2/scope?', {'QUERY_STRING': ''}),
        ('/v2/scope', {}),
        ('/v2/scope#?part', {}),
        # A proxy that rewrites tells what it was asked.
        ('/scopes?id=p1', {'QUERY_STRING': 'scope_id=p1'}),
        ('/rating/v2/scope', {'SCRIPT_NAME': '/rating'}),
    ],
)
def test_an_address_that_is_whole_is_answered(noauth, asked, environ):
    """As the server or a proxy in front of it has understood it."""
    answer = _call(noauth, '/', environ={'REQUEST_URI': asked, 'PATH_INFO': '/v2/scope', **environ})

    assert answer.status_int == 200


def test_a_large_body_is_refused_in_json(bare):
    application = bare('oslo_middleware', max_request_body_size=100)

    for path, key in (
        ('/v1/rating/modules/noop', 'faultstring'),
        ('/v2/rating/modules/noop', 'message'),
    ):
        answer = _call(application, path, 'PUT', body=b' ' * 101, **JSON)
        assert (answer.status_int, answer.json[key]) == (413, 'The request is too large.')


def test_health_can_be_switched_off_by_a_file(bare, tmp_path):
    switch = tmp_path / 'healthcheck_disable'
    application = bare('healthcheck', disable_by_file_path=str(switch))

    assert _call(application, '/healthcheck').text == 'OK'
    switch.touch()
    answer = _call(application, '/healthcheck')
    assert (answer.status_int, answer.text) == (503, 'DISABLED BY FILE')


def test_an_internal_error_says_nothing_and_is_logged(bare, database, caplog):
    """The log line carries the request id of the answer."""
    application = bare()
    with database.writer() as connection:
        connection.execute(sa.text('DROP TABLE modules_state'))
        connection.execute(sa.text('DROP TABLE storage_scope_reprocessing_schedule'))

    for path, told in (
        (
            '/v1/rating/modules',
            {'faultcode': 'Server', 'debuginfo': None, 'faultstring': 'Internal Server Error'},
        ),
        ('/v2/rating/modules', {'message': 'Internal Server Error'}),
    ):
        caplog.clear()
        answer = _call(application, path)

        assert answer.status_int == 500
        assert answer.json == told
        (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert answer.headers['x-openstack-request-id'] in record.getMessage()
        assert 'modules_state' in caplog.text

    answer = _call(application, '/v2/task/reprocesses/a%0A2026-01-01 INFO all is well')
    assert answer.status_int == 500
    assert not any('\n' in record.getMessage() for record in caplog.records)


def test_a_keystone_that_is_down_is_503_in_json(tmp_path, conf, database):
    path = tmp_path / 'keystone.conf'
    path.write_text(
        '[keystone_authtoken]\nauth_type = password\nusername = u\npassword = p\n'
        'auth_url = http://127.0.0.1:1/v3\nhttp_request_max_retries = 0\n'
    )
    loaded = configuration.load([], files=[str(path)], conf=cfg.ConfigOpts())
    application = app.build(loaded, database=database, storage=None)

    answer = _call(application, '/v2/scope', headers={'X-Auth-Token': 'admin'})

    assert (answer.status_int, answer.json) == (503, {'message': 'Service Unavailable'})


@pytest.mark.parametrize('service_token', [keystone.SERVICE_TOKEN, 'system-service'])
def test_the_scope_of_the_token_of_the_user_decides(authenticated, service_token):
    """Whatever service token goes with it: that one has a scope of its own."""
    for token, status in (('admin', 200), ('system-admin', 403), ('domain-admin', 403)):
        for path in ('/v2/scope', '/v1/rating/modules'):
            headers = {'X-Auth-Token': token, 'X-Service-Token': service_token}
            assert _call(authenticated, path, headers=headers).status_int == status, (token, path)


@pytest.mark.parametrize('section', ['ks_auth', 'keystone_authtoken'])
def test_credentials_may_be_in_a_section_of_their_own(
    section, tmp_path, identity_service, database
):
    """Deployment tools write them once and name the section in `auth_section` wherever needed."""
    path = tmp_path / 'charm.conf'
    path.write_text(keystone.middleware_options(identity_service, auth_section=section))
    loaded = configuration.load([], files=[str(path)], conf=cfg.ConfigOpts())
    application = app.build(loaded, database=database, storage=None)

    assert _call(application, '/').status_int == 200
    for token, status in (('admin', 200), ('nonsense', 401)):
        answer = _call(application, '/v2/rating/modules', headers={'X-Auth-Token': token})
        assert answer.status_int == status


@pytest.mark.parametrize(
    'path, status',
    [
        ('/v1/%ff', 400),
        ('/v2/scope?scope_id=%ff', 400),
        ('/v1/rating/%00', 400),
        ('/%ed%a0%80', 400),
        ('//v1', 404),
        ('/v1//rating/modules', 404),
        ('///', 200),
    ],
)
def test_an_odd_address_is_never_a_500(bare, path, status):
    answer = _call(bare(), path)

    assert answer.status_int == status
    assert answer.content_type == 'application/json'


class Thing(wsme.types.Base):
    """A model with every type."""

    thing_id = types.uuid
    cost = wsme.types.wsattr(types.cost, mandatory=True)
    start = types.moment
    is_on = types.boolean
    parts = [str]


class Things(rest.Controller):
    """A resource that shows what it was given."""

    @rest.expose([str], types.key, types.boolean)
    def get_all(self, parent_id=None, is_on=False):
        return [str(parent_id), str(is_on)]

    @rest.expose(Thing, types.key)
    def get_one(self, thing_id):
        raise errors.NotFound(reason=f'No such thing: {thing_id}')

    @rest.expose(Thing, types.boolean, body=Thing, status_code=201)
    def post(self, force=False, thing=None):
        pecan.response.location = rest.location_of('new')
        return thing

    @rest.expose(Thing, types.key, body=Thing, status_code=302)
    def put(self, thing_id, thing):
        pecan.response.location = rest.location_of()
        return Thing(thing_id=thing_id, cost=thing.cost)

    @rest.expose(None, types.key, status_code=204)
    def delete(self, thing_id):
        pecan.response.headers['X-Deleted'] = thing_id


class Foreign(pecan.rest.RestController):
    """Exposed as plug-ins have always done it."""

    @wsexpose([str])
    def get_all(self):
        return ['foreign']

    @wsexpose(str, str)
    def get_one(self, name):
        raise RuntimeError(f'password of {name}')


@pytest.fixture
def things(bare, monkeypatch):
    """The application with two more rating modules that have a configuration."""

    class OurModule:
        config_controller = Things

    class ForeignModule:
        config_controller = f'{__name__}:Foreign'

    class BrokenModule:
        config_controller = 'nowhere.at:All'

    monkeypatch.setattr(
        rating.plugins,
        'load_all',
        lambda namespace: {
            'things': OurModule,
            'foreign': ForeignModule,
            'broken': BrokenModule,
            'unloadable': ImportError('no such library'),
        },
    )
    application = bare()
    return lambda path, *args, **kwargs: _call(
        application, f'/v1/rating/module_config{path}', *args, **kwargs
    )


ID = '3b0c5f1e-8a44-4f6e-9d5b-0a1b2c3d4e5f'


@pytest.mark.parametrize(
    'path, method, body, status, told',
    [
        ('/things', 'GET', None, 200, ['None', 'False']),
        (f'/things/?parent_id={ID.upper()}&is_on=true', 'GET', None, 200, [ID, 'True']),
        ('/things?is_on=false', 'GET', None, 200, ['None', 'False']),
        ('/things?is_on=', 'GET', None, 200, ['None', 'False']),
        ('/things/', 'GET', '{"parent_id": "x", "is_on": "on"}', 200, ['x', 'True']),
        (
            '/things',
            'POST',
            '{"cost": 0.2, "parts": ["a"]}',
            201,
            {'cost': '0.2000000000000000000000000000', 'parts': ['a']},
        ),
        (
            '/things',
            'POST',
            '{"cost": "1e-3", "start": "2024-05-01 12:00:00+02:00"}',
            201,
            {'cost': '0.0010000000000000000000000000', 'start': '2024-05-01T10:00:00'},
        ),
        (
            '/things?force=true',
            'POST',
            f'{{"cost": 1, "thing_id": "{ID.upper()}"}}',
            201,
            {'thing_id': ID, 'cost': '1.0000000000000000000000000000'},
        ),
        (
            f'/things/{ID}',
            'PUT',
            '{"cost": 1}',
            302,
            {'thing_id': ID, 'cost': '1.0000000000000000000000000000'},
        ),
        (
            '/things',
            'PUT',
            f'{{"cost": 1, "thing_id": "{ID}"}}',
            302,
            {'thing_id': ID, 'cost': '1.0000000000000000000000000000'},
        ),
        ('/foreign', 'GET', None, 200, ['foreign']),
    ],
)
def test_arguments_come_from_path_query_and_body(things, path, method, body, status, told):
    answer = things(path, method, body=(body or '').encode(), **JSON)

    assert (answer.status_int, answer.json) == (status, told)


@pytest.mark.parametrize(
    'path, method, body, status, told',
    [
        ('/things?nope=1', 'GET', None, 400, 'Unknown argument: "nope"'),
        ('/things?is_on=perhaps', 'GET', None, 400, 'Value not an unambiguous boolean: perhaps'),
        ('/things', 'GET', '{"nope": 1}', 400, 'Unknown argument: "nope"'),
        ('/things', 'GET', '{"parent_id": 5}', 400, "got '<class 'int'>'"),
        ('/things', 'GET', '{"parent_id": {"a": []}}', 400, "got '<class 'dict'>'"),
        ('/things', 'GET', '[]', 400, 'Request must be a JSON dict'),
        (
            '/things?is_on=1',
            'GET',
            '{"is_on": true}',
            400,
            'Parameter is_on was given several times',
        ),
        ('/things/x', 'GET', None, 404, 'No such thing: x'),
        ('/things/x/y', 'GET', None, 404, 'not found'),
        ('/things', 'POST', '{"cost": "abc"}', 400, "Value is not a decimal number, got 'abc'"),
        ('/things', 'POST', '{"cost": NaN}', 400, 'Request is not in valid JSON format'),
        ('/things', 'POST', '{"cost": 1e999999999}', 400, 'an exponent beyond 400'),
        ('/things', 'POST', '{"cost": null}', 400, 'Mandatory field missing.'),
        (
            '/things',
            'POST',
            '{}',
            400,
            "field/attribute cost. Value: 'None'. Mandatory field missing.",
        ),
        ('/things', 'POST', '{"cost": 1, "thing_id": "x"}', 400, "Invalid UUID, got 'x'"),
        ('/things', 'POST', '{"cost": 1, "start": "2024-05"}', 400, 'is not an ISO 8601 date'),
        ('/things', 'POST', '{"cost": 1, "parts": "a"}', 400, 'Value not a valid list'),
        ('/things', 'POST', '{"cost": 1, "parts": [1]}', 400, 'parts'),
        (
            '/things',
            'POST',
            '{"cost": 1, "colour": 1}',
            400,
            'Unknown attribute for argument thing: colour',
        ),
        ('/things/extra', 'POST', '{"cost": 1}', 400, 'unambiguous boolean: extra'),
        ('/things/true/extra', 'POST', '{"cost": 1}', 404, 'not found'),
        ('/things', 'POST', '', 400, 'Missing argument: "thing"'),
        ('/things', 'PUT', '{"cost": 1}', 400, 'Missing argument: "thing_id"'),
        ('/things', 'DELETE', '', 400, 'Missing argument: "thing_id"'),
        ('/things', 'PATCH', '{}', 405, 'The method is not allowed'),
        ('/foreign/x', 'GET', None, 500, 'Internal Server Error'),
        ('/foreign/x/y/z', 'GET', None, 404, 'not found'),
        ('/broken', 'GET', None, 409, 'Module is not configurable'),
        ('/unloadable', 'GET', None, 409, 'Module is not configurable'),
    ],
)
def test_wrong_arguments_are_faults(things, path, method, body, status, told):
    answer = things(path, method, body=(body or '').encode(), **JSON)

    assert answer.status_int == status
    assert told in answer.json['faultstring']
    assert answer.json['debuginfo'] is None


@pytest.mark.parametrize(
    'path, body, deleted',
    [
        (f'/things/{ID}', '', ID),
        ('/things/', f'{{"thing_id": "{ID.upper()}"}}', ID),
        ('/things/A', '{"thing_id": "B"}', 'B'),
        ('/things?thing_id=C', '', 'C'),
    ],
)
def test_a_delete_takes_its_id_from_anywhere(things, path, body, deleted):
    """Query and body win over the path."""
    answer = things(path, 'DELETE', body=body.encode(), **JSON)

    assert (answer.status_int, answer.body, answer.content_type) == (204, b'', None)
    assert answer.headers['X-Deleted'] == deleted


@pytest.mark.parametrize('path', ['/things', '/things/'])
def test_the_location_of_a_new_member_has_one_slash(things, path):
    answer = things(path, 'POST', body=b'{"cost": 1}', **JSON)

    assert answer.location == 'http://localhost/v1/rating/module_config/things/new'
