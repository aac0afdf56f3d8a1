"""A socket where a service believes systemd to be."""

import socket
import threading
from pathlib import Path

from cloudkitty.tests import services

ALIVE = 'WATCHDOG=1'


class Systemd:
    """Listens to what a service says.

    :param path: of the socket; to be the service's NOTIFY_SOCKET.
    :ivar told: the messages so far.
    """

    def __init__(self, path: Path):
        self.path = path
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while message := self._socket.recv(4096):
            self.told.append(message.decode())

    def signs(self) -> int:
        """Return how many signs of life there were."""
        return self.told.count(ALIVE)

    def states(self) -> list[str]:
        """Return the first lines of all other messages."""
        return [message.splitlines()[0] for message in self.told if message != ALIVE]

    def wait_for(self, *expected: str) -> None:
        """Return as soon as the service has said exactly this.

        :raises ServiceFailed: it did not within a minute.
        """
        services.wait_until(
            lambda: self.states() == list(expected), deadline_s=60, what=f'{expected}'
        )

    def close(self) -> None:
        """Stop listening."""
        # An empty message ends the thread.
        self._socket.sendto(b'', str(self.path))
