"""Peer services and their clients from the Python index, each in a virtual environment of its own.

What they need would contradict what this service needs, or one another.
"""

import fcntl
import glob
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from cloudkitty.tests import services

ROOT = Path(__file__).resolve().parents[2]
LISTS = ROOT / 'tools' / 'peers'
INSTALL_S = 600
# The lists name everything that is used.
PIP_OPTIONS = ('--disable-pip-version-check', '--no-deps')


def python_since(minor: int) -> str | None:
    """Return a Python 3.MINOR or newer of this machine; None: there is none."""
    found = [shutil.which(f'python3.{number}') for number in range(minor, minor + 4)]
    found += sorted(glob.glob(os.path.expanduser('~/.pyenv/versions/3.*/bin/python3')))
    for path in filter(None, [sys.executable, *found]):
        test = f'import sys, venv; sys.exit(sys.version_info < (3, {minor}))'
        if subprocess.run([path, '-c', test], capture_output=True, timeout=30).returncode == 0:
            return path
    return None


def environment(name: str, python: str = sys.executable) -> Path:
    """Return the bin folder of the environment that tools/peers/NAME.txt describes.

    It is made when it is missing or was made from another list, which takes a minute; only one
    process makes it.

    :param python: the interpreter to make it with.
    :raises ServiceFailed: pip could not install it.
    """
    listed = LISTS / f'{name}.txt'
    facts = f'{sys.version}\n{listed.read_text()}'
    if python != sys.executable:
        facts += python
    folder = ROOT / '.tools' / name
    stamp = folder / f'.made-{hashlib.sha256(facts.encode()).hexdigest()[:16]}'
    folder.parent.mkdir(exist_ok=True)
    with open(folder.with_suffix('.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            _make(folder, listed, python)
            stamp.touch()
    return folder / 'bin'


def _make(folder, listed, python):
    print(f'installing {folder.name} (once, about a minute)', file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [python, '-m', 'venv', folder],
        [folder / 'bin' / 'pip', 'install', '-q', *PIP_OPTIONS, '-r', listed],
    ):
        ended = subprocess.run(command, text=True, capture_output=True, timeout=INSTALL_S)
        if ended.returncode:
            raise services.ServiceFailed(f'{folder}: {ended.stderr[-1000:]}')


class WsgiPeer(services.Daemon):
    """A WSGI application of an environment, served by waitress.

    :ivar application: see serve_wsgi.
    :param bin_folder: that of the environment.
    """

    application = ''

    def __init__(self, folder: Path, bin_folder: Path):
        super().__init__(folder)
        self.bin_folder = bin_folder

    @property
    def url(self) -> str:
        return f'http://{self.address}'

    def command(self):
        assignments = [f'{name}={value}' for name, value in self.environment().items()]
        return [
            '/usr/bin/env',
            *assignments,
            self.bin_folder / 'python',
            LISTS / 'serve_wsgi.py',
            self.application,
            str(self.port),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that the application is told things by."""
        return {'PYTHONWARNINGS': 'ignore'}

    def run(self, *command: str | os.PathLike) -> None:
        """Run a program of the environment to its end.

        :raises ServiceFailed: it failed; the text has its last words.
        """
        ended = subprocess.run(
            [self.bin_folder / command[0], *command[1:]],
            text=True,
            cwd=self.folder,
            capture_output=True,
            timeout=300,
            env={**os.environ, **self.environment()},
        )
        if ended.returncode:
            raise services.ServiceFailed(f'{command[0]}: {(ended.stdout + ended.stderr)[-1000:]}')
