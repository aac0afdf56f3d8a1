"""What operators set around the API: request ids in the log, CORS, the headers of proxies."""

import logging

import pytest
import sqlalchemy as sa
import webob
from oslo_config import cfg
from oslo_context import context
from oslo_log import formatters

from cloudkitty import conf as configuration
from cloudkitty.api import app

DASHBOARD = 'http://dashboard.example'
PREFLIGHT = {
    'Origin': DASHBOARD,
    'Access-Control-Request-Method': 'PATCH',
    'Access-Control-Request-Headers': 'X-Auth-Token',
}


@pytest.fixture
def configured(tmp_path, database):
    """Build the application for noauth with the text of a configuration file."""

    def build(text=''):
        path = tmp_path / 'cloudkitty.conf'
        path.write_text(
            f'[DEFAULT]\nauth_strategy = noauth\n[database]\nconnection = {database.url}\n{text}\n'
        )
        loaded = configuration.load([], files=[str(path)], conf=cfg.ConfigOpts())
        return app.build(loaded, database=database, storage=None)

    return build


def _call(application, path, method='GET', **kwargs):
    return webob.Request.blank(path, method=method, **kwargs).get_response(application)


class _Lines(logging.Handler):
    """Keeps the first line of each record, as the operator's format writes it."""

    def __init__(self, conf):
        super().__init__(logging.DEBUG)
        self.setFormatter(
            formatters.ContextFormatter(project='cloudkitty', version='1', config=conf)
        )
        self.written = []

    def emit(self, record):
        self.written.append(self.format(record).splitlines()[0])


@pytest.fixture
def lines(conf):
    """The lines that we and the token check log."""
    handler = _Lines(conf)
    # Not the root: loading a configuration takes its handlers away.
    loggers = [logging.getLogger(name) for name in ('cloudkitty', 'keystonemiddleware')]
    for logger in loggers:
        logger.addHandler(handler)
    yield handler.written
    for logger in loggers:
        logger.removeHandler(handler)


def test_every_line_of_a_request_carries_its_id(configured, database, lines):
    """And no other one, though a thread serves many."""
    application = configured()
    with database.writer() as connection:
        connection.execute(sa.text('DROP TABLE modules_state'))

    ids = []
    for path in ('/v2/rating/modules', '/v1/rating/modules'):
        lines.clear()
        answer = _call(application, path)
        ids.append(answer.headers['x-openstack-request-id'])
        assert any(' ERROR ' in line for line in lines)
        assert all(ids[-1] in line.partition(']')[0] for line in lines), lines
    assert ids[0] != ids[1]


def test_lines_before_the_caller_is_known_carry_it_too(authenticated, lines):
    """The token check logs why it refuses."""
    answer = _call(authenticated, '/v2/scope', headers={'X-Auth-Token': 'wrong'})

    assert answer.status_int == 401
    told = [line for line in lines if 'keystonemiddleware' in line]
    assert told
    assert all(answer.headers['x-openstack-request-id'] in line for line in told)


def test_nothing_is_left_in_the_thread(configured):
    """What the thread logs afterwards is of no request."""
    application = configured()

    for path in ('/v2/scope', '/nope', '/v1/%ff'):
        _call(application, path)
        assert context.get_current() is None


def test_without_cors_options_nothing_is_allowed(configured):
    application = configured()

    answer = _call(application, '/v2/summary', 'OPTIONS', headers=PREFLIGHT)
    plain = _call(application, '/', headers={'Origin': DASHBOARD})

    assert not [
        name
        for name in (*answer.headers, *plain.headers)
        if name.lower().startswith('access-control')
    ]


@pytest.mark.parametrize(
    'origin, is_allowed',
    [
        (DASHBOARD, True),
        ('http://other.example', True),
        ('http://evil.example', False),
        (f'{DASHBOARD}.evil.example', False),
        ('null', False),
    ],
)
def test_only_origins_that_are_listed_are_allowed(configured, origin, is_allowed):
    application = configured(f'[cors]\nallowed_origin = {DASHBOARD},http://other.example')

    answer = _call(application, '/', headers={'Origin': origin})
    preflight = _call(application, '/v2/scope', 'OPTIONS', headers={**PREFLIGHT, 'Origin': origin})

    for told in (answer, preflight):
        assert told.headers.get('Access-Control-Allow-Origin') == (origin if is_allowed else None)
    if is_allowed:
        assert preflight.headers['Access-Control-Allow-Methods'] == 'PATCH'


def test_cors_options_are_obeyed(configured):
    """Methods, credentials, age, headers; errors carry them too, so that a page can read these."""
    application = configured(
        f'[cors]\nallowed_origin = {DASHBOARD}\nallow_credentials = false\nmax_age = 600\n'
        'allow_methods = GET\nexpose_headers = X-OpenStack-Request-ID\n'
    )

    preflight = {**PREFLIGHT, 'Access-Control-Request-Method': 'GET'}
    answer = _call(application, '/v2/summary', 'OPTIONS', headers=preflight)
    refused = _call(application, '/v2/summary', 'OPTIONS', headers=PREFLIGHT)
    missing = _call(application, '/v2/nope', headers={'Origin': DASHBOARD})

    assert answer.headers['Access-Control-Max-Age'] == '600'
    assert 'Access-Control-Allow-Credentials' not in answer.headers
    assert 'Access-Control-Allow-Methods' not in refused.headers
    assert missing.status_int == 404
    assert missing.headers['Access-Control-Allow-Origin'] == DASHBOARD
    assert missing.headers['Access-Control-Expose-Headers'] == 'X-OpenStack-Request-ID'


def test_a_preflight_needs_no_token(tmp_path, identity_service, database):
    path = tmp_path / 'secured.conf'
    path.write_text(
        f'[database]\nconnection = {database.url}\n[cors]\n'
        f'allowed_origin = {DASHBOARD}\n[keystone_authtoken]\nauth_type = password\n'
        f'auth_url = {identity_service}\nusername = u\npassword = p\n'
    )
    loaded = configuration.load([], files=[str(path)], conf=cfg.ConfigOpts())
    application = app.build(loaded, database=database, storage=None)

    preflight = _call(application, '/v2/scope', 'OPTIONS', headers=PREFLIGHT)
    refused = _call(application, '/v2/scope', headers={'Origin': DASHBOARD})

    assert preflight.status_int == 200
    assert preflight.headers['Access-Control-Allow-Origin'] == DASHBOARD
    assert refused.status_int == 401
    assert refused.headers['Access-Control-Allow-Origin'] == DASHBOARD


@pytest.mark.parametrize(
    'headers, base',
    [
        ({}, 'http://localhost'),
        ({'X-Forwarded-Proto': 'https', 'Host': 'api.example'}, 'https://api.example'),
        (
            {
                'X-Forwarded-Proto': 'https',
                'X-Forwarded-Host': 'cloud.example:8443',
                'X-Forwarded-Prefix': '/rating',
            },
            'https://cloud.example:8443/rating',
        ),
        ({'Forwarded': 'for=10.0.0.1;proto=https;host=cloud.example'}, 'https://cloud.example'),
    ],
)
def test_every_link_follows_the_proxy(configured, headers, base):
    """Discovery, the description, and the Location of what is made."""
    application = configured('[oslo_middleware]\nenable_proxy_headers_parsing = true')

    versions = _call(application, '/', headers=headers).json['versions']
    described = _call(application, '/openapi.json', headers=headers).json
    service = _call(
        application,
        '/v1/rating/module_config/hashmap/services',
        'POST',
        headers=headers,
        body=b'{"name": "x"}',
        content_type='application/json',
    )

    assert versions[0]['links'][0]['href'] == f'{base}/v1'
    assert described['servers'] == [{'url': base}]
    assert service.location == (
        f'{base}/v1/rating/module_config/hashmap/services/{service.json["service_id"]}'
    )


def test_a_proxy_is_not_believed_by_default(configured):
    answer = _call(
        configured(),
        '/',
        headers={
            'X-Forwarded-Proto': 'https',
            'X-Forwarded-Host': 'evil.example',
            'Forwarded': 'proto=https;host=evil.example',
        },
    )

    assert answer.json['versions'][0]['links'][0]['href'] == 'http://localhost/v1'


def test_the_scheme_of_anybody_is_not_believed(configured):
    """uWSGI writes what X-Forwarded-Proto says into the scheme before the application is asked."""
    headers = {'X-Forwarded-Proto': 'javascript'}
    environ = {'wsgi.url_scheme': 'javascript'}

    answer = _call(configured(), '/', headers=headers, environ=environ)
    secure = _call(configured(), '/', headers=headers, environ={**environ, 'HTTPS': 'on'})

    assert answer.json['versions'][0]['links'][0]['href'].startswith('http://')
    assert secure.json['versions'][0]['links'][0]['href'].startswith('https://')


@pytest.mark.parametrize(
    'headers',
    [
        {'X-Forwarded-Proto': 'javascript'},
        {'X-Forwarded-Host': 'evil.example/"><script>'},
        {'Host': 'evil.example/x?y'},
    ],
)
def test_a_link_that_is_none_is_refused(configured, headers):
    application = configured('[oslo_middleware]\nenable_proxy_headers_parsing = true')

    answer = _call(application, '/', headers=headers)

    assert answer.status_int == 400
    assert 'evil' not in answer.text


def test_no_name_writes_a_line_of_its_own(configured):
    """What any of our handlers writes is one line, whatever it tells of."""
    configured()
    handlers = logging.getLogger().handlers
    assert handlers

    for handler in handlers:
        record = logging.LogRecord(
            'cloudkitty',
            logging.ERROR,
            '',
            1,
            'Scope %s',
            ('p1\r\nERROR \x1b[31mfake\u202e',),
            None,
        )
        assert handler.filter(record)
        assert record.getMessage() == 'Scope p1\\r\\nERROR \\x1b[31mfake\\u202e'
