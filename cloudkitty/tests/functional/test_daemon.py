"""The processor as systemd, a log collector and an impatient operator see it."""

import contextlib
import json
import signal
import threading
from datetime import timedelta

import pytest
import sqlalchemy as sa

from cloudkitty.db import tables
from cloudkitty.tests import faults, services, stored
from cloudkitty.tests.functional import daemon, worker_run
from cloudkitty.tests.processors import Processor
from cloudkitty.tests.systemd import Systemd

WAIT_S = 60


@pytest.fixture
def make_conf(database, tmp_path):
    """Return a function that writes a configuration for the test's database, with changes."""

    def _make_conf(url, changes=(), **orchestrator):
        path = worker_run.write_conf(
            tmp_path,
            prometheus_url=url,
            connection=f'sqlite:///{database.engine.url.database}',
            **{'max_workers': 2, 'batch_periods': 1, **orchestrator},
        )
        for old, new in changes:
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        return path

    return _make_conf


@pytest.fixture
def systemd(tmp_path):
    listener = Systemd(tmp_path / 'notify')
    yield listener
    listener.close()


def test_systemd_is_told_what_the_processor_does(
    make_conf, database, tmp_path, systemd, prometheus
):
    daemon.seed(database)
    path = make_conf(prometheus.url)
    with Processor(
        path, tmp_path / 'log', NOTIFY_SOCKET=str(systemd.path), WATCHDOG_USEC='200000'
    ) as processor:
        systemd.wait_for('READY=1')
        services.wait_until(
            lambda: daemon.marks(database) == daemon.FINISHED, deadline_s=WAIT_S, what='rating'
        )
        # The workers sleep now, which is no reason to worry.
        seen = systemd.signs()
        services.wait_until(
            lambda: systemd.signs() > seen + 5, deadline_s=WAIT_S, what='signs of life'
        )
        processor.process.send_signal(signal.SIGHUP)
        systemd.wait_for('READY=1', 'RELOADING=1', 'READY=1')
        assert processor.end(signal.SIGTERM) == 0

    systemd.wait_for('READY=1', 'RELOADING=1', 'READY=1', 'STOPPING=1')
    assert any('MONOTONIC_USEC=' in message for message in systemd.told)


def test_a_worker_that_hangs_gives_no_sign_of_life(make_conf, database, tmp_path, systemd):
    daemon.seed(database)
    log_path = tmp_path / 'log'
    with faults.FaultyServer(faults.hang) as server:
        path = make_conf(server.url, [('timeout = 10', 'timeout = 300')], worker_silence_max=2)
        with Processor(path, log_path, NOTIFY_SOCKET=str(systemd.path), WATCHDOG_USEC='200000'):
            services.wait_until(
                lambda: 'have sent no heartbeat' in log_path.read_text(),
                deadline_s=WAIT_S,
                what='the line in the log',
            )
            assert systemd.signs()
            seen = systemd.signs()
            assert not threading.Event().wait(1)
            # One may have been on its way.
            assert systemd.signs() <= seen + 1


def _children(processor):
    return set(processor.workers)


def _reload(processor, log_path, expected):
    """Send SIGHUP until the log says so; cotyledon is deaf for a moment after the one before."""
    before = log_path.read_text().count(expected)

    def is_told():
        return log_path.read_text().count(expected) > before

    while not is_told():
        processor.process.send_signal(signal.SIGHUP)
        with contextlib.suppress(services.ServiceFailed):
            services.wait_until(is_told, deadline_s=10, what=expected)


def test_sighup_starts_the_workers_anew_as_the_files_say(make_conf, database, tmp_path, prometheus):
    """A wrong file, of options or of metrics, changes nothing."""
    log_path = tmp_path / 'log'
    path = make_conf(prometheus.url)
    right, metrics = path.read_text(), (tmp_path / 'metrics.yml').read_text()
    with Processor(path, log_path) as processor:
        services.wait_until(
            lambda: len(_children(processor)) == 2, deadline_s=WAIT_S, what='two workers'
        )
        before = _children(processor)
        for file, text, told in (
            (path, 'nonsense', 'cloudkitty.conf'),
            (path, right.replace('max_workers = 2', 'max_workers = two'), 'max_workers'),
            (
                path,
                right.replace('backend = source', 'backend = barn'),
                "no driver is named 'barn'",
            ),
            (tmp_path / 'metrics.yml', 'metrics: 7', 'metrics.yml'),
        ):
            old = file.read_text()
            file.write_text(text)
            _reload(processor, log_path, 'the previous one stays')
            line = [
                line
                for line in log_path.read_text().splitlines()
                if 'the previous one stays' in line
            ][-1]
            assert ' ERROR ' in line
            assert told in line
            assert _children(processor) == before
            file.write_text(old)

        path.write_text(right.replace('max_workers = 2', 'max_workers = 3'))
        _reload(processor, log_path, 'was reloaded')
        services.wait_until(
            lambda: len(_children(processor) - before) == 3 and not _children(processor) & before,
            deadline_s=WAIT_S,
            what='three new workers',
        )
        assert processor.end(signal.SIGTERM) == 0

    assert (tmp_path / 'metrics.yml').read_text() == metrics
    assert 'Traceback' not in log_path.read_text()


def test_sighup_with_another_period_changes_nothing(make_conf, database, tmp_path, prometheus):
    """What is stored is as if nobody had disturbed it; a processor started so ends at once."""
    log_path = tmp_path / 'log'
    path = make_conf(prometheus.url, [('collector = ', 'period = 3600\ncollector = ')])
    found = []
    for disturbs in (False, True):
        daemon.seed(database)
        path.write_text(path.read_text().replace('period = 1800', 'period = 3600'))
        with Processor(path, log_path) as processor:
            if disturbs:
                services.wait_until(
                    lambda: len(_children(processor)) == 2, deadline_s=WAIT_S, what='two workers'
                )
                path.write_text(path.read_text().replace('period = 3600', 'period = 1800'))
                _reload(processor, log_path, 'period is 1800 here and 3600 in the database')
            services.wait_until(
                lambda: daemon.marks(database) == daemon.FINISHED, deadline_s=WAIT_S, what='the end'
            )
            assert processor.end(signal.SIGTERM) == 0
        with database.reader() as connection:
            found.append(stored.dump(connection))

    assert stored.difference(*found) == ''
    with Processor(path, log_path) as processor:
        assert processor.process.wait(WAIT_S) != 0
    assert (
        log_path.read_text()
        .splitlines()[-1]
        .startswith('cloudkitty-processor: Nothing is rated here: [collect]period')
    )


def _waiting(database):
    with database.reader() as connection:
        return connection.execute(
            sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
                'AND datname = current_database()'
            )
        ).scalar_one()


@pytest.mark.parametrize('any_conf', ['postgresql'], indirect=True)
def test_a_stop_waits_for_the_commit_at_hand(any_database, tmp_path, prometheus):
    """It waits for a row that somebody else has locked; what it stores is stored."""
    log_path = tmp_path / 'log'
    daemon.seed(any_database)
    path = worker_run.write_conf(
        tmp_path,
        prometheus_url=prometheus.url,
        batch_periods=1,
        max_workers_reprocessing=0,
        connection=any_database.url,
    )
    before = daemon.marks(any_database)
    with any_database.engine.connect() as connection:
        connection.execute(sa.select(tables.scopes).with_for_update())
        with Processor(path, log_path) as processor:
            services.wait_until(
                lambda: _waiting(any_database), deadline_s=WAIT_S, what='a commit that waits'
            )
            processor.process.send_signal(signal.SIGTERM)
            services.wait_until(
                lambda: 'graceful exiting of service' in log_path.read_text(),
                deadline_s=WAIT_S,
                what='the signal',
            )
            assert processor.process.poll() is None
            connection.rollback()
            assert processor.process.wait(WAIT_S) == 0

    after = daemon.marks(any_database)
    assert {name: mark - before[name][0] for name, (mark, _) in after.items()} == dict.fromkeys(
        worker_run.SCOPES, timedelta(hours=1)
    )
    assert worker_run.results(worker_run.load_conf(path))['points']
    assert 'Traceback' not in log_path.read_text()


def test_a_log_in_json_has_ids_as_fields(make_conf, database, tmp_path, prometheus):
    """Every line is an object, with the worker's number and the scopes it is about."""
    daemon.seed(database)
    log_path = tmp_path / 'log'
    path = make_conf(prometheus.url, [('debug = False', 'use_json = true')], batch_periods=48)
    with Processor(path, log_path) as processor:
        services.wait_until(
            lambda: daemon.marks(database) == daemon.FINISHED, deadline_s=WAIT_S, what='rating'
        )
        assert processor.end(signal.SIGTERM) == 0

    lines = [json.loads(line) for line in log_path.read_text().splitlines()]
    stored = [line for line in lines if line['message'].startswith('Stored ')]
    assert {name for line in stored for name in line['extra']['scope_ids']} == set(
        worker_run.SCOPES
    )
    assert {line['process_name'] for line in stored} <= {'worker-0', 'worker-1'}
    assert {'MainProcess'} <= {line['process_name'] for line in lines}
