"""The API as the shipped unit starts it: uWSGI with several processes."""

import os
import signal
import sys
from pathlib import Path

import pytest
import requests

from cloudkitty.tests import services
from cloudkitty.tests.systemd import Systemd

INI = Path(__file__).parents[4] / 'etc' / 'cloudkitty' / 'cloudkitty-api-uwsgi.ini'
VARIABLE = 'CLOUDKITTY_CONFIG_FILES'
REQUESTS = 40
# A process that starts on a busy machine is in no hurry.
PATIENCE_S = 120


class Uwsgi(services.Daemon):
    """uWSGI with the shipped file, but for port, configuration and number of processes."""

    program = 'uwsgi'
    ready_path = '/healthcheck'

    def __init__(self, folder, connection):
        super().__init__(folder)
        self._connection = connection

    def prepare(self):
        conf = self.folder / 'cloudkitty.conf'
        conf.write_text('[DEFAULT]\nauth_strategy = noauth\n'
                        f'[api]\nmetrics_folder = {self.folder}/figures\n'
                        f'[database]\nconnection = {self._connection}\n')
        text = INI.read_text()
        assert VARIABLE in text
        for old, new in (('http-socket = :8889', f'http-socket = {self.address}'),
                         ('processes = 4', 'processes = 2')):
            assert old in text
            text = text.replace(old, new)
        (self.folder / 'uwsgi.ini').write_text(text)

    def workers(self):
        """Return the ids of the processes that serve."""
        return [int(pid) for pid in Path(
            f'/proc/{self.pid}/task/{self.pid}/children').read_text().split()]

    def command(self):
        # In a Python that runs already, uWSGI is too late to set a variable.
        return ['/usr/bin/env', f'{VARIABLE}={self.folder}/cloudkitty.conf', sys.executable, '-c',
                'import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])', '--ini',
                str(self.folder / 'uwsgi.ini')]


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    listener = Systemd(tmp_path / 'notify')
    monkeypatch.setenv('NOTIFY_SOCKET', str(listener.path))
    yield listener
    listener.close()


def test_the_processes_of_uwsgi_count_together(systemd, tmp_path, database):
    """systemd is told when they are ready; what processes counted that were killed stays."""
    with Uwsgi(tmp_path / 'uwsgi', database.url) as server:
        services.wait_until(lambda: any('READY=1' in message for message in systemd.told),
                            deadline_s=PATIENCE_S, what='READY')
        for number in range(REQUESTS):
            if number == REQUESTS // 2:
                # uWSGI starts others; meanwhile a request waits.
                for pid in server.workers():
                    os.kill(pid, signal.SIGKILL)
            requests.get(f'http://{server.address}/v1/rating/modules', timeout=PATIENCE_S)
        shown = requests.get(f'http://{server.address}/metrics', timeout=10)

        assert shown.headers['Content-Type'].startswith('text/plain')
        assert ('cloudkitty_api_requests_total{method="GET",route="/v1/rating/modules",'
                f'status="200"}} {REQUESTS}.0') in shown.text.splitlines()
        assert len(list((tmp_path / 'uwsgi' / 'figures').glob('counter_*.db'))) <= 2
