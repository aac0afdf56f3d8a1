"""Run pytest with a PostgreSQL and a MariaDB to talk to: those that answer, or new ones.

Started by tools/test, which has installed what is needed.
"""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from concurrent import futures

from cloudkitty.tests import databases, peers, services

SERVERS = {
    'CLOUDKITTY_TEST_POSTGRESQL': databases.PostgreSQL,
    'CLOUDKITTY_TEST_MARIADB': databases.MariaDB,
}
PEERS = ('aetos', 'ceilometer', 'clickhouse', 'gnocchi', 'grafana', 'keystone', 'moto', 'tempest')
# Half the tests wait for a service most of the time. A worker may need 1.2 GB.
WORKERS_PER_PROCESSOR, WORKERS_MAX = 2, 8
ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> int:
    # Whatever ends this, the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.ExitStack() as stack:
        # Not in the project's tree: the servers' own users must be able to reach it.
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='ck-test-')))
        folder.chmod(0o755)
        variables = {
            name: os.environ.get(name) or _url(stack, kind, folder)
            for name, kind in SERVERS.items()
        }
        # Here, since a test that waited for an installation would run into its timeout.
        environments = [(name, sys.executable) for name in PEERS]
        # The validator of FOCUS files runs in no Python that is older.
        if newer := peers.python_since(12):
            environments.append(('focus', newer))
        with futures.ThreadPoolExecutor() as pool:
            list(pool.map(lambda one: peers.environment(*one), environments))
        workers = min(WORKERS_PER_PROCESSOR * (os.cpu_count() or 1), WORKERS_MAX)
        command = [sys.executable, '-m', 'pytest', '-n', str(workers), '--dist', 'loadgroup']
        command += sys.argv[1:]
        return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}).returncode


def _url(stack, kind, folder):
    """Return the URL of the server on the standard port, or of one that *stack* ends."""
    if databases.answers(kind.standard_url):
        return kind.standard_url
    print(f'tools/test: starting {kind.title}', file=sys.stderr)
    return stack.enter_context(kind(folder / kind.program)).url


if __name__ == '__main__':
    try:
        sys.exit(main())
    except services.ServiceFailed as exc:
        sys.exit(f'tools/test: {exc}')
    except KeyboardInterrupt:
        sys.exit(130)
