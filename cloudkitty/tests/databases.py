"""PostgreSQL and MariaDB on loopback, from the Debian packages, without a password."""

import glob
import os
import pwd
import shutil
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


class _Server(services.Daemon):
    """A database server.

    :cvar title: its name for people.
    :cvar user: the system user that root runs it as.
    :cvar standard_url: where one is that the machine runs anyway.
    """

    title = ''
    user = ''
    standard_url = ''

    @property
    def url(self) -> str:
        """SQLAlchemy's URL, without the name of a database."""
        raise NotImplementedError

    def is_ready(self):
        return answers(self.url)

    def make_data(self, data: Path) -> list[str]:
        """Return the command that fills the empty directory *data*."""
        raise NotImplementedError

    def prepare(self):
        data = self.folder / 'data'
        if data.exists():
            return
        data.mkdir()
        if self.user and os.getuid() == 0:
            shutil.chown(data, self.user, pwd.getpwnam(self.user).pw_gid)
        made = subprocess.run([*self.as_user(), *self.make_data(data)], cwd=data, text=True,
                              capture_output=True, timeout=120)
        if made.returncode:
            raise services.ServiceFailed(f'{self.title}: {made.stdout[-500:]}{made.stderr[-1000:]}')

    def as_user(self) -> list[str]:
        """Return the words that run a command as the server's user; none when this is no root."""
        if not self.user or os.getuid():
            return []
        return ['setpriv', f'--reuid={self.user}', f'--regid={self.user}', '--init-groups']
