"""Catching up 72 periods of 480 scopes and 4,800 series with one worker and with two: PostgreSQL"""

import contextlib
import gc
import logging
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import requests
import sqlalchemy as sa
from oslo_config import cfg

from benchmarks import end_to_end, rated, sessions
from benchmarks.figure import Figure
from cloudkitty import conf as configuration
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.processor import service
from cloudkitty.tests import faults, services

SCOPES = [f'project-{number:03}' for number in range(480)]
SERIES_PER_METRIC = 2  # of one scope: 480 x 5 x 2 = 4,800 series
SAMPLE_S = 900
POINTS = len(SCOPES) * len(end_to_end.METRICS) * SERIES_PER_METRIC * end_to_end.PERIODS
RULES = 7
ROUNDS = 5
READY_S = 60
# How often the sessions are looked at: each look costs the database about a millisecond.
LOOK_S = 0.05
WAITING = """
SELECT application_name FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


class Span(NamedTuple):
    """What a worker did from the first to the last period.

    :ivar began, ended: by the clock of all processes, seconds.
    :ivar own_s, sessions_s: processor time of the worker, and of its sessions in the database.
    """

    number: int
    began: float
    ended: float
    own_s: float
    sessions_s: float


class Round(NamedTuple):
    """What the workers of a round did.

    :ivar waiting: by worker, the share of its time in which a session waits for another's lock.
    """

    spans: list[Span]
    waiting: dict[int, float]

    @property
    def elapsed_s(self) -> float:
        return max(span.ended for span in self.spans) - min(span.began for span in self.spans)

    @property
    def busy_s(self) -> float:
        """The time of the slower worker if no process had to wait for a processor."""
        return max(
            (span.own_s + span.sessions_s) / (1 - self.waiting[span.number]) for span in self.spans
        )

    @property
    def own_us(self) -> float:
        """Processor time of the workers for a point."""
        return sum(span.own_s for span in self.spans) / POINTS * 1e6

    @property
    def sessions_us(self) -> float:
        """Processor time of their sessions for a point."""
        return sum(span.sessions_s for span in self.spans) / POINTS * 1e6


def measure(folder: Path) -> list[Figure]:
    """Return the figures, medians of several rounds."""
    # One instant for all rounds, so that they ask the source the same.
    now = datetime.now(UTC)
    span = Period(timeframe.period_at(now, 3600).begin - end_to_end.PERIODS * end_to_end.HOUR, now)
    history = end_to_end.history(
        span.begin, SCOPES, per_metric=SERIES_PER_METRIC, sample_s=SAMPLE_S
    )
    with (
        services.Prometheus(folder / 'prometheus', history=history) as source,
        faults.FaultyServer(_Memory(source.url)) as front,
    ):
        # The first round asks Prometheus; what it said is repeated in the others.
        rounds = [
            [_round(folder / f'{number}-{workers}', front.url, span, workers) for workers in (1, 2)]
            for number in range(1 + ROUNDS)
        ]
    ones, twos = zip(*rounds[1:], strict=True)
    figures = [Figure('points', POINTS)]
    for name, column in (('one worker', ones), ('two workers', twos)):
        elapsed_s, own_us, sessions_us = (
            statistics.median(getattr(one, member) for one in column)
            for member in ('elapsed_s', 'own_us', 'sessions_us')
        )
        figures += [
            Figure(name, POINTS / elapsed_s, 'points/s'),
            Figure(f'{name}: processor time of a point', own_us, 'us'),
            Figure(f'{name}: of the database, for a point', sessions_us, 'us'),
        ]
    return [
        *figures,
        Figure(
            'two workers wait for locks of each other',
            100 * statistics.median(max(two.waiting.values()) for two in twos),
            '% of the time',
        ),
        Figure(
            'two workers by one',
            statistics.median(one.elapsed_s / two.elapsed_s for one, two in rounds[1:]),
            at_least=1.85,
        ),
        Figure(
            'two workers by one, each process with a processor of its own',
            statistics.median(one.busy_s / two.busy_s for one, two in rounds[1:]),
            at_least=1.85,
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


def _round(home, url, span, workers):
    """Return the Round in which so many workers rate the periods of *span*."""
    home.mkdir()
    spawning = multiprocessing.get_context('spawn')
    start, ended = spawning.Barrier(workers), spawning.SimpleQueue()
    with rated.store('postgresql', home) as storage:
        end_to_end.prepare(
            home / 'service',
            url,
            span.begin,
            RULES,
            names=SCOPES,
            workers=workers,
            connection=storage.database.url,
        )
        children = [
            spawning.Process(target=_work, args=(home / 'service', span, number, start, ended))
            for number in range(workers)
        ]
        for child in children:
            child.start()
        with _watched(storage.database.engine) as looks:
            spans = [ended.get() for _ in children]
        for child in children:
            child.join()
        with storage.database.reader() as connection:
            stored = connection.exec_driver_sql('SELECT sum(points) FROM rated_frames').scalar_one()
    assert stored == POINTS, stored
    return Round(spans, {span.number: _waiting(looks, span) for span in spans})


def _waiting(looks, span):
    """Return the share of the looks in which the worker of *span* waits."""
    own = [names for at, names in looks if span.began <= at <= span.ended]
    return sum(_name(span.number) in names for names in own) / len(own)


@contextlib.contextmanager
def _watched(engine: sa.Engine) -> Iterator[list[tuple[float, set[str]]]]:
    """Yield a list of when was looked, and which sessions waited for a lock of another then."""
    looks: list[tuple[float, set[str]]] = []
    is_over = threading.Event()

    def look():
        # In a transaction all looks would see the same.
        with engine.connect().execution_options(isolation_level='AUTOCOMMIT') as connection:
            while not is_over.wait(LOOK_S):
                found = connection.exec_driver_sql(WAITING).scalars()
                looks.append((time.monotonic(), set(found)))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield looks
    finally:
        is_over.set()
        watcher.join()


def _name(number):
    """Return by what the database knows the sessions of a worker."""
    return f'worker-{number}'


def _work(home, span, number, start, ended):
    """Be one of the workers; tell its Span."""
    logging.disable(logging.INFO)
    os.environ['PGAPPNAME'] = _name(number)
    conf = configuration.load([], files=[str(home / 'cloudkitty.conf')], conf=cfg.ConfigOpts())
    gc.set_threshold(*service.GC_THRESHOLDS)
    now = span.begin
    parts = service.build(conf, number, clock=lambda: now)
    # Workers run for months: connecting and the first look for work are not what is measured.
    parts.worker.turn()
    now = span.end
    engine = parts.database.engine
    start.wait(READY_S)
    sessions_s, own_s = sessions.busy_s(engine, _name(number)), time.process_time()
    began = time.monotonic()
    parts.worker.turn()
    over, own_s = time.monotonic(), time.process_time() - own_s
    sessions_s = sessions.busy_s(engine, _name(number)) - sessions_s
    ended.put(Span(number, began, over, own_s, sessions_s))
    parts.locks.close()
