"""Schedules of faults with the driver clickhouse, and rules whose breach they must find out."""

import logging
import tempfile
from pathlib import Path

import pytest

from cloudkitty.storage.v2.clickhouse import folding, revisions
from cloudkitty.tests.simulation import clickhouse as simulated
from cloudkitty.tests.simulation import run
from cloudkitty.tests.simulation.__main__ import MEMORY

pytestmark = pytest.mark.xdist_group('clickhouse')
# A schedule takes a second or two; tools/simulate --driver clickhouse runs any number of them.
SEEDS = 3
# What is wrong shows after some more of them.
SEEDS_MAX = 100


@pytest.fixture(scope='module')
def memory():
    folder = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix='ck-simulation-', dir=folder) as path:
        yield Path(path)


@pytest.fixture(scope='module')
def simulation(clickhouse, memory):
    """One that has made the quiet run."""
    logging.disable(logging.CRITICAL)
    made = run.Simulation(memory, simulated.ClickHouse(clickhouse.url, 'test_simulation'))
    made.run(0)
    yield made
    made.close()
    logging.disable(logging.NOTSET)


def test_schedules_of_faults_store_what_a_quiet_run_stores(simulation):
    problems = {seed: simulation.run(seed).problem for seed in range(1, SEEDS)}

    assert problems == dict.fromkeys(problems, '')


def sees_open_revisions(monkeypatch):
    snapshot = revisions.snapshot
    monkeypatch.setattr(
        revisions, 'snapshot', lambda connection: snapshot(connection)._replace(open=())
    )


def sweeps_early(monkeypatch):
    """The rows of a revision are removed while others may arrive."""
    monkeypatch.setattr(revisions, 'SETTLED', -revisions.LIFETIME)


def keeps_sums(monkeypatch):
    """Sums of days are not made again."""
    monkeypatch.setattr(folding, 'note', lambda connection, touched: None)


@pytest.mark.parametrize(
    'breach, first_seed', [(sees_open_revisions, 0), (sweeps_early, 1), (keeps_sums, 0)]
)
def test_a_breach_of_a_rule_is_found_out(simulation, monkeypatch, breach, first_seed):
    breach(monkeypatch)
    seeds = range(first_seed, first_seed + SEEDS_MAX)

    assert any(simulation.run(seed).problem for seed in seeds)
