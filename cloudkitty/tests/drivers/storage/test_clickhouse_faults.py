"""Writers and servers of the driver clickhouse die at any time, and no answer is wrong."""

import collections
import contextlib
import multiprocessing
import os
import random
import threading
import time

import pytest
import requests

from cloudkitty import errors
from cloudkitty.storage import http
from cloudkitty.tests.clickhouse import drop
from cloudkitty.tests.conformance.storage import HOUR, MAY, state
from cloudkitty.tests.drivers.storage import clickhouse_faults
from cloudkitty.tests.drivers.storage.clickhouse_faults import Place, RecordingWriter

SECONDS = float(os.environ.get('CLOUDKITTY_FAULTS_S', '8'))
WRITERS = 2


@pytest.fixture
def sql(any_conf, any_database):
    """Return the URL of an SQL database with the table of the test."""
    with any_database.writer() as connection:
        clickhouse_faults.ORACLE.create(connection)
    return any_conf.database.connection


@pytest.mark.xdist_group('clickhouse')
@pytest.mark.parametrize('any_conf', ['postgresql'], indirect=True)
def test_no_answer_differs_from_what_was_committed(sql, clickhouse):
    """Processes are killed, rows inserted twice, scopes set back and replaced meanwhile."""
    place = Place(sql, [[clickhouse.url]], 'test_faults')
    storage = clickhouse_faults.open_storage(place, RecordingWriter)
    storage.body.create()

    assert _wrong(storage, place, contextlib.nullcontext([])) == []
    drop(storage)


@pytest.mark.xdist_group('clickhouse_cluster')
@pytest.mark.parametrize('any_conf', ['postgresql'], indirect=True)
def test_no_answer_of_a_cluster_differs(sql, clickhouse_cluster, monkeypatch):
    """Replicas are killed, too, and one shard merges nothing; at last all have the same."""
    monkeypatch.setattr(http, 'BACKOFF_S', 0)
    urls = [[one.url for one in shard] for shard in clickhouse_cluster]
    place = Place(sql, urls, 'test_faults', is_cluster=True)
    storage = clickhouse_faults.open_storage(place, RecordingWriter)
    storage.body.create()

    assert _wrong(storage, place, _dying(clickhouse_cluster, storage)) == []
    storage.database.engine.dispose()
    for number in range(len(urls[0])):
        one = place._replace(shards=[[shard[number]] for shard in urls])
        replicas = clickhouse_faults.open_storage(one, RecordingWriter, timeout=60)
        assert clickhouse_faults.differences(replicas)[1] == set()
        replicas.database.engine.dispose()


@contextlib.contextmanager
def _dying(shards, storage):
    """Yield a list of what was killed: a replica lags or is away for seconds, again and again."""
    killed, is_over = [], threading.Event()

    def run():
        while not is_over.is_set():
            body, shard = random.choice(list(zip(storage.body.all, shards, strict=True)))
            replica = random.choice(shard)
            for action in ('STOP', 'START'):
                statement = f'SYSTEM {action} FETCHES {body.database}.frames'
                requests.post(replica.url, data=statement, timeout=60).raise_for_status()
                is_over.wait(2)
            if is_over.is_set():
                break
            replica.kill()
            killed.append(replica.port)
            # Longer still: see Replica.start().
            is_over.wait(random.uniform(0, 15) if SECONDS > 60 else 0)
            replica.start()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield killed
    finally:
        is_over.set()
        thread.join()


def _wrong(storage, place, dying):
    """Return what differed in any answer while writers and servers died."""
    for scope in clickhouse_faults.SCOPES:
        state(storage, scope, MAY - HOUR)
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload([clickhouse_faults.__name__])

    def start():
        process = context.Process(target=clickhouse_faults.write, args=[place], daemon=True)
        process.start()
        return process

    counts, wrong = collections.Counter(), []
    writers = [start() for _ in range(WRITERS)]
    deadline = time.monotonic() + SECONDS
    try:
        with dying as killed:
            # As long as a slow machine needs to show anything.
            while time.monotonic() < deadline or not all(
                counts[name] for name in ('deaths', 'resets', 'replaced', 'answers', 'periods')
            ):
                assert time.monotonic() < deadline + 300
                _disturb(storage, writers, start, counts)
                _compare(storage, counts, wrong)
    finally:
        for process in writers:
            process.kill()
            process.join()
    _compare(storage, counts, wrong)
    print(dict(counts), 'servers killed:', len(killed))
    return wrong


def _disturb(storage, writers, start, counts):
    """Kill writers, and set back and replace scopes at times; start those that died."""
    if random.random() < 0.1:
        random.choice(writers).kill()
    if random.random() < 0.2:
        with contextlib.suppress(errors.DatabaseAway):
            clickhouse_faults.set_back(storage)
            counts['resets'] += 1
    if random.random() < 0.2:
        with contextlib.suppress(errors.DatabaseAway):
            counts['replaced'] += clickhouse_faults.replace(storage)
    for place, process in enumerate(writers):
        if not process.is_alive():
            counts['deaths'] += 1
            writers[place] = start()


def _compare(storage, counts, wrong):
    """Count an answer, and what differs in it; no answer is none that is wrong."""
    try:
        size, found = clickhouse_faults.differences(storage)
    except errors.DatabaseAway:
        counts['refused'] += 1
        return
    counts['answers'] += 1
    counts['periods'] = max(size, counts['periods'])
    wrong += found
