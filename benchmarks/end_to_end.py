"""Catching up 72 hourly periods of 40 scopes and 1,200 series: Prometheus to SQLite, one worker"""

import contextlib
import gc
import sqlite3
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent import futures
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from unittest import mock

import orjson
import requests
from oslo_config import cfg
from requests import adapters

from benchmarks.figure import Figure
from cloudkitty import collector, db
from cloudkitty import conf as configuration
from cloudkitty.collector import prometheus_query
from cloudkitty.collector.prometheus import PrometheusCollector
from cloudkitty.core import timeframe
from cloudkitty.db import migration
from cloudkitty.processor import service
from cloudkitty.processor.settings import Settings
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import fields, mappings
from cloudkitty.rating.hashmap.store import services as hashmap_services
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import services

METRICS = ('bench_vcpus', 'bench_memory', 'bench_volume', 'bench_in', 'bench_out')
SCOPES = [f'project-{number:02}' for number in range(40)]
SERIES_PER_METRIC = 6  # of one scope: 40 x 5 x 6 = 1,200 series
PERIODS = 72
POINTS = len(SCOPES) * len(METRICS) * SERIES_PER_METRIC * PERIODS
SAMPLE_S = 300
HOUR = timedelta(hours=1)
FLAVORS = 12
RULES = (7, 10_000)
ROUNDS = 5
DEADLINE_S = 300
TABLES = (
    'rated_series',
    'rated_attributes',
    'rated_frames',
    'rated_days',
    'rated_totals',
    'rated_months',
)
CONFIGURATION = """
[database]
connection = {connection}
[collect]
collector = prometheus
wait_periods = 1
metrics_conf = {home}/metrics.yml
[fetcher]
backend = source
[fetcher_source]
sources = {scopes}
[collector_prometheus]
prometheus_url = {url}
[orchestrator]
coordination_url = file://{home}/locks
max_workers = {workers}
"""


def measure(folder: Path) -> list[Figure]:
    """Return the figures, medians of several rounds."""
    begin = timeframe.period_at(datetime.now(UTC), 3600).begin - PERIODS * HOUR
    with services.Prometheus(folder / 'prometheus', history=history(begin, SCOPES)) as source:
        rounds = [_round(folder / f'round-{number}', source.url, begin) for number in range(ROUNDS)]
    few, many, fetch, insert, cpu, _ = (
        statistics.median(column) for column in zip(*rounds, strict=True)
    )
    return [
        Figure('points', POINTS),
        Figure('points per second', POINTS / few, 'points/s', at_least=50_000),
        Figure('time with 7 rules', few, 's'),
        Figure('floor: fetch the same answers with requests and orjson', fetch, 's'),
        Figure('floor: insert the same rows with sqlite3', insert, 's'),
        Figure(
            'ratio to the floor',
            statistics.median(row[0] / (row[2] + row[3]) for row in rounds),
            at_most=2,
        ),
        Figure('processor time of a point', cpu / POINTS * 1e6, 'us', at_most=5),
        Figure('time with 10,000 rules by that with 7', many / few, at_most=1.2),
        Figure(
            'time by that without asking for gaps',
            statistics.median(row[0] / row[5] for row in rounds),
            at_most=1.15,
        ),
    ]


def _round(home, url, begin):
    """Return seconds: few rules, many, floor of fetching, of inserting, processor, gaps not asked.

    The last two are with few rules.
    """
    confs = [prepare(home / f'rules-{rules}', url, begin, rules) for rules in RULES]
    (few, cpu), (many, _) = (_catch_up(conf, begin) for conf in confs)
    bare = prepare(home / 'without-gaps', url, begin, RULES[0])
    with mock.patch.object(PrometheusCollector, 'coverage', collector.BaseCollector.coverage):
        without, _ = _catch_up(bare, begin)
    return few, many, _fetch(confs[0], begin), _insert(home / 'rules-7'), cpu, without


def history(
    begin: datetime,
    names: Sequence[str],
    *,
    per_metric: int = SERIES_PER_METRIC,
    sample_s: int = SAMPLE_S,
) -> Iterator[services.Family]:
    """Yield what the scopes *names* use from *begin* on.

    :param per_metric: series of a scope.
    """
    # Up to now: the exporters go on while the processor catches up. Of samples that are 5 minutes
    # old Prometheus says nothing, and a silent metric is looked for in all the time before.
    now = int(time.time())
    instants = sorted({*range(int(begin.timestamp()), now, sample_s), now})
    for number, metric in enumerate(METRICS):
        yield services.Family(
            metric,
            'gauge',
            (
                (
                    {
                        'project_id': scope_id,
                        'id': f'{metric}-{scope_id}-{n}',
                        'user_id': f'user-{place % 7}',
                        'flavor': f'flavor-{(place + n) % FLAVORS}',
                    },
                    [
                        (at, (number + 1) * (n + 1) + turn % 5 * 0.25)
                        for turn, at in enumerate(instants)
                    ],
                )
                for place, scope_id in enumerate(names)
                for n in range(per_metric)
            ),
        )


def prepare(
    home: Path,
    url: str,
    begin: datetime,
    rules: int,
    *,
    names: Sequence[str] = SCOPES,
    connection: str = '',
    workers: int = 1,
) -> cfg.ConfigOpts:
    """Return the configuration of a service whose scopes wait to be caught up.

    :param connection: of an empty database; '': a new one of SQLite.
    """
    home.mkdir(parents=True)
    (home / 'metrics.yml').write_bytes(
        orjson.dumps(
            {
                'metrics': {
                    metric: {
                        'unit': 'unit',
                        'alt_name': metric.removeprefix('bench_'),
                        'groupby': ['id', 'user_id', 'project_id'],
                        'metadata': ['flavor'],
                    }
                    for metric in METRICS
                }
            }
        )
    )
    (home / 'cloudkitty.conf').write_text(
        CONFIGURATION.format(
            home=home,
            url=url,
            scopes=','.join(names),
            workers=workers,
            connection=connection or f'sqlite:///{home}/cloudkitty.sqlite',
        )
    )
    conf = configuration.load([], files=[str(home / 'cloudkitty.conf')], conf=cfg.ConfigOpts())
    database = db.Database(conf)
    migration.upgrade(database)
    with database.writer() as connection:
        scope_state.record_seen(
            connection,
            Settings.of(conf).identity,
            names,
            now=begin,
            initial_mark=begin - HOUR,
            final_mark=begin,
        )
        _make_rules(connection, begin, rules)
    database.engine.dispose()
    return conf


def _make_rules(connection, begin, count):
    """Make a price for every metric, and for the rest of *count* a price of a flavor."""
    module_state.update(connection, 'hashmap', enabled=True)
    made = 0
    owners = [
        hashmap_services.create(connection, metric.removeprefix('bench_')) for metric in METRICS
    ]
    flavors = [fields.create(connection, 'flavor', owner.service_id) for owner in owners]
    places = [{'service_id': owner.service_id} for owner in owners]
    places += [
        {'field_id': flavors[n % len(flavors)].field_id, 'value': f'flavor-{n}'}
        for n in range(count - len(places))
    ]
    for made, place in enumerate(places, 1):
        mappings.create(
            connection,
            mappings.NewMapping(cost=Decimal('0.0123') * made, start=begin - HOUR, **place),
            now=begin,
            author='benchmark',
            force=True,
        )


def _catch_up(conf, begin):
    """Return how many seconds a worker needs until all is stored, and how many of a processor.

    The latter include those of looking, a few for each hundred.
    """
    last = str(timeframe.to_naive(begin + (PERIODS - 1) * HOUR))
    parts = []

    def work():
        gc.set_threshold(*service.GC_THRESHOLDS)
        parts.append(service.build(conf, 0, clock=lambda: datetime.now(UTC)))
        parts[0].worker.run()

    thread = threading.Thread(target=work)
    # Looking must cost nothing: it runs beside what is measured.
    look = 'SELECT min(last_processed_timestamp) FROM cloudkitty_storage_states'
    with contextlib.closing(
        sqlite3.connect(conf.database.connection.removeprefix('sqlite:///'))
    ) as watcher:
        started, used = time.perf_counter(), time.process_time()
        thread.start()
        while watcher.execute(look).fetchone()[0] < last:
            if time.perf_counter() - started > DEADLINE_S:
                raise TimeoutError(f'not caught up after {DEADLINE_S} s')
            time.sleep(0.01)
        elapsed, used = time.perf_counter() - started, time.process_time() - used
    parts[0].worker.stop()
    thread.join()
    parts[0].locks.close()
    return elapsed, used


def _fetch(conf, begin):
    """Return how many seconds the bare libraries need for the answers, with as many threads."""
    source = collector.get_driver(conf)
    batch = conf.orchestrator.batch_periods * 3600
    span = PERIODS * 3600
    questions = [
        {
            'query': prometheus_query.build_query(metric, 'project_id', SCOPES, 3600),
            'step': 3600,
            'start': begin.timestamp() + offset + 3600,
            'end': begin.timestamp() + min(offset + batch, span),
        }
        for metric in source.conf.values()
        for offset in range(0, span, batch)
    ]
    session = requests.Session()
    session.mount('http://', adapters.HTTPAdapter(pool_maxsize=len(questions)))
    url = f'{conf.collector_prometheus.prometheus_url}/query_range'

    def ask(parameters):
        answer = orjson.loads(session.post(url, data=parameters, timeout=60).content)
        return sum(len(series['values']) for series in answer['data']['result'])

    with futures.ThreadPoolExecutor(conf.orchestrator.max_threads) as pool:
        started = time.perf_counter()
        counts = list(pool.map(ask, questions))
        elapsed = time.perf_counter() - started
    assert sum(counts) == POINTS, counts
    return elapsed


def _insert(home):
    """Return how many seconds sqlite3 needs to insert the rows that the worker stored."""
    source = sqlite3.connect(home / 'cloudkitty.sqlite')
    target = sqlite3.connect(home / 'copy.sqlite')
    with contextlib.closing(source), contextlib.closing(target):
        target.execute('PRAGMA journal_mode = WAL')
        target.execute('PRAGMA synchronous = NORMAL')
        rows = {}
        for name in TABLES:
            for (statement,) in source.execute(
                'SELECT sql FROM sqlite_master WHERE tbl_name = ? AND sql IS NOT NULL '
                "AND type IN ('table', 'index')",
                (name,),
            ):
                target.execute(statement)
            rows[name] = source.execute(f'SELECT * FROM {name}').fetchall()
        started = time.perf_counter()
        with target:
            for name, found in rows.items():
                places = ','.join('?' * len(found[0]))
                target.executemany(f'INSERT INTO {name} VALUES ({places})', found)
        return time.perf_counter() - started
