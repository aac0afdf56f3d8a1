"""The process that exposes the metrics of this node and the progress of rating to Prometheus.

It is no worker, so it answers even while all workers hang. Gauges are computed for each scrape.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
import waitress
from cotyledon.types import WorkerId
from oslo_config import cfg
from prometheus_client import exposition
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from cloudkitty import db, errors, version
from cloudkitty.billing import reconciliation
from cloudkitty.billing.documents import Documents
from cloudkitty.core import schedule
from cloudkitty.core.metering import facts
from cloudkitty.processor.backoff import Backoff
from cloudkitty.processor.child import Child, ConfigGeneration
from cloudkitty.processor.settings import Settings
from cloudkitty.processor.telemetry import Heartbeats
from cloudkitty.scopes import agreement, reprocessing, source_gaps
from cloudkitty.scopes import counts as scope_counts
from cloudkitty.scopes import state as scope_state
from cloudkitty.telemetry import shared_registry
from cloudkitty.usage import health

# Results of the database are cached for this time, seconds, however often anyone scrapes.
CACHE_S = 15
# How many of the scopes with the largest lag are examined.
BEHIND_MAX = 20_000
THREADS = 2
# A connection that sends nothing is closed, seconds.
IDLE_TIMEOUT_S = 30


class ProgressCollector:
    """Collects gauges for the progress of all scopes, by shard, from the database.

    :param clock: returns the current time, aware UTC.
    :param unreconciled: counts closed months whose usage has changed since; None: billing is off.
    """

    def __init__(
        self,
        database: db.Database,
        settings: Settings,
        *,
        clock: Callable[[], datetime],
        unreconciled: Callable[[sa.Connection], int] | None = None,
    ):
        self._database = database
        self._settings = settings
        self._clock = clock
        self._unreconciled = unreconciled
        self._lock = threading.Lock()
        self._backoff = Backoff(
            'Reading the metrics of the scopes from the database', settings.length_s
        )
        self._cached: list[Metric] = []
        self._computed_s: float | None = None

    def collect(self) -> Iterable[Metric]:
        """Return the gauges, at most CACHE_S old; only `database_up` while that is 0."""
        with self._lock:
            now_s = time.monotonic()
            if self._computed_s is None or now_s - self._computed_s >= CACHE_S:
                self._cached = self._compute()
                self._computed_s = now_s
            return self._cached

    def _compute(self):
        now = self._clock()
        try:
            gauges = list(self._gauges(now))
        # Whatever went wrong, the other metrics are still exposed.
        except Exception as exc:
            failure = exc
        else:
            self._backoff.record_success(now)
            return gauges
        self._backoff.record_failure(now, failure)
        return [_gauge('database_up', _UP, 0)]

    def _gauges(self, now) -> Iterator[Metric]:
        settings = self._settings
        with self._database.reader() as connection:
            counts = scope_counts.count(connection, settings.identity)
            behind = scope_counts.list_behind(
                connection, settings.identity, mark_max=settings.mark_max(now), limit=BEHIND_MAX
            )
            held_tasks = reprocessing.count_held(connection)
            gaps = source_gaps.count(connection, settings.identity)
            future = agreement.count_future_marks(connection)
            usage = health.measure(connection, facts.to_us(now))
            unreconciled = 0 if self._unreconciled is None else self._unreconciled(connection)
        yield _gauge('database_up', _UP, 1)
        yield _gauge('scopes', 'Scopes that are rated.', counts.working)
        yield _gauge('held_scopes', 'Scopes that are held back by a failure.', counts.held)
        yield _gauge(
            'held_tasks',
            'Orders to rate periods again that are held back by a failure.',
            held_tasks,
        )
        yield _gauge(
            'future_scopes', "Scopes rated beyond the time of the database's clock.", future
        )
        yield _gauge(
            'billing_unreconciled',
            'Closed months of accounts whose usage has changed since they were closed.',
            unreconciled,
        )
        yield from _of_usage(usage)
        lag = GaugeMetricFamily(
            'cloudkitty_lag_seconds',
            labels=['shard'],
            documentation=('For how long the oldest period of a shard that is not stored is due.'),
        )
        for shard, seconds in lags(behind, now, settings).items():
            lag.add_metric([str(shard)], seconds)
        yield lag
        holes = GaugeMetricFamily(
            'cloudkitty_source_gaps',
            labels=['metric', 'state'],
            documentation='Unresolved times without usable samples of a metric.',
        )
        # Without any the metric is exposed, too: an alert that knows no metric never fires.
        for metric, state, number in gaps or [('', source_gaps.NOTED, 0)]:
            holes.add_metric([metric, state], number)
        yield holes


def lags(behind: list[tuple[str, datetime]], now: datetime, settings: Settings) -> dict[int, float]:
    """Return for how many seconds the oldest period of each shard has been due; 0: none is due.

    :param behind: (scope id, mark), lowest mark first, BEHIND_MAX at most. If the list is full, a
        shard that does not occur in it is at most as late as the last item.
    """

    def seconds(mark):
        due = schedule.due_at(mark, settings.length_s, settings.wait_periods)
        return max((now - due).total_seconds(), 0)

    least = seconds(behind[-1][1]) if len(behind) >= BEHIND_MAX else 0
    found = dict.fromkeys(range(settings.shards), least)
    for scope_id, mark in reversed(behind):
        found[scope_state.shard_of(scope_id, settings.shards)] = seconds(mark)
    return found


class HeartbeatCollector:
    """Collects gauges for the overdue heartbeats of the workers of this node."""

    def __init__(self, heartbeats: Heartbeats, workers: int):
        self._heartbeats = heartbeats
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        silence = GaugeMetricFamily(
            'cloudkitty_worker_silence_seconds',
            labels=['worker'],
            documentation='For how long the heartbeat of a worker is overdue.',
        )
        for worker, seconds in self._heartbeats.overdue_s(self._workers).items():
            silence.add_metric([str(worker)], seconds)
        build = GaugeMetricFamily('cloudkitty_build_info', 'What runs here.', labels=['version'])
        build.add_metric([version.version_string()], 1)
        return [silence, build]


_UP = 'Whether the database answers.'


def _of_usage(usage: health.Health) -> Iterator[Metric]:
    yield _gauge(
        'usage_behind_seconds',
        'How far the source of usage is that is behind most, of those heard in the last hour.',
        usage.behind_s,
    )
    yield _gauge(
        'usage_late_scopes',
        'Scopes with usage that came late and is not ordered to be rated again yet.',
        usage.late_scopes,
    )
    yield _gauge(
        'usage_held_censuses',
        'Lists of resources in which too much is missing, so that a person must look.',
        usage.held_censuses,
    )


def _gauge(name, text, value):
    return GaugeMetricFamily(f'cloudkitty_{name}', text, value=value)


class Exporter(Child):
    """Serves /metrics on [orchestrator]metrics_host and metrics_port.

    :param folder: where the workers keep their metrics, see cloudkitty.telemetry.shared_registry.
    """

    name = 'exporter'

    def __init__(
        self,
        worker_id: WorkerId,
        conf: cfg.ConfigOpts,
        folder: Path,
        heartbeats: Heartbeats,
        generation: ConfigGeneration,
    ):
        super().__init__(worker_id, self.name, conf, generation)
        self._folder = folder
        self._heartbeats = heartbeats

    def run(self):
        backoff = Backoff('Serving /metrics', self._conf.collect.period)
        server = None
        while server is None:
            try:
                server = _listen(self._conf, self._application())
            # The master has checked that this works, so the failure is temporary.
            except Exception as exc:
                failure = exc
            if server is None:
                until = backoff.record_failure(_now(), failure)
                if self._stopping.wait((until - _now()).total_seconds()):
                    return
        backoff.record_success(_now())
        server.run()

    def _application(self):
        registry = shared_registry.read(self._folder)
        settings = Settings.of(self._conf)
        database = db.Database(self._conf)
        registry.register(
            ProgressCollector(
                database,
                settings,
                clock=_now,
                unreconciled=unreconciled_counter(self._conf, database),
            )
        )
        registry.register(HeartbeatCollector(self._heartbeats, workers_of(self._conf)))
        show = exposition.make_wsgi_app(registry)

        def answer(environ, start_response):
            if environ['PATH_INFO'] == '/metrics':
                return show(environ, start_response)
            return _not_found(environ, start_response)

        return answer


def unreconciled_counter(
    conf: cfg.ConfigOpts, database: db.Database
) -> Callable[[sa.Connection], int] | None:
    """Return the counter of closed months whose usage has changed since; None: billing is off."""
    if not conf.billing.enabled:
        return None
    documents = Documents(database)
    scope_key = conf.collect.scope_key
    return lambda connection: len(reconciliation.unbooked_months(connection, documents, scope_key))


def _not_found(environ, start_response):
    start_response('404 Not Found', [('Content-Type', 'text/plain')])
    return [b'Look at /metrics.\n']


def workers_of(conf: cfg.ConfigOpts) -> int:
    """Return how many worker processes this node has."""
    return max(conf.orchestrator.max_workers, conf.orchestrator.max_workers_reprocessing)


def check(conf: cfg.ConfigOpts) -> None:
    """Make sure that the exporter can listen on its address.

    :raises ConfigurationError: the address cannot be used.
    """
    _listen(conf, _not_found).close()


def _listen(conf, application):
    host, port = conf.orchestrator.metrics_host, conf.orchestrator.metrics_port
    try:
        return waitress.create_server(
            application,
            host=host,
            port=port,
            threads=THREADS,
            channel_timeout=IDLE_TIMEOUT_S,
            ident='cloudkitty',
        )
    except OSError as exc:
        raise errors.ConfigurationError(
            reason=f'[orchestrator]metrics_host, metrics_port: cannot listen on {host}:{port}: '
            f'{exc.strerror}'
        ) from exc


def _now():
    return datetime.now(UTC)
