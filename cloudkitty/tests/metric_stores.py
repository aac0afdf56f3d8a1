"""Servers with the HTTP API of Prometheus, beside the plain one of tests/services.py."""

import contextlib
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path

import requests
import trustme
import yaml

from cloudkitty.tests.services import Daemon, Family, Prometheus, write_openmetrics


class SecurePrometheus(Prometheus):
    """A Prometheus that talks TLS only, asks for a client certificate, and for a login.

    :param authority: issues the certificates.
    :param logins: password hashes (bcrypt) by user.
    """

    def __init__(
        self, folder: Path, *, authority: trustme.CA, logins: Mapping[str, str], **arguments
    ):
        super().__init__(folder, **arguments)
        self.ca_path = self.folder / 'ca.pem'
        self.client_path = self.folder / 'client.pem'
        self._authority = authority
        self._logins = logins

    @property
    def url(self):
        return f'https://localhost:{self.port}/api/v1'

    def prepare(self):
        super().prepare()
        self._authority.cert_pem.write_to_path(self.ca_path)
        server = self._authority.issue_cert('localhost')
        server.private_key_and_cert_chain_pem.write_to_path(self.folder / 'server.pem')
        client = self._authority.issue_cert('rating@example.org')
        client.private_key_and_cert_chain_pem.write_to_path(self.client_path)
        (self.folder / 'web.yml').write_text(
            yaml.safe_dump(
                {
                    'tls_server_config': {
                        'cert_file': 'server.pem',
                        'key_file': 'server.pem',
                        'client_ca_file': 'ca.pem',
                        'client_auth_type': 'RequireAndVerifyClientCert',
                    },
                    'basic_auth_users': dict(self._logins),
                }
            )
        )

    def arguments(self):
        return [*super().arguments(), f'--web.config.file={self.folder}/web.yml']

    def is_ready(self):
        with contextlib.suppress(OSError):
            socket.create_connection(('127.0.0.1', self.port), timeout=5).close()
            return True
        return False


class VictoriaMetrics(Daemon):
    """Debian's VictoriaMetrics, which has the API of a Prometheus.

    :param history: samples it has after start(), see write_openmetrics().
    """

    program = 'victoria-metrics'
    package = 'victoria-metrics'
    ready_path = '/health'

    def __init__(self, folder: Path, *, history: Iterable[Family] = ()):
        super().__init__(folder)
        self.history = history

    @property
    def url(self) -> str:
        """Base URL of the API, as option prometheus_url wants it."""
        return f'http://{self.address}/api/v1'

    def arguments(self):
        return [
            f'-storageDataPath={self.folder}/data',
            f'-httpListenAddr={self.address}',
            '-retentionPeriod=100y',
            '-loggerLevel=WARN',
            '-memory.allowedBytes=64MB',
        ]

    def start(self):
        super().start()
        path = self.folder / 'history.om'
        write_openmetrics(path, self.history)
        # In its own form of that text, instants are in milliseconds.
        lines = [f'{line}000' for line in path.read_text().splitlines() if line[0] != '#']
        sent = requests.post(
            f'{self.url}/import/prometheus', timeout=60, data='\n'.join(lines).encode()
        )
        sent.raise_for_status()
        requests.get(f'http://{self.address}/internal/force_flush', timeout=60).raise_for_status()


class VmAuth(Daemon):
    """VictoriaMetrics' proxy, which asks for a bearer token.

    :param target: base URL of the server behind it, without /api/v1.
    :param token: the token.
    """

    program = 'vmauth'
    package = 'victoria-metrics'
    ready_path = '/health'

    def __init__(self, folder: Path, *, target: str, token: str):
        super().__init__(folder)
        self._target = target
        self._token = token

    @property
    def url(self) -> str:
        """Base URL of the API, as option prometheus_url wants it."""
        return f'http://{self.address}/api/v1'

    def prepare(self):
        (self.folder / 'auth.yml').write_text(
            yaml.safe_dump({'users': [{'bearer_token': self._token, 'url_prefix': self._target}]})
        )

    def arguments(self):
        return [
            f'-auth.config={self.folder}/auth.yml',
            f'-httpListenAddr={self.address}',
            '-loggerLevel=WARN',
        ]
