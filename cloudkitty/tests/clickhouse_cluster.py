"""A cluster of ClickHouse for tests: shards with replicas on loopback, and their ZooKeeper.

It is Debian's release 18.16, which the product does not support, see clickhouse_dialect.
"""

import contextlib
import math
import platform
import shutil
import signal
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloudkitty.tests import services

SESSION_S = 3
CONFIGURATION = """<yandex>
<logger><level>warning</level><console>1</console></logger>
<listen_host>127.0.0.1</listen_host>
<http_port>{http}</http_port>
<tcp_port>{tcp}</tcp_port>
<interserver_http_host>127.0.0.1</interserver_http_host>
<interserver_http_port>{interserver}</interserver_http_port>
<path>{folder}/data/</path>
<tmp_path>{folder}/tmp/</tmp_path>
<format_schema_path>{folder}/schemas/</format_schema_path>
<mark_cache_size>16777216</mark_cache_size>
<users_config>users.xml</users_config>
<default_profile>default</default_profile>
<default_database>default</default_database>
<timezone>UTC</timezone>
<zookeeper>
<node index="1"><host>127.0.0.1</host><port>{zookeeper}</port></node>
<session_timeout_ms>{session}000</session_timeout_ms>
</zookeeper>
<merge_tree>
<max_replicated_merges_in_queue>{merges}</max_replicated_merges_in_queue>
<parts_to_delay_insert>1000000</parts_to_delay_insert>
<parts_to_throw_insert>1000000</parts_to_throw_insert>
</merge_tree>
<macros><shard>{shard}</shard><replica>{replica}</replica></macros>
</yandex>
"""
# Of the Debian package libzookeeper-java.
JAR = '/usr/share/java/zookeeper.jar'
USERS = """<yandex>
<profiles><default><log_queries>0</log_queries></default></profiles>
<users><default>
<password></password><networks><ip>127.0.0.1</ip></networks>
<profile>default</profile><quota>default</quota>
</default></users>
<quotas><default></default></quotas>
</yandex>
"""


def is_available() -> bool:
    """Return whether this system has the programs, or should have them."""
    return bool(shutil.which(Replica.program)) or (
        platform.freedesktop_os_release().get('VERSION_CODENAME') == 'bookworm'
    )


class ZooKeeper(services.Daemon):
    """One server, which keeps its data in memory for as long as it runs."""

    program = 'java'
    package = 'default-jre-headless'
    # Nothing has to be kept.
    stop_signal = signal.SIGKILL

    def prepare(self):
        (self.folder / 'zoo.cfg').write_text(
            f'tickTime=500\ndataDir={self.folder}/data\nclientPort={self.port}\n'
            'clientPortAddress=127.0.0.1\nadmin.enableServer=false\n'
            '4lw.commands.whitelist=srvr\nforceSync=no\nmaxClientCnxns=0\n'
        )

    def arguments(self):
        return [
            '-Xmx256m',
            '-XX:TieredStopAtLevel=1',
            '-XX:+UseSerialGC',
            '-cp',
            JAR,
            'org.apache.zookeeper.server.ZooKeeperServerMain',
            str(self.folder / 'zoo.cfg'),
        ]

    def is_ready(self):
        with (
            contextlib.suppress(OSError),
            socket.create_connection(('127.0.0.1', self.port), timeout=5) as connection,
        ):
            connection.sendall(b'srvr')
            # It answers before it serves, and says so.
            return b'\nMode: ' in connection.makefile('rb').read()
        return False


class Replica(services.Daemon):
    """A server of one shard; those of the first one merge nothing.

    :param shard, replica: its macros.
    """

    program = 'clickhouse-server'
    package = 'clickhouse-server'
    stop_signal = signal.SIGKILL
    ready_path = '/ping'

    def __init__(self, folder: Path, zookeeper: ZooKeeper, shard: int, replica: int):
        super().__init__(folder)
        self._zookeeper = zookeeper
        self._macros = {'shard': shard, 'replica': replica}
        self._ports = {}
        self._killed_at = -math.inf

    @property
    def url(self) -> str:
        return f'http://{self.address}'

    def kill(self):
        super().kill()
        self._killed_at = time.monotonic()

    def start(self):
        # While ZooKeeper takes the former process for alive, a new one of this release answers
        # without what it has still to fetch, and SYSTEM SYNC REPLICA does not know of it.
        time.sleep(max(self._killed_at + SESSION_S + 1 - time.monotonic(), 0))
        super().start()

    def prepare(self):
        # Without its own protocol it takes part in no replication. Other replicas fetch from the
        # other one, so they are kept over a restart, as the port is.
        self._ports = self._ports or {name: services.free_port() for name in ('tcp', 'interserver')}
        (self.folder / 'users.xml').write_text(USERS)
        (self.folder / 'config.xml').write_text(
            CONFIGURATION.format(
                http=self.port,
                **self._ports,
                folder=self.folder,
                zookeeper=self._zookeeper.port,
                session=SESSION_S,
                merges=16 * self._macros['shard'],
                **self._macros,
            )
        )

    def arguments(self):
        return [f'--config-file={self.folder}/config.xml']


@contextlib.contextmanager
def cluster(folder: Path, shards: int = 2, replicas: int = 2) -> Iterator[Sequence[list[Replica]]]:
    """Yield the replicas of each shard."""
    with contextlib.ExitStack() as stack:
        zookeeper = stack.enter_context(ZooKeeper(folder / 'zookeeper'))
        yield [
            [
                stack.enter_context(Replica(folder / f'{shard}-{one}', zookeeper, shard, one))
                for one in range(replicas)
            ]
            for shard in range(shards)
        ]
