"""cloudkitty-api and the WSGI entry as an operator starts them, and the released Python client."""

import json
import os
import socket
import subprocess
import sys
from datetime import UTC, datetime

import pytest
import requests
import sqlalchemy as sa
from cloudkittyclient import auth, client
from keystoneauth1 import session
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.api import app
from cloudkitty.tests.functional.api import conftest, keystone

BEGIN = datetime(2019, 1, 1, tzinfo=UTC)
END = datetime(2019, 2, 1, tzinfo=UTC)


def _client(version, url):
    return client.Client(
        version, session=session.Session(auth=auth.CloudKittyNoAuthPlugin(endpoint=url))
    )


def test_the_released_client_reads_and_changes_modules(server):
    for version in ('1', '2'):
        rating = _client(version, server).rating
        names = [module['module_id'] for module in rating.get_module()['modules']]
        assert names == ['hashmap', 'noop', 'pyscripts']
        assert rating.get_module(module_id='hashmap')['enabled'] is (version == '2')
        assert rating.update_module(module_id='hashmap', enabled=True)['enabled'] is True
        priority = 10 + int(version)
        assert rating.update_module(module_id='hashmap', priority=priority)['priority'] == priority


def test_the_released_client_reads_sums_points_and_scopes(server):
    reader = _client('2', server)

    table = reader.summary.get_summary(
        begin=BEGIN, end=END, groupby=['type', 'project_id'], filters={'project_id': 'p1'}
    )
    objects = reader.summary.get_summary(
        begin=BEGIN, end=END, groupby=['type'], response_format='object'
    )
    points = reader.dataframes.get_dataframes(begin=BEGIN, end=END, filters={'type': 'ip'})
    scopes = reader.scope.get_scope_state(scope_id='p1')

    assert table['columns'] == ['begin', 'end', 'qty', 'rate', 'type', 'project_id']
    assert [row[2:] for row in table['results']] == [
        [2.0, 0.5, 'instance', 'p1'],
        [1.0, 0.1, 'ip', 'p1'],
    ]
    assert [row['type'] for row in objects['results']] == ['instance', 'ip']
    assert points['dataframes'][0]['usage']['ip'][0]['rating'] == {'price': 0.1}
    assert scopes['results'][0]['state'] == '2019-01-01T00:00:00+00:00'


COMMANDS = [
    (
        ['summary', 'get', '-b', '2019-01-01T00:00:00', '-e', '2019-02-01T00:00:00', '-g', 'type'],
        'instance',
    ),
    (['dataframes', 'get', '-b', '2019-01-01T00:00:00', '-e', '2019-02-01T00:00:00'], "O'Brien"),
    (['scope', 'state', 'get'], 'prometheus'),
    (['module', 'list'], 'hashmap'),
]


def test_the_commands_of_the_released_client(server):
    for command, seen in COMMANDS:
        ended = subprocess.run(
            [
                sys.executable,
                '-c',
                'from cloudkittyclient.shell import main; main()',
                '--os-rating-api-version',
                '2',
                '--os-auth-type',
                'cloudkitty-noauth',
                '--os-endpoint',
                server,
                *command,
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert ended.returncode == 0, ended.stderr
        assert seen in ended.stdout


def test_a_client_that_hangs_up_harms_nobody(server):
    host, port = server.removeprefix('http://').split(':')
    for request in (
        b'GET /v2/scope HT',
        b'PUT /v1/rating/modules/noop HTTP/1.1\r\nHost: x\r\n'
        b'Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{',
    ):
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(request)

    assert requests.get(f'{server}/v2/scope', timeout=10).status_code == 200


def _start_wsgi(files, arguments=()):
    """Import the WSGI entry as a server does, in a process with arguments of its own."""
    return subprocess.run(
        [
            sys.executable,
            '-c',
            'import cloudkitty.wsgi.api as door; print(door.application)',
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, 'CLOUDKITTY_CONFIG_FILES': files},
    )


def test_the_wsgi_entry_ignores_the_arguments_of_the_server(config_file, database):
    ended = _start_wsgi(str(config_file[0]), ['--bind', '0.0.0.0:8000', '--config-file', 'theirs'])

    assert ended.returncode == 0, ended.stderr


def test_the_wsgi_entry_reads_several_files(tmp_path, config_file, database):
    """The last file wins."""
    second = tmp_path / 'second.conf'
    second.write_text('[storage]\nbackend = nope\n')

    ended = _start_wsgi(f'{config_file[0]}:{second}')

    assert ended.returncode == 1
    assert "[storage]backend: no driver is named 'nope'" in ended.stderr.splitlines()[-1]


def test_the_api_tells_of_definitions_that_the_processor_refuses(tmp_path, config_file, database):
    """It serves them all the same, and need not have them."""
    metrics = tmp_path / 'mine.yml'
    second = tmp_path / 'second.conf'
    second.write_text(f'[collect]\ncollector = prometheus\nmetrics_conf = {metrics}\n')
    files = f'{config_file[0]}:{second}'
    assert 'refuses' not in _start_wsgi(files).stdout

    metrics.write_text('metrics: {cpu: {unit: core, extra_args: {aggregation_method: no}}}')
    ended = _start_wsgi(files)

    assert ended.returncode == 0, ended.stderr
    told = f'cloudkitty-processor refuses the metric definitions: {metrics}:1:'
    assert ended.stdout.count(told) == 1, ended.stdout


PASTE = """
from cloudkitty.api import app, middleware
import webob
check = middleware.AuthTokenMiddleware.factory({}, acl_public_routes='/, /v1/')
application = check(app.app_factory({}))
for path, token in (('/v1', ''), ('/v2', ''), ('/v2/rating/modules', 'admin')):
    request = webob.Request.blank(path, headers={'X-Auth-Token': token})
    print(path, request.get_response(application).status_int)
"""


def test_names_of_existing_paste_files_and_scripts_are_there(tmp_path, identity_service, database):
    """What `paste.app_factory`, `paste.filter_factory` and WSGI scripts name builds the API."""
    path = tmp_path / 'cloudkitty.conf'
    path.write_text(
        keystone.middleware_options(identity_service) + f'[database]\nconnection = {database.url}\n'
    )

    ended = subprocess.run(
        [sys.executable, '-c', PASTE],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, 'CLOUDKITTY_CONFIG_FILES': str(path)},
    )

    told = [line for line in ended.stdout.splitlines() if line.startswith('/')]
    assert told == ['/v1 200', '/v2 401', '/v2/rating/modules 200'], ended.stderr
    assert app.build_wsgi_app is app.load_app is app.setup_app


# Section and option, and what the line says of them.
WRONG = [
    ('[cors]\nmax_age = long', 'max_age'),
    ('[oslo_middleware]\nmax_request_body_size = big', 'max_request_body_size'),
    ('[keystone_authtoken]\nauth_type = nope', '[keystone_authtoken]: The plugin nope'),
    ('[keystone_authtoken]\nauth_type = password', 'auth_url'),
    ('[keystone_authtoken]\nmemcached_servers = 127.0.0.1:1', 'python-memcached'),
    (
        '[database]\nconnection = postgresql+psycopg2://rating:secret@127.0.0.1:1/rating',
        'postgresql+psycopg2://rating:***@127.0.0.1:1/rating does not answer',
    ),
]


@pytest.mark.parametrize('text, line', WRONG)
def test_a_wrong_option_of_a_library_is_one_line(tmp_path, conf, database, text, line):
    path = tmp_path / 'wrong.conf'
    path.write_text(
        text
        if 'connection' in text
        else f'{text}\n[database]\nconnection = {conf.database.connection}\n'
    )
    loaded = configuration.load([], files=[str(path)], conf=cfg.ConfigOpts())

    with pytest.raises(errors.ConfigurationError) as raised:
        app.load(loaded)

    assert line in str(raised.value)
    assert '\n' not in str(raised.value)
    assert 'secret' not in str(raised.value)


def test_a_taken_port_is_one_line(config_file, database):
    path, port = config_file
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', port))
        taken.listen()

        ended = subprocess.run(
            [conftest.BIN / 'cloudkitty-api', '--config-file', str(path)],
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert ended.returncode == 1
    assert f'cannot listen on 127.0.0.1:{port}: Address already in use' in ended.stderr


def test_a_log_in_json_has_the_request_and_the_caller_as_fields(tmp_path, config_file, database):
    path, port = config_file
    log_path = tmp_path / 'log'
    path.write_text(
        path.read_text().replace(
            '[DEFAULT]\n', f'[DEFAULT]\nuse_json = true\nlog_file = {log_path}\n'
        )
    )
    with subprocess.Popen(
        [conftest.BIN / 'cloudkitty-api', '--config-file', str(path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert 'cloudkitty-api listens' in process.stdout.readline()
        with database.writer() as connection:
            connection.execute(sa.text('DROP TABLE modules_state'))
        answer = requests.get(
            f'http://127.0.0.1:{port}/v2/rating/modules',
            timeout=10,
            headers={'X-User-Id': 'ada', 'X-Project-Id': 'p1', 'X-Auth-Token': 'secret'},
        )
        process.terminate()

    lines = [json.loads(line) for line in log_path.read_text().splitlines()]
    failed = [line for line in lines if line['levelname'] == 'ERROR']
    assert answer.status_code == 500
    assert failed
    for line in failed:
        assert line['context']['request_id'] == answer.headers['x-openstack-request-id']
        assert (line['context']['user'], line['context']['project_id']) == ('ada', 'p1')
    assert 'secret' not in log_path.read_text()
    assert any('modules_state' in (line['traceback'] or '') for line in failed)
