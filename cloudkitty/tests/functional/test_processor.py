"""The command cloudkitty-processor: real processes, real signals."""

import random
import signal
import socket
import time
from datetime import UTC, datetime

import pytest

from cloudkitty import db, errors
from cloudkitty.audit import trail
from cloudkitty.billing.documents import Documents
from cloudkitty.processor import service
from cloudkitty.rating import module_state
from cloudkitty.tests import conftest, faults, services
from cloudkitty.tests.functional import daemon, worker_run
from cloudkitty.tests.processors import Processor


@pytest.fixture
def make_conf(database, tmp_path):
    """Return a function that writes a configuration for the test's database."""

    def _make_conf(url):
        return worker_run.write_conf(
            tmp_path,
            prometheus_url=url,
            max_workers=2,
            batch_periods=1,
            connection=f'sqlite:///{database.engine.url.database}',
        )

    return _make_conf


def slowly(url):
    """Pass on what the server at *url* says, so slowly that there is time for a signal."""
    whole = faults.pass_on(url)

    def answer(handler, request):
        handler.server.owner.is_closing.wait(0.1)
        whole(handler, request)

    return answer


def test_processes_that_are_killed_and_stopped_store_what_a_quiet_run_stores(
    make_conf, database, tmp_path, prometheus
):
    log_path = tmp_path / 'log'
    choose = random.Random(7)
    with faults.FaultyServer(slowly(prometheus.url)) as server:
        path = make_conf(server.url)
        conf = worker_run.load_conf(path)
        daemon.seed(database)
        worker_run.build(conf).worker.turn()
        expected = worker_run.results(conf)
        assert daemon.marks(database) == daemon.FINISHED
        daemon.seed(database)

        for _ in range(4):
            before = daemon.marks(database)
            with Processor(path, log_path) as processor:
                services.wait_until(
                    lambda before=before: daemon.marks(database) != before,
                    deadline_s=60,
                    what='the first commit',
                )
                time.sleep(choose.uniform(0, 0.1))
                processor.end(signal.SIGKILL)
            if daemon.marks(database) == daemon.FINISHED:
                daemon.seed(database)
        with Processor(path, log_path) as processor:
            services.wait_until(
                lambda: daemon.marks(database) == daemon.FINISHED, deadline_s=60, what='rating'
            )
            assert processor.end(signal.SIGTERM) == 0

    assert worker_run.results(conf) == expected
    assert 'Traceback' not in log_path.read_text()


@pytest.mark.parametrize('answer', [faults.hang, faults.reset])
def test_a_stop_does_not_wait_for_the_source(make_conf, database, tmp_path, answer):
    daemon.seed(database)
    with faults.FaultyServer(answer) as server:
        path = make_conf(server.url)
        with Processor(path, tmp_path / 'log') as processor:
            services.wait_until(lambda: server.requests, deadline_s=60, what='the first question')
            begin = time.monotonic()

            assert processor.end(signal.SIGTERM) == 0

    assert time.monotonic() - begin < 10
    assert 'Traceback' not in (tmp_path / 'log').read_text()


def test_what_is_wrong_ends_the_command_with_one_line(make_conf, tmp_path):
    path = make_conf('http://127.0.0.1:1/api/v1')
    path.write_text(path.read_text().replace('backend = source', 'backend = nothing'))

    with Processor(path, tmp_path / 'log') as processor:
        assert processor.process.wait(60) == 1

    configuration, line = (tmp_path / 'log').read_text().splitlines()
    assert configuration.endswith(f'Configuration: {path}')
    assert line.startswith(
        "cloudkitty-processor: [fetcher]backend: no driver is named 'nothing'; allowed: "
    )


@pytest.mark.parametrize(
    'old, new, expected',
    [
        (
            'collector = prometheus',
            'collector = abacus',
            "[collect]collector: no driver is named 'abacus'; allowed: ",
        ),
        (
            '[database]',
            '[storage]\nbackend = barn\n[database]',
            "[storage]backend: no driver is named 'barn'; allowed: ",
        ),
        ('metrics.yml', 'nowhere.yml', 'nowhere.yml: '),
        (
            'sqlite:///',
            'postgresql+psycopg2://nobody:secret@127.0.0.1:1/',
            '[database]connection: postgresql+psycopg2://nobody:***@127.0.0.1:1/',
        ),
        ('cloudkitty.sqlite', 'other.sqlite', 'holds no schema; run `cloudkitty-dbsync upgrade`'),
        (
            'coordination_url = file://',
            'coordination_url = carrier://',
            '[orchestrator]coordination_url: carrier:// cannot be used',
        ),
        (
            '[orchestrator]',
            '[orchestrator]\nskip_datapoints_expression = 1 +',
            "[orchestrator]: skip_datapoints_expression '1 +' is not an expression",
        ),
    ],
)
def test_all_is_checked_before_workers_are_started(make_conf, old, new, expected):
    path = make_conf('http://127.0.0.1:1/api/v1')
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    conf = worker_run.load_conf(path)

    with pytest.raises(errors.ConfigurationError) as caught:
        service.check(conf)

    assert expected in str(caught.value)
    assert 'secret' not in str(caught.value)
    assert '\n' not in str(caught.value)


def test_points_that_a_local_month_needs_must_be_kept(make_conf):
    """With the number of hours that is allowed."""
    conf = worker_run.load_conf(make_conf('http://127.0.0.1:1/api/v1'))
    conf.set_override('enabled', True, 'billing')
    conf.set_override('retention_period', 24 * 60, 'storage')
    form = {'accounts': {'acme': {'scopes': ['a'], 'zone': 'Europe/Paris', 'close_after': '0 h'}}}
    documents = Documents(db.Database(conf))
    documents.apply(form, '2026-01', actor=trail.Actor(), now=datetime.now(UTC))

    with pytest.raises(errors.ConfigurationError, match='need 1488'):
        service.check(conf)
    conf.set_override('retention_period', 1488, 'storage')
    service.check(conf)


@pytest.mark.parametrize(
    'locks, connection, is_warned',
    [
        ('file', 'postgresql+psycopg2://ck:secret@198.51.100.7/ck', True),
        ('file', 'mysql+pymysql://ck:secret@nowhere.invalid/ck', True),
        ('file', 'postgresql+psycopg2:///ck?host=127.0.0.1:5432&host=198.51.100.7:5432', True),
        ('file', 'postgresql+psycopg2:///ck?host=127.0.0.1:5432&host=localhost', False),
        ('file', 'postgresql+psycopg2://ck:secret@[::1]/ck', False),
        ('file', 'postgresql+psycopg2://ck:secret@{own}/ck', False),
        ('file', 'postgresql+psycopg2:///ck', False),
        ('file', 'postgresql+psycopg2:///ck?host=/run/postgresql', False),
        ('file', 'mysql+pymysql://ck:secret@localhost/ck', False),
        ('file', 'mysql+pymysql:///ck?unix_socket=/run/mysqld/mysqld.sock', False),
        ('file', 'sqlite:////var/lib/cloudkitty/cloudkitty.sqlite', False),
        ('postgresql', 'postgresql+psycopg2://ck:secret@198.51.100.7/ck', False),
    ],
)
def test_locks_of_one_host_with_a_database_elsewhere_are_warned_of(
    conf, caplog, locks, connection, is_warned
):
    own = socket.getaddrinfo(socket.gethostname(), 1, socket.AF_INET)[0][4][0]
    conf.set_override('connection', connection.format(own=own), 'database')
    if locks != 'file':
        _, _, server = conftest.SERVERS[locks].partition('://')
        conf.set_override('coordination_url', f'{locks}://{server}/postgres', 'orchestrator')

    service.check_locks(conf, db.Database(conf))

    assert ['these locks serve one host only' in text for text in caplog.messages] == (
        [True] if is_warned else []
    )
    assert 'secret' not in caplog.text


def test_a_wrong_skip_expression_of_a_metric_names_file_and_metric(make_conf, tmp_path):
    path = make_conf('http://127.0.0.1:1/api/v1')
    definitions = tmp_path / 'metrics.yml'
    definitions.write_text(
        definitions.read_text().replace(
            'unit: vcpu', 'unit: vcpu\n    skip_datapoints_expression: "import os"'
        )
    )

    with pytest.raises(errors.MetricsFileError, match="metrics.yml: metric 'test_vcpus': "):
        service.check(worker_run.load_conf(path))


@pytest.mark.parametrize(
    'enabled, is_warned',
    [
        ([], True),
        (['noop', 'collector_prometheus'], True),
        (['hashmap'], False),
        (['pyscripts'], False),
        (['noop', 'a_foreign_one'], False),
    ],
)
def test_only_an_enabled_module_that_can_set_a_price_prevents_a_warning(
    database, caplog, enabled, is_warned
):
    """`noop` and collectors set none; a module that is switched off again counts no more."""

    def change(connection):
        module_state.update(connection, 'x', enabled=True)
        module_state.update(connection, 'x', enabled=False)
        for name in enabled:
            module_state.update(connection, name, enabled=True)

    database.write(change)

    service.check_modules(database)

    assert ['No rating module is enabled' in text for text in caplog.messages] == (
        [True] if is_warned else []
    )


def test_a_start_without_a_rating_module_warns_once(make_conf, database, tmp_path):
    """However many workers there are, one line says what to do."""
    log_path = tmp_path / 'log'
    with Processor(make_conf('http://127.0.0.1:1/api/v1'), log_path) as processor:
        services.wait_until(lambda: len(processor.workers) == 2, deadline_s=60, what='workers')
        assert processor.end(signal.SIGTERM) == 0

    (line,) = (line for line in log_path.read_text().splitlines() if 'No rating module' in line)
    assert ' WARNING ' in line
    assert '`openstack rating module enable hashmap`' in line
