"""The released Python client's v2 commands: what they order, a processor does."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import history, processors, services
from cloudkitty.tests.functional import daemon, test_reprocessing, worker_run
from cloudkitty.tests.functional.api import test_client_v1

BIN = os.path.dirname(sys.executable)
LAST = history.PERIODS[-1].begin
FIRST = timeframe.render(history.hour(0).begin)
THIRD = timeframe.render(history.hour(2).begin)
SPAN = ['-b', FIRST, '-e', timeframe.render(history.hour(20).begin)]


@pytest.fixture
def path(database, tmp_path, prometheus):
    """The configuration of a service whose scopes have nothing due but what is ordered."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    written = worker_run.write_conf(
        tmp_path,
        prometheus_url=prometheus.url,
        max_workers=1,
        max_workers_reprocessing=1,
        connection=f'sqlite:///{database.engine.url.database}',
    )
    written.write_text(
        f'[api]\nport = {port}\n'
        + written.read_text().replace('[DEFAULT]', '[DEFAULT]\nauth_strategy = noauth')
    )
    daemon.seed(database)
    conf = worker_run.load_conf(written)
    worker_run.build(conf).worker.turn()
    assert daemon.marks(database) == dict.fromkeys(worker_run.SCOPES, (LAST, None))
    return written


@pytest.fixture
def url(path):
    """A running API."""
    process = subprocess.Popen(
        [f'{BIN}/cloudkitty-api', '--config-file', str(path)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    address = f'http://127.0.0.1:{worker_run.load_conf(path).api.port}'
    assert f'cloudkitty-api listens on {address}\n' in iter(process.stdout.readline, '')
    yield address
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def run(url, *commands):
    """Run commands; return what they show, None for those that show nothing."""
    arguments = [
        [
            '--os-rating-api-version',
            '2',
            '--os-auth-type',
            'cloudkitty-noauth',
            '--os-endpoint',
            url,
            *command,
        ]
        for command in commands
    ]
    ended = subprocess.run(
        [sys.executable, '-c', test_client_v1.RUNNER],
        text=True,
        timeout=120,
        input=json.dumps(arguments),
        capture_output=True,
    )
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout)
    # `scope patch` ends with the answer for a status.
    assert all(status == 0 or isinstance(status, dict) for status, _ in shown), ended.stderr
    return [json.loads(output) if output.startswith(('[', '{')) else None for _, output in shown]


def listing(*command):
    return [*command, '-f', 'json']


@pytest.mark.timeout(180)
def test_what_the_commands_order_is_done(path, url, database, tmp_path):
    points = tmp_path / 'points.json'
    points.write_text(
        json.dumps(
            {
                'dataframes': [
                    {
                        'period': {'begin': FIRST, 'end': THIRD},
                        'usage': {
                            'credit': [
                                {
                                    'vol': {'unit': 'EUR', 'qty': 1},
                                    'rating': {'price': -0.5},
                                    'groupby': {'project_id': 'alpha'},
                                    'metadata': {},
                                }
                            ]
                        },
                    }
                ]
            }
        )
    )
    database.write(test_reprocessing.add_rule)
    summary = listing('summary', 'get', *SPAN, '-g', 'type')
    before, states, *_ = run(
        url,
        summary,
        listing('scope', 'state', 'get', '--scope-id', 'alpha'),
        ['dataframes', 'add', str(points)],
        ['scope', 'patch', '--scope-id', 'beta', '--active', 'false'],
        ['scope', 'patch', '--scope-id', 'beta', '--active', 'true'],
        [
            'tasks',
            'reprocessing',
            'create',
            '--scope-id',
            'alpha',
            '--scope-id',
            'beta',
            '--reason',
            'a forgotten rule',
            '--start-reprocess-time',
            FIRST,
            '--end-reprocess-time',
            timeframe.render(LAST),
        ],
        ['scope', 'state', 'reset', '--scope-id', 'alpha', '--scope-id', 'beta', THIRD],
    )
    assert [row['State'] for row in states] == [timeframe.render(LAST)]
    tasks = listing('tasks', 'reprocessing', 'get', '--order', 'asc')
    (waiting,) = run(url, tasks)
    assert [(row['Scope ID'], row['Current reprocessing time']) for row in waiting] == [
        ('alpha', ''),
        ('beta', ''),
    ]

    with processors.Processor(path, tmp_path / 'log') as processor:
        services.wait_until(lambda: is_done(database), deadline_s=60, what='the orders')
        assert processor.end(signal.SIGTERM) == 0

    after, done, credit, states = run(
        url,
        summary,
        tasks,
        listing('dataframes', 'get', *SPAN, '--filter', 'type:credit'),
        listing('scope', 'state', 'get'),
    )
    assert {row['Current reprocessing time'] for row in done} == {timeframe.render(LAST)}
    assert [(row['Metric Type'], row['Price']) for row in credit] == [('credit', -0.5)]
    assert {row['State'] for row in states} == {timeframe.render(LAST)}
    old, new = ({row['Type']: row for row in rows} for rows in (before, after))
    assert new.keys() - old.keys() == {'credit'}
    assert {name: row['Qty'] for name, row in old.items()} == {
        name: row['Qty'] for name, row in new.items() if name != 'credit'
    }
    assert new['test_volume_gib']['Rate'] > old['test_volume_gib']['Rate']
    assert new['cpu']['Rate'] == old['cpu']['Rate']
    assert 'Traceback' not in (tmp_path / 'log').read_text()


def is_done(database):
    with database.reader() as connection:
        waiting = connection.execute(sa.select(sa.func.count()).select_from(tables.resets)).scalar()
        unfinished = connection.execute(
            sa.select(tables.tasks.c.id).where(
                sa.or_(
                    tables.tasks.c.current_reprocess_time.is_(None),
                    tables.tasks.c.current_reprocess_time < tables.tasks.c.end_reprocess_time,
                )
            )
        ).all()
        marks = {scope.mark for scope in scope_state.list_scopes(connection)[1]}
    return not waiting and not unfinished and marks == {LAST}
