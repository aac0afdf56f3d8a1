"""The command tools/simulate."""

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

from cloudkitty.tests.simulation import run

MEMORY = Path('/dev/shm')
PROGRESS_S = 10


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='tools/simulate', description='Run schedules of faults and compare what they store '
        'with an undisturbed run. A seed always gives the same schedule.')
    parser.add_argument('--seeds', type=_range, default=range(1000), metavar='FIRST-LAST',
                        help='One seed, or a range; a single one is shown step by step.')
    parser.add_argument('--seconds', type=float, default=None,
                        help='Stop after so many seconds.')
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    folder = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix='ck-simulation-', dir=folder) as path:
        return _run(run.Simulation(Path(path)), arguments.seeds, arguments.seconds)


def _run(simulation, seeds, seconds):
    begin = word = time.monotonic()
    failed, steps, done = [], 0, 0
    for seed in seeds:
        result = simulation.run(seed, has_log=len(seeds) == 1)
        steps, done = steps + result.steps, done + 1
        for line in result.log:
            print(line)
        if result.problem:
            failed.append(seed)
            print(f'seed {seed} FAILED; tools/simulate --seeds {seed} shows it:\n{result.problem}')
        now = time.monotonic()
        if now - word > PROGRESS_S:
            print(f'{done} of {len(seeds)} schedules', flush=True)
            word = now
        if seconds is not None and now - begin > seconds:
            break
    took = time.monotonic() - begin
    print(f'{done} schedules, {steps} steps, {len(failed)} failed, {took:.1f} s, '
          f'{60 * done / took:.0f} a minute')
    return 1 if failed else 0


def _range(text):
    first, _, last = text.partition('-')
    return range(int(first), int(last or first) + 1)


if __name__ == '__main__':
    # The order in a set of texts must not differ from run to run.
    if os.environ.get('PYTHONHASHSEED') != '0':
        os.execve(sys.executable, [sys.executable, '-m', __spec__.name.rpartition('.')[0],
                                   *sys.argv[1:]], {**os.environ, 'PYTHONHASHSEED': '0'})
    sys.exit(main())
