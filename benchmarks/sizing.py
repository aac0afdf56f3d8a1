"""Constants for doc/source/admin/sizing.rst: 48 hourly periods of 10,000 series to PostgreSQL"""

import time
from pathlib import Path

from benchmarks import rated, sessions
from benchmarks.figure import Figure

HOURS = 744  # periods of the month: one an hour
WARM, MEASURED = 24, 48  # after the first, every scope is folded once
CHECKPOINTS = 24  # a day of periods that begin after one
TABLES = {
    'a point': ('rated_frames',),
    'a series': ('rated_series', 'rated_attributes'),
    'a series and day': ('rated_days', 'rated_totals'),
    'a series and month': ('rated_series_months', 'rated_months'),
}
DAYS = (WARM + MEASURED) // 24
LOG_MAX = 150


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    with rated.store('postgresql', folder) as storage:
        usage = rated.Usage(storage, HOURS)
        for commit in usage.batches(0, WARM, 1):
            assert not storage.commit(commit)
        first, last = WARM, WARM + MEASURED
        log, backends = _log(storage), sessions.busy_s(storage.database.engine)
        worker = sum(commit_s(storage, commit) for commit in usage.batches(first, last, 1))
        backends, log = sessions.busy_s(storage.database.engine) - backends, _log(storage) - log
        points = rated.SERIES * MEASURED
        figures = [
            Figure('points', points),
            Figure('processor time of a worker, storing a point', worker / points * 1e6, 'us'),
            Figure('processor time of the database, a point', backends / points * 1e6, 'us'),
            Figure('write-ahead log, a point', log / points, 'bytes', at_most=LOG_MAX),
        ]
        counts = {
            'a point': rated.SERIES * (WARM + MEASURED),
            'a series': rated.SERIES,
            'a series and day': rated.SERIES * DAYS,
            'a series and month': rated.SERIES,
        }
        figures += [
            Figure(f'on disk, {what}', _size(storage, names) / counts[what], 'bytes')
            for what, names in TABLES.items()
        ]
        after = _log_after_checkpoints(storage, usage, last)
        return [*figures, Figure('write-ahead log, a point, after a checkpoint', after, 'bytes')]


def commit_s(storage, commit):
    """Return the processor time of this process to store *commit*."""
    began = time.process_time()
    assert not storage.commit(commit)
    return time.process_time() - began


def _log_after_checkpoints(storage, usage, first):
    """Return the bytes of log a point in periods each of which begins after a checkpoint."""
    log = 0
    for period in range(first, first + CHECKPOINTS):
        with storage.database.engine.connect() as connection:
            connection.exec_driver_sql('CHECKPOINT')
        before = _log(storage)
        for commit in usage.batches(period, period + 1, 1):
            assert not storage.commit(commit)
        log += _log(storage) - before
    return log / (rated.SERIES * CHECKPOINTS)


def _ask(storage, statement):
    with storage.database.engine.connect().execution_options(
        isolation_level='AUTOCOMMIT'
    ) as connection:
        return connection.exec_driver_sql(statement).scalars().all()


def _log(storage):
    """Return how many bytes the database has ever written to its log."""
    return float(_ask(storage, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")[0])


def _size(storage, names):
    return sum(_ask(storage, f"SELECT pg_total_relation_size('{name}')")[0] for name in names)
