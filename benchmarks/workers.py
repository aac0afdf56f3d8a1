"""Catching up 72 periods of 480 scopes and 4,800 series with one worker and with two: PostgreSQL"""

import gc
import logging
import multiprocessing
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path

import requests
from oslo_config import cfg

from benchmarks import end_to_end, rated
from benchmarks.figure import Figure
from cloudkitty import conf as configuration
from cloudkitty.core import timeframe
from cloudkitty.processor import service
from cloudkitty.tests import faults, services

SCOPES = [f'project-{number:03}' for number in range(480)]
SERIES_PER_METRIC = 2  # of one scope: 480 x 5 x 2 = 4,800 series
SAMPLE_S = 900
POINTS = len(SCOPES) * len(end_to_end.METRICS) * SERIES_PER_METRIC * end_to_end.PERIODS
RULES = 7
ROUNDS = 5
READY_S = 60


def measure(folder: Path) -> list[Figure]:
    """Return the figures, medians of several rounds."""
    begin = timeframe.period_at(datetime.now(UTC), 3600).begin - (
        end_to_end.PERIODS * end_to_end.HOUR
    )
    history = end_to_end.history(begin, SCOPES, per_metric=SERIES_PER_METRIC, sample_s=SAMPLE_S)
    with (
        services.Prometheus(folder / 'prometheus', history=history) as source,
        faults.FaultyServer(_Memory(source.url)) as front,
    ):
        # The first round asks Prometheus; what it said is repeated in the others.
        rounds = [
            [
                _round(folder / f'{number}-{workers}', front.url, begin, workers)
                for workers in (1, 2)
            ]
            for number in range(1 + ROUNDS)
        ]
    one, two = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
    return [
        Figure('points', POINTS),
        Figure('one worker', POINTS / one, 'points/s'),
        Figure('two workers', POINTS / two, 'points/s'),
        Figure(
            'two workers by one',
            statistics.median(row[0] / row[1] for row in rounds[1:]),
            at_least=1.7,
        ),
    ]


class _Memory:
    """Answers as the Prometheus at *url* did when it was asked the same.

    On a host of its own it takes no processor time from the workers, and neither does this.
    """

    def __init__(self, url: str):
        self._url = url
        self._known: dict[tuple, tuple[int, bytes]] = {}

    def __call__(self, handler, request):
        key = (request.path, *request.parameters.items())
        if key not in self._known:
            reply = requests.post(
                self._url + request.path.removeprefix('/api/v1'),
                timeout=60,
                data=request.parameters,
            )
            self._known[key] = reply.status_code, reply.content
        handler.send(*self._known[key])


def _round(home, url, begin, workers):
    """Return in how many seconds so many workers catch up."""
    home.mkdir()
    spawning = multiprocessing.get_context('spawn')
    start, ended = spawning.Barrier(workers), spawning.SimpleQueue()
    with rated.store('postgresql', home) as storage:
        end_to_end.prepare(
            home / 'service',
            url,
            begin,
            RULES,
            names=SCOPES,
            workers=workers,
            connection=storage.database.url,
        )
        children = [
            spawning.Process(target=_work, args=(home / 'service', number, start, ended))
            for number in range(workers)
        ]
        for child in children:
            child.start()
        spans = [ended.get() for _ in children]
        for child in children:
            child.join()
        with storage.database.reader() as connection:
            stored = connection.exec_driver_sql('SELECT sum(points) FROM rated_frames').scalar_one()
    assert stored == POINTS, stored
    return max(end for _, end in spans) - min(began for began, _ in spans)


def _work(home, number, start, ended):
    """Be one of the workers; tell when it began and ended."""
    logging.disable(logging.INFO)
    conf = configuration.load([], files=[str(home / 'cloudkitty.conf')], conf=cfg.ConfigOpts())
    gc.set_threshold(*service.GC_THRESHOLDS)
    parts = service.build(conf, number, clock=lambda: datetime.now(UTC))
    start.wait(READY_S)
    began = time.monotonic()
    parts.worker.turn()
    ended.put((began, time.monotonic()))
    parts.locks.close()
