"""One period of 1,000,000 series, Prometheus to SQLite: the memory of the worker"""

import re
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import yaml

from benchmarks.figure import Figure
from cloudkitty.core import timeframe
from cloudkitty.db import Database, migration
from cloudkitty.processor.settings import Settings
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import mappings
from cloudkitty.rating.hashmap.store import services as hashmap_services
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import ini, processors, services

HOUR = timedelta(hours=1)
METRICS = tuple(f'bench_{name}' for name in ('vcpus', 'memory', 'volume', 'in', 'out'))
POINTS = 1_000_000
# Small projects, and large ones.
SCOPES = (1000, 100)
MEMORY_MAX_MIB = 300
DEADLINE_S = 500


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    figures = [Figure('points', POINTS)]
    end = timeframe.period_at(datetime.now(UTC), 3600).begin
    for count in SCOPES:
        place = folder / f'scopes-{count}'
        names = [f'project-{number:04}' for number in range(count)]
        with services.Prometheus(place / 'prometheus', history=_history(names, end)) as source:
            seconds, peak = _rate(place, source.url, names, end)
        figures += [
            Figure(f'{count} scopes: time', seconds, 's'),
            Figure(
                f'{count} scopes: most memory of the worker', peak, 'MiB', at_most=MEMORY_MAX_MIB
            ),
        ]
    return figures


def _history(names, end):
    instants = [int(end.timestamp()) - 600, int(end.timestamp())]
    per_metric = POINTS // len(METRICS) // len(names)
    for metric in METRICS:
        yield services.Family(
            metric,
            'gauge',
            (
                (
                    {
                        'project_id': name,
                        'id': f'{metric}-{name}-{n}',
                        'user_id': f'user-{n % 7}',
                        'flavor': f'flavor-{n % 12}',
                    },
                    [(at, n % 100 * 0.25) for at in instants],
                )
                for name in names
                for n in range(per_metric)
            ),
        )


def _rate(folder, url, names, end):
    """Return how many seconds a worker needs for the period, and how many MiB at most."""
    database, identity = _prepare(folder, url, names, end)
    with processors.Processor(folder / 'cloudkitty.conf', folder / 'processor.log') as daemon:
        begin = time.monotonic()
        services.wait_until(
            lambda: _is_rated(database, identity, names, end),
            deadline_s=DEADLINE_S,
            what='the period',
        )
        seconds = time.monotonic() - begin
        (worker,) = daemon.workers
        text = Path(f'/proc/{worker}/status').read_text()
    with database.reader() as connection:
        # Of the first period: the next one may have become due meanwhile.
        stored = connection.exec_driver_sql(
            'SELECT sum(points) FROM rated_frames GROUP BY begin ORDER BY begin'
        ).scalar()
    assert stored == POINTS, stored
    return seconds, int(re.search(r'VmHWM:\s+(\d+) kB', text)[1]) / 1024


def _prepare(folder, url, names, end):
    """Return the database and the identity of scopes whose last period is due."""
    (folder / 'metrics.yml').write_text(
        yaml.safe_dump(
            {
                'metrics': {
                    metric: {
                        'unit': 'unit',
                        'groupby': ['id', 'user_id', 'project_id'],
                        'metadata': ['flavor'],
                    }
                    for metric in METRICS
                }
            }
        )
    )
    conf = ini.load(
        folder / 'cloudkitty.conf',
        {
            'database': {'connection': f'sqlite:///{folder}/cloudkitty.sqlite'},
            'collect': {
                'collector': 'prometheus',
                'metrics_conf': folder / 'metrics.yml',
                'wait_periods': 1,
                'lag_max': 0,
            },
            'collector_prometheus': {'prometheus_url': url},
            'fetcher': {'backend': 'source'},
            'fetcher_source': {'sources': ','.join(names)},
            'orchestrator': {
                'coordination_url': f'file://{folder}/locks',
                'max_workers': 1,
                'max_workers_reprocessing': 1,
            },
        },
    )
    database, identity = Database(conf), Settings.of(conf).identity
    migration.upgrade(database)
    with database.writer() as connection:
        scope_state.record_seen(
            connection, identity, names, now=end, initial_mark=end - 2 * HOUR, final_mark=end
        )
        module_state.update(connection, 'hashmap', enabled=True)
        for metric in METRICS:
            owner = hashmap_services.create(connection, metric)
            mappings.create(
                connection,
                mappings.NewMapping(
                    cost=Decimal('0.0123'), start=end - 2 * HOUR, service_id=owner.service_id
                ),
                now=end - HOUR,
                author='benchmark',
                force=True,
            )
    return database, identity


def _is_rated(database, identity, names, end):
    with database.reader() as connection:
        _, found = scope_state.list_scopes(connection, scope_id=names[:1])
        due = scope_state.find_due(connection, identity, now=end, mark_max=end - 2 * HOUR)
    return found and not due.scopes
