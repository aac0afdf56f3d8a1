"""Writers of the driver clickhouse die at any time, and no answer is wrong."""

import multiprocessing
import os
import random
import time

import pytest

from cloudkitty.tests.conformance.storage import HOUR, MAY, state
from cloudkitty.tests.drivers.storage import clickhouse_faults
from cloudkitty.tests.drivers.storage.test_clickhouse import drop

pytestmark = pytest.mark.xdist_group('clickhouse')
SECONDS = float(os.environ.get('CLOUDKITTY_FAULTS_S', '10'))
WRITERS = 2


@pytest.mark.parametrize('any_conf', ['postgresql'], indirect=True)
def test_no_answer_differs_from_what_was_committed(any_conf, any_database, clickhouse):
    """Processes are killed, rows inserted twice, scopes set back, while everything is read."""
    where = (any_conf.database.connection, clickhouse.url, 'test_faults')
    storage = clickhouse_faults.open_storage(*where, clickhouse_faults.RecordingWriter)
    storage.body.create()
    with storage.database.writer() as connection:
        clickhouse_faults.ORACLE.create(connection)
    for scope in clickhouse_faults.SCOPES:
        state(storage, scope, MAY - HOUR)
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([clickhouse_faults.__name__])

    def start():
        process = context.Process(target=clickhouse_faults.write, args=where, daemon=True)
        process.start()
        return process

    writers = [start() for _ in range(WRITERS)]
    sizes, wrong, deaths, resets = [], [], 0, 0
    deadline = time.monotonic() + SECONDS
    try:
        # As long as a slow machine needs to show anything.
        while time.monotonic() < deadline or not (deaths and resets and max(sizes)):
            assert time.monotonic() < deadline + 300
            if random.random() < 0.1:
                random.choice(writers).kill()
            if random.random() < 0.2:
                clickhouse_faults.set_back(storage)
                resets += 1
            for place, process in enumerate(writers):
                if not process.is_alive():
                    deaths += 1
                    writers[place] = start()
            size, found = clickhouse_faults.differences(storage)
            sizes.append(size)
            wrong += found
    finally:
        for process in writers:
            process.kill()
            process.join()
    size, found = clickhouse_faults.differences(storage)
    print(f'{len(sizes)} answers, {size} periods, {deaths} deaths, {resets} resets')
    drop(storage)

    assert [*wrong, *found] == []
