"""Adopting databases of earlier releases, 2,000,000 rows of one, and importing 1,000,000 points"""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from benchmarks.figure import Figure
from cloudkitty.tests import conftest, ini, services
from cloudkitty.tests.functional.adoption import conftest as adoptions
from cloudkitty.tests.influxdb import InfluxDB

PARTS = ('databases', 'rows', 'points')
MIB = 1024
SECONDS_MAX = 10
# The largest database is that of release 25 with as many scopes and as many mappings.
ROWS = 1_000_000
ROWS_SECONDS_MAX = 300
ROWS_MEMORY_MAX_MIB = 300
ZONE = 'America/Sao_Paulo'
SCOPES = f"""
    INSERT INTO cloudkitty_storage_states
        (identifier, scope_key, fetcher, collector, last_processed_timestamp, active)
    SELECT CONCAT('s', seq), IF(seq % 2, NULL, 'project_id'), IF(seq % 2, NULL, 'source'),
           IF(seq % 2, NULL, 'prometheus'), '2026-11-03 23:00:00', 1
    FROM seq_1_to_{ROWS}
"""
MAPPINGS = f"""
    INSERT INTO hashmap_mappings
        (mapping_id, value, cost, map_type, field_id, name, created_at, start, end, created_by)
    SELECT UUID(), CONCAT('v', seq), seq / 1000, 'flat', 1, LPAD(seq, 32, '0'),
           '2026-01-01', '2015-01-01' + INTERVAL seq MINUTE, '2026-12-01', 'me'
    FROM seq_1_to_{ROWS}
"""
# Points of as many scopes, in as many hours.
POINT_SCOPES, HOURS, POINTS_OF_A_PERIOD = 100, 1000, 10
POINTS = POINT_SCOPES * HOURS * POINTS_OF_A_PERIOD
POINTS_SECONDS_MAX = 300
POINTS_MEMORY_MAX_MIB = 400
FIRST = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp())
POLL_S = 0.5


class Run(NamedTuple):
    """What a command took: seconds, those of them on a processor, and the peak of memory, MiB."""

    seconds: float
    busy_s: float
    peak_mib: float


def measure(folder: Path, part: str | None = None) -> list[Figure]:
    """Return the figures, or those of one of PARTS."""
    makers = {'databases': _databases, 'rows': _rows, 'points': _points}
    return [
        figure for name, make in makers.items() if part in (None, name) for figure in make(folder)
    ]


def _databases(folder):
    for name in adoptions.NAMES:
        with adoptions.loaded(name) as url:
            run = _upgrade(folder, url)
        yield Figure(name, run.seconds, 's', at_most=SECONDS_MAX)
        yield Figure(f'{name}: processor time of the command', run.busy_s, 's')


def _rows(folder):
    with adoptions.loaded('25-mariadb-influxdb') as url:
        _execute(url, SCOPES, MAPPINGS)
        run = _upgrade(folder, url, '--timezone', ZONE)
    yield Figure('2,000,000 rows', run.seconds, 's', at_most=ROWS_SECONDS_MAX)
    yield Figure('2,000,000 rows: processor time of the command', run.busy_s, 's')
    yield Figure('2,000,000 rows: memory', run.peak_mib, 'MiB', at_most=ROWS_MEMORY_MAX_MIB)


def _points(folder):
    with InfluxDB(folder / 'influxdb') as store, store.database('rated'):
        for hour in range(HOURS):
            store.write('rated', _lines(hour))
        with conftest.new_database('mariadb') as url:
            conf = _configure(folder, url, store.port)
            _run('dbsync', conf, 'upgrade')
            command = ('storage', conf, 'import', '--from', 'influxdb')
            first = _run(*command, kill=lambda: _stored(url) > POINTS // 2)
            rest = _run(*command)
            stored = _stored(url)
        assert stored == POINTS, stored
        with conftest.new_database('mariadb') as url:
            conf = _configure(folder, url, store.port)
            _run('dbsync', conf, 'upgrade')
            whole = _run('storage', conf, 'import', '--from', 'influxdb')
    yield Figure('1,000,000 points', whole.seconds, 's', at_most=POINTS_SECONDS_MAX)
    yield Figure('1,000,000 points: processor time of the command', whole.busy_s, 's')
    yield Figure('1,000,000 points: memory', whole.peak_mib, 'MiB', at_most=POINTS_MEMORY_MAX_MIB)
    yield Figure('killed after more than half of them', first.seconds, 's')
    yield Figure('and run again: all of them once', rest.seconds, 's')


def _lines(hour):
    at = (FIRST + hour * 3600) * 10**9
    for scope in range(POINT_SCOPES):
        for number in range(POINTS_OF_A_PERIOD):
            yield (
                f'dataframes,project_id=p{scope:05},type=m{number % 5},id=i{number} '
                f'flavor="f{number}",qty={number + 1}.25,price={hour % 97 + 1}.125,unit="u",'
                f'groupby="project_id|id",metadata="flavor",__ck_collect_period=3600i {at}'
            )


def _execute(url, *statements):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace('%', '%%'))
    engine.dispose()


def _stored(url):
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        count = connection.exec_driver_sql('SELECT sum(points) FROM rated_frames').scalar()
    engine.dispose()
    return int(count or 0)


def _configure(folder, url, port=1):
    path = folder / 'cloudkitty.conf'
    ini.write(
        path,
        {
            'database': {'connection': url},
            'collect': {'collector': 'prometheus'},
            'fetcher': {'backend': 'source'},
            'orchestrator': {'coordination_url': f'file://{folder}/locks'},
            'storage_influxdb': {'host': '127.0.0.1', 'port': port, 'database': 'rated'},
        },
    )
    return path


def _upgrade(folder, url, *arguments):
    return _run('dbsync', _configure(folder, url), 'upgrade', *arguments)


def _run(module, conf, *arguments, kill=None):
    """Run a command, or kill it once *kill* returns true; return what it took."""
    code = f'import sys; from cloudkitty.cli import {module}; {module}.main()'
    command = [sys.executable, '-c', code, '--config-file', str(conf), *arguments]
    began, peak = time.monotonic(), 0
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while True:
        ended, status, used = os.wait4(child.pid, os.WNOHANG)
        if ended:
            break
        # What the kernel counts for a child begins with its parent's, so it is asked meanwhile.
        peak = max(peak, _peak(child.pid))
        if kill is not None and kill():
            os.kill(child.pid, signal.SIGKILL)
        time.sleep(POLL_S if kill is None else POLL_S / 10)
    child.returncode = os.waitstatus_to_exitcode(status)
    expected = 0 if kill is None else -signal.SIGKILL
    if child.returncode != expected:
        raise services.ServiceFailed(f'{module} {arguments}: status {child.returncode}')
    return Run(time.monotonic() - began, used.ru_utime + used.ru_stime, peak / MIB)


def _peak(pid):
    text = Path(f'/proc/{pid}/status').read_text()
    found = re.search(r'VmHWM:\s+(\d+) kB', text)
    return int(found[1]) if found else 0
