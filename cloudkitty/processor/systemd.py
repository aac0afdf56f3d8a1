"""Status messages to systemd: readiness, reloads, and heartbeats for its watchdog.

The protocol is a datagram of text, see sd_notify(3). cotyledon supports one message of it, and
the libraries on PyPI either need libsystemd or are unmaintained.
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
    """Sends messages to systemd if it listens.

    :param address: of the socket; `@` begins one in the abstract namespace. None: there is none.
    """

    def __init__(self, address: str | None):
        self._address = address and (f'\0{address[1:]}' if address[0] == '@' else address)

    def send(self, *lines: str) -> None:
        """Send a message; errors are ignored, because systemd notices a missing message itself."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(SEND_S)
            try:
                channel.sendto('\n'.join(lines).encode(), self._address)
            except OSError as exc:
                LOG.debug('Cannot notify systemd of %s: %s', lines[0], exc)

    def reloading(self) -> None:
        """Announce that the configuration is being reloaded; READY announces the end of that."""
        self.send('RELOADING=1', f'MONOTONIC_USEC={time.monotonic_ns() // 1000}')


def take_notifier(environment: MutableMapping[str, str] = os.environ) -> Notifier:
    """Return a notifier, and remove its socket from the environment of child processes."""
    return Notifier(environment.pop('NOTIFY_SOCKET', None))


def watchdog_s(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return after how many seconds without a heartbeat systemd acts; None: never."""
    if environment.get('WATCHDOG_PID', str(os.getpid())) != str(os.getpid()):
        return None
    return int(environment.get('WATCHDOG_USEC', 0)) / 1e6 or None


class Watchdog:
    """Sends heartbeats to systemd as long as no worker hangs.

    :param overdue_s: returns for how many seconds the heartbeat of each worker is overdue.
    :param silence_max_s: returns after how many of these seconds a worker counts as hanging.
    """

    def __init__(
        self,
        notifier: Notifier,
        overdue_s: Callable[[], Mapping[int, float]],
        silence_max_s: Callable[[], float],
    ):
        self._notifier = notifier
        self._silences = overdue_s
        self._silence_max_s = silence_max_s
        self._hanging: list[int] = []

    def start(self, period_s: float) -> None:
        """Check the workers in a thread, twice in *period_s*, until the process ends."""
        threading.Thread(
            target=self._run, args=(period_s / 2,), name='watchdog', daemon=True
        ).start()

    def _run(self, interval_s):
        while True:
            self.step()
            time.sleep(interval_s)

    def step(self) -> None:
        """Check the workers once."""
        limit_s = self._silence_max_s()
        hanging = [worker for worker, silence_s in self._silences().items() if silence_s > limit_s]
        if hanging and hanging != self._hanging:
            LOG.error(
                'Workers %s have sent no heartbeat for more than %s s: systemd gets no watchdog '
                'notification until they do',
                ', '.join(map(str, hanging)),
                limit_s,
            )
        if self._hanging and not hanging:
            LOG.info('All workers send heartbeats again')
        self._hanging = hanging
        if not hanging:
            self._notifier.send(ALIVE)
