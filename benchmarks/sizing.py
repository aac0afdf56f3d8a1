"""Constants for doc/source/admin/sizing.rst: 48 hourly periods of 10,000 series to PostgreSQL"""

import os
import time
from pathlib import Path

from benchmarks import rated
from benchmarks.figure import Figure

HOURS = 744  # periods of the month: one an hour
WARM, MEASURED = 24, 48  # after the first, every scope is folded once
TABLES = {
    'a point': ('rated_frames',),
    'a series': ('rated_series', 'rated_attributes'),
    'a series and day': ('rated_days',),
    'a series and month': ('rated_months',),
}
DAYS = (WARM + MEASURED) // 24


def measure(folder: Path) -> list[Figure]:
    """Return the figures."""
    with rated.store('postgresql', folder) as storage:
        usage = rated.Usage(storage, HOURS)
        for commit in usage.batches(0, WARM, 1):
            assert not storage.commit(commit)
        log, backends, worker = _log(storage), _backends_s(storage), time.process_time()
        for commit in usage.batches(WARM, WARM + MEASURED, 1):
            assert not storage.commit(commit)
        worker, backends = time.process_time() - worker, _backends_s(storage) - backends
        log = _log(storage) - log
        points = rated.SERIES * MEASURED
        figures = [
            Figure('points', points),
            Figure('processor time of a worker, storing a point', worker / points * 1e6, 'us'),
            Figure('processor time of the database, a point', backends / points * 1e6, 'us'),
            Figure('write-ahead log, a point', log / points, 'bytes'),
        ]
        counts = {
            'a point': rated.SERIES * (WARM + MEASURED),
            'a series': rated.SERIES,
            'a series and day': rated.SERIES * DAYS,
            'a series and month': rated.SERIES,
        }
        return figures + [
            Figure(f'on disk, {what}', _size(storage, names) / counts[what], 'bytes')
            for what, names in TABLES.items()
        ]


def _ask(storage, statement):
    with storage.database.engine.connect().execution_options(
        isolation_level='AUTOCOMMIT'
    ) as connection:
        return connection.exec_driver_sql(statement).scalars().all()


def _log(storage):
    """Return how many bytes the database has ever written to its log."""
    return float(_ask(storage, "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")[0])


def _backends_s(storage):
    """Return the processor time of the processes that serve this database, on this machine."""
    pids = _ask(storage, 'SELECT pid FROM pg_stat_activity WHERE datname = current_database()')
    ticks = 0
    for pid in pids:
        fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf('SC_CLK_TCK')


def _size(storage, names):
    return sum(_ask(storage, f"SELECT pg_total_relation_size('{name}')")[0] for name in names)
