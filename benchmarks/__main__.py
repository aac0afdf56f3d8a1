"""Run the benchmarks: `python -m benchmarks [NAME ...]`; without a name, all of them.

A benchmark of several databases runs in pieces: `python -m benchmarks storage:postgresql`.

Every figure that judges speed is a ratio to something measured in the same run, because machines
are noisy. Times are for orientation.
"""

import argparse
import importlib
import logging
import sys
import tempfile
import time
from pathlib import Path

from rich import console, table

NAMES = (
    'adoption',
    'api',
    'documents',
    'clickhouse',
    'end_to_end',
    'gnocchi',
    'idle',
    'memory',
    'neighbours',
    'new_series',
    'page',
    'sizing',
    'sources',
    'storage',
    'totals',
    'workers',
)


def main() -> int:
    parser = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__)
    parser.add_argument(
        'names',
        nargs='*',
        metavar='NAME',
        help=f'what to measure: {", ".join(NAMES)}; default: all',
    )
    arguments = parser.parse_args()
    unknown = {name.partition(':')[0] for name in arguments.names} - set(NAMES)
    if unknown:
        parser.error(f'unknown: {", ".join(sorted(unknown))}; there are: {", ".join(NAMES)}')
    logging.disable(logging.INFO)
    missed = 0
    for name, _, part in (name.partition(':') for name in arguments.names or NAMES):
        benchmark = importlib.import_module(f'benchmarks.{name}')
        parts = getattr(benchmark, 'PARTS', ())
        if part and part not in parts:
            parser.error(f'{name} has no part {part!r}; there are: {", ".join(parts) or "none"}')
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix='cloudkitty-bench-') as folder:
            figures = benchmark.measure(Path(folder), *filter(None, [part]))
        missed += _show(benchmark, figures, time.monotonic() - begin)
    return 1 if missed else 0


def _show(benchmark, figures, seconds):
    """Print the figures; return how many miss their target."""
    title = benchmark.__doc__.partition('\n')[0]
    shown = table.Table(title=f'{title} ({seconds:.0f} s)', title_justify='left')
    for heading in ('figure', 'measured', 'target', 'reached'):
        shown.add_column(heading)
    missed = 0
    for figure in figures:
        missed += figure.is_reached is False
        reached = {True: 'yes', False: 'NO', None: ''}[figure.is_reached]
        shown.add_row(figure.name, figure.text, figure.target_text, reached)
    console.Console(width=110).print(shown)
    return missed


if __name__ == '__main__':
    sys.exit(main())
