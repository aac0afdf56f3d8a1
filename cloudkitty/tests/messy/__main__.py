"""The command tools/trouble."""

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from rich import progress

from cloudkitty.tests.messy import run

# One Prometheus holds the days of so many seeds.
BATCH = 50
SHOWN_MAX = 20
DEFINITIONS = {'shipped': run.shipped, 'former': lambda: run.FORMER}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='tools/trouble',
        description='Measure days of trouble with the shipped metric definitions, and compare '
        'with what was really used. A seed always gives the same day. Exit status 1 when a '
        'quantity is off by more than a scrape interval, or a hole is not noted.',
    )
    parser.add_argument(
        '--seeds',
        type=_range,
        default=range(100),
        metavar='FIRST-LAST',
        help='One seed, or a range; default: 0-99.',
    )
    parser.add_argument(
        '--definitions',
        choices=DEFINITIONS,
        default='shipped',
        help='former: those of before there were measures, which show the faults.',
    )
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    begin, found, holes = time.monotonic(), [], []
    definitions = DEFINITIONS[arguments.definitions]()
    for batch in progress.track(_batches(arguments.seeds), disable=not sys.stderr.isatty()):
        with tempfile.TemporaryDirectory(prefix='ck-trouble-') as folder:
            result = run.run(Path(folder), batch, definitions)
            found += result.faults
            holes += result.hole_faults
    for fault in found[:SHOWN_MAX]:
        print(
            f'{fault.scope_id} {fault.place}: {fault.measured:.6g} in place of {fault.truth:.6g}, '
            f'off by {abs(fault.measured - fault.truth):.6g} and not at most {fault.allowed:.6g}'
        )
    for fault in holes[:SHOWN_MAX]:
        print(
            f'{fault.scope_id} {fault.metric}: {fault.begin:.0f} to {fault.end:.0f} s of the day '
            f'{fault.what}'
        )
    print(
        f'{len(arguments.seeds)} days, {len(found)} wrong quantities of '
        f'{len({fault.scope_id for fault in found})} days, {len(holes)} wrong holes of '
        f'{len({fault.scope_id for fault in holes})} days, {time.monotonic() - begin:.1f} s'
    )
    return 1 if found or holes else 0


def _batches(seeds):
    return [seeds[first : first + BATCH] for first in range(0, len(seeds), BATCH)]


def _range(text):
    first, _, last = text.partition('-')
    return range(int(first), int(last or first) + 1)


if __name__ == '__main__':
    sys.exit(main())
