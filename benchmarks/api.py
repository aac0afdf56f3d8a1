"""The API under uWSGI with one worker process, over SQLite with 1,000,000 points"""

import collections
import http.client
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import threading
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
import webob
from oslo_config import cfg

from benchmarks import totals
from benchmarks.figure import Figure
from cloudkitty import conf as configuration
from cloudkitty.api import app
from cloudkitty.rating.hashmap.store import fields, mappings
from cloudkitty.rating.hashmap.store import services as hashmap_services
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests import services

MONTH = 'begin=2024-05-01&end=2024-06-01'
RULES = '/v1/rating/module_config/hashmap'
ROOT = '/'
SUMMARIES = {
    'v1': f'/v1/report/summary?{MONTH}&groupby=res_type&tenant_id=p7',
    'v2': f'/v2/summary?{MONTH}&groupby=type&filters=project_id:p7',
}
MAPPINGS = 1000
ROUNDS = 5
ROUND_S = 3
CONNECTIONS = 2
RATE_MIN = 1000  # requests a second of the worker's processor
SHARE_MIN = 0.6  # of the rate of GET /
MARKS = (10_000, 50_000, 100_000)  # requests after which the memory is read
GROWTH_MAX_MIB = 2
CONFIGURATION = """
[DEFAULT]
auth_strategy = noauth
[database]
connection = sqlite:///{folder}/cloudkitty.sqlite
"""


class Uwsgi(services.Daemon):
    """The API as doc/source/admin/api.rst serves it, with one process."""

    program = 'uwsgi'
    ready_path = '/healthcheck'

    def command(self):
        return [
            '/usr/bin/env',
            f'CLOUDKITTY_CONFIG_FILES={self.folder}/cloudkitty.conf',
            sys.executable,
            '-c',
            'import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])',
            '--http-socket',
            self.address,
            '--module',
            'cloudkitty.wsgi.api:application',
            '--processes',
            '1',
            '--enable-threads',
            '--need-app',
            '--disable-logging',
        ]

    @property
    def busy_s(self) -> float:
        """Processor time that the worker has used, user and system."""
        text = Path(f'/proc/{self.pid}/stat').read_text()
        return sum(map(int, text.rpartition(')')[2].split()[11:13])) / os.sysconf('SC_CLK_TCK')

    @property
    def memory_mib(self) -> float:
        """Resident memory of the worker."""
        text = Path(f'/proc/{self.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+) kB', text)[1]) / 1024


class Speed(NamedTuple):
    """How quickly requests are answered.

    :ivar rate: requests a second.
    :ivar busy_rate: requests a second of the worker's processor time. On a machine that does
        nothing else it is the rate; whatever else runs changes it much less.
    """

    rate: float
    busy_rate: float


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    (folder / 'cloudkitty.conf').write_text(CONFIGURATION.format(folder=folder))
    conf = configuration.load([], files=[f'{folder}/cloudkitty.conf'], conf=cfg.ConfigOpts())
    storage = SQLStorage(conf)
    storage.init()
    points = totals.fill(storage)
    field_id = storage.database.write(_make_rules)
    statements = _count_statements(conf, storage)
    storage.database.engine.dispose()
    with Uwsgi(folder) as server:
        return [
            Figure('points stored', points),
            *_speed(server),
            Figure(f'statements for a list of {MAPPINGS:,} mappings', statements, at_most=1),
            *_memory(server, field_id),
        ]


def _make_rules(connection):
    """Make the mappings; return the id of their field."""
    owner = hashmap_services.create(connection, 'instance')
    field = fields.create(connection, 'flavor', owner.service_id)
    for number in range(MAPPINGS):
        mappings.create(
            connection,
            mappings.NewMapping(cost=Decimal(number), field_id=field.field_id, value=f'f{number}'),
            now=datetime.now(UTC),
            author='benchmark',
        )
    return field.field_id


def _count_statements(conf, storage):
    """Return how many SQL statements the list of all mappings takes."""
    application = app.build(conf, database=storage.database, storage=storage)
    seen = []

    @sa.event.listens_for(storage.database.engine, 'before_cursor_execute')
    def _note(connection, cursor, statement, *others):
        seen.append(statement)

    answer = webob.Request.blank(f'{RULES}/mappings').get_response(application)
    assert len(answer.json['mappings']) == MAPPINGS
    return len(seen)


def _speed(server):
    """Yield the speed of the summaries; they take turns with what they are compared to."""
    found = collections.defaultdict(list)
    for path in [ROOT, *SUMMARIES.values()] * ROUNDS:
        found[path].append(_measure(server, path))
    root = _median(found[ROOT])
    yield Figure('GET /', root.rate, 'requests/s')
    yield Figure('GET /', root.busy_rate, 'requests/CPU s')
    for version, path in SUMMARIES.items():
        name = f'month summary of a project, {version}'
        speed = _median(found[path])
        share = speed.busy_rate / root.busy_rate
        yield Figure(name, speed.rate, 'requests/s')
        yield Figure(name, speed.busy_rate, 'requests/CPU s')
        yield Figure(f'{name}, by the rate of GET /', share)
        yield Figure(
            f'{name}: the better of its shares of {RATE_MIN:,} requests/CPU s and of '
            f'{SHARE_MIN:.0%} of GET /',
            max(speed.busy_rate / RATE_MIN, share / SHARE_MIN),
            at_least=1,
        )
    speed = _measure(server, f'{RULES}/mappings')
    yield Figure(f'list of {MAPPINGS:,} mappings', 1000 / speed.busy_rate, 'ms of CPU')


def _median(speeds):
    return Speed(*map(statistics.median, zip(*speeds, strict=True)))


def _measure(server, path):
    """Return how quickly one path is answered."""
    busy_before = server.busy_s
    ended = subprocess.run(
        [
            services.find('wrk', 'wrk'),
            '--threads=1',
            f'--connections={CONNECTIONS}',
            f'--duration={ROUND_S}s',
            f'http://{server.address}{path}',
        ],
        text=True,
        capture_output=True,
        check=True,
        timeout=60,
    )
    # uWSGI ends each connection, which wrk counts as an error of reading.
    assert 'Non-2xx' not in ended.stdout, ended.stdout
    answers = int(re.search(r'(\d+) requests in', ended.stdout)[1])
    rate = float(re.search(r'Requests/sec:\s+([\d.]+)', ended.stdout)[1])
    return Speed(rate, answers / (server.busy_s - busy_before))


def _memory(server, field_id):
    """Yield the memory of the worker while it answers requests of all kinds."""
    answered, seen = 0, []
    for mark in MARKS:
        _ask(server, mark - answered, field_id)
        answered = mark
        seen.append(server.memory_mib)
        yield Figure(f'memory after {mark:,} requests of all kinds', seen[-1], 'MiB')
    yield Figure(
        'growth from the first to the last', seen[-1] - seen[0], 'MiB', at_most=GROWTH_MAX_MIB
    )


def _ask(server, count, field_id):
    """Send *count* requests over several connections at a time."""
    turns = iter(range(count))
    failures = []

    def work():
        requests = _requests(field_id)
        answer = None
        try:
            for _ in turns:
                answer = _answer(server, *requests.send(answer))
        except Exception as exc:  # The thread would end in silence.
            failures.append(exc)

    workers = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures, failures


def _requests(field_id):
    """Yield (method, path, body, status) for ever; each answer is sent back."""
    for turn in itertools.count():
        yield 'GET', ROOT, None, 200
        for path in SUMMARIES.values():
            yield 'GET', path, None, 200
        yield 'GET', f'/v1/nope/{turn}', None, 404
        yield 'GET', f'/v2/summary?groupby=time-{turn}', None, 400
        yield 'POST', f'{RULES}/mappings', {'cost': f'{turn}.{turn}', 'field_id': 'no'}, 400
        made = yield (
            'POST',
            f'{RULES}/mappings',
            # What a former sender has not deleted again must not be in the way.
            {'cost': turn, 'field_id': field_id, 'value': uuid.uuid4().hex},
            201,
        )
        yield 'DELETE', f'{RULES}/mappings/{made["mapping_id"]}', None, 204
        if turn % 20 == 0:
            yield 'GET', f'{RULES}/mappings', None, 200


def _answer(server, method, path, body, status):
    connection = http.client.HTTPConnection(server.address, timeout=60)
    try:
        connection.request(
            method,
            path,
            body=None if body is None else json.dumps(body),
            headers={'Content-Type': 'application/json'},
        )
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status == status, (method, path, answer.status, content)
    return json.loads(content) if content else None
