"""Lock services on loopback, from the Debian packages."""

import contextlib
import functools
import socket

from cloudkitty.tests import services


class Redis(services.Daemon):
    """Redis; it keeps nothing over a restart: all locks are lost."""

    title = 'Redis'
    program = 'redis-server'
    package = 'redis-server'

    def arguments(self):
        return [
            '--bind',
            '127.0.0.1',
            '--port',
            str(self.port),
            '--save',
            '',
            '--appendonly',
            'no',
            '--dir',
            str(self.folder),
        ]

    def is_ready(self):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(('127.0.0.1', self.port), timeout=5) as connection,
        ):
            connection.sendall(b'PING\r\n')
            return connection.recv(100).startswith(b'+PONG')
        return False

    def lock_url(self, life_s: int) -> str:
        """Return the tooz URL of locks that live *life_s* seconds without a sign of life."""
        return f'redis://{self.address}?timeout={life_s}&lock_timeout={life_s}'


class Etcd(services.Daemon):
    """etcd; it keeps its leases over a restart."""

    title = 'etcd'
    program = 'etcd'
    package = 'etcd-server'
    ready_path = '/health'

    @functools.cached_property
    def _peer_port(self):
        return services.free_port()

    def arguments(self):
        peer = f'http://127.0.0.1:{self._peer_port}'
        return [
            '--data-dir',
            f'{self.folder}/data',
            '--name',
            'one',
            '--logger',
            'zap',
            '--log-level',
            'warn',
            '--unsafe-no-fsync',
            '--listen-client-urls',
            f'http://{self.address}',
            '--advertise-client-urls',
            f'http://{self.address}',
            '--listen-peer-urls',
            peer,
            '--initial-advertise-peer-urls',
            peer,
            '--initial-cluster',
            f'one={peer}',
            '--initial-cluster-state',
            'new',
        ]

    def lock_url(self, life_s: int) -> str:
        return f'etcd3+http://{self.address}?api_version=v3&timeout={life_s}&lock_timeout={life_s}'
