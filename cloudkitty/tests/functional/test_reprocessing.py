"""Rating periods of the tests' Prometheus again: exact, without a hole, whatever dies."""

import random
import shutil
import threading
from datetime import timedelta
from decimal import Decimal

import pytest

from cloudkitty import storage
from cloudkitty.core.timeframe import Period
from cloudkitty.rating.hashmap.store import groups, mappings, services
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.storage.v2 import sql
from cloudkitty.tests import faults, history
from cloudkitty.tests.functional import daemon, test_kill, worker_run

SECOND, FIFTH = history.hour(1).begin, history.hour(4).begin
WINDOW = Period(SECOND, FIFTH)
# The forgotten rule is valid from here on.
VALID_FROM = history.hour(2).begin
FORGOTTEN = Decimal('0.7')
KILLS = 20


def add_rule(connection):
    """Give every volume a price more, from the third hour on."""
    (volumes,) = [one for one in services.list_all(connection) if one.name == 'test_volume_gib']
    group = groups.create(connection, 'forgotten')
    mappings.create(
        connection,
        mappings.NewMapping(
            cost=FORGOTTEN,
            service_id=volumes.service_id,
            group_id=group.group_id,
            value=None,
            start=VALID_FROM,
        ),
        now=worker_run.NOW,
        author='test',
        force=True,
    )


def order(connection, window=WINDOW):
    scope_reprocessing.create(
        connection, None, identity=daemon.IDENTITY, window=window, reason='a forgotten rule'
    )


def hourly(store):
    """Return quantity and price of each hour, scope and metric."""
    rows = store.total(
        ['time', 'project_id', 'type'], history.BEGIN, history.hour(9).end, paginate=False
    )['results']
    return {
        (row['begin'], row['project_id'], row['type']): (row['qty'], row['rate']) for row in rows
    }


def expected_after(before):
    """Return what *before* becomes: the new price in the window, where the rule is valid."""
    return {
        (begin, scope_id, metric): (
            qty,
            rate + qty * FORGOTTEN
            if metric == 'test_volume_gib' and VALID_FROM <= begin < FIFTH
            else rate,
        )
        for (begin, scope_id, metric), (qty, rate) in before.items()
    }


def tasks(database):
    with database.reader() as connection:
        return [
            (one.scope_id, one.current, one.kept_periods)
            for one in scope_reprocessing.list_tasks(connection, is_ascending=True)[1]
        ]


@pytest.fixture
def rated(any_database, tmp_path, prometheus):
    """Every hour is rated, a rule was forgotten; returns the configuration's path."""
    path = worker_run.write_conf(
        tmp_path,
        prometheus_url=prometheus.url,
        batch_periods=4,
        connection=any_database.engine.url.render_as_string(False),
    )
    worker_run.clear(any_database)
    any_database.engine.dispose()
    # In a process of its own, because a SQLite file is replaced later: a connection to the old one
    # that is closed after that would take away the log of the new one.
    assert test_kill.live(path, kill_at=None)
    any_database.write(add_rule)
    return path


def at_source(path, url):
    """Return the configuration of *path* with another source."""
    lines = [
        f'prometheus_url = {url}' if line.startswith('prometheus_url') else line
        for line in path.read_text().splitlines()
    ]
    other = path.with_name('other.conf')
    other.write_text('\n'.join(lines))
    return worker_run.load_conf(other)


@pytest.mark.timeout(120)
def test_a_forgotten_rule_changes_the_periods_that_were_ordered_and_only_them(rated, any_database):
    """While it happens a reader sees the old price of a period or the new one, and no hole."""
    conf = worker_run.load_conf(rated)
    store = storage.get_driver(conf)
    before = hourly(store)
    after = expected_after(before)
    assert before != after
    marks = worker_run.results(conf)['marks']
    any_database.write(order)
    seen, is_over = [], threading.Event()

    def read():
        reader = sql.SQLStorage(conf)
        while not is_over.is_set():
            seen.append(hourly(reader))
        seen.append(hourly(reader))
        reader.database.engine.dispose()

    thread = threading.Thread(target=read)
    thread.start()
    try:
        worker_run.build(conf).worker.turn()
    finally:
        is_over.set()
        thread.join()

    assert hourly(store) == after
    assert tasks(any_database) == [(name, FIFTH, 0) for name in worker_run.SCOPES]
    assert worker_run.results(conf)['marks'] == marks
    assert len(seen) > 2
    for found in seen:
        assert found.keys() == before.keys()
        assert all(value in (before[key], after[key]) for key, value in found.items())
    store.database.engine.dispose()


@pytest.mark.timeout(300)
@pytest.mark.parametrize('any_conf', ['sqlite'], indirect=True)
def test_a_killed_processor_goes_on_where_it_was(rated, any_database, tmp_path):
    conf = worker_run.load_conf(rated)
    any_database.write(order)
    with any_database.engine.connect() as connection:
        connection.exec_driver_sql('PRAGMA wal_checkpoint(TRUNCATE)')
    any_database.engine.dispose()
    path = any_database.engine.url.database
    shutil.copy(path, tmp_path / 'ordered')
    statements = test_kill.live(rated, kill_at=None)
    expected = (worker_run.results(conf), tasks(any_database))
    choose = random.Random(20240501)

    kills, has_ended = 0, True
    while kills < KILLS or not has_ended:
        if has_ended:
            any_database.engine.dispose()
            for suffix in ('-wal', '-shm'):
                (tmp_path / f'cloudkitty.sqlite{suffix}').unlink(missing_ok=True)
            shutil.copy(tmp_path / 'ordered', path)
        has_ended = test_kill.live(rated, kill_at=choose.randint(1, statements)) is not None
        kills += not has_ended
        if has_ended:
            assert (worker_run.results(conf), tasks(any_database)) == expected


@pytest.mark.parametrize('any_conf', ['sqlite'], indirect=True)
def test_what_the_source_has_lost_is_kept(rated, any_database):
    """A source that answers that there is nothing, as one does whose data expired."""
    conf = worker_run.load_conf(rated)
    store = storage.get_driver(conf)
    before = hourly(store)
    any_database.write(order)
    with faults.FaultyServer(faults.nothing) as server:
        worker_run.build(at_source(rated, server.url)).worker.turn()

    assert hourly(store) == before
    assert tasks(any_database) == [(name, FIFTH, 3) for name in worker_run.SCOPES]
    store.database.engine.dispose()


@pytest.mark.parametrize('any_conf', ['sqlite'], indirect=True)
def test_a_source_that_fails_changes_nothing_until_it_works(rated, any_database):
    conf = worker_run.load_conf(rated)
    store = storage.get_driver(conf)
    before = hourly(store)
    any_database.write(order)
    now = [worker_run.NOW]
    with faults.FaultyServer(faults.text('Internal error', status=500)) as server:
        broken = at_source(rated, server.url)
        wake_at = worker_run.build(broken, lambda: now[0]).worker.turn()
    assert hourly(store) == before
    assert wake_at == worker_run.NOW + timedelta(seconds=5)
    with any_database.reader() as connection:
        assert all(one.failure_reason for one in scope_reprocessing.list_tasks(connection)[1])

    now[0] = wake_at
    worker_run.build(conf, lambda: now[0]).worker.turn()

    assert hourly(store) == expected_after(before)
    store.database.engine.dispose()
