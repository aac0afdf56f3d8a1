"""Storing and reading 1M and 10M points of 10,000 series in 500 scopes, on three databases

One month (May 2024) is cut into 100 and into 1,000 periods of equal length, so that both stores
hold the same series over the same days and a question about the month means all points.
"""

import functools
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from benchmarks import brute, narrow, peak, rated
from benchmarks.figure import Figure
from benchmarks.rated import JUNE, MAY
from cloudkitty.storage.v1.store import TableStorage

PARTS = rated.KINDS
PERIODS_FEW, PERIODS_MANY = 100, 1000
MIGRATED = 3, 30  # periods of version 1: 30,000 and 300,000 points
WRITTEN = 48  # periods of the measured writes, in batches of 24
SINGLE = 6  # periods written one by one
FILLED_AT_ONCE = 50
ROUNDS = 15
SCOPE = {'project_id': 'project-250'}
TOTALS = {
    'by type': (['type'], 10),
    'by scope and type': (['project_id', 'type'], 20),
    'by department': (['department'], 50),
}
OF_SCOPE = {'by type': (['type'], 3), 'by day': (['time-d'], 3), 'by hour': (['time'], 20)}
FLAT = 1.2  # ten times the points, and at most so many times the memory
SLOWER = {'sqlite': 3}  # times the targets of the others, for totals
SIZES = {
    'postgresql': 'SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n '
    "ON n.oid = c.relnamespace WHERE n.nspname = 'public' AND c.relkind = 'r'",
    'mysql': 'SELECT sum(data_length + index_length) FROM information_schema.tables '
    'WHERE table_schema = database()',
    'sqlite': 'SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()',
}


def measure(folder: Path, *kinds: str) -> list[Figure]:
    """Return the figures of some kinds of databases, or of every kind."""
    figures = []
    for kind in kinds or rated.KINDS:
        figures += measure_kind(kind, folder)
    return figures


def measure_kind(kind: str, folder: Path) -> list[Figure]:
    """Return the figures of one kind of database."""
    figures = []
    with rated.store(kind, folder) as less, rated.store(kind, folder) as storage:
        _fill(less, rated.Usage(less, PERIODS_FEW), 0)
        usage = rated.Usage(storage, PERIODS_MANY)
        figures += _writes(kind, storage, usage)
        _fill(storage, usage, 2 * WRITTEN + SINGLE)
        rival = brute.seconds(usage)
        # What was stored from is no part of what answers; nothing looks through it any more.
        gc.collect()
        gc.freeze()
        for name, (groups, target) in TOTALS.items():
            few, many = _medians_ms(
                *(functools.partial(one.total, groups, MAY, JUNE) for one in (less, storage))
            )
            title = f'{kind}: month total {name}, 10M points'
            figures += [
                Figure(title, many, 'ms', at_most=target * SLOWER.get(kind, 1)),
                Figure(f'{title} by 1M', many / few, at_most=1.5),
                Figure(f'{title} by DuckDB', many / 1000 / rival[name], at_most=1),
            ]
        figures += _answers_of_a_scope(kind, storage)
        figures.append(_size(kind, storage))
        for name, few, many in _peaks(less, storage, usage, folder):
            title = f'{kind}: peak memory, {name}'
            figures += [
                Figure(title, many, 'MiB'),
                Figure(f'{title}, by that of a tenth of the points', many / few, at_most=FLAT),
            ]
    gc.unfreeze()
    return figures


def _fill(storage, usage, first):
    for commit in usage.batches(first, usage.periods, FILLED_AT_ONCE):
        assert not storage.commit(commit)
    _analyze(storage)


def _analyze(storage):
    """Let the database count its rows, as it does on its own after a while."""
    kind = storage.database.engine.dialect.name
    if kind == 'postgresql':
        with storage.database.engine.connect().execution_options(
            isolation_level='AUTOCOMMIT'
        ) as connection:
            connection.exec_driver_sql('VACUUM ANALYZE')


def _writes(kind, storage, usage) -> Iterator[Figure]:
    """Yield rates beside those of narrow rows, commit by commit in turns.

    The first periods are written unmeasured: they make the series.
    """
    for commit in usage.batches(0, WRITTEN, WRITTEN):
        storage.commit(commit)
    first = WRITTEN
    for length, periods, floor in ((24, WRITTEN, 1), (1, SINGLE, 0.18)):
        rival = narrow.Narrow(storage.database.engine)
        ours = bare = points = 0
        for commit in usage.batches(first, first + periods, length):
            began = time.perf_counter()
            storage.commit(commit)
            ours += time.perf_counter() - began
            bare += rival.insert(commit)
            points += rated.count_points([commit])
        rival.drop()
        first += periods
        name = f'{kind}: write, {length} periods a batch'
        yield Figure(name, points / ours, 'points/s')
        yield Figure(f'{name}: narrow rows', points / bare, 'points/s')
        yield Figure(f'{name}: by narrow rows', bare / ours, at_least=floor)


def _answers_of_a_scope(kind, storage) -> Iterator[Figure]:
    for name, (groups, target) in OF_SCOPE.items():
        yield Figure(
            f"{kind}: one scope's month {name}",
            _median_ms(lambda groups=groups: storage.total(groups, MAY, JUNE, filters=SCOPE)),
            'ms',
            at_most=target,
        )
    for name, filters in (
        ('page of 100 points', SCOPE),
        ('the same filtered', SCOPE | {'department': 'department-17'}),
    ):
        total = storage.retrieve(MAY, JUNE, filters, limit=1)['total']
        offsets = [total * part // ROUNDS for part in range(ROUNDS)]
        turn = iter(offsets * 2)
        yield Figure(
            f"{kind}: {name}, anywhere in a scope's month",
            _median_ms(
                lambda turn=turn, filters=filters: storage.retrieve(
                    MAY, JUNE, filters, offset=next(turn), limit=100
                )
            ),
            'ms',
            at_most=10,
        )


def _peaks(less, storage, usage, folder) -> Iterator[tuple[str, float, float]]:
    """Yield peak memory over few and over many points, MiB."""
    paths = [
        _configure(folder / f'{name}.conf', one)
        for name, one in (('less', less), ('more', storage))
    ]
    yield 'API', *map(peak.of_answers, paths)
    yield 'export', *(peak.of_command(path, 'export') for path in paths)
    yield 'migrate', *(_migration_peak(storage, usage, folder, periods) for periods in MIGRATED)


def _configure(path, storage):
    path.write_text(
        f'[DEFAULT]\nauth_strategy = noauth\n[database]\nconnection = {storage.database.url}\n'
    )
    return path


def _migration_peak(storage, usage, folder, periods) -> float:
    """Return the peak memory of the migration of some periods of version 1 to a file, MiB."""
    source = TableStorage(storage.conf)
    source.init()
    source.delete()
    for commit in usage.batches(0, periods, periods):
        for part in commit:
            source.push(part.frames, part.scope_id)
    source.database.close()
    with rated.store('sqlite', folder) as target:
        return peak.of_command(
            _configure(folder / 'migrate.conf', target), 'migrate', '--source', storage.database.url
        )


def _size(kind, storage):
    if kind == 'mariadb':
        tables = sa.inspect(storage.database.engine).get_table_names()
        with storage.database.writer() as connection:
            connection.exec_driver_sql(f'ANALYZE TABLE {", ".join(tables)}')
    with storage.database.reader() as connection:
        size = connection.execute(sa.text(SIZES[connection.dialect.name])).scalar_one()
    return Figure(
        f'{kind}: bytes per point, indexes and roll-ups included',
        float(size) / (PERIODS_MANY * rated.SERIES),
        'bytes',
        at_most=20,
    )


def _median_ms(ask: Callable[[], dict]) -> float:
    (median,) = _medians_ms(ask)
    return median


def _medians_ms(*asks: Callable[[], dict]) -> list[float]:
    """Return the median of each question; they are asked in turns, as the machine changes."""
    for ask in asks:
        ask()  # what a process learns once, such as series, is not counted
    times = [[] for _ in asks]
    for _ in range(ROUNDS):
        for ask, taken in zip(asks, times, strict=True):
            began = time.perf_counter()
            answer = ask()
            taken.append(time.perf_counter() - began)
            assert answer['total'] > 0
    return [sorted(taken)[ROUNDS // 2] * 1000 for taken in times]
