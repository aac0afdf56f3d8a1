"""A timeout for the whole head of a response.

The timeout of requests is per read, so a server that sends a byte of a header now and then never
times out. The body has a timeout of its own, see answers.
"""

import http.client
import io
import socket
import time

import requests
from urllib3 import connection, connectionpool


class _TimedReader(io.RawIOBase):
    """Reads from a socket; while the head is read, not beyond the socket's timeout in total."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        self._raw = sock.makefile('rb', buffering=0)
        self._timeout_s = sock.gettimeout()
        self._until_s = None if self._timeout_s is None else time.monotonic() + self._timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int | None:
        if self._until_s is not None:
            rest_s = self._until_s - time.monotonic()
            if rest_s <= 0:
                raise TimeoutError('the head of the answer took too long')
            self._sock.settimeout(rest_s)
        return self._raw.readinto(buffer)

    def end_head(self) -> None:
        """Let each later read take the socket's timeout."""
        if self._until_s is not None:
            self._until_s = None
            self._sock.settimeout(self._timeout_s)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock, *arguments, **options):
        super().__init__(sock, *arguments, **options)
        self.fp.close()
        self._reader = _TimedReader(sock)
        self.fp = io.BufferedReader(self._reader)

    def begin(self):
        super().begin()
        self._reader.end_head()


class _HTTPConnection(connection.HTTPConnection):
    response_class = _Response


class _HTTPSConnection(connection.HTTPSConnection):
    response_class = _Response


class _HTTPPool(connectionpool.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(connectionpool.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


def limit_heads(adapter: requests.adapters.HTTPAdapter) -> None:
    """Let the timeout of requests through *adapter* count for the whole head of a response."""
    adapter.poolmanager.pool_classes_by_scheme = {'http': _HTTPPool, 'https': _HTTPSPool}
