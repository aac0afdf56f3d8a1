"""How the files of the web page are served, and what of a log-in is passed on to Keystone."""

import re
from concurrent import futures

import pytest
import webob

from cloudkitty import ui
from cloudkitty.tests import faults, services
from cloudkitty.ui import login

JSON = {'content_type': 'application/json'}
AUTH = b'{"auth": {"identity": {"methods": ["password"]}}}'


def application(environ, start_response):
    return webob.Response(text='the API')(environ, start_response)


def pages(url=''):
    return ui.Pages(application, login.Keystone(url))


def ask(path, method='GET', url='', **arguments):
    return webob.Request.blank(path, method=method, **arguments).get_response(pages(url))


def test_the_index_is_asked_for_each_time_and_its_files_are_kept():
    index = ask('/ui/')
    (script,) = re.findall(r'src="([^"]+app\.js)"', index.text)
    (style,) = re.findall(r'href="([^"]+\.css)"', index.text)

    assert (index.status_int, index.content_type) == (200, 'text/html')
    assert index.headers['Cache-Control'] == 'no-cache'
    for path, kind in ((script, 'text/javascript'), (style, 'text/css')):
        answer = ask(path)
        assert (answer.status_int, answer.content_type) == (200, kind)
        assert 'immutable' in answer.headers['Cache-Control']
    again = ask('/ui/', headers={'If-None-Match': index.headers['ETag']})
    assert (again.status_int, again.body) == (304, b'')


def test_files_of_another_version_have_another_address(tmp_path):
    for content in ('one', 'two'):
        folder = tmp_path / content
        folder.mkdir()
        (folder / 'index.html').write_text('{base}')
        (folder / 'app.js').write_text(content)
    found = {
        webob.Request.blank('/ui/')
        .get_response(ui.Pages(application, login.Keystone(''), tmp_path / content))
        .text
        for content in ('one', 'two')
    }

    assert len(found) == 2


def test_the_page_may_load_nothing_from_elsewhere():
    for path in ('/ui', '/ui/', re.search(r'src="([^"]+)"', ask('/ui/').text)[1]):
        headers = ask(path).headers
        policy = dict(
            part.strip().split(' ', 1) for part in headers['Content-Security-Policy'].split(';')
        )
        assert policy['default-src'] == "'none'"
        assert policy['script-src'] == policy['connect-src'] == policy['style-src'] == "'self'"
        assert policy['frame-ancestors'] == policy['base-uri'] == "'none'"
        assert policy['require-trusted-types-for'] == "'script'"
        assert headers['X-Content-Type-Options'] == 'nosniff'
        assert headers['Referrer-Policy'] == 'no-referrer'


def test_a_missing_slash_is_added_below_the_servers_prefix():
    answer = ask('/ui', base_url='http://rating.example/rating')

    assert answer.status_int == 308
    assert answer.location.endswith('/rating/ui/')


def test_head_has_no_body():
    answer = ask('/ui/', method='HEAD')

    assert (answer.status_int, answer.body) == (200, b'')
    assert answer.content_length > 100


@pytest.mark.parametrize(
    ('path', 'method'),
    [
        ('/', 'GET'),
        ('/v2/summary', 'GET'),
        ('/uix', 'GET'),
        ('/ui/', 'POST'),
        ('/ui/../conf.py', 'GET'),
        ('/ui/0000/app.js', 'GET'),
        ('/ui/auth/tokens', 'GET'),
    ],
)
def test_everything_else_is_the_apis(path, method):
    assert ask(path, method=method).text == 'the API'


@pytest.mark.parametrize(
    ('body', 'kind', 'status'),
    [
        (AUTH, 'text/plain', 415),
        (b'', 'application/json', 413),
        (AUTH + b' ' * login.BODY_MAX, 'application/json', 413),
        (b'{"auth"', 'application/json', 400),
        (b'[]', 'application/json', 400),
        (b'{"auth": {}, "user": {}}', 'application/json', 400),
    ],
)
def test_only_requests_for_a_token_are_passed_on(body, kind, status):
    with faults.FaultyServer(faults.reset) as keystone:
        answer = ask('/ui/auth/tokens', 'POST', keystone.url, body=body, content_type=kind)

        assert answer.status_int == status
        assert not keystone.requests


def test_without_keystone_there_is_no_log_in():
    answer = ask('/ui/auth/tokens', 'POST', body=AUTH, **JSON)

    assert answer.status_int == 404
    assert 'www_authenticate_uri' in answer.json['message']


def test_a_keystone_that_is_away_is_503_and_the_log_has_no_password(caplog):
    with faults.FaultyServer(faults.reset) as keystone:
        body = b'{"auth": {"password": "swordfish"}}'
        answer = ask('/ui/auth/tokens', 'POST', keystone.url, body=body, **JSON)

    assert answer.status_int == 503
    assert 'Keystone' in caplog.text
    assert 'swordfish' not in caplog.text


def test_too_many_log_ins_at_once_are_refused():
    """Keystone hangs; those that wait for it leave the threads of the API alone."""
    with futures.ThreadPoolExecutor(login.CALLS_MAX) as pool:
        with faults.FaultyServer(faults.hang) as keystone:
            served = pages(keystone.url)

            def log_in():
                request = webob.Request.blank('/ui/auth/tokens', method='POST', body=AUTH, **JSON)
                return request.get_response(served).status_int

            waiting = [pool.submit(log_in) for _ in range(login.CALLS_MAX)]
            services.wait_until(
                lambda: len(keystone.requests) == login.CALLS_MAX, deadline_s=30, what='log-ins'
            )
            assert log_in() == 429
        assert [one.result(30) for one in waiting] == [503] * login.CALLS_MAX
