"""Figures for Prometheus that several processes of one service count together.

Each process counts in files of its own, named after a number that no other running process has.
The numbers are used again: what is counted goes on where a process that ended left it, and there
are never more files than processes at one time. Gauges do not belong here: that of a process that
was killed would stay.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import prometheus_client
from prometheus_client import multiprocess, values

from cloudkitty import errors

SLOTS_MAX = 4096


class Slots:
    """Gives each process that uses a folder the lowest free number; a process that ends frees it.

    :param folder: where the numbers are locked.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._pid: int | None = None
        self._lock = None
        self._number = 0

    def number(self) -> int:
        """Return the number of this process: another one after a fork."""
        if self._pid != os.getpid():
            self._number, self._lock = self._claim()
            self._pid = os.getpid()
        return self._number

    def _claim(self):
        for number in range(SLOTS_MAX):
            lock = open(self._folder / f'{number}.lock', 'ab')  # noqa: SIM115
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
            else:
                return number, lock
        raise errors.ConfigurationError(
            reason=f'{self._folder}: more than {SLOTS_MAX} processes count here')


def share(folder: Path, identify: Callable[[], int]) -> None:
    """Let all figures that this process makes from now on lie in *folder*.

    :param identify: returns a number that no other running process has.
    """
    os.environ['PROMETHEUS_MULTIPROC_DIR'] = str(folder)
    values.ValueClass = values.MultiProcessValue(process_identifier=identify)


def read(folder: Path) -> prometheus_client.CollectorRegistry:
    """Return a registry that shows what all processes together counted in *folder*."""
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(folder))
    return registry
