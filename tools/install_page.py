"""Type the installation page in an empty Debian, from the source to the first bill: ROOT SDIST.

PostgreSQL and a Prometheus with the samples of a cluster run beside it; the configuration is that
of the page with their addresses, and everything else is what the page tells to type.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cloudkitty.tests import databases, newcomer, schemas, services

CHECKOUT = 'opt/checkout'
ENVIRONMENT = {
    'PATH': '/usr/sbin:/usr/bin:/sbin:/bin',
    'HOME': '/root',
    'LC_ALL': 'C.UTF-8',
    'PIP_DISABLE_PIP_VERSION_CHECK': '1',
}


class Guest(newcomer.Newcomer):
    """Types the page in the tree that is unpacked in a root of its own.

    :param root: an empty Debian with python3-venv and curl.
    :param sdist: what the tree is unpacked from.
    """

    def __init__(self, root: Path, sdist: Path):
        self._root = root
        self._port = services.free_port()
        self._etc = root / 'etc' / 'cloudkitty'
        self._etc.mkdir(exist_ok=True)
        with tarfile.open(sdist) as archive:
            archive.extractall(root / 'opt', filter='data')
        shutil.rmtree(root / CHECKOUT, ignore_errors=True)
        (root / 'opt' / sdist.name.removesuffix('.tar.gz')).rename(root / CHECKOUT)

    def _place(self, text):
        return text

    def _adapt(self, line):
        doctor = newcomer.DOCTOR
        line = line.replace(newcomer.API, f'http://127.0.0.1:{self._port}')
        return line.replace(doctor, f'{doctor} || test $? = 1')

    def _waits(self, line):
        return self._waits_for_services(line)

    def _run(self, script):
        left_out = ('PYTHONPATH', 'VIRTUAL_ENV')
        kept = {name: text for name, text in os.environ.items() if name not in left_out}
        return subprocess.run(
            ['chroot', self._root, '/bin/bash', '-c', f'cd /{CHECKOUT} && {script}'],
            env=kept | ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=newcomer.DEADLINE_S,
        )


def main() -> None:
    root, sdist = (Path(argument) for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix='cloudkitty-install-') as folder:
        # PostgreSQL runs as a user of its own.
        os.chmod(folder, 0o755)
        count = _type_page(Guest(root, sdist), Path(folder))
    print(f'{count} lines of the page were typed, and the bill is right')


def _type_page(guest: Guest, folder: Path) -> int:
    """Return how many lines were typed.

    :raises AssertionError: one of them failed, or the bill is wrong.
    """
    lines = [line for step in newcomer.steps() for line in newcomer.commands(step)]
    since = datetime.now(UTC).replace(hour=0, minute=0, second=0) - timedelta(days=1)
    with (
        databases.PostgreSQL(folder / 'postgresql') as server,
        schemas.new_database(server.url, 'postgresql') as url,
        services.Prometheus(folder / 'prometheus', history=newcomer.cluster(since)) as source,
    ):
        guest.configure(database_url=url, prometheus_url=source.url, since=since)
        newcomer.check_bill(guest.type([*lines, *newcomer.bill_lines(lines)]))
    return len(lines)


if __name__ == '__main__':
    main()
