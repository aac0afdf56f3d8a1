"""PostgreSQL is killed and started again while usage is pushed: each event counts once."""

import os
import pathlib
import random
import tempfile
import threading
from concurrent import futures
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.api import app
from cloudkitty.db import migration, usage_tables
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests import databases, services, usage
from cloudkitty.tests.functional.api.test_usage import event, push, told
from cloudkitty.tests.functional.test_full_disk import create_database
from cloudkitty.usage import samples

# 1,000 for a thorough run.
PUSHES = int(os.environ.get('CLOUDKITTY_TEST_PUSHES', '160'))
CLIENTS = 16
EVENTS = 20
KILLS = 2
DEADLINE_S = 120


@pytest.fixture
def server():
    # Not in tmp_path, which is private to root: PostgreSQL runs as a user of its own.
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        with databases.PostgreSQL(folder / 'server') as started:
            create_database(f'{started.url}/postgres')
            yield started


@pytest.fixture
def database(conf, server):
    conf.set_override('connection', f'{server.url}/ck', 'database')
    conf.set_override('auth_strategy', 'noauth')
    made = db.Database(conf)
    migration.upgrade(made)
    yield made
    made.close()


@pytest.fixture
def application(conf, database):
    return app.build(conf, database=database, storage=SQLStorage(conf))


def stored(database):
    """Return how many events have a claim, and the quantities of their facts."""
    claims = usage.rows(database, usage_tables.keys, 'digest')
    return len(claims), [one for (one,) in usage.rows(database, usage_tables.samples, 'quantity')]


def test_a_database_that_dies_between_claim_and_write(application, database, server, monkeypatch):
    """Nothing is claimed: the request is answered with 503, and counts when it is repeated."""
    batch = [event(f'e{number}', subject=f'v{number}') for number in range(EVENTS)]
    insert, deaths = samples.insert, []

    def dying(connection, rows):
        if not deaths:
            claimed = connection.scalar(sa.select(sa.func.count()).select_from(usage_tables.keys))
            deaths.append(claimed)
            server.kill()
        return insert(connection, rows)

    monkeypatch.setattr(samples, 'insert', dying)
    failed = push(application, batch, Idempotency_Key='k')
    assert (failed.status_int, deaths) == (503, [EVENTS])
    assert int(failed.headers['Retry-After']) > 0
    server.start()
    assert stored(database) == (0, [])

    first = push(application, batch, Idempotency_Key='k')
    again = push(application, batch, Idempotency_Key='k')

    assert told(first) == told(again) == (EVENTS, 0, {})
    assert push(application, batch[:1], Idempotency_Key='k').status_int == 409
    assert told(push(application, batch)) == (0, EVENTS, {})
    assert stored(database) == (EVENTS, [Decimal('1.5')] * EVENTS)


def test_a_database_is_killed_while_many_push_the_same(application, database, server):
    """Whoever gets no answer asks again, until it gets one."""
    batch = [event(f'e{number}', subject=f'v{number}') for number in range(EVENTS)]
    rounds = -(-PUSHES // CLIENTS)
    barrier, answers, failures = threading.Barrier(CLIENTS + 1), [], []

    def ask(events):
        answer = push(application, events)
        if answer.status_int == 200:
            answers.append(told(answer))
            return True
        failures.append(answer.status_int)
        return False

    def client(number):
        chosen = random.Random(number).sample(batch, EVENTS)
        barrier.wait(timeout=60)
        for _ in range(rounds):
            services.wait_until(lambda: ask(chosen), deadline_s=DEADLINE_S, what='an answer')

    with futures.ThreadPoolExecutor(CLIENTS) as pool:
        pushing = [pool.submit(client, number) for number in range(CLIENTS)]
        barrier.wait(timeout=60)
        for kill in range(1, KILLS + 1):
            services.wait_until(
                lambda kill=kill: len(answers) >= kill * PUSHES // (KILLS + 2),
                deadline_s=DEADLINE_S,
                what='some answers',
            )
            server.kill()
            server.start()
        for one in pushing:
            one.result(timeout=DEADLINE_S)

    assert len(answers) == rounds * CLIENTS
    assert set(failures) <= {503}
    # Who stored an event may not have learnt of it.
    assert sum(accepted for accepted, _, _ in answers) <= EVENTS
    assert all(
        (accepted + duplicates, rejected) == (EVENTS, {})
        for accepted, duplicates, rejected in answers
    )
    assert stored(database) == (EVENTS, [Decimal('1.5')] * EVENTS)
