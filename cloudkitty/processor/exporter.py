"""The process that shows Prometheus what this node does and how far the scopes are rated.

Not a worker: it answers while all of them hang. Its gauges are made anew for each answer.
"""

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import cotyledon
import waitress
from oslo_config import cfg
from prometheus_client import exposition
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from cloudkitty import db, errors, figures, schedule, version
from cloudkitty.db import scopes, standing
from cloudkitty.processor.figures import Pulse
from cloudkitty.processor.outage import Outage
from cloudkitty.processor.service import Edition
from cloudkitty.processor.settings import Settings

# The database is asked once in this time, whoever scrapes how often.
STANDING_S = 15
# How many of the scopes that are furthest behind are looked at.
BEHIND_MAX = 20_000
THREADS = 2
# A connection that sends nothing is closed, seconds.
SILENT_S = 30


class Standing:
    """How far all scopes are rated, by shard: gauges from the database.

    :param clock: returns the current time, aware UTC.
    """

    def __init__(self, database: db.Database, settings: Settings, *,
                 clock: Callable[[], datetime]):
        self._database = database
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._outage = Outage('Asking the database for the figures', settings.length_s)
        self._known: list[Metric] = []
        self._asked_s: float | None = None

    def collect(self) -> Iterable[Metric]:
        """Return the gauges, at most STANDING_S old; only `database_up` while it is not."""
        with self._lock:
            now_s = time.monotonic()
            if self._asked_s is None or now_s - self._asked_s >= STANDING_S:
                self._known = self._ask()
                self._asked_s = now_s
            return self._known

    def _ask(self):
        now = self._clock()
        try:
            gauges = list(self._gauges(now))
        # Whatever it is, the other figures are shown.
        except Exception as exc:
            failure = exc
        else:
            self._outage.end(now)
            return gauges
        self._outage.begin(now, failure)
        return [_gauge('database_up', _UP, 0)]

    def _gauges(self, now) -> Iterator[Metric]:
        settings = self._settings
        with self._database.reader() as connection:
            counts = standing.count(connection, settings.identity)
            behind = standing.list_behind(connection, settings.identity,
                                          mark_max=settings.mark_max(now), limit=BEHIND_MAX)
        yield _gauge('database_up', _UP, 1)
        yield _gauge('scopes', 'Scopes that are rated.', counts.working)
        yield _gauge('held_scopes', 'Scopes that a failure holds back.', counts.held)
        lag = GaugeMetricFamily('cloudkitty_lag_seconds', labels=['shard'], documentation=(
            'For how long the oldest period of a shard that is not stored is due.'))
        for shard, seconds in lags(behind, now, settings).items():
            lag.add_metric([str(shard)], seconds)
        yield lag


def lags(behind: list[tuple[str, datetime]], now: datetime, settings: Settings) -> dict[int, float]:
    """Return for how many seconds the oldest period of each shard is due; 0: nothing is.

    :param behind: (scope id, mark), lowest mark first, BEHIND_MAX at most. A shard without any in
        a list that is full is at most as late as the last one.
    """
    def seconds(mark):
        due = schedule.due_at(mark, settings.length_s, settings.wait_periods)
        return max((now - due).total_seconds(), 0)

    least = seconds(behind[-1][1]) if len(behind) >= BEHIND_MAX else 0
    found = dict.fromkeys(range(settings.shards), least)
    for scope_id, mark in reversed(behind):
        found[scopes.shard_of(scope_id, settings.shards)] = seconds(mark)
    return found


class Workers:
    """How long the workers of this node are silent: gauges from their pulse."""

    def __init__(self, pulse: Pulse, workers: int):
        self._pulse = pulse
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        silence = GaugeMetricFamily(
            'cloudkitty_worker_silence_seconds', labels=['worker'],
            documentation='For how long a worker gave no sign of life when it should.')
        for worker, seconds in self._pulse.silences(self._workers).items():
            silence.add_metric([str(worker)], seconds)
        build = GaugeMetricFamily('cloudkitty_build_info', 'What runs here.', labels=['version'])
        build.add_metric([version.version_string()], 1)
        return [silence, build]


_UP = 'Whether the database answers.'


def _gauge(name, text, value):
    return GaugeMetricFamily(f'cloudkitty_{name}', text, value=value)


class Exporter(cotyledon.Service):
    """Serves /metrics on [orchestrator]metrics_host and metrics_port.

    :param folder: where the workers count, see cloudkitty.figures.
    """

    name = 'exporter'

    def __init__(self, worker_id: int, conf: cfg.ConfigOpts, folder: Path, pulse: Pulse,
                 edition: Edition):
        super().__init__(worker_id)
        multiprocessing.current_process().name = self.name
        self._edition = edition
        self._conf = conf
        self._folder = folder
        self._pulse = pulse
        self._stopping = threading.Event()

    def run(self):
        outage = Outage('Serving /metrics', self._conf.collect.period)
        server = None
        while server is None:
            try:
                server = _listen(self._conf, self._application())
            # It worked in the master, and will again.
            except Exception as exc:
                failure = exc
            if server is None:
                until = outage.begin(_now(), failure)
                if self._stopping.wait((until - _now()).total_seconds()):
                    return
        outage.end(_now())
        server.run()

    def _application(self):
        registry = figures.read(self._folder)
        settings = Settings.of(self._conf)
        registry.register(Standing(db.Database(self._conf), settings, clock=_now))
        registry.register(Workers(self._pulse, workers_of(self._conf)))
        show = exposition.make_wsgi_app(registry)

        def answer(environ, start_response):
            if environ['PATH_INFO'] == '/metrics':
                return show(environ, start_response)
            return _not_found(environ, start_response)

        return answer

    def reload(self):
        if self._edition.is_old():
            super().reload()

    def terminate(self):
        self._stopping.set()


def _not_found(environ, start_response):
    start_response('404 Not Found', [('Content-Type', 'text/plain')])
    return [b'Look at /metrics.\n']


def workers_of(conf: cfg.ConfigOpts) -> int:
    """Return how many worker processes this node has."""
    return max(conf.orchestrator.max_workers, conf.orchestrator.max_workers_reprocessing)


def check(conf: cfg.ConfigOpts) -> None:
    """Listen once.

    :raises ConfigurationError: it cannot be done.
    """
    _listen(conf, _not_found).close()


def _listen(conf, application):
    host, port = conf.orchestrator.metrics_host, conf.orchestrator.metrics_port
    try:
        return waitress.create_server(application, host=host, port=port, threads=THREADS,
                                      channel_timeout=SILENT_S, ident='cloudkitty')
    except OSError as exc:
        raise errors.ConfigurationError(
            reason=f'[orchestrator]metrics_host, metrics_port: cannot listen on {host}:{port}: '
                   f'{exc.strerror}') from exc


def _now():
    return datetime.now(UTC)
