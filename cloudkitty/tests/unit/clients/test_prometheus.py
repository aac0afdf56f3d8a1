"""The Prometheus client: what it asks, and what it makes of any answer."""

import base64
import logging
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.clients import prometheus, prometheus_access
from cloudkitty.tests import faults, services

GROUP = 'collector_prometheus'
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def build(conf):
    """Return what builds a client with options."""

    def build_client(url, *, answer_size_max=2**20, **options):
        section = configuration.register_driver(conf, GROUP, prometheus_access.OPTS)
        conf.set_override('prometheus_url', url, GROUP)
        for name, value in options.items():
            conf.set_override(name, value, GROUP)
        return prometheus.Client(
            prometheus_access.Direct(GROUP, section), answer_size_max=answer_size_max
        )

    return build_client


@pytest.fixture
def server():
    with faults.FaultyServer(faults.vector(({'a': 'b'}, '1.5'))) as faulty:
        yield faulty


def test_an_instant_query_names_time_in_utc(build, server):
    tokyo = timezone(timedelta(hours=9))

    found = build(server.url).query('up{a="b"}', NOON.astimezone(tokyo))

    assert found == [{'metric': {'a': 'b'}, 'value': [int(NOON.timestamp()), '1.5']}]
    (request,) = server.requests
    assert (request.method, request.path) == ('GET', '/api/v1/query')
    assert request.parameters == {
        'query': 'up{a="b"}',
        'time': '2024-05-01T12:00:00+00:00',
        'nocache': '1',
        'deny_partial_response': '1',
        'partial_response': 'false',
    }
    assert 'Authorization' not in request.headers


def test_a_long_query_travels_in_the_body(build, server):
    promql = '+'.join(['1'] * 5000)

    build(server.url).query(promql, NOON)

    (request,) = server.requests
    assert (request.method, request.path) == ('POST', '/api/v1/query')
    assert request.parameters['query'] == promql


@pytest.mark.parametrize(
    'options, expected',
    [
        ({'prometheus_user': 'käse', 'prometheus_password': 'brot'}, 'käse:brot'),
        ({'prometheus_user': 'kate'}, None),
        ({'prometheus_password': 'secret'}, None),
    ],
)
def test_login_needs_user_and_password(build, server, options, expected):
    build(server.url, **options).query('up')

    header = server.requests[0].headers.get('Authorization')
    assert header == (expected and f'Basic {base64.b64encode(expected.encode()).decode()}')


def test_a_bearer_token_is_sent(build, server):
    build(server.url, prometheus_token='abc.def').query('up')

    assert server.requests[0].headers['Authorization'] == 'Bearer abc.def'


def test_a_token_file_is_read_for_each_request(build, server, tmp_path):
    file = tmp_path / 'token'
    client = build(server.url, prometheus_token_file=str(file))
    for token in ('first', 'second'):
        file.write_text(f'{token}\n')
        client.query('up')

    assert [request.headers['Authorization'] for request in server.requests] == [
        'Bearer first',
        'Bearer second',
    ]


@pytest.mark.parametrize(
    'content, told',
    [
        (None, 'No such file'),
        ('', 'holds no token'),
        ('se\ncret', 'holds no token'),
        ('schlüssel', 'holds no token'),
    ],
)
def test_a_token_file_without_a_token_is_named(build, server, tmp_path, content, told):
    file = tmp_path / 'token'
    if content is not None:
        file.write_text(content)

    with pytest.raises(errors.SourceUnreachable, match=told) as caught:
        build(server.url, prometheus_token_file=str(file)).query('up')

    assert str(file) in str(caught.value)
    assert 'cret' not in str(caught.value)
    assert not server.requests


@pytest.mark.parametrize(
    'options, told',
    [
        ({'prometheus_token': 'a', 'prometheus_token_file': 'b'}, 'only one of'),
        (
            {'prometheus_token': 'a', 'prometheus_user': 'b', 'prometheus_password': 'c'},
            'only one of',
        ),
        ({'keyfile': '/etc/passwd'}, 'keyfile is set, but certfile is not'),
        ({'certfile': '/nonexistent'}, 'certfile: there is no file /nonexistent'),
        ({'certfile': '/etc/passwd', 'keyfile': '/nonexistent'}, 'keyfile: there is no file'),
    ],
)
def test_options_that_contradict_each_other_are_refused(build, options, told):
    with pytest.raises(errors.ConfigurationError, match=told):
        build('https://host/api/v1', **options)


GARBAGE = [
    faults.text('<html>Internal error</html>', status=500),
    faults.text('<html>Bad gateway</html>', status=502),
    faults.text('Too many requests', status=429),
    faults.text('<html>Please log in</html>'),
    faults.text('Unauthorized', status=401),
    faults.text('Not found', status=404),
    faults.text(''),
    faults.text(
        '{"status": "success", "data": {"resultType": "vector", "result": [',
        content_type='application/json',
    ),
    faults.as_json({'data': {'resultType': 'vector', 'result': []}}),
    faults.as_json({'status': 'success'}),
    faults.as_json({'status': 'success', 'data': None}),
    faults.as_json({'status': 'success', 'data': {'resultType': 'scalar', 'result': [0, '1']}}),
    faults.as_json({'status': 'success', 'data': {'resultType': 'vector', 'result': None}}),
    faults.as_json(
        {'status': 'success', 'data': {'resultType': 'vector', 'result': []}}, status=503
    ),
    faults.as_json([]),
    faults.as_json(None),
    faults.error('internal', 'disk on fire', status=500),
    faults.error('unavailable', 'starting', status=503),
    faults.truncated,
    faults.reset,
]


@pytest.mark.parametrize('answer', GARBAGE)
def test_garbage_is_no_word_of_the_source(build, server, answer):
    """And never an empty result."""
    server.answer = answer

    with pytest.raises(errors.SourceUnreachable) as caught:
        build(server.url).query('up')

    assert str(caught.value).startswith(f"Collector 'prometheus': {server.url}: ")
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize('ask', [lambda one: one.metric_names(), lambda one: one.metric_type('up')])
def test_a_list_with_an_error_status_is_no_word_of_the_source(build, server, ask):
    """A proxy that is down may send what it has kept of an earlier answer."""
    server.answer = faults.as_json({'status': 'success', 'data': []}, status=502)

    with pytest.raises(errors.SourceUnreachable, match='502'):
        ask(build(server.url))


@pytest.mark.parametrize(
    'kind, status', [('bad_data', 400), ('execution', 422), ('timeout', 503), ('bad_data', 200)]
)
def test_an_error_object_refuses_the_query(build, server, kind, status):
    server.answer = faults.error(
        kind, 'query processing would load too many samples', status=status
    )

    with pytest.raises(errors.CollectError, match=f'{kind}: query processing would') as caught:
        build(server.url).query('up')

    assert not isinstance(caught.value, errors.SourceUnreachable)


@pytest.mark.parametrize('answer', [faults.hang, faults.drip, faults.drip_head])
def test_no_answer_in_time_is_an_error(build, server, answer):
    server.answer = answer
    began = time.monotonic()

    with pytest.raises(errors.SourceUnreachable, match='time|took more than'):
        build(server.url, timeout=0.2).query('up')

    assert time.monotonic() - began < 5


def test_an_answer_has_a_limit(build, server):
    server.answer = faults.huge

    with pytest.raises(errors.CollectError, match='the answer has more than 1048576 bytes'):
        build(server.url).query('up')


def test_nobody_there(build):
    with pytest.raises(errors.SourceUnreachable, match='Connection refused'):
        build(f'http://127.0.0.1:{services.free_port()}/api/v1').query('up')


@pytest.mark.parametrize(
    'trouble', [faults.text('', status=503), faults.text('', status=429), faults.reset]
)
def test_a_short_trouble_is_not_noticed(build, server, trouble):
    server.answer = faults.in_turn(trouble, faults.vector(({}, '1')))

    assert build(server.url).query('up')
    assert len(server.requests) == 2


def test_tries_are_bounded(build, server):
    server.answer = faults.text('', status=503)

    with pytest.raises(errors.SourceUnreachable, match='HTTP status 503'):
        build(server.url).query('up')

    assert len(server.requests) == 1 + prometheus_access.RETRIES_MAX


def test_no_error_and_no_log_shows_a_secret(build, server, caplog):
    caplog.set_level(logging.DEBUG)
    server.answer = faults.text('', status=401)
    url = server.url.replace('//', '//someone:hidden@')

    with pytest.raises(errors.SourceUnreachable, match='401 .check prometheus_user') as caught:
        build(url, prometheus_user='kate', prometheus_password='secret').query('up')

    for text in str(caught.value), caplog.text:
        assert 'secret' not in text
        assert 'hidden' not in text


def test_a_part_of_an_answer_is_none(build, server):
    """A cluster of VictoriaMetrics says so when some of its stores are away."""
    answer = {'status': 'success', 'data': {'resultType': 'vector', 'result': []}}
    server.answer = faults.as_json({**answer, 'isPartial': False})
    assert build(server.url).query('up') == []

    server.answer = faults.as_json({**answer, 'isPartial': True})
    with pytest.raises(errors.SourceUnreachable, match='the answer is partial'):
        build(server.url).query('up')


def test_warnings_are_shown_once(build, server, caplog):
    server.answer = faults.as_json(
        {
            'status': 'success',
            'warnings': ['one store is away', {'odd': 1}],
            'data': {'resultType': 'vector', 'result': []},
        }
    )
    client = build(server.url)

    for _ in range(3):
        client.query('up')

    assert caplog.text.count('one store is away') == 1


@pytest.mark.parametrize(
    'url, shown',
    [
        ('', 'is not set'),
        (None, 'is not set'),
        ('127.0.0.1:9090/api/v1', "is '127.0.0.1:9090/api/v1'"),
        ('ftp://host/api/v1', "is 'ftp://host/api/v1'"),
        ('http:///api/v1', 'is'),
        ('http://host:99999/api/v1', 'is'),
        ('http://[::1/api/v1', 'is'),
        ('http://host', "is 'http://host'"),
        ('http://host/api/v1?x=y', 'is'),
        ('http://kate:secret@host', "is 'http://host'"),
    ],
)
def test_a_wrong_url_names_the_option_and_what_is_allowed(build, url, shown):
    with pytest.raises(errors.ConfigurationError) as caught:
        build(url)

    assert f'[{GROUP}]prometheus_url {shown}' in str(caught.value)
    assert 'allowed: a URL up to and with /api/v1' in str(caught.value)
    assert 'secret' not in str(caught.value)


def test_a_missing_cafile_is_named(build):
    with pytest.raises(errors.ConfigurationError, match=r'cafile: there is no file /nonexistent'):
        build('https://host/api/v1', cafile='/nonexistent')


@pytest.mark.parametrize(
    'text, quoted',
    [
        ('a', '"a"'),
        ('', '""'),
        ('a"b', r'"a\"b"'),
        ('\\', r'"\\"'),
        ('a\nb', r'"a\nb"'),
        ('{}', '"{}"'),
        ('é', '"é"'),
    ],
)
def test_text_is_quoted_for_promql(text, quoted):
    assert prometheus.quote(text) == quoted


@pytest.mark.parametrize(
    'text, quoted',
    [
        ('a', 'a'),
        ('.*', r'\.\*'),
        ('a|b', r'a\|b'),
        ('\\', '\\\\'),
        ('^$', r'\^\$'),
        ('{1}[a](b)?+', r'\{1\}\[a\]\(b\)\?\+'),
        ('é-#&~ "', 'é-#&~ "'),
    ],
)
def test_text_is_quoted_for_a_regular_expression(text, quoted):
    assert prometheus.quote_regex(text) == quoted


def test_redirects_lead_to_the_same_host_only(build, server):
    """Another one would be believed in place of the source."""
    with faults.FaultyServer(faults.vector(({'a': 'other'}, '1'))) as other:
        port = other.address.rpartition(':')[2]
        for host, is_followed in (('127.0.0.1', True), ('localhost', False)):
            other.requests.clear()
            server.answer = faults.redirect(f'http://{host}:{port}/api/v1/query')
            if is_followed:
                assert build(server.url).query('up', NOON)
            else:
                with pytest.raises(errors.SourceUnreachable):
                    build(server.url).query('up', NOON)
            assert bool(other.requests) is is_followed


def test_a_login_in_the_url_is_not_logged(build, conf, server, caplog):
    build(server.url.replace('http://', 'http://kate:sesame@'))

    conf.log_opt_values(logging.getLogger('cloudkitty'), logging.WARNING)

    assert 'prometheus_url' in caplog.text
    assert 'sesame' not in caplog.text


def test_warnings_that_are_remembered_are_bounded(build, server, caplog, monkeypatch):
    """Some servers put changing details into each of them."""
    monkeypatch.setattr(prometheus, 'WARNINGS_MAX', 3)
    client = build(server.url)
    for number in range(9):
        server.answer = faults.as_json(
            {
                'status': 'success',
                'warnings': [f'request {number} was slow'],
                'data': {'resultType': 'vector', 'result': []},
            }
        )
        client.query('up')

    assert [text.partition(': ')[2] for text in caplog.messages] == [
        f'request {number} was slow' for number in range(3)
    ]
