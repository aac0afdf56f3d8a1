"""A disk that is full: nothing is half-written, the error names it, and with room all goes on."""

import contextlib
import os
import pathlib
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from cloudkitty import conf as configuration
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.storage.v2.series.faults import list_scopes
from cloudkitty.storage.v2.sql import SQLStorage, verify
from cloudkitty.tests import databases, services

MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SIZE = '220m'
LEFT = 1 << 20  # bytes
AS_ROOT = () if os.geteuid() == 0 else ('sudo', '-n', '--')


@contextlib.contextmanager
def mounted(folder):
    """Have a file system of its own, of SIZE, in *folder*.

    :raises ServiceFailed: this user may not mount any.
    """
    done = subprocess.run(
        [
            *AS_ROOT,
            'mount',
            '-t',
            'tmpfs',
            '-o',
            f'size={SIZE},mode=755,uid={os.getuid()}',
            'tmpfs',
            folder,
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise services.ServiceFailed(f'no file system can be mounted here: {done.stderr.strip()}')
    try:
        yield
    finally:
        subprocess.run([*AS_ROOT, 'umount', '--lazy', folder], check=True)


@contextlib.contextmanager
def sqlite(folder):
    yield f'sqlite:///{folder}/cloudkitty.sqlite', lambda: None


@contextlib.contextmanager
def postgresql(folder):
    with databases.PostgreSQL(folder / 'server') as server:
        create_database(f'{server.url}/postgres')
        yield f'{server.url}/ck', lambda: None


@contextlib.contextmanager
def mariadb(folder):
    """The server ends when its own files find no room, and undoes what was half done at its start.

    Whether it does depends on which file comes first.
    """
    with databases.MariaDB(folder / 'server') as server:
        create_database(server.url)

        def revive():
            if not databases.answers(server.url):
                # It may be busy with its last words.
                server.kill()
                server.start()

        yield f'{server.url}/ck', revive


def create_database(url):
    engine = sa.create_engine(url, isolation_level='AUTOCOMMIT')
    with engine.connect() as connection:
        connection.execute(sa.text('CREATE DATABASE ck'))
    engine.dispose()


@pytest.fixture(params=[sqlite, postgresql, mariadb])
def small(request):
    """A store, the folder whose disk it is on, and what starts its server if that ended."""
    # Not in tmp_path, which is private to root: PostgreSQL runs as a user of its own.
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        with mounted(folder), request.param(folder) as (url, revive):
            conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
            conf.set_override('connection', url, 'database')
            store = SQLStorage(conf)
            store.init()
            yield store, folder, revive
            store.database.close()


def frames(count, series):
    """Return *count* hours of as many points, the attributes of each about a kilobyte."""
    return [
        DataFrame(
            MAY + hour * HOUR,
            MAY + (hour + 1) * HOUR,
            {
                'cpu': [
                    DataPoint(
                        'u', 1, Decimal('0.5'), {'project_id': 'a', 'id': f'{number:01000}'}, {}
                    )
                    for number in range(series)
                ]
            },
        )
        for hour in range(count)
    ]


def content(store):
    """Return the number of points and the price, by roll-ups and by points."""
    (row,) = store.total([], MAY, JUNE)['results']
    (cut,) = store.total([], MAY - HOUR / 2, JUNE)['results']
    assert row['rate'] == cut['rate']
    return store.retrieve(MAY, JUNE, limit=1)['total'], row['rate']


def fill(disk):
    """Leave little room; return the file that takes it all."""
    ballast = disk / 'ballast'
    room = os.statvfs(disk)
    with open(ballast, 'wb') as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - LEFT)
    return ballast


def test_nothing_is_half_written(small):
    storage, disk, revive = small
    storage.push(frames(2, 10), 'a')
    ballast = fill(disk)

    with pytest.raises(
        (db_exception.DBError, sa.exc.DBAPIError),
        match='full|No space left on device|Can.t connect',
    ):
        storage.push(frames(2, 3000), 'a')

    ballast.unlink()
    revive()
    assert content(storage) == (20, 10)
    storage.push(frames(2, 3000), 'a')
    assert content(storage) == (6000, 3000)
    with storage.database.reader() as connection:
        (scope,) = list_scopes(connection, None)
    assert list(verify.check(storage.database, scope)) == []
