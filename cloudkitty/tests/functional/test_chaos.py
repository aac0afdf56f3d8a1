"""A short run of tools/chaos on each database, with each lock service and storage driver."""

import tempfile
from pathlib import Path

import pytest

from cloudkitty.tests.chaos import run, world

SECONDS = 8
SEED = 20240501


@pytest.fixture
def folder():
    """Not in pytest's own folder: the servers' users must be able to reach it."""
    with tempfile.TemporaryDirectory(prefix='ck-chaos-') as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.mark.parametrize(
    'database, locks, driver',
    [
        ('postgresql', 'redis', 'sql'),
        ('mariadb', 'etcd', 'sql'),
        ('postgresql', 'etcd', 'clickhouse'),
    ],
)
def test_whatever_is_killed_frozen_and_restarted_the_data_is_that_of_a_quiet_run(
    folder, database, locks, driver
):
    said = []

    report = run.run(
        folder,
        database=database,
        locks=locks,
        driver=driver,
        seed=SEED,
        seconds=SECONDS,
        size=world.Size(scopes=40, periods=50),
        say=said.append,
    )

    assert report.rounds >= 1
    assert report.counts, said
