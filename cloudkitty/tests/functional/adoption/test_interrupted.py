"""Whatever happens in the middle of an adoption, running it again leads to the same end."""

import subprocess
import sys
from concurrent import futures

import pytest
import sqlalchemy as sa

from cloudkitty.db import migration
from cloudkitty.tests import formers
from cloudkitty.tests.functional.adoption.conftest import adopt, opened

DBSYNC = [sys.executable, '-c', 'from cloudkitty.cli import dbsync; dbsync.main()']
KILLED = [sys.executable, '-m', 'cloudkitty.tests.functional.adoption.killed']
# A zone whose offset changed within the times of the rules.
ZONE = 'America/Sao_Paulo'


def _contents(database):
    with database.reader() as connection:
        return formers.contents(connection)


def _without_keys(contents):
    """Return *contents* without the order in which changes were recorded."""
    columns, rows = contents.pop('adoption')
    contents['adoption'] = [columns, sorted(row.partition(',')[2] for row in rows)]
    return contents


@pytest.mark.parametrize('name', ['25-mariadb-influxdb', '13-mariadb-sqlv1', '21-postgresql-sqlv1'])
@pytest.mark.timeout(300)
def test_killed_at_each_step_the_end_is_the_same(name, conf):
    """Each step is done once, the changes of rows that cannot be told from others included."""
    with opened(name, conf) as database:
        adopt(database, ZONE)
        expected = _without_keys(_contents(database))
    with opened(name, conf) as database:
        ended = subprocess.run(
            [*KILLED, database.url, ZONE], capture_output=True, text=True, timeout=280
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
        assert _without_keys(_contents(database)) == expected
        migration.check(database)
    assert int(ended.stdout.split()[-1]) > 10


def test_two_at_once_both_succeed(any_former, tmp_path):
    """One adopts, the other one waits and finds nothing to do."""
    file = tmp_path / 'cloudkitty.conf'
    file.write_text(
        f'[database]\nconnection = {any_former.url}\n'
        f'[orchestrator]\ncoordination_url = file://{tmp_path}/locks\n'
    )
    command = [*DBSYNC, '--config-file', str(file), 'upgrade', '--timezone', ZONE]

    with futures.ThreadPoolExecutor() as pool:
        ended = list(
            pool.map(lambda _: subprocess.run(command, capture_output=True, text=True), range(2))
        )

    assert [process.returncode for process in ended] == [0, 0], ended
    told = sorted(process.stdout.count('adopting the former database') for process in ended)
    assert told == [0, 1]
    migration.check(any_former)
    with any_former.reader() as connection:
        changed = sa.text("SELECT COUNT(*) FROM adoption WHERE table_name = ''")
        assert connection.scalar(changed) == len(set(adopted_steps(connection)))


def adopted_steps(connection):
    """Return the names of the steps that are recorded as over."""
    return connection.scalars(sa.text("SELECT name FROM adoption WHERE table_name = ''")).all()


def test_a_dry_run_tells_all_and_writes_nothing(former):
    """What it tells is what an adoption tells."""
    before = _contents(former)

    rehearsed = adopt(former, ZONE, is_dry_run=True)

    assert _contents(former) == before
    assert adopt(former, ZONE) == rehearsed
    assert sum(line.startswith('step: ') for line in rehearsed) > 10
