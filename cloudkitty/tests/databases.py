"""PostgreSQL and MariaDB on loopback, from the Debian packages, without a password."""

import getpass
import glob
import os
import pwd
import shutil
import signal
import subprocess
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


class PostgreSQL(services.Daemon):
    """PostgreSQL; root runs it as user postgres, since it refuses to be root."""

    title = 'PostgreSQL'
    program = 'postgres'
    package = 'postgresql'
    user = 'postgres'
    standard_url = 'postgresql+psycopg2://postgres@127.0.0.1:5432'
    stop_signal = signal.SIGINT          # TERM would wait for every client to leave
    kill_signal = signal.SIGQUIT         # its children end too, or it could not start again

    @property
    def url(self) -> str:
        """SQLAlchemy's URL, without the name of a database."""
        return f'postgresql+psycopg2://postgres@{self.address}'

    def command(self):
        return [*self._as_user(), f'{self._bin()}/postgres', *self.arguments()]

    def arguments(self):
        return ['-D', f'{self.folder}/data', '-p', str(self.port),
                '-c', 'listen_addresses=127.0.0.1', '-c', 'unix_socket_directories=',
                '-c', 'fsync=off', '-c', 'max_connections=300']

    def prepare(self):
        data = self.folder / 'data'
        if data.exists():
            return
        data.mkdir()
        if os.getuid() == 0:
            shutil.chown(data, self.user, pwd.getpwnam(self.user).pw_gid)
        _make([*self._as_user(), f'{self._bin()}/initdb', '-D', str(data), '-A', 'trust',
               '-U', 'postgres', '-E', 'UTF8', '--locale=C.UTF-8', '-N'],
              cwd=data, title=self.title)

    def is_ready(self):
        return answers(f'{self.url}/postgres')

    def _as_user(self):
        if os.getuid():
            return []
        return [services.find('setpriv', 'util-linux'), f'--reuid={self.user}',
                f'--regid={self.user}', '--init-groups']

    def _bin(self) -> Path:
        """Return the folder of the newest version, which Debian keeps out of PATH."""
        found = glob.glob('/usr/lib/postgresql/*/bin/postgres')
        if not found:
            raise services.ServiceFailed(f'postgres is missing: install the Debian package '
                                         f'{self.package}')
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

    def command(self):
        # It is in /usr/sbin, which the PATH of a plain user lacks.
        path = shutil.which(self.program, path=f'{os.environ["PATH"]}:/usr/sbin')
        return [path or services.find(self.program, self.package), *self.arguments()]

    def arguments(self):
        return ['--no-defaults', f'--user={getpass.getuser()}', f'--datadir={self.folder}/data',
                self._tmpdir(),
                '--bind-address=127.0.0.1', f'--port={self.port}',
                f'--socket={self.folder}/mariadb.sock', f'--pid-file={self.folder}/mariadb.pid',
                '--skip-name-resolve', '--innodb-flush-log-at-trx-commit=0',
                '--max-connections=500']

    def prepare(self):
        data = self.folder / 'data'
        if data.exists():
            return
        (self.folder / 'tmp').mkdir()
        _make([services.find('mariadb-install-db', self.package), '--no-defaults',
               f'--user={getpass.getuser()}', f'--datadir={data}', self._tmpdir(),
               '--auth-root-authentication-method=normal', '--skip-test-db'],
              cwd=self.folder, title=self.title)

    def is_ready(self):
        return answers(self.url)

    def _tmpdir(self) -> str:
        """Return the option of a directory of its own for temporary tables.

        A server that starts removes those it finds there: in the common /tmp they are those of
        another server that runs, which crashes.
        """
        return f'--tmpdir={self.folder}/tmp'
