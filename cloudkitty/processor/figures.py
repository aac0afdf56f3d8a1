"""What a worker counts for Prometheus, and when it was last seen alive."""

import multiprocessing.sharedctypes
import operator
import time
from collections import defaultdict
from collections.abc import Iterable

import prometheus_client

from cloudkitty.dataframe import DataFrame
from cloudkitty.observer import REASONS, Observer

WORKERS_MAX = 1024
# Upper bounds of the times of answers, seconds.
BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_price_of = operator.attrgetter('price')


class Pulse:
    """When each worker of this node was alive last; made before the workers are forked."""

    def __init__(self):
        self._instants_s = multiprocessing.sharedctypes.RawArray('d', WORKERS_MAX)

    def beat(self, worker: int, silent_s: float = 0) -> None:
        """Worker number *worker* is alive, and will be silent for so many seconds."""
        self._instants_s[worker] = time.monotonic() + silent_s

    def silences(self, workers: int) -> dict[int, float]:
        """Return for how many seconds each of the first *workers* says less than it should.

        A worker that never said anything is not there yet.
        """
        now = time.monotonic()
        return {worker: max(now - seen, 0)
                for worker, seen in enumerate(self._instants_s[:workers]) if seen}


class Figures(Observer):
    """Counts what one worker does.

    :param registry: where the figures are shown.
    :param pulse: where it is seen that the worker is alive.
    """

    def __init__(self, registry: prometheus_client.CollectorRegistry, pulse: Pulse, worker: int):
        self._pulse = pulse
        self._worker = worker

        def counter(name, text, *labels):
            return prometheus_client.Counter(f'cloudkitty_{name}', text, labels, registry=registry)

        self._points = counter('rated_points', 'Points that were rated and stored.', 'metric')
        self._free = counter('free_points', 'Points that were rated and stored with price 0.',
                             'metric')
        self._frames = counter('stored_frames', 'Periods of scopes that were stored.')
        self._failures = counter('failures', 'What could not be done, by reason.', 'reason')
        self._retries = counter('retries', 'Scopes that had failed and were tried again.')
        self._answers = prometheus_client.Histogram(
            'cloudkitty_source_seconds', 'How long the source took to answer for one metric.',
            ['collector'], buckets=BUCKETS_S, registry=registry)
        # An increase is only seen from a value that was there before.
        for reason in REASONS:
            self._failures.labels(reason)

    def is_alive(self, silent_s: float = 0) -> None:
        self._pulse.beat(self._worker, silent_s)

    def answered(self, collector: str, seconds: float) -> None:
        self._answers.labels(collector).observe(seconds)

    def failed(self, reason: str, count: int = 1) -> None:
        self._failures.labels(reason).inc(count)

    def retried(self, count: int) -> None:
        self._retries.inc(count)

    def stored(self, frames: Iterable[DataFrame]) -> None:
        count, prices = 0, defaultdict(list)
        for frame in frames:
            count += 1
            for metric, points in frame.usage.items():
                # Not a statement a point: this is done for all that is rated.
                prices[metric].extend(map(_price_of, points))
        self._frames.inc(count)
        for metric, found in prices.items():
            self._points.labels(metric).inc(len(found))
            self._free.labels(metric).inc(len(found) - sum(map(bool, found)))
