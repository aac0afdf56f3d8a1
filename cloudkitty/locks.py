"""Locks shared by all workers, through tooz.

Locks save work, they are never what correctness rests on: a commit succeeds only if the mark of the
scope is where the worker read it.
"""

import contextlib
import hashlib
import logging
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from urllib import parse

from stevedore import exception as stevedore_exception

from cloudkitty import errors

with warnings.catch_warnings():
    # futurist, below tooz, imports eventlet where it finds it, which then complains on stderr.
    warnings.filterwarnings('ignore', r'\s*Eventlet is deprecated')
    import tooz
    from tooz import coordination

LOG = logging.getLogger(__name__)

RETRY_FIRST_S = 1
RETRY_MAX_S = 60
# The kinds of locks that workers on other hosts know nothing of.
ONE_HOST = ('file', 'ipc')
# What the drivers of tooz raise when they cannot work.
FAILURES = (tooz.ToozError, OSError, NotImplementedError)


def name(base: str, *, collector: str, fetcher: str, scope_key: str) -> bytes:
    """Return the name of a lock: hexadecimal digits, whatever the parts hold.

    Source: contract processing, section 2, "Lock names".
    """
    text = '-'.join(('cloudkitty', base, collector, fetcher, scope_key))
    return hashlib.sha256(text.encode()).hexdigest().encode('ascii')


class Locks:
    """The locks of one worker.

    A lock service that does not answer is asked again ever more rarely; until then no lock is had.

    :param url: tooz URL.
    :param clock: returns seconds that only grow.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic):
        self._url = url
        self._clock = clock
        self._coordinator = None
        self._failures = 0
        self._retry_at_s = clock()

    @contextlib.contextmanager
    def hold(self, lock_name: bytes) -> Iterator[bool]:
        """Try to take a lock without waiting, yield whether it was had, give it back at the end."""
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
        """Give back all locks and leave the lock service."""
        coordinator, self._coordinator = self._coordinator, None
        if coordinator is not None:
            # It may have been the lock service that went first.
            with contextlib.suppress(*FAILURES):
                coordinator.stop()


def _start(url):
    coordinator = coordination.get_coordinator(url, uuid.uuid4().hex.encode())
    coordinator.start(start_heart=True)
    return coordinator


def serves_one_host(url: str) -> bool:
    """Say whether only the workers of one host share these locks."""
    return parse.urlsplit(url).scheme in ONE_HOST


def check(url: str) -> None:
    """Connect to the lock service once.

    :raises ConfigurationError: the URL is wrong, or nothing answers there.
    """
    scheme = parse.urlsplit(url).scheme
    try:
        _start(url).stop()
    except (stevedore_exception.NoMatches, ImportError, ValueError, *FAILURES) as exc:
        # The whole URL may hold a password.
        cause = ' '.join(str(exc.__cause__ or exc).split())
        raise errors.ConfigurationError(
            reason=f'[orchestrator]coordination_url: {scheme or "no"}:// cannot be used: {cause}; '
                   'allowed: file:///DIRECTORY for one host, or the URL of a lock service that '
                   'tooz knows') from exc
