"""A worker as cotyledon runs it, and what it is made of."""

import gc
import logging
import multiprocessing
import random
import threading
from collections.abc import Callable, Sequence
from concurrent import futures
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

import cotyledon
import prometheus_client
from oslo_config import cfg

from cloudkitty import (
    collector,
    db,
    errors,
    fetcher,
    figures,
    locks,
    pipeline,
    rpc,
    skip,
    storage,
)
from cloudkitty.db import migration
from cloudkitty.db import resets as orders
from cloudkitty.observer import Observer
from cloudkitty.processor.discovery import Discovery
from cloudkitty.processor.endpoints import RatingEndpoint, ScopeEndpoint
from cloudkitty.processor.figures import Figures, Pulse
from cloudkitty.processor.freshness import Freshness
from cloudkitty.processor.outage import Outage
from cloudkitty.processor.portions import Portions
from cloudkitty.processor.reprocessing import Reprocessing
from cloudkitty.processor.resets import Resets
from cloudkitty.processor.retention import Retention
from cloudkitty.processor.settings import Settings
from cloudkitty.processor.worker import SLEEP_MAX_S, Worker
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.storage import v2

LOG = logging.getLogger(__name__)

# A batch holds many points that live together and die together, and no cycles: looking through
# them again and again costs more than the batch.
GC_THRESHOLDS = (100_000, 20, 50)
# Seconds over which the workers of all hosts spread when the same thing is due for all of them.
WAKE_SPREAD_S = 1


class CommitGate:
    """Writes to *store* until it is closed.

    A worker that stops waits for the commit at hand, and none begins afterwards.
    """

    def __init__(self, store: v2.BaseStorage):
        self._store = store
        self._lock = threading.Lock()

    def commit(self, batch: Sequence[v2.ScopeBatch]) -> list[v2.ScopeBatch]:
        with self._lock:
            return self._store.commit(batch)

    def replace(self, replacements: Sequence[v2.Replacement]) -> list[v2.Replacement]:
        with self._lock:
            return self._store.replace(replacements)

    def reset(self, order: orders.Reset) -> bool:
        with self._lock:
            return self._store.reset(order)

    def expire(self, now: datetime) -> bool:
        with self._lock:
            return self._store.expire(now)

    def close(self) -> None:
        """Return when no commit is under way; a later one waits for ever."""
        self._lock.acquire()


class Parts(NamedTuple):
    """A worker, and what has to be closed when it stops."""

    database: db.Database
    worker: Worker
    gate: CommitGate
    locks: locks.Locks


def build(conf: cfg.ConfigOpts, number: int, *, clock: Callable[[], datetime],
          observer: Observer | None = None) -> Parts:
    """Return worker *number* of this node with all it needs, opened in this process.

    :param clock: returns the current time, aware UTC.
    :param observer: is told what happens.
    """
    observer = observer or Observer()
    settings = Settings.of(conf, number)
    database = db.Database(conf)
    source = collector.get_driver(conf)
    store = storage.get_driver(conf)
    gate = CommitGate(store)
    mine = locks.Locks(conf.orchestrator.coordination_url)
    shared = {'database': database, 'locks': mine, 'settings': settings, 'clock': clock}
    portions = Portions(settings.batch_points)
    rating = pipeline.Pipeline(
        collector=source, modules=ModuleSet(conf, database), commit=gate.commit,
        skips=build_skips(conf, source),
        pool=futures.ThreadPoolExecutor(conf.orchestrator.max_threads, 'collect'),
        timeout_s=conf.orchestrator.collector_request_timeout, observer=observer,
        points_max=settings.batch_points)
    freshness = Freshness(database=database, collector=source, settings=settings, clock=clock)
    chores = [Resets(reset=gate.reset, **shared)]
    if settings.reprocesses:
        chores.append(Reprocessing(pipeline=rating, replace=gate.replace,
                                   rated_prices=store.rated_prices, freshness=freshness,
                                   portions=portions, **shared))
    if conf.storage.retention_period is not None:
        chores.append(Retention(expire=gate.expire, locks=mine, settings=settings, clock=clock))
    discovery = Discovery(fetcher=fetcher.get_driver(conf), observer=observer, **shared)
    worker = Worker(discovery=discovery, pipeline=rating, chores=chores, freshness=freshness,
                    portions=portions, observer=observer,
                    delay_s=random.uniform(0, WAKE_SPREAD_S), **shared)
    return Parts(database, worker, gate, mine)


class Edition(Protocol):
    """Which edition of the configuration a process works with."""

    def is_old(self) -> bool:
        """Say whether there is a newer one."""


class ProcessorService(cotyledon.Service):
    """A rating worker. All it needs is opened here, after the fork.

    :param folder: where it counts for Prometheus; None: for nobody.
    """

    name = 'processor'

    def __init__(self, worker_id: int, conf: cfg.ConfigOpts, pulse: Pulse, folder: Path | None,
                 edition: Edition):
        super().__init__(worker_id)
        # Log lines in JSON carry it.
        multiprocessing.current_process().name = f'worker-{worker_id}'
        # The one of the master is that of its start.
        self.graceful_shutdown_timeout = conf.graceful_shutdown_timeout
        self._conf = conf
        self._pulse = pulse
        self._folder = folder
        self._edition = edition
        self._stopping = threading.Event()
        self._parts: Parts | None = None
        self._leave_bus: Callable[[], None] = lambda: None

    def run(self):
        gc.set_threshold(*GC_THRESHOLDS)
        if self._folder is not None:
            figures.share(self._folder, lambda: self.worker_id)
        observer = Figures(prometheus_client.CollectorRegistry(), self._pulse, self.worker_id)
        outage = Outage('The start of the worker', self._conf.collect.period)
        while failure := self._build(observer):
            if self._is_stopped_before(outage.begin(_now(), failure), observer):
                return
        outage.end(_now())
        if not self._stopping.is_set():
            with rpc.listening(self._conf, self._build_endpoints) as self._leave_bus:
                self._parts.worker.run()

    def _build_endpoints(self):
        shared = {'wake': self._parts.worker.wake, 'clock': _now}
        # Its own rating modules: a quote must not meet rules that change while it is made.
        return [ScopeEndpoint(database=self._parts.database, **shared),
                RatingEndpoint(self._conf, modules=ModuleSet(self._conf, self._parts.database),
                               **shared)]

    def _build(self, observer) -> Exception | None:
        """Build the worker; return what went wrong: it worked in the master, and will again."""
        observer.is_alive()
        try:
            self._parts = build(self._conf, self.worker_id, clock=_now, observer=observer)
        except Exception as exc:
            return exc
        return None

    def _is_stopped_before(self, until, observer):
        while (rest_s := (until - _now()).total_seconds()) > 0:
            sleep_s = min(rest_s, SLEEP_MAX_S)
            observer.is_alive(sleep_s)
            if self._stopping.wait(sleep_s):
                return True
        return False

    def reload(self):
        """End, to be started anew, if there is another configuration."""
        if self._edition.is_old():
            super().reload()

    def terminate(self):
        """Let the commit at hand finish, give the locks back, leave the bus."""
        self._stopping.set()
        if self._parts is not None:
            self._parts.worker.stop()
            self._parts.gate.close()
            self._parts.locks.close()
        self._leave_bus()


def build_skips(conf: cfg.ConfigOpts, source: collector.BaseCollector) -> skip.SkipFilter:
    """Return the skip expressions of the configuration and of the metric definitions.

    :raises ConfigurationError: one of them is no expression.
    """
    default = conf.orchestrator.skip_datapoints_expression
    try:
        skip.Expression(default)
    except errors.InvalidInput as exc:
        raise errors.ConfigurationError(reason=f'[orchestrator]: {exc}') from exc
    try:
        return skip.SkipFilter(default, {metric.published_name: metric.skip_expression
                                         for metric in source.conf.values()})
    except errors.InvalidInput as exc:
        raise errors.MetricsFileError(path=conf.collect.metrics_conf, reason=exc) from exc


def check(conf: cfg.ConfigOpts) -> None:
    """Make sure that the workers will find what they need, once, before the fork.

    :raises ConfigurationError: something is missing or wrong.
    """
    rpc.has_bus(conf)
    Settings.of(conf)
    build_skips(conf, collector.get_driver(conf))
    fetcher.get_driver(conf)
    storage.get_driver(conf)
    database = db.Database(conf)
    try:
        migration.check(database)
    finally:
        # No connection goes through a fork.
        database.engine.dispose()
    check_locks(conf, database)


def check_locks(conf: cfg.ConfigOpts, database: db.Database) -> None:
    """Make sure that the lock service answers, and warn when it cannot be the right one.

    :raises ConfigurationError: it does not answer.
    """
    url = conf.orchestrator.coordination_url
    locks.check(url)
    if locks.serves_one_host(url) and not database.is_on_this_host:
        LOG.warning('[orchestrator]coordination_url: these locks serve one host only, and the '
                    'database %s is on another one; if processors of several hosts use it, they '
                    'do the same work twice: choose a lock service, such as redis:// or '
                    'etcd3+http://', database.safe_url)


def _now():
    return datetime.now(UTC)
