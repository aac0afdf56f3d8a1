"""Telling systemd how the daemon is: readiness, reloads, and signs of life for its watchdog.

The protocol is a datagram of text, see sd_notify(3). cotyledon knows one message of it, and the
libraries on PyPI either need libsystemd or are not kept.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping

LOG = logging.getLogger(__name__)

READY = 'READY=1'
STOPPING = 'STOPPING=1'
ALIVE = 'WATCHDOG=1'
SEND_S = 1


class Notifier:
    """Sends messages to systemd, if it listens.

    :param address: of the socket; `@` begins one in the abstract namespace. None: nobody listens.
    """

    def __init__(self, address: str | None):
        self._address = address and (f'\0{address[1:]}' if address[0] == '@' else address)

    def send(self, *lines: str) -> None:
        """Send a message; one that cannot be sent is lost: systemd draws its own conclusions."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(SEND_S)
            try:
                channel.sendto('\n'.join(lines).encode(), self._address)
            except OSError as exc:
                LOG.debug('systemd was not told %s: %s', lines[0], exc)

    def reloading(self) -> None:
        """Say that the configuration is read again; READY says that this is over."""
        self.send('RELOADING=1', f'MONOTONIC_USEC={time.monotonic_ns() // 1000}')


def take_notifier(environment: MutableMapping[str, str] = os.environ) -> Notifier:
    """Return the way to systemd; nobody else finds it in the environment afterwards."""
    return Notifier(environment.pop('NOTIFY_SOCKET', None))


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return after how many seconds without a sign of life systemd acts; None: never."""
    if environment.get('WATCHDOG_PID', str(os.getpid())) != str(os.getpid()):
        return None
    return int(environment.get('WATCHDOG_USEC', 0)) / 1e6 or None


class Watchdog:
    """Tells systemd that all is well, as long as no worker hangs.

    :param silences: returns for how many seconds each worker said less than it should.
    :param silence_max_s: returns after how many of them a worker hangs.
    """

    def __init__(self, notifier: Notifier, silences: Callable[[], Mapping[int, float]],
                 silence_max_s: Callable[[], float]):
        self._notifier = notifier
        self._silences = silences
        self._silence_max_s = silence_max_s
        self._hanging: list[int] = []

    def start(self, period_s: float) -> None:
        """Look from now on, twice in *period_s*, until the process ends."""
        threading.Thread(target=self._run, args=(period_s / 2,), name='watchdog',
                         daemon=True).start()

    def _run(self, interval_s):
        while True:
            self.step()
            time.sleep(interval_s)

    def step(self) -> None:
        """Look at the workers once."""
        limit_s = self._silence_max_s()
        hanging = [worker for worker, silence_s in self._silences().items()
                   if silence_s > limit_s]
        if hanging and hanging != self._hanging:
            LOG.error('Workers %s gave no sign of life for more than %s s: systemd is not told '
                      'any more that all is well', ', '.join(map(str, hanging)), limit_s)
        if self._hanging and not hanging:
            LOG.info('All workers give signs of life again')
        self._hanging = hanging
        if not hanging:
            self._notifier.send(ALIVE)
