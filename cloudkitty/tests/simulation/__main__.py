"""The command tools/simulate."""

import argparse
import contextlib
import functools
import gc
import logging
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent import futures
from pathlib import Path

from cloudkitty.processor import service
from cloudkitty.tests import clickhouse as services
from cloudkitty.tests.simulation import clickhouse, drivers, metering, run

MEMORY = Path('/dev/shm')
PROGRESS_S = 10


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='tools/simulate',
        description='Run schedules of faults and compare what they store '
        'with an undisturbed run. A seed always gives the same schedule.',
    )
    parser.add_argument(
        '--seeds',
        type=_range,
        default=range(1000),
        metavar='FIRST-LAST',
        help='One seed, or a range; a single one is shown step by step.',
    )
    parser.add_argument('--seconds', type=float, default=None, help='Stop after so many seconds.')
    parser.add_argument('--jobs', type=int, default=os.cpu_count(), help='Processes.')
    parser.add_argument(
        '--metering',
        action='store_true',
        help='Schedules in which usage comes over a bus that repeats, delays and reorders it.',
    )
    parser.add_argument(
        '--driver', choices=('sql', 'clickhouse'), default='sql', help='The storage driver.'
    )
    parser.add_argument('--shards', type=int, default=1, help='Of the driver clickhouse.')
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = MEMORY if MEMORY.is_dir() else None
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(tempfile.TemporaryDirectory(prefix='ck-simulation-', dir=folder))
        play = functools.partial(_play, has_log=len(arguments.seeds) == 1)
        count, seconds = len(arguments.seeds), arguments.seconds
        jobs = min(arguments.jobs, count)
        drivers_left = multiprocessing.SimpleQueue()
        for number in range(jobs):
            drivers_left.put(_driver(arguments, Path(path) / f'server-{number}', stack))
        made = (path, arguments.metering, drivers_left)
        if jobs == 1:
            _prepare(*made)
            return _collect(map(play, arguments.seeds), count, seconds)
        pool = futures.ProcessPoolExecutor(jobs, initializer=_prepare, initargs=made)
        try:
            return _collect(pool.map(play, arguments.seeds), count, seconds)
        finally:
            pool.shutdown(cancel_futures=True)


def _driver(arguments, folder, stack):
    """Return a driver, with a server of its own."""
    if arguments.driver == 'sql':
        return drivers.SQL()
    server = stack.enter_context(services.ClickHouse(folder))
    return clickhouse.ClickHouse(server.url, 'simulation', arguments.shards)


def _prepare(path, is_metering, drivers_left):
    """Make what this process plays on."""
    global _simulation
    gc.set_threshold(*service.GC_THRESHOLDS)
    kind = metering.Simulation if is_metering else run.Simulation
    _simulation = kind(Path(tempfile.mkdtemp(dir=path)), driver=drivers_left.get())


def _play(seed, has_log):
    return _simulation.run(seed, has_log=has_log)


def _collect(results, count, seconds):
    begin = word = time.monotonic()
    failed, steps, done = 0, 0, 0
    for result in results:
        steps, done = steps + result.steps, done + 1
        for line in result.log:
            print(line)
        if result.problem:
            failed += 1
            print(
                f'seed {result.seed} FAILED; --seeds {result.seed} shows it step by step:\n'
                f'{result.problem}',
                flush=True,
            )
        now = time.monotonic()
        if now - word > PROGRESS_S:
            print(f'{done} of {count} schedules', flush=True)
            word = now
        if seconds is not None and now - begin > seconds:
            break
    took = time.monotonic() - begin
    print(
        f'{done} schedules, {steps} steps, {failed} failed, {took:.1f} s, '
        f'{60 * done / took:.0f} a minute'
    )
    return 1 if failed else 0


def _range(text):
    first, _, last = text.partition('-')
    return range(int(first), int(last or first) + 1)


if __name__ == '__main__':
    # The order in a set of texts must not differ from run to run.
    if os.environ.get('PYTHONHASHSEED') != '0':
        os.execve(
            sys.executable,
            [sys.executable, '-m', __spec__.name.rpartition('.')[0], *sys.argv[1:]],
            {**os.environ, 'PYTHONHASHSEED': '0'},
        )
    sys.exit(main())
