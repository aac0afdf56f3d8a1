"""100,000 scopes without usage: cycles of one worker, and two workers between cycles"""

import os
import statistics
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import requests
import yaml

from benchmarks import rated
from benchmarks.figure import Figure
from cloudkitty.core import timeframe
from cloudkitty.db import Database, migration
from cloudkitty.processor import service
from cloudkitty.processor.settings import Settings
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import faults, ini, processors, services

SCOPES = 100_000
HOUR = timedelta(hours=1)
ROUNDS = 5
WORKERS = 2
# The worker looks at the database once a minute, and Prometheus asks for figures.
WATCHED_S = 130
SCRAPE_S = 15
# Nothing is due before.
START_DATE = '2099-01-01T00:00:00+00:00'
NOWHERE = 'http://127.0.0.1:9/api/v1'


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    figures = [Figure('scopes', SCOPES)]
    for kind in rated.KINDS:
        with rated.store(kind, folder) as storage:
            first, later = _cycles(_prepare(folder, storage.database.url, max_workers=1))
        figures += [
            Figure(f'{kind}: first cycle, all scopes are new', first, 's'),
            Figure(f'{kind}: later cycles', later, 's', at_most=2),
        ]
        with rated.store(kind, folder) as storage:
            elapsed, busy = _unused(folder, storage.database.url)
        figures += [
            Figure(f'{kind}: a period in which nobody used anything', elapsed, 's'),
            Figure(f'{kind}: processor time of worker and source for it', busy, 's'),
        ]
    share = _between(folder)
    figures.append(
        Figure('processor time between cycles, all processes', 100 * share, '%', at_most=1)
    )
    return figures


def _prepare(folder, connection, *, start=START_DATE, url=NOWHERE, **orchestrator):
    """Return the configuration of a service whose fetcher lists all scopes.

    :param start: from when on they are rated.
    """
    (folder / 'metrics.yml').write_text(
        yaml.safe_dump({'metrics': {'cpu': {'unit': 'x', 'groupby': ['id']}}})
    )
    return ini.load(
        folder / 'cloudkitty.conf',
        {
            'database': {'connection': connection},
            'collect': {
                'collector': 'prometheus',
                'metrics_conf': folder / 'metrics.yml',
                'start_date': start,
            },
            'collector_prometheus': {'prometheus_url': url},
            'fetcher': {'backend': 'source'},
            'fetcher_source': {'sources': ','.join(f'{number:032x}' for number in range(SCOPES))},
            'orchestrator': {
                'coordination_url': f'file://{folder}/locks',
                'max_workers_reprocessing': 1,
                **orchestrator,
            },
        },
    )


def _cycles(conf):
    """Return how many seconds a worker needs to ask for the scopes and see that nothing is due.

    The first time, and the median of later ones.
    """
    now = timeframe.period_at(datetime.now(UTC), 3600).begin
    parts = service.build(conf, 0, clock=lambda: now)
    times = []
    for _ in range(1 + ROUNDS):
        begin = time.perf_counter()
        parts.worker.turn()
        times.append(time.perf_counter() - begin)
        now += HOUR
    parts.locks.close()
    parts.database.close()
    return times[0], statistics.median(times[1:])


def _unused(folder, connection):
    """Return in how many seconds a worker rates an hour without usage, and those of a processor.

    All scopes are due, and the source, which is in this process too, has nothing of them.
    """
    now = begin = timeframe.period_at(datetime.now(UTC), 3600).begin - 2 * HOUR
    with faults.FaultyServer(_answer_nothing) as source:
        conf = _prepare(folder, connection, start=begin.isoformat(), url=source.url, max_workers=1)
        parts = service.build(conf, 0, clock=lambda: now)
        # The scopes are new.
        parts.worker.turn()
        now = begin + 2 * HOUR
        started, used = time.perf_counter(), time.process_time()
        parts.worker.turn()
        elapsed, used = time.perf_counter() - started, time.process_time() - used
    with parts.database.reader() as connection:
        mark = scope_state.oldest_mark(connection, Settings.of(conf).identity)
    assert mark == begin, mark
    parts.locks.close()
    parts.database.close()
    return elapsed, used


def _answer_nothing(handler, request):
    kind = 'matrix' if request.path.endswith('query_range') else 'vector'
    answer = {'status': 'success', 'data': {'resultType': kind, 'result': []}}
    handler.send(200, orjson.dumps(answer))


def _between(folder):
    """Return the share of one processor that the service uses while it waits."""
    port = services.free_port()
    conf = _prepare(
        folder, f'sqlite:///{folder}/idle.sqlite', max_workers=WORKERS, metrics_port=port
    )
    database = Database(conf)
    migration.upgrade(database)
    identity = Settings.of(conf).identity
    with processors.Processor(folder / 'cloudkitty.conf', folder / 'processor.log') as daemon:
        services.wait_until(
            lambda: _is_fetched(database, identity), deadline_s=120, what='the first cycle'
        )
        with _Scraper(f'http://127.0.0.1:{port}/metrics'):
            # The other worker sees it a little later.
            time.sleep(2 * SCRAPE_S)
            begin, used = time.monotonic(), _busy_s(daemon)
            time.sleep(WATCHED_S)
            return (_busy_s(daemon) - used) / (time.monotonic() - begin)


def _is_fetched(database, identity):
    with database.reader() as connection:
        return scope_state.last_fetch(connection, identity) is not None


def _busy_s(daemon):
    """Return how much processor time the master and its workers have used."""
    total = 0
    for pid in (daemon.process.pid, *daemon.workers):
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        total += sum(map(int, fields[11:13]))
    return total / os.sysconf('SC_CLK_TCK')


class _Scraper(threading.Thread):
    """Asks for the figures now and then, as Prometheus does."""

    def __init__(self, url):
        super().__init__()
        self._url = url
        self._stopping = threading.Event()

    def run(self):
        while not self._stopping.is_set():
            requests.get(self._url, timeout=SCRAPE_S).raise_for_status()
            self._stopping.wait(SCRAPE_S)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exc_info):
        self._stopping.set()
        self.join()
