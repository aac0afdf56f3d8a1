"""The command tools/chaos."""

import argparse
import logging
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from cloudkitty.tests import services
from cloudkitty.tests.chaos import run, world


def main() -> int:
    parser = argparse.ArgumentParser(
        prog='tools/chaos',
        description='Kill, freeze and restart everything around 4 workers, and '
        'compare what they store with an undisturbed run.',
    )
    parser.add_argument('--minutes', type=float, default=10)
    parser.add_argument('--database', choices=sorted(world.SERVERS), default='postgresql')
    parser.add_argument('--locks', choices=sorted(world.LOCKS), default='redis')
    parser.add_argument('--driver', choices=('sql', 'clickhouse'), default='sql')
    parser.add_argument('--scopes', type=int, default=200)
    parser.add_argument(
        '--seed',
        type=int,
        default=random.randrange(10**6),
        help='What is done; when exactly it hits is up to the machine.',
    )
    arguments = parser.parse_args()
    # Whatever ends this, all that was started ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What the workers say is in their log.
    logging.disable(logging.WARNING)
    begin = time.monotonic()

    def say(text):
        print(f'{time.monotonic() - begin:7.1f} {text}', flush=True)

    say(f'seed {arguments.seed}, {arguments.database}, {arguments.locks}, {arguments.driver}')
    folder = Path(tempfile.mkdtemp(prefix='ck-chaos-'))
    folder.chmod(0o755)
    try:
        report = run.run(
            folder,
            database=arguments.database,
            locks=arguments.locks,
            driver=arguments.driver,
            seed=arguments.seed,
            seconds=60 * arguments.minutes,
            say=say,
            size=world.Size(scopes=arguments.scopes),
        )
    except (run.Differs, services.ServiceFailed) as exc:
        say(f'FAILED: {exc}')
        return 1
    for kind, count in sorted(report.counts.items()):
        say(f'{count:5} {kind}')
    say(f'{report.rounds} rounds, all equal')
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
