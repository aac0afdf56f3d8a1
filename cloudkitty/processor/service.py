"""The worker as a cotyledon service, and how its parts are built."""

import gc
import logging
import random
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, TypedDict

import prometheus_client
from cotyledon.types import WorkerId
from oslo_config import cfg

from cloudkitty import collector, db, fetcher, locks, pipeline, rpc, storage
from cloudkitty.billing.statements import Statements
from cloudkitty.billing.sums import Sums
from cloudkitty.db import migration
from cloudkitty.processor import billing
from cloudkitty.processor.backoff import Backoff
from cloudkitty.processor.batch_sizing import BatchSizer
from cloudkitty.processor.child import Child, ConfigGeneration
from cloudkitty.processor.discovery import Discovery
from cloudkitty.processor.endpoints import RatingEndpoint, ScopeEndpoint
from cloudkitty.processor.folding import Folding
from cloudkitty.processor.guard import Guard
from cloudkitty.processor.late_usage import LateUsage
from cloudkitty.processor.output import Output
from cloudkitty.processor.reprocessing import Reprocessing
from cloudkitty.processor.resets import Resets
from cloudkitty.processor.retention import Retention
from cloudkitty.processor.settings import Settings
from cloudkitty.processor.telemetry import Heartbeats, WorkerMetrics
from cloudkitty.processor.usage_retention import UsageRetention
from cloudkitty.processor.watermark import WatermarkCheck
from cloudkitty.processor.worker import SLEEP_MAX_S, BackgroundJob, Worker
from cloudkitty.rating import module_state, skip
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.scopes import agreement
from cloudkitty.scopes import resets as orders
from cloudkitty.storage import v2
from cloudkitty.telemetry import shared_registry
from cloudkitty.telemetry.observer import Observer
from cloudkitty.usage.retention import Terms as UsageTerms
from cloudkitty.write_orchestrator import WriteOrchestrator

LOG = logging.getLogger(__name__)

# The points of a batch are created and freed together and form no reference cycles: scanning them
# again and again would cost more than the batch itself.
GC_THRESHOLDS = (100_000, 20, 50)
# Seconds over which the workers of all hosts spread when the same thing is due for all of them.
WAKE_SPREAD_S = 1


class CommitGate:
    """Guards the writes to *store*, so that a stop never interrupts one.

    A worker that stops waits for the commit under way, and no other begins afterwards.

    :param guard: checks the source's clock again, as of the answers for the batch.
    """

    def __init__(self, store: v2.BaseStorage, guard: Guard):
        self._store = store
        self._guard = guard
        self._lock = threading.Lock()

    def commit(self, batch: Sequence[v2.ScopeBatch]) -> list[v2.ScopeBatch]:
        self._guard.check_source()
        with self._lock:
            return self._store.commit(batch)

    def replace(self, replacements: Sequence[v2.Replacement]) -> list[v2.Replacement]:
        self._guard.check_source()
        with self._lock:
            return self._store.replace(replacements)

    def reset(self, order: orders.Reset) -> bool:
        with self._lock:
            return self._store.reset(order)

    def fold(self, now: datetime) -> bool:
        with self._lock:
            return self._store.fold(now)

    def expire(self, now: datetime) -> bool:
        with self._lock:
            return self._store.expire(now)

    def close(self) -> None:
        """Wait until no commit is under way; from then on commits block for ever."""
        self._lock.acquire()


class Parts(NamedTuple):
    """A worker, and what has to be closed when it stops."""

    database: db.Database
    worker: Worker
    gate: CommitGate
    locks: locks.Locks


class Shared(TypedDict):
    """Dependencies that most parts of a worker share."""

    database: db.Database
    locks: locks.Locks
    settings: Settings
    clock: Callable[[], datetime]


def build(
    conf: cfg.ConfigOpts,
    number: int,
    *,
    clock: Callable[[], datetime],
    observer: Observer | None = None,
    compares_clocks: bool = False,
) -> Parts:
    """Return worker *number* of this node with all it needs, opened in this process.

    :param clock: returns the current time, aware UTC.
    :param compares_clocks: whether *clock* must agree with the database's and the source's.
    :param observer: receives instrumentation events.
    """
    observer = observer or Observer()
    settings = Settings.of(conf, number)
    database = db.Database(conf)
    source = collector.get_driver(conf)
    store = storage.get_driver(conf)
    guard = Guard(
        database=database,
        terms=agreement.Terms.of(conf),
        clock=clock,
        source_times=source.source_times,
        offset_max_s=conf.orchestrator.clock_offset_max if compares_clocks else None,
    )
    gate = CommitGate(store, guard)
    mine = locks.Locks(conf.orchestrator.coordination_url)
    shared: Shared = {'database': database, 'locks': mine, 'settings': settings, 'clock': clock}
    batch_sizer = BatchSizer(settings.batch_points)
    rating = pipeline.Pipeline(
        collector=source,
        modules=ModuleSet(conf, database),
        commit=gate.commit,
        skips=skip.of_definitions(conf, source.conf),
        pool=futures.ThreadPoolExecutor(conf.orchestrator.max_threads, 'collect'),
        timeout_s=conf.orchestrator.collector_request_timeout,
        observer=observer,
        points_max=settings.batch_points,
    )
    watermarks = WatermarkCheck(database=database, collector=source, settings=settings, clock=clock)
    jobs = _background_jobs(
        conf, source, store, gate, rating, watermarks, batch_sizer, shared=shared
    )
    discovery = Discovery(fetcher=fetcher.get_driver(conf), observer=observer, **shared)
    worker = Worker(
        discovery=discovery,
        pipeline=rating,
        background_jobs=jobs,
        guard=guard,
        watermarks=watermarks,
        batch_sizer=batch_sizer,
        observer=observer,
        delay_s=random.uniform(0, WAKE_SPREAD_S),
        **shared,
    )
    return Parts(database, worker, gate, mine)


def _background_jobs(conf, source, store, gate, rating, watermarks, batch_sizer, *, shared):
    """Return what a worker does between its batches, in the order in which it is tried."""
    settings = shared['settings']
    jobs: list[BackgroundJob] = [Resets(reset=gate.reset, **shared)]
    if settings.reprocesses:
        jobs.append(
            Reprocessing(
                pipeline=rating,
                replace=gate.replace,
                rated_prices=store.rated_prices,
                watermarks=watermarks,
                batch_sizer=batch_sizer,
                **shared,
            )
        )
    if settings.reprocesses and collector.is_authoritative(source):
        late = {
            'late_max': timedelta(days=conf.metering.late_max),
            'pause_percent': conf.metering.late_pause,
        }
        jobs.insert(0, LateUsage(**late, **shared))
    by_time = {name: shared[name] for name in ('locks', 'settings', 'clock')}
    jobs.append(UsageRetention(terms=UsageTerms.of(conf), **shared))
    jobs.append(Folding(fold=gate.fold, **by_time))
    if conf.storage.retention_period is not None:
        jobs.append(Retention(expire=gate.expire, **by_time))
    if not (conf.billing.enabled or conf.output.interval):
        return jobs
    statements = Statements(conf, shared['database'], store, shared['clock'])
    orchestrator = WriteOrchestrator(conf, shared['database'], shared['clock'], statements)
    if conf.billing.enabled:
        jobs += billing.build(
            statements,
            orchestrator.generate_closed,
            fetcher=fetcher.get_driver(conf),
            **by_time,
        )
    if conf.output.interval:
        jobs.append(
            Output(
                orchestrator=orchestrator,
                scopes=Sums(store, conf.collect.scope_key).scopes,
                interval=timedelta(seconds=conf.output.interval),
                **by_time,
            )
        )
    return jobs


class ProcessorService(Child):
    """A rating worker. All it needs is opened here, after the fork.

    :param folder: where it keeps its Prometheus metrics; None: it keeps none.
    """

    name = 'processor'

    def __init__(
        self,
        worker_id: WorkerId,
        conf: cfg.ConfigOpts,
        heartbeats: Heartbeats,
        folder: Path | None,
        generation: ConfigGeneration,
    ):
        super().__init__(worker_id, f'worker-{worker_id}', conf, generation)
        self._heartbeats = heartbeats
        self._folder = folder
        self._parts: Parts | None = None
        self._leave_bus: Callable[[], None] = lambda: None

    def run(self):
        gc.set_threshold(*GC_THRESHOLDS)
        if self._folder is not None:
            shared_registry.share(self._folder, lambda: self.worker_id)
        observer = WorkerMetrics(
            prometheus_client.CollectorRegistry(), self._heartbeats, self.worker_id
        )
        backoff = Backoff('The start of the worker', self._conf.collect.period)
        while failure := self._build(observer):
            if self._is_stopped_before(backoff.record_failure(_now(), failure), observer):
                return
        backoff.record_success(_now())
        if not self._stopping.is_set():
            with rpc.listening(self._conf, self._build_endpoints) as self._leave_bus:
                self._parts.worker.run()

    def _build_endpoints(self):
        shared = {'wake': self._parts.worker.wake, 'clock': _now}
        # Quotes have rating modules of their own: no batch may reload the rules during a quote.
        return [
            ScopeEndpoint(database=self._parts.database, **shared),
            RatingEndpoint(
                self._conf, modules=ModuleSet(self._conf, self._parts.database), **shared
            ),
        ]

    def _build(self, observer) -> Exception | None:
        """Build the worker; return the error if that failed. It worked in the master: try again."""
        observer.heartbeat()
        try:
            self._parts = build(
                self._conf, self.worker_id, clock=_now, observer=observer, compares_clocks=True
            )
        except Exception as exc:
            return exc
        return None

    def _is_stopped_before(self, until, observer):
        while (rest_s := (until - _now()).total_seconds()) > 0:
            sleep_s = min(rest_s, SLEEP_MAX_S)
            observer.heartbeat(sleep_s)
            if self._stopping.wait(sleep_s):
                return True
        return False

    def terminate(self):
        """Wait for the commit under way, release the locks and leave the message bus."""
        super().terminate()
        if self._parts is not None:
            self._parts.worker.stop()
            self._parts.gate.close()
            self._parts.locks.close()
        self._leave_bus()


def check(conf: cfg.ConfigOpts) -> None:
    """Check once, before the fork, that everything the workers need is available.

    :raises ConfigurationError: something is missing or wrong, or others rate this database by
        another period or scope key.
    """
    rpc.has_bus(conf)
    Settings.of(conf)
    skip.of_definitions(conf, collector.get_driver(conf).conf)
    fetcher.get_driver(conf)
    store = storage.get_driver(conf)
    database = db.Database(conf)
    try:
        migration.check(database)
        agreement.settle(database, agreement.Terms.of(conf), now=_now())
        check_modules(database)
        if conf.billing.enabled:
            Statements(conf, database, store, _now).check_retention()
    finally:
        # Connections must not be shared across a fork.
        database.close()
    check_locks(conf, database)


def check_modules(database: db.Database) -> None:
    """Warn when no rating module is enabled that could set a price."""
    with database.reader() as connection:
        enabled = module_state.list_enabled(connection)
    if enabled <= set(module_state.FIXED):
        LOG.warning(
            'No rating module is enabled: all usage is stored at the price 0, and stays so until '
            'it is rated again. Enable one, for instance with `openstack rating module enable '
            'hashmap`, and create its rules'
        )


def check_locks(conf: cfg.ConfigOpts, database: db.Database) -> None:
    """Check that the lock service answers, and warn when it does not suit this deployment.

    :raises ConfigurationError: it does not answer.
    """
    locks.check(conf.orchestrator.coordination_url)
    remark = lock_remark(conf, database)
    if remark:
        LOG.warning('%s', remark)


def lock_remark(conf: cfg.ConfigOpts, database: db.Database) -> str | None:
    """Return why the lock service does not suit this deployment; None: it does."""
    if database.is_on_this_host or not locks.serves_one_host(conf.orchestrator.coordination_url):
        return None
    return (
        '[orchestrator]coordination_url: these locks serve one host only, and the database '
        f'{database.safe_url} is on another one; if processors of several hosts use it, they do '
        'the same work twice: choose a lock service, such as redis:// or etcd3+http://'
    )


def _now():
    return datetime.now(UTC)
