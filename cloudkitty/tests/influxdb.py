"""A real InfluxDB 1, from the Debian package."""

import contextlib
from collections.abc import Iterable

import requests

from cloudkitty.tests import services

LINES_AT_ONCE = 5000


class InfluxDB(services.Daemon):
    """InfluxDB 1.

    :ivar login: (user, password); with it, whoever asks must log in.
    """

    program = 'influxd'
    package = 'influxdb'
    ready_path = '/ping'
    login: tuple[str, str] | None = None

    def prepare(self):
        (self.folder / 'influxdb.conf').write_text(
            f'''
            reporting-disabled = true
            bind-address = "127.0.0.1:{services.free_port()}"
            [meta]
            dir = "{self.folder}/meta"
            [data]
            dir = "{self.folder}/data"
            wal-dir = "{self.folder}/wal"
            query-log-enabled = false
            [http]
            bind-address = "{self.address}"
            log-enabled = false
            auth-enabled = {str(self.login is not None).lower()}
            [monitor]
            store-enabled = false
            '''
        )

    def arguments(self):
        return ['-config', f'{self.folder}/influxdb.conf']

    def run(self, statement: str) -> dict:
        """Run a statement that changes something; return the answer."""
        answer = requests.post(
            f'http://{self.address}/query', data={'q': statement}, auth=self.login, timeout=30
        )
        answer.raise_for_status()
        return answer.json()

    def write(self, database: str, lines: Iterable[str]) -> None:
        """Write points in line protocol, with times in nanoseconds."""
        lines = list(lines)
        for first in range(0, len(lines), LINES_AT_ONCE):
            answer = requests.post(
                f'http://{self.address}/write',
                params={'db': database, 'precision': 'ns'},
                data='\n'.join(lines[first : first + LINES_AT_ONCE]).encode(),
                auth=self.login,
                timeout=60,
            )
            if answer.status_code != requests.codes.no_content:
                raise services.ServiceFailed(f'influxd: {answer.text[:300]}')

    @contextlib.contextmanager
    def database(self, name: str):
        """Have a database called *name* in the block."""
        self.run(f'CREATE DATABASE "{name}"')
        yield name
        self.run(f'DROP DATABASE "{name}"')
