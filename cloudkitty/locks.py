"""Locks shared by all workers, through tooz.

Locks only save work; correctness never depends on them: a commit succeeds only if the mark of the
scope is where the worker read it.
"""

import contextlib
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from urllib import parse

import tooz
from stevedore import exception as stevedore_exception

from cloudkitty import errors, no_eventlet

LOG = logging.getLogger(__name__)

RETRY_FIRST_S = 1
RETRY_MAX_S = 60
# Backends whose locks are not visible to other hosts.
ONE_HOST = ('file', 'ipc')
# Errors that the drivers of tooz raise when their service fails.
FAILURES = (tooz.ToozError, OSError, NotImplementedError)


def name(base: str, *, collector: str, fetcher: str, scope_key: str) -> bytes:
    """Return the name of a lock: a hexadecimal digest of the parts.

    Source: doc/source/contributor/compatibility/processing.rst, "Work lists and locks".
    """
    text = '-'.join(('cloudkitty', base, collector, fetcher, scope_key))
    return hashlib.sha256(text.encode()).hexdigest().encode('ascii')


class Locks:
    """The locks of one worker.

    If the lock service does not answer, it is retried with backoff; until then no lock is acquired.

    :param url: tooz URL.
    :param clock: monotonic clock, seconds.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic):
        self._url = url
        self._clock = clock
        self._coordinator = None
        self._failures = 0
        self._retry_at_s = clock()

    @property
    def answers(self) -> bool:
        """Whether the lock service answered the last request."""
        return not self._failures

    @contextlib.contextmanager
    def hold(self, lock_name: bytes) -> Iterator[bool]:
        """Try to acquire a lock without waiting; yield whether it was; release it at the end."""
        lock = self._take(lock_name)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                try:
                    lock.release()
                except FAILURES as exc:
                    self._lose(exc)

    def _take(self, lock_name):
        try:
            coordinator = self._connect()
            if coordinator is None:
                return None
            lock = coordinator.get_lock(lock_name)
            is_taken = lock.acquire(blocking=False)
        except FAILURES as exc:
            self._lose(exc)
            return None
        if self._failures:
            LOG.info('The lock service answers again')
            self._failures = 0
        return lock if is_taken else None

    def _connect(self):
        if self._coordinator is None and self._clock() >= self._retry_at_s:
            self._coordinator = _start(self._url)
        return self._coordinator

    def _lose(self, exc):
        if not self._failures:
            LOG.error('The lock service does not answer, nothing is rated until it does: %s', exc)
        delay_s = min(RETRY_FIRST_S << min(self._failures, 10), RETRY_MAX_S)
        self._failures += 1
        self._retry_at_s = self._clock() + delay_s
        self.close()

    def close(self) -> None:
        """Release all locks and disconnect from the lock service."""
        coordinator, self._coordinator = self._coordinator, None
        if coordinator is not None:
            # The lock service may have stopped first.
            with contextlib.suppress(*FAILURES):
                coordinator.stop()


def _start(url):
    # It takes long: a command that needs no lock does without.
    with no_eventlet.hidden():
        from tooz import coordination

        # It imports the driver.
        coordinator = coordination.get_coordinator(url, uuid.uuid4().hex.encode())
    coordinator.start(start_heart=True)
    return coordinator


def serves_one_host(url: str) -> bool:
    """Return whether these locks are only shared by the workers of one host."""
    return parse.urlsplit(url).scheme in ONE_HOST


def check(url: str) -> None:
    """Connect to the lock service once.

    :raises ConfigurationError: the URL is wrong, or nothing answers there.
    """
    scheme = parse.urlsplit(url).scheme
    try:
        _start(url).stop()
    except (stevedore_exception.NoMatches, ImportError, ValueError, *FAILURES) as exc:
        # The whole URL may contain a password.
        cause = ' '.join(str(exc.__cause__ or exc).split())
        raise errors.ConfigurationError(
            reason=f'[orchestrator]coordination_url: {scheme or "no"}:// cannot be used: {cause}; '
            'allowed: file:///DIRECTORY for one host, or the URL of a lock service that '
            'tooz knows'
        ) from exc
