"""Schedules of faults, and stores that break a rule: the schedules must find them out."""

import contextlib
import logging
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from oslo_db import exception as db_exception

from cloudkitty.scopes import progress
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2.series.frame_rows import RATED, Part
from cloudkitty.storage.v2.sql.writer import Writer
from cloudkitty.tests.simulation import drivers, metering, run, world
from cloudkitty.tests.simulation.__main__ import MEMORY
from cloudkitty.usage.receiving import Receiver

SECONDS = 40
# What is wrong shows after some of them.
SEEDS_MAX = 200
# Of the bus; 500 for a thorough run are those of tools/simulate.
BUS_SEEDS = 8


class WithoutCompare(world.Storage):
    """It stores whatever the mark says by now."""

    def commit(self, batch):
        with self.database.reader() as connection:
            marks = {
                one.id: one.mark
                for one in scope_state.get_scopes(connection, [part.state_id for part in batch])
            }
        return super().commit([part._replace(mark=marks[part.state_id]) for part in batch])


class DataFirst(world.Storage):
    """It stores data in one transaction and marks in the next."""

    def commit(self, batch):
        self._store(batch)
        return super().commit([part._replace(frames=()) for part in batch])

    def _store(self, batch):
        def change(connection):
            writer = Writer(connection, self.id_cache)
            writer.store([Part(RATED, part.usage) for part in batch])

        self.database.write(change)


class MarksFirst(DataFirst):
    """It does the same the other way round."""

    def commit(self, batch):
        moved = world.Storage.commit(self, [part._replace(frames=()) for part in batch])
        self._store([part for part in batch if part._replace(frames=()) not in moved])
        return moved


class ResetTooFar(world.Storage):
    """A reset takes the period of the mark away as well."""

    def reset(self, reset):
        def change(connection):
            mark = progress.take_order(connection, reset, self.terms)
            if mark is None:
                return False
            owners = self.id_cache.find_scopes(connection, [reset.scope_id]).values()
            Writer(connection, self.id_cache).remove(owners, mark, None, origin=RATED)
            scope_state.advance(connection, {reset.state_id: mark})
            return True

        return self.database.write(change)


@pytest.fixture
def memory():
    with tempfile.TemporaryDirectory(
        prefix='ck-simulation-', dir=MEMORY if MEMORY.is_dir() else None
    ) as path:
        yield Path(path)


@pytest.fixture
def silence():
    """A thousand faults are no news."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_schedules_of_faults_store_what_a_quiet_run_stores():
    """tools/simulate runs any number of them, and shows the one of a seed."""
    ended = subprocess.run(
        [
            sys.executable,
            '-m',
            'cloudkitty.tests.simulation',
            '--seeds',
            '0-3000',
            '--seconds',
            str(SECONDS),
            '--jobs',
            '1',
        ],
        text=True,
        capture_output=True,
        timeout=SECONDS + 200,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert int(re.search(r'(\d+) schedules, \d+ steps, 0 failed', ended.stdout)[1]) > 10


class Forgetful(Receiver):
    """It stores late usage, and does not say so."""

    def __init__(self, conf, database, clock):
        super().__init__(conf, database, clock)
        limits = self._intake._limits
        self._intake._limits = limits._replace(wait_periods=1000)


class Hasty(Receiver):
    """It says that messages are stored before they are."""

    def store(self, received, path, project_id=None):
        with contextlib.suppress(db_exception.DBError):
            return super().store(received, path, project_id)


def test_schedules_of_a_bus_store_what_a_quiet_one_stores(memory, silence):
    """tools/simulate --metering runs any number of them."""
    simulation = metering.Simulation(memory)
    problems = {seed: simulation.run(seed).problem for seed in range(BUS_SEEDS)}
    simulation.close()

    assert problems == dict.fromkeys(problems, '')


@pytest.mark.parametrize('receiver', [Forgetful, Hasty])
def test_an_intake_that_breaks_a_rule_is_found_out(memory, silence, receiver):
    simulation = metering.Simulation(memory, receiver)
    problems = (simulation.run(seed).problem for seed in range(SEEDS_MAX))

    assert any(problems)
    simulation.close()


@pytest.mark.parametrize('storage', [WithoutCompare, DataFirst, MarksFirst, ResetTooFar])
def test_a_store_that_breaks_a_rule_is_found_out(memory, silence, storage):
    simulation = run.Simulation(memory, drivers.SQL(storage))
    problems = (simulation.run(seed).problem for seed in range(SEEDS_MAX))

    assert any(problems)
    simulation.close()
