"""The API as the shipped unit and existing configurations start it in a web server."""

import contextlib
import os
import runpy
import signal
import socket
import sys
import threading
from pathlib import Path

import pytest
import requests
import webob

from cloudkitty.tests import services
from cloudkitty.tests.systemd import Systemd

ROOT = Path(__file__).parents[4]
INI = ROOT / 'etc' / 'cloudkitty' / 'cloudkitty-api-uwsgi.ini'
SCRIPT = ROOT / 'bin' / 'cloudkitty-api'
MODULE = 'module = cloudkitty.wsgi.api:application'
VARIABLE = 'CLOUDKITTY_CONFIG_FILES'
REQUESTS = 40
# A process that starts on a busy machine is in no hurry.
PATIENCE_S = 120
SLOW_CONNECTIONS = 120


class Uwsgi(services.Daemon):
    """uWSGI with the shipped file, but for port, configuration and number of processes.

    :param source: the line that says what is served, if not that of the file.
    """

    program = 'uwsgi'
    ready_path = '/healthcheck'

    def __init__(self, folder, connection, source=MODULE):
        super().__init__(folder)
        self._connection = connection
        self._source = source

    def prepare(self):
        conf = self.folder / 'cloudkitty.conf'
        conf.write_text(
            '[DEFAULT]\nauth_strategy = noauth\n'
            f'[api]\nmetrics_folder = {self.folder}/figures\n'
            f'[database]\nconnection = {self._connection}\n'
        )
        text = INI.read_text()
        assert VARIABLE in text
        for old, new in (
            ('http = :8889', f'http = {self.address}'),
            ('/etc/cloudkitty/cloudkitty.conf', f'{self.folder}/cloudkitty.conf'),
            ('processes = 4', 'processes = 2'),
            (MODULE, self._source),
        ):
            assert old in text
            text = text.replace(old, new)
        (self.folder / 'uwsgi.ini').write_text(text)

    def workers(self):
        """Return the ids of the processes that serve."""
        return [
            int(pid)
            for pid in Path(f'/proc/{self.pid}/task/{self.pid}/children').read_text().split()
        ]

    def command(self):
        return [
            sys.executable,
            '-c',
            'import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])',
            '--ini',
            str(self.folder / 'uwsgi.ini'),
        ]


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    listener = Systemd(tmp_path / 'notify')
    monkeypatch.setenv('NOTIFY_SOCKET', str(listener.path))
    yield listener
    listener.close()


def test_the_processes_of_uwsgi_count_together(systemd, tmp_path, database):
    """systemd is told when they are ready; what processes counted that were killed stays."""
    with Uwsgi(tmp_path / 'uwsgi', database.url) as server:
        services.wait_until(
            lambda: any('READY=1' in message for message in systemd.told),
            deadline_s=PATIENCE_S,
            what='READY',
        )
        for number in range(REQUESTS):
            if number == REQUESTS // 2:
                # uWSGI starts others; meanwhile a request waits.
                for pid in server.workers():
                    os.kill(pid, signal.SIGKILL)
            requests.get(f'http://{server.address}/v1/rating/modules', timeout=PATIENCE_S)
        shown = requests.get(f'http://{server.address}/metrics', timeout=10)

        assert shown.headers['Content-Type'].startswith('text/plain')
        assert (
            'cloudkitty_api_requests_total{method="GET",route="/v1/rating/modules",'
            f'status="200"}} {REQUESTS}.0'
        ) in shown.text.splitlines()
        # Workers have their numbers, whatever their processes are; 0 loads the application.
        names = {one.name for one in (tmp_path / 'uwsgi' / 'figures').glob('counter_*.db')}
        assert names <= {f'counter_{number}.db' for number in range(3)}


def test_an_application_that_cannot_load_is_not_ready(systemd, tmp_path):
    """uWSGI ends and says why; systemd is not told that it is ready, and nobody waits for it."""
    server = Uwsgi(tmp_path / 'uwsgi', 'mysql+pymysql://ck:secret@127.0.0.1:1/ck')

    with pytest.raises(services.ServiceFailed) as raised:
        server.start()

    assert 'mysql+pymysql://ck:***@127.0.0.1:1/ck does not answer' in str(raised.value)
    assert f'(configuration: {tmp_path}/uwsgi/cloudkitty.conf)' in str(raised.value)
    assert not any('READY=1' in message for message in systemd.told)
    host, port = server.address.split(':')
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10)


def test_no_query_is_dropped(tmp_path, database):
    """An unknown parameter of any length is not overlooked; what has no room has no answer."""
    with Uwsgi(tmp_path / 'uwsgi', database.url) as server:
        for length in (3000, 30000):
            answer = requests.get(
                f'http://{server.address}/v2/scope?unknown={"x" * length}', timeout=PATIENCE_S
            )
            assert answer.status_code == 400
            assert answer.json()['message'].startswith('Unknown parameter')
        with pytest.raises(requests.ConnectionError):
            requests.get(
                f'http://{server.address}/v2/scope?unknown={"x" * 40000}', timeout=PATIENCE_S
            )


def test_slow_headers_keep_nobody_from_an_answer(tmp_path, database):
    """So many connections are open, and none of them gets to the end of its headers.

    One half is silent, the other half sends a byte again and again.
    """
    with Uwsgi(tmp_path / 'uwsgi', database.url) as server, contextlib.ExitStack() as stack:
        host, port = server.address.split(':')
        slow = []
        for _ in range(SLOW_CONNECTIONS):
            slow.append(socket.create_connection((host, int(port)), timeout=60))
            stack.enter_context(slow[-1])
            slow[-1].sendall(b'GET / HTTP/1.1\r\nHost: rating.example\r\nX-Slow: ')
        silent, dripping = slow[::2], slow[1::2]
        is_over = threading.Event()
        drip = threading.Thread(target=_drip, args=(dripping, is_over))
        drip.start()
        try:
            answers = [requests.get(f'http://{server.address}/v1', timeout=20) for _ in range(10)]

            assert [answer.status_code for answer in answers] == [200] * 10
            # The router ends them in the end.
            assert silent[-1].recv(1) == b''
        finally:
            is_over.set()
            drip.join()


def _drip(connections, is_over):
    while not is_over.wait(0.05):
        for connection in connections:
            # The router may have ended it.
            with contextlib.suppress(OSError):
                connection.sendall(b'x')


def test_the_installed_script_is_served_by_uwsgi(tmp_path, database):
    """Its `wsgi-file` may name cloudkitty-api."""
    with Uwsgi(tmp_path / 'uwsgi', database.url, f'wsgi-file = {SCRIPT}') as server:
        health = requests.get(f'http://{server.address}/healthcheck', timeout=PATIENCE_S)

    assert (health.status_code, health.text) == (200, 'OK')


def test_the_installed_script_is_served_under_any_name(tmp_path, monkeypatch, database):
    """Apache loads it as a module with a name of its own; a copy of it does as well."""
    conf = tmp_path / 'cloudkitty.conf'
    conf.write_text(f'[DEFAULT]\nauth_strategy = noauth\n[database]\nconnection = {database.url}\n')
    monkeypatch.setenv(VARIABLE, str(conf))
    copy = tmp_path / 'app'
    copy.write_text(SCRIPT.read_text())

    loaded = runpy.run_path(str(copy), run_name='_mod_wsgi_5f2c')

    answer = webob.Request.blank('/healthcheck').get_response(loaded['application'])
    assert (answer.status_int, answer.text) == (200, 'OK')
