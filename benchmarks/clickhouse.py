"""Storing into ClickHouse's engine, one process of it, and asking it about large clouds"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import sqlalchemy as sa
from oslo_config import cfg

from benchmarks.figure import Figure
from cloudkitty import conf as configuration
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.db import clickhouse_tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import ScopeBatch
from cloudkitty.storage.v2.clickhouse import ClickHouseStorage, revisions
from cloudkitty.tests.clickhouse import ClickHouse

MAY, JUNE = datetime(2024, 5, 1, tzinfo=UTC), datetime(2024, 6, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
SCOPES, SERIES = 50, 40
PERIODS, BATCHES = 24, 10
# Of the large cloud: whole days of MAY are folded, points are of JUNE.
LARGE_SCOPES, LARGE_SERIES, DAYS = 1000, 500, 31
FRAME_SCOPES, FRAME_PERIODS, FRAME_POINTS = 10_000, 1000, 10
FRAME_S = 600
POINTS = FRAME_SCOPES * FRAME_PERIODS * FRAME_POINTS
# Inserts by which they come: each has some periods of all scopes.
FRAME_INSERTS = 10
ROUNDS = 5
SHORT_ROUNDS = 50
FIRST = 1000  # number of the first scope of the large cloud
FIRST_SERIES = 1_000_000


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
    conf.set_override('connection', f'sqlite:///{folder}/rated.sqlite', 'database')
    conf.register_opts(ClickHouseStorage.OPTS, group=ClickHouseStorage.GROUP)
    with ClickHouse(folder / 'clickhouse') as server:
        conf.set_override('urls', [server.url], ClickHouseStorage.GROUP)
        storage = ClickHouseStorage(conf)
        storage.init()
        figures = _storing(storage)
        _fill(storage)
        figures += _asking(storage)
        storage.database.engine.dispose()
    return figures


def _storing(storage):
    batches = _batches(storage)
    storage.commit(next(batches))
    many, seconds, cpu_seconds = 0, 0.0, 0.0
    for batch in batches:
        begin, cpu = time.perf_counter(), time.process_time()
        storage.commit(batch)
        seconds += time.perf_counter() - begin
        cpu_seconds += time.process_time() - cpu
        many += SCOPES * SERIES * PERIODS
    return [
        Figure('points stored a second, 24 periods a batch', many / seconds, at_least=100_000),
        Figure('points stored a second of CPU of the worker', many / cpu_seconds),
    ]


def _batches(storage):
    """Yield batches of all scopes, whose points have prices of many digits."""
    names = [f's{number}' for number in range(SCOPES)]
    start = MAY - HOUR
    with storage.database.writer() as connection:
        scope_state.record_seen(
            connection,
            scope_state.Identity('project_id', 'benchmark', 'benchmark'),
            names,
            now=start,
            initial_mark=start,
            final_mark=start,
        )
        keys = {one.scope_id: one.id for one in scope_state.list_scopes(connection)[1]}
    usage = {name: {'cpu': [_point(name, number) for number in range(SERIES)]} for name in names}
    for number in range(BATCHES):
        mark = start + number * PERIODS * HOUR
        begins = [mark + (hour + 1) * HOUR for hour in range(PERIODS)]
        yield [
            ScopeBatch(
                keys[name],
                name,
                mark,
                begins[-1],
                ScopePeriods.of_frames(
                    name, [DataFrame(begin, begin + HOUR, usage[name]) for begin in begins]
                ),
            )
            for name in names
        ]


def _point(name, number):
    attributes = {'project_id': name, 'id': f'{name}-{number}', 'department': f'd{number % 7}'}
    return DataPoint(
        'unit', Decimal(number) / 7, Decimal(number) * Decimal('0.0123'), attributes, {}
    )


def _fill(storage):
    """Write a large cloud, as ClickHouse would have it after a month and a day."""
    (ticket,) = storage._writer.begin([[]])
    name, client = storage.body.all[0].database, storage.body.all[0].client
    until, revision = int(ticket.until.timestamp()), ticket.revision
    ids = f'{FIRST_SERIES} + intDiv(number, {DAYS}) * {LARGE_SERIES}'
    numbers = f'arrayMap(i -> toDecimal256((i * 37 + number) % 1009, 38), range({LARGE_SERIES}))'
    client.execute(
        f'INSERT INTO {name}.days SELECT {FIRST} + intDiv(number, {DAYS}), '
        f"toDate32('2024-05-01') + number % {DAYS}, {revision}, {until}, "
        f'arrayMap(i -> {ids} + i, range({LARGE_SERIES})), {numbers}, {numbers}, '
        f'arrayMap(i -> toUInt64(24), range({LARGE_SERIES})) FROM numbers({LARGE_SCOPES * DAYS})'
    )
    client.execute(
        f'INSERT INTO {name}.series SELECT {FIRST_SERIES} + number, '
        f"{FIRST} + intDiv(number, {LARGE_SERIES}), 'project_id', 'large', 'cpu', 'unit', "
        "map('id', toString(number), 'department', concat('d', toString(number % 40))), map() "
        f'FROM numbers({LARGE_SCOPES * LARGE_SERIES})'
    )
    for part in range(FRAME_INSERTS):
        _fill_frames(client, f'{name}.frames', part, revision, until)
    with storage.database.writer() as connection:
        revisions.close(connection, [ticket], {}, datetime.now(UTC))
        connection.execute(
            sa.insert(clickhouse_tables.folded).values(
                id=1, until=JUNE.date(), announced=JUNE.date(), since=datetime(2024, 6, 3)
            )
        )


def _fill_frames(client, table, part, revision, until):
    """Write the frames of some periods of all scopes; all have the series of the first scope."""
    periods = FRAME_PERIODS // FRAME_INSERTS
    period = f'{part * periods} + intDiv(number, {FRAME_SCOPES})'
    quantities, prices = (
        f'arrayMap(i -> toDecimal256(cityHash64(i, number) % {values}, 38) / {divisor}, '
        f'range({FRAME_POINTS}))'
        for values, divisor in ((1009, 4), (1_000_003, 1000))
    )
    client.execute(
        f'INSERT INTO {table} SELECT 1 + number % {FRAME_SCOPES}, '
        f"toDateTime64('2024-06-01 00:00:00', 6, 'UTC') + ({period}) * {FRAME_S} AS start, 0, "
        f'{revision}, start + {FRAME_S}, {until}, arrayMap(i -> 1 + i, range({FRAME_POINTS})), '
        f'{quantities}, {prices} FROM numbers({FRAME_SCOPES * periods})'
    )


def _asking(storage):
    large = LARGE_SCOPES * LARGE_SERIES
    july = JUNE + timedelta(days=30)
    one = {'project_id': 's0'}
    return [
        Figure('series of a month', large),
        Figure(
            'month total by attribute over them',
            _best(lambda: storage.total(['department'], MAY, JUNE)),
            's',
            at_most=2,
        ),
        Figure(
            'month total by scope and type over them',
            _best(lambda: storage.total(['project_id', 'type'], MAY, JUNE)),
            's',
        ),
        Figure('points of a month', POINTS),
        Figure(
            'query that reads nothing',
            1000 * _best(lambda: storage.body.all[0].client.rows('SELECT 1'), SHORT_ROUNDS),
            'ms',
        ),
        Figure(
            'month total of one scope among them',
            1000 * _best(lambda: storage.total(['type'], JUNE, july, filters=one), SHORT_ROUNDS),
            'ms',
            at_most=50,
        ),
        Figure(
            'page of 100 points of one scope among them',
            1000 * _best(lambda: storage.retrieve(JUNE, july, one, limit=100), SHORT_ROUNDS),
            'ms',
            at_most=30,
        ),
        Figure(
            'total by type over all points',
            _best(lambda: storage.total(['type'], JUNE, july)),
            's',
        ),
    ]


def _best(ask: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        ask()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
