"""Prometheus metrics that are summed over all processes of one service.

Each process writes files of its own, named after a number that no other running process has.
Numbers are reused: a new process continues the counters of one that ended, so there are never
more files than processes at one time. Gauges do not belong here: the value of a process that was
killed would stay.
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
    """Assigns each process that uses a folder the lowest free number, until the process ends.

    :param folder: where the numbers are locked.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._pid: int | None = None
        self._lock = None
        self._number = 0

    def number(self) -> int:
        """Return the number of this process; a forked child gets its own."""
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
            reason=f'{self._folder}: more than {SLOTS_MAX} processes count here'
        )


def share(folder: Path, identify: Callable[[], int]) -> None:
    """Keep all metrics that this process creates from now on in files in *folder*.

    :param identify: returns a number that no other running process has.
    """
    os.environ['PROMETHEUS_MULTIPROC_DIR'] = str(folder)
    values.ValueClass = values.MultiProcessValue(process_identifier=identify)


def read(folder: Path) -> prometheus_client.CollectorRegistry:
    """Return a registry that exposes the sums of all processes that write to *folder*."""
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, path=str(folder))
    return registry
