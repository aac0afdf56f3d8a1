"""Prometheus metrics and heartbeat of a worker."""

import multiprocessing.sharedctypes
import time
from collections import defaultdict
from collections.abc import Iterable

import prometheus_client

from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.telemetry.observer import REASONS, Observer

WORKERS_MAX = 1024
# Buckets of the histogram of response times: upper bounds, seconds.
BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Heartbeats:
    """Heartbeats of the workers of this node, in shared memory that is created before the fork."""

    def __init__(self) -> None:
        self._due_s = multiprocessing.sharedctypes.RawArray('d', WORKERS_MAX)

    def record(self, worker: int, next_in_s: float = 0) -> None:
        """Record a heartbeat of worker *worker*; the next is expected in *next_in_s* seconds."""
        self._due_s[worker] = time.monotonic() + next_in_s

    def overdue_s(self, workers: int) -> dict[int, float]:
        """Return for how many seconds the heartbeat of each of the first *workers* is overdue.

        A worker without any heartbeat has not started yet.
        """
        now = time.monotonic()
        return {
            worker: max(now - seen, 0) for worker, seen in enumerate(self._due_s[:workers]) if seen
        }


class WorkerMetrics(Observer):
    """Prometheus metrics of one worker.

    :param registry: where the metrics are registered.
    :param heartbeats: where the heartbeats are recorded.
    """

    def __init__(
        self, registry: prometheus_client.CollectorRegistry, heartbeats: Heartbeats, worker: int
    ) -> None:
        self._heartbeats = heartbeats
        self._worker = worker

        def counter(name, text, *labels):
            return prometheus_client.Counter(f'cloudkitty_{name}', text, labels, registry=registry)

        self._points = counter('rated_points', 'Points that were rated and stored.', 'metric')
        self._free = counter(
            'free_points', 'Points that were rated and stored with price 0.', 'metric'
        )
        self._frames = counter('stored_frames', 'Periods of scopes that were stored.')
        self._failures = counter('failures', 'Failures, by reason.', 'reason')
        self._retries = counter('retries', 'Scopes that had failed and were retried.')
        self._answers = prometheus_client.Histogram(
            'cloudkitty_source_request_duration_seconds',
            'How long the source took to answer for one metric.',
            ['collector'],
            buckets=BUCKETS_S,
            registry=registry,
        )
        # rate() and increase() only see a counter rise that existed before.
        for reason in REASONS:
            self._failures.labels(reason)

    def heartbeat(self, next_in_s: float = 0) -> None:
        self._heartbeats.record(self._worker, next_in_s)

    def answered(self, collector: str, seconds: float) -> None:
        self._answers.labels(collector).observe(seconds)

    def failed(self, reason: str, count: int = 1) -> None:
        self._failures.labels(reason).inc(count)

    def retried(self, count: int) -> None:
        self._retries.inc(count)

    def stored(self, usage: Iterable[ScopePeriods]) -> None:
        frames = 0
        points: defaultdict[str, int] = defaultdict(int)
        free: defaultdict[str, int] = defaultdict(int)
        for one in usage:
            frames += len(one)
            for column in one.columns:
                points[column.metric] += len(column.prices)
                free[column.metric] += len(column.prices) - sum(map(bool, column.prices))
        self._frames.inc(frames)
        for metric, count in points.items():
            self._points.labels(metric).inc(count)
            self._free.labels(metric).inc(free[metric])
