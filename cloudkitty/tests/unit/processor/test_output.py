"""When the processor writes files: with real locks, and a clock that the tests move."""

import os
from datetime import timedelta

import pytest

from cloudkitty import locks
from cloudkitty.billing.sums import Sums
from cloudkitty.processor import output
from cloudkitty.tests.drivers.billing.world import HOUR, OCTOBER, World, moment
from cloudkitty.tests.unit.processor.test_closing import SETTINGS
from cloudkitty.write_orchestrator import WriteOrchestrator
from cloudkitty.writer.osrf import OSRFWriter

SCOPES = 45


@pytest.fixture
def world(conf, database, tmp_path):
    conf.set_override('basepath', str(tmp_path / 'files'), 'output')
    conf.set_override('pipeline', [], 'output')
    made = World(conf)
    made.store([(f's{number:02}', OCTOBER, 'cpu', '1', '2', {}) for number in range(SCOPES)])
    made.push('s00', moment('2026-07-01'), '1', '2')
    return made


@pytest.fixture
def job(world, tmp_path):
    orchestrator = WriteOrchestrator(world.conf, world.database, lambda: world.now)
    orchestrator.use({'osrf': OSRFWriter()})
    return output.Output(
        orchestrator=orchestrator,
        scopes=Sums(world.storage, 'project_id').scopes,
        interval=timedelta(minutes=30),
        settings=SETTINGS,
        clock=lambda: world.now,
        locks=locks.Locks(f'file://{tmp_path}/job'),
    )


def names(world):
    try:
        return sorted(os.listdir(world.conf.output.basepath))
    except FileNotFoundError:
        return []


def test_a_round_goes_in_bounded_steps(world, job):
    """And begins again when the interval is over; older months are left alone."""
    steps = 1
    while job.step():
        steps += 1

    assert steps == SCOPES // output.SCOPES_AT_ONCE + 1
    assert names(world) == [
        'manifest-2026-10.json',
        *(f's{number:02}-osrf-2026-10.json' for number in range(SCOPES)),
    ]
    world.push('new', OCTOBER + HOUR, '1', '2')
    world.now += timedelta(minutes=29)
    assert not job.step()
    assert 'new-osrf-2026-10.json' not in names(world)
    world.now += timedelta(minutes=1)
    while job.step():
        pass
    assert 'new-osrf-2026-10.json' in names(world)


def test_a_folder_that_cannot_be_written_keeps_nothing_back(world, job, tmp_path):
    """The failure is noted, and the next round writes the files."""
    (tmp_path / 'files').write_text('in the way')
    while job.step():
        pass
    (tmp_path / 'files').unlink()
    world.now += timedelta(hours=2)
    while job.step():
        pass

    assert len(names(world)) == SCOPES + 1
