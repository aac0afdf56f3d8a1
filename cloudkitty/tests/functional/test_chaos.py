"""A short run of tools/chaos on each database, with each lock service."""

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


@pytest.mark.parametrize('database, locks', [('postgresql', 'redis'), ('mariadb', 'etcd')])
def test_whatever_is_killed_frozen_and_restarted_the_data_is_that_of_a_quiet_run(
    folder, database, locks
):
    said = []

    report = run.run(
        folder,
        database=database,
        locks=locks,
        seed=SEED,
        seconds=SECONDS,
        size=world.Size(scopes=40, periods=50),
        say=said.append,
    )

    assert report.rounds >= 1
    assert sum(report.counts.values()) > 2, said
