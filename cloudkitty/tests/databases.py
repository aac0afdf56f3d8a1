"""PostgreSQL and MariaDB on loopback, from the Debian packages, without a password."""

import contextlib
import getpass
import glob
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent import futures
from pathlib import Path

import sqlalchemy as sa

from cloudkitty.tests import services

CONNECT_TIMEOUT_S = 5


def answers(url: str) -> bool:
    """Return whether a database server lets us in at *url*."""
    engine = sa.create_engine(url, connect_args={'connect_timeout': CONNECT_TIMEOUT_S})
    try:
        with engine.connect() as connection:
            return connection.scalar(sa.text('SELECT 1')) == 1
    except sa.exc.OperationalError:
        return False
    finally:
        engine.dispose()


def _make(command, *, cwd, title):
    """Run the program that makes the data of a server.

    :raises ServiceFailed: it failed; the text has its last words.
    """
    made = subprocess.run(command, cwd=cwd, text=True, capture_output=True, timeout=120)
    if made.returncode:
        raise services.ServiceFailed(f'{title}: {(made.stdout + made.stderr)[-1000:]}')


def _as_user(user):
    """Return the beginning of a command line that root runs as *user*; anybody else stays."""
    if os.getuid():
        return []
    return [
        services.find('setpriv', 'util-linux'),
        f'--reuid={user}',
        f'--regid={user}',
        '--init-groups',
    ]


class PostgreSQL(services.Daemon):
    """PostgreSQL; root runs it as user postgres, since it refuses to be root."""

    title = 'PostgreSQL'
    program = 'postgres'
    package = 'postgresql'
    user = 'postgres'
    standard_url = 'postgresql+psycopg2://postgres@127.0.0.1:5432'
    stop_signal = signal.SIGINT  # TERM would wait for every client to leave
    kill_signal = signal.SIGQUIT  # its children end too, or it could not start again

    @property
    def url(self) -> str:
        """SQLAlchemy's URL, without the name of a database."""
        return f'postgresql+psycopg2://postgres@{self.address}'

    def command(self):
        return [*_as_user(self.user), f'{self._bin()}/postgres', *self.arguments()]

    def arguments(self):
        return [
            '-D',
            f'{self.folder}/data',
            '-p',
            str(self.port),
            '-c',
            'listen_addresses=127.0.0.1',
            '-c',
            'unix_socket_directories=',
            '-c',
            'fsync=off',
            '-c',
            'max_connections=300',
        ]

    def prepare(self):
        data = self.folder / 'data'
        if data.exists():
            return
        data.mkdir()
        if os.getuid() == 0:
            shutil.chown(data, self.user, pwd.getpwnam(self.user).pw_gid)
        _make(
            [
                *_as_user(self.user),
                f'{self._bin()}/initdb',
                '-D',
                str(data),
                '-A',
                'trust',
                '-U',
                'postgres',
                '-E',
                'UTF8',
                '--locale=C.UTF-8',
                '-N',
            ],
            cwd=data,
            title=self.title,
        )

    def is_ready(self):
        return answers(f'{self.url}/postgres')

    def _bin(self) -> Path:
        """Return the folder of the newest version, which Debian keeps out of PATH."""
        found = glob.glob('/usr/lib/postgresql/*/bin/postgres')
        if not found:
            raise services.ServiceFailed(
                f'postgres is missing: install the Debian package {self.package}'
            )
        return max((Path(path).parent for path in found), key=lambda path: int(path.parent.name))


class MariaDB(services.Daemon):
    """MariaDB."""

    title = 'MariaDB'
    program = 'mariadbd'
    package = 'mariadb-server'
    standard_url = 'mysql+pymysql://root@127.0.0.1:3306'

    @property
    def url(self) -> str:
        """SQLAlchemy's URL, without the name of a database."""
        return f'mysql+pymysql://root@{self.address}'

    @property
    def runs_as(self) -> str:
        return getpass.getuser()

    def command(self):
        # It is in /usr/sbin, which the PATH of a plain user lacks.
        path = shutil.which(self.program, path=f'{os.environ["PATH"]}:/usr/sbin')
        return [path or services.find(self.program, self.package), *self.arguments()]

    def arguments(self):
        return [
            '--no-defaults',
            f'--user={self.runs_as}',
            f'--datadir={self.folder}/data',
            self._tmpdir(),
            '--bind-address=127.0.0.1',
            f'--port={self.port}',
            f'--socket={self.folder}/mariadb.sock',
            f'--pid-file={self.folder}/mariadb.pid',
            '--skip-name-resolve',
            '--innodb-flush-log-at-trx-commit=0',
            '--max-connections=500',
        ]

    def prepare(self):
        if not (self.folder / 'data').exists():
            (self.folder / 'tmp').mkdir()
            self._install()

    def _install(self):
        _make(
            [
                services.find('mariadb-install-db', self.package),
                '--no-defaults',
                f'--user={self.runs_as}',
                f'--datadir={self.folder}/data',
                self._tmpdir(),
                '--auth-root-authentication-method=normal',
                '--skip-test-db',
            ],
            cwd=self.folder,
            title=self.title,
        )

    def is_ready(self):
        return answers(self.url)

    def _tmpdir(self) -> str:
        """Return the option of a directory of its own for temporary tables.

        A server that starts removes those it finds there: in the common /tmp they are those of
        another server that runs, which crashes.
        """
        return f'--tmpdir={self.folder}/tmp'


class GaleraNode(MariaDB):
    """A member of a Galera cluster; root runs it as user mysql, as rsync is nobody for root.

    :param ports: of the replication of all nodes, this one's first.
    """

    title = 'MariaDB Galera'
    user = 'mysql'
    library = '/usr/lib/galera/libgalera_smm.so'

    def __init__(self, folder: Path, ports: Sequence[int]):
        super().__init__(folder)
        self.ports = ports
        self.is_first = False

    def command(self):
        if not os.path.exists(self.library):
            raise services.ServiceFailed(
                f'{self.library} is missing: install the Debian package galera-4'
            )
        services.find('rsync', 'rsync')
        command = super().command()
        return [*_as_user(self.user), *command]

    def arguments(self):
        others = '' if self.is_first else ','.join(f'127.0.0.1:{port}' for port in self.ports[1:])
        mine, incremental, whole = self.ports[0], services.free_port(), services.free_port()
        return [
            *super().arguments(),
            '--binlog-format=ROW',
            '--innodb-autoinc-lock-mode=2',
            '--wsrep-on=ON',
            f'--wsrep-provider={self.library}',
            '--wsrep-cluster-name=tests',
            f'--wsrep-cluster-address=gcomm://{others}',
            '--wsrep-sst-method=rsync',
            f'--wsrep-node-address=127.0.0.1:{mine}',
            f'--wsrep-sst-receive-address=127.0.0.1:{whole}',
            f'--wsrep-provider-options=base_port={mine};gcache.size=32M;'
            f'ist.recv_addr=127.0.0.1:{incremental};'
            # A dead node is missed after three seconds, not after five; any sooner, and a busy
            # machine takes living ones for dead.
            'evs.suspect_timeout=PT3S;evs.inactive_timeout=PT10S;evs.keepalive_period=PT0.5S',
        ]

    def prepare(self):
        data = self.folder / 'data'
        if data.exists():
            return
        for path in (data, self.folder / 'tmp'):
            path.mkdir()
            if not os.getuid():
                shutil.chown(path, self.user, pwd.getpwnam(self.user).pw_gid)
        if not os.getuid():
            # For its socket.
            shutil.chown(self.folder, self.user)
        # The others get all from a node that runs.
        if self.is_first:
            self._install()

    @property
    def runs_as(self):
        return super().runs_as if os.getuid() else self.user

    def is_ready(self):
        """It takes part: before, every statement is refused."""
        return self.status('local_state_comment') == 'Synced' and self.status('ready') == 'ON'

    def status(self, name: str) -> str | None:
        """Return a status variable of the cluster; None: the node does not answer."""
        engine = sa.create_engine(self.url, connect_args={'connect_timeout': CONNECT_TIMEOUT_S})
        try:
            with engine.connect() as connection:
                return connection.execute(sa.text(f"SHOW STATUS LIKE 'wsrep_{name}'")).one()[1]
        except sa.exc.OperationalError:
            return None
        finally:
            engine.dispose()


@contextlib.contextmanager
def galera(folder: Path, size: int = 3) -> Iterator[list[GaleraNode]]:
    """Yield the nodes of a cluster; *folder* must be open to every user."""
    folder.mkdir(parents=True, exist_ok=True)
    ports = [services.free_port() for _ in range(size)]
    nodes = [
        GaleraNode(folder / f'node-{number}', [*ports[number:], *ports[:number]])
        for number in range(size)
    ]
    with contextlib.ExitStack() as stack:
        nodes[0].is_first = True
        stack.enter_context(nodes[0])
        # Whenever it starts again, there are others to join.
        nodes[0].is_first = False
        with futures.ThreadPoolExecutor(size) as pool:
            for node in nodes[1:]:
                stack.callback(node.stop)
            list(pool.map(lambda node: node.start(), nodes[1:]))
        # One that was ready may have to wait for those that joined after it.
        services.wait_until(
            lambda: all(
                node.is_ready() and node.status('cluster_size') == str(size) for node in nodes
            ),
            deadline_s=60,
            what='the whole cluster',
        )
        yield nodes
