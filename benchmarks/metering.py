"""Embedded metering: events stored a second, and usage collected for a cloud's hour.

python -m benchmarks.metering [--resources N] [--events N] [--samples N] [--memory N]
    [--database sqlite|postgresql|mariadb]

Each figure stands beside its floor in the same run: inserting the bare rows, reading them, and
taking the same messages from the bus.
"""

import argparse
import contextlib
import gc
import itertools
import json
import multiprocessing
import re
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent import futures
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db
from cloudkitty.api.v2 import usage as api
from cloudkitty.clients import bus
from cloudkitty.collector.metering import MeteringCollector
from cloudkitty.core.metering import cloudevents, facts, message, signature
from cloudkitty.core.metering.message import Counter
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration, upsert, usage_tables
from cloudkitty.processor.service import GC_THRESHOLDS
from cloudkitty.tests import rabbitmq, services
from cloudkitty.tests.conftest import KINDS, on_database
from cloudkitty.usage import late, verify
from cloudkitty.usage.entries import Origin
from cloudkitty.usage.intake import Intake
from cloudkitty.usage.receiving import BUS, Received, Receiver

SECRET = 'benchmark-of-the-message-bus'
ORIGIN = Origin('api', 'benchmark', 'api')
BATCH = 500
STATES = ('instance', 'vcpus', 'memory', 'volume.size')
COUNTER = 'cpu'
SCOPE_SIZE = 50  # resources
SAMPLES_AN_HOUR = 6
PARTS = 10
STALLED_S = 600
SINGLES = 2000
BEGIN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Print and return the figures."""
    options = _parse(arguments)
    gc.set_threshold(*GC_THRESHOLDS)  # as in a worker
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    with tempfile.TemporaryDirectory() as folder:
        conf.set_override('connection', f'sqlite:///{folder}/metering.sqlite', 'database')
        figures = measure(options, conf)
    for name, figure in figures.items():
        print(f'{name}: {figure:,.2f}')
    return figures


def measure(options: argparse.Namespace, conf: cfg.ConfigOpts) -> dict[str, float]:
    """Return the figures."""
    with on_database(options.database, conf):
        database = db.Database(conf)
        migration.upgrade(database)
        if options.memory:
            return measure_memory(conf, database, options.memory)
        figures = {
            **measure_intake(Intake.of(conf, database), database, options.events),
            **measure_collection(conf, database, options.resources),
            **measure_rebuilding(conf, database, options.resources),
            **measure_bus(conf, database, options.samples),
        }
        database.engine.dispose()
    return figures


def measure_intake(intake: Intake, database: db.Database, events: int) -> dict[str, float]:
    """Store events in batches as POST /v2/usage does, and insert as many bare rows."""
    bodies = [_body(number) for number in range(-(-events // BATCH))]
    begin = time.perf_counter()
    for body in bodies:
        entries = [
            api._entry(text, cloudevents.read(form), None) for text, form in cloudevents.split(body)
        ]
        intake.store(entries, ORIGIN)
    taken_s = time.perf_counter() - begin
    begin = time.perf_counter()
    for number in range(len(bodies)):
        rows = [(-1, number * BATCH + place, 0, 0, Decimal(place), 0, 0) for place in range(BATCH)]
        _insert(database, rows)
    floor_s = time.perf_counter() - begin
    count = len(bodies) * BATCH
    return {
        'events stored a second': count / taken_s,
        'bare rows inserted a second': count / floor_s,
    }


def measure_rebuilding(conf: cfg.ConfigOpts, database: db.Database, count: int) -> dict[str, float]:
    """Compute the lives of instances again, whose begins are all that is known of them."""
    with database.reader() as connection:
        ids = connection.execute(
            sa.select(usage_tables.series.c.id).where(usage_tables.series.c.meter == STATES[0])
        ).scalars()
        begun = [(one, facts.to_us(BEGIN), facts.BEGIN, 0, Decimal(3), 0, 0) for one in ids]
    for start in range(0, len(begun), 10_000):
        _insert(database, begun[start : start + 10_000])
    watch = _Watch()
    limits, now = late.Limits.of(conf), datetime.now(UTC)
    _, healed = verify.rebuild(database, frozenset(), limits=limits, now=now)
    assert healed >= count, healed
    return {'seconds to rebuild the lives': watch.spent().seconds}


def measure_bus(conf: cfg.ConfigOpts, database: db.Database, samples: int) -> dict[str, float]:
    """Take signed samples from a RabbitMQ, 50 in a message, verify and store them.

    One floor takes as many messages without looking at them, and inserts the bare rows. The other
    one also verifies the signatures and compresses the texts, which have to be kept.
    """
    count = -(-samples // bus.MESSAGES_MAX) * bus.MESSAGES_MAX
    for name, value in {'secrets': [SECRET], 'exchanges': []}.items():
        conf.set_override(name, value, 'metering')
    rabbitmq.registered(conf)
    subscription = bus.Subscription([bus.EXCHANGE], ['metering'], (bus.SAMPLE,), '')
    receiver = Receiver(conf, database, lambda: datetime.now(UTC))

    def store(forms: Sequence[Any]) -> None:
        outcome = receiver.store([Received(form, 'benchmark') for form in forms], BUS)
        assert outcome.accepted == len(forms), outcome

    with tempfile.TemporaryDirectory() as folder, rabbitmq.RabbitMQ(Path(folder) / 'mq') as broker:
        conf.set_override('transport_url', broker.url)
        taken, bare, kept = (
            _drain(conf, subscription, range(count), handle) for handle in (store, len, _keep)
        )
        singles = _drain(conf, subscription, range(count, count + SINGLES), store, 1)
    rows = _Watch()
    for start in range(0, count, BATCH):
        _insert(database, [(-2, start + one, 0, 0, Decimal(one), 0, 0) for one in range(BATCH)])
    inserted = rows.spent()
    return {
        'samples from bus to commit a second': count / taken.seconds,
        'samples from bus to commit a processor second': count / taken.cpu_seconds,
        'the same, one sample in a message': SINGLES / singles.seconds,
        'times the floor of bus and bare rows': taken.cpu_seconds
        / (bare.cpu_seconds + inserted.cpu_seconds),
        'times the floor with signatures and texts': taken.cpu_seconds
        / (kept.cpu_seconds + inserted.cpu_seconds),
    }


def measure_memory(conf: cfg.ConfigOpts, database: db.Database, samples: int) -> dict[str, float]:
    """Store samples that another process sends, 1,000 for each second of the machines' time.

    The first tenth fills caches.
    """
    for name, value in {'secrets': [SECRET], 'exchanges': []}.items():
        conf.set_override(name, value, 'metering')
    rabbitmq.registered(conf)
    subscription = bus.Subscription([bus.EXCHANGE], ['metering'], (bus.SAMPLE,), '')
    receiver = Receiver(conf, database, lambda: datetime.now(UTC))
    taken, found = 0, []
    is_done = threading.Event()

    def take(deliveries: Sequence[bus.Delivery]) -> None:
        nonlocal taken
        forms = [form for delivery in deliveries for form in delivery.payload]
        outcome = receiver.store([Received(form, 'benchmark') for form in forms], BUS)
        assert outcome.accepted == len(forms), outcome
        taken += len(forms)
        while len(found) < taken * PARTS // samples:
            found.append(_mib('VmRSS'))
        if taken >= samples:
            is_done.set()

    context = multiprocessing.get_context('spawn')
    with (
        tempfile.TemporaryDirectory() as folder,
        rabbitmq.RabbitMQ(Path(folder) / 'mq') as broker,
        futures.ProcessPoolExecutor(1, context) as pool,
    ):
        conf.set_override('transport_url', broker.url)
        with bus.listening(conf, subscription, take):
            services.wait_until(
                lambda: broker.is_read('metering.sample'), deadline_s=60, what='a listener'
            )
            pool.submit(_send, broker.url, samples, BEGIN).result()
            before = -1
            while not is_done.wait(STALLED_S):
                assert taken > before, f'{taken} of {samples} samples were taken'
                before = taken
    return {
        'samples stored, to see the memory': taken,
        'MiB after a tenth of them': found[0],
        'MiB after half of them': found[PARTS // 2 - 1],
        'MiB after all of them': found[-1],
    }


def _send(url: str, samples: int, start: datetime) -> None:
    conf = rabbitmq.registered(configuration.load([], files=[], conf=cfg.ConfigOpts()))
    conf.set_override('transport_url', url)
    with contextlib.closing(bus.Notifier(conf, 'benchmark')) as notifier:
        for number in range(0, samples, bus.MESSAGES_MAX):
            notifier.send([_sample(number + one, start) for one in range(bus.MESSAGES_MAX)])


class Spent(NamedTuple):
    """Seconds by the clock and of the processor."""

    seconds: float
    cpu_seconds: float


class _Watch:
    """Measures from when it is built."""

    def __init__(self) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def spent(self) -> Spent:
        return Spent(time.perf_counter() - self._begin[0], time.process_time() - self._begin[1])


def _keep(forms: Sequence[Any]) -> None:
    assert all(signature.verify(form, [SECRET]) == 0 for form in forms)
    zlib.compress(json.dumps(forms).encode(), 1)


def _drain(
    conf: cfg.ConfigOpts,
    subscription: bus.Subscription,
    numbers: range,
    handle: Callable[[Sequence[Any]], object],
    size: int = bus.MESSAGES_MAX,
) -> Spent:
    """Send samples, *size* in a message, then hand all to *handle*; return what that took."""
    taken, is_done = [0], threading.Event()

    def take(deliveries: Sequence[bus.Delivery]) -> None:
        forms = [form for delivery in deliveries for form in delivery.payload]
        handle(forms)
        taken[0] += len(forms)
        if taken[0] >= len(numbers):
            is_done.set()

    # The queue is made by who listens.
    with bus.listening(conf, subscription, lambda deliveries: None):
        pass
    with contextlib.closing(bus.Notifier(conf, 'benchmark')) as notifier:
        for start in range(0, len(numbers), size):
            notifier.send([_sample(one) for one in numbers[start : start + size]])
    watch = _Watch()
    with bus.listening(conf, subscription, take):
        assert is_done.wait(600), f'{taken[0]} of {len(numbers)} samples were taken'
        return watch.spent()


def _sample(number: int, start: datetime = BEGIN) -> dict[str, Any]:
    """Return a signed sample of one of 1,000 machines."""
    resource_id = number % 1000
    counter = Counter(
        'cpu',
        facts.CUMULATIVE,
        'ns',
        Decimal(number * 1_000_003),
        f'scope-{resource_id % SCOPE_SIZE}',
        None,
        f'machine-{resource_id}',
        facts.to_us(start) + number * facts.SECOND_US // 1000,
        {'flavor_name': 'm1.small', 'display_name': f'name-{resource_id}'},
    )
    return message.build(counter, SECRET)


def measure_collection(conf: cfg.ConfigOpts, database: db.Database, count: int) -> dict[str, float]:
    """Collect an hour of a cloud, four states and a counter of each resource, in a new process."""
    _fill(database, count)
    context = multiprocessing.get_context('spawn')
    with futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(_collect, conf.database.connection, count, BEGIN).result()


def _collect(connection: str, count: int, start: datetime) -> dict[str, float]:
    gc.set_threshold(*GC_THRESHOLDS)
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('connection', connection, 'database')
    driver = MeteringCollector(
        period=3600,
        service_conf=conf,
        conf={
            'metrics': {
                name: {'unit': 'u', 'extra_args': {'kind': kind}}
                for name, kind in [*((name, 'state') for name in STATES), (COUNTER, 'cumulative')]
            }
        },
    )
    scopes = [f'scope-{number}' for number in range(-(-count // SCOPE_SIZE))]
    periods = [Period(start + timedelta(hours=1), start + timedelta(hours=2))]
    watch = _Watch()
    points = sum(1 for name in driver.conf for _ in driver.collect_columns(name, periods, scopes))
    taken = watch.spent()
    peak = _mib('VmHWM')  # getrusage() counts that of the parent, too
    watch = _Watch()
    with db.Database(conf).reader() as reader:
        reader.execute(sa.select(usage_tables.lives)).all()
        reader.execute(sa.select(usage_tables.samples)).all()
    floor = watch.spent()
    assert points == count * (len(STATES) + 1), points
    return {
        'points collected': points,
        'seconds to collect an hour': taken.seconds,
        'seconds of processor time of that': taken.cpu_seconds,
        'times the floor of reading the bare rows': taken.cpu_seconds / floor.cpu_seconds,
        'peak memory of collecting in MiB': peak,
    }


def _body(number: int) -> str:
    now = datetime.now(UTC).isoformat()
    return json.dumps(
        [
            {
                'specversion': '1.0',
                'type': 'request',
                'source': 'benchmark',
                'id': f'{number}-{place}',
                'subject': f'r{place % 100}',
                'time': now,
                'data': {
                    'scope_id': f'p{place % SCOPE_SIZE}',
                    'quantity': f'{place}.5',
                    'attributes': {'flavor_name': 'm1.small', 'zone': f'z{place % 3}'},
                },
            }
            for place in range(BATCH)
        ]
    )


def _mib(name: str) -> float:
    """Return memory of this process: VmRSS, or VmHWM, its peak."""
    found = re.search(rf'{name}:\s+(\d+) kB', Path('/proc/self/status').read_text())
    assert found is not None
    return int(found[1]) / 1024


def _fill(database: db.Database, count: int) -> None:
    """Store lives and samples of *count* resources."""
    begin = facts.to_us(BEGIN)
    step = 3600 * facts.SECOND_US // SAMPLES_AN_HOUR
    ids = itertools.count(1_000_000)
    series, lives, samples = [], [], []
    for number in range(count):
        scope_id, name = f'scope-{number // SCOPE_SIZE}', f'resource-{number}'
        for meter in (*STATES, COUNTER):
            series_id = next(ids)
            kind = facts.CUMULATIVE if meter == COUNTER else facts.STATE
            digest = facts.digest('s', scope_id, meter, name, kind)
            series.append((series_id, digest, 's', scope_id, meter, name, kind, 'u', begin))
            if meter == COUNTER:
                samples.extend(
                    (series_id, begin + step * place, 0, 0, Decimal(place * 7), 0, 0)
                    for place in range(2 * SAMPLES_AN_HOUR)
                )
            else:
                lives.append((series_id, begin, None, Decimal(2), None, 'said'))
    with database.writer() as connection:
        names = ('id', 'digest', 'source', 'scope_id', 'meter', 'resource_id', 'kind', 'unit')
        upsert.insert(connection, usage_tables.series, (*names, 'begun_at'), series)
        columns = ('series_id', 'begin', 'end', 'quantity', 'attributes_id', 'evidence')
        upsert.insert(connection, usage_tables.lives, columns, lives)
    for start in range(0, len(samples), 10_000):
        _insert(database, samples[start : start + 10_000])


def _insert(database: db.Database, rows: Sequence[tuple]) -> None:
    names = ('series_id', 'at', 'stage', 'tag', 'quantity', 'batch_id', 'position')
    with database.writer() as connection:
        upsert.insert(connection, usage_tables.samples, names, rows)


def _parse(arguments):
    parser = argparse.ArgumentParser(prog='python -m benchmarks.metering')
    parser.add_argument('--resources', type=int, default=50_000)
    parser.add_argument('--events', type=int, default=20_000)
    parser.add_argument('--samples', type=int, default=20_000, help='over the message bus')
    parser.add_argument('--memory', type=int, default=0, help='only store so many for long')
    parser.add_argument('--database', choices=KINDS, default='postgresql')
    return parser.parse_args(arguments)


if __name__ == '__main__':
    main()
