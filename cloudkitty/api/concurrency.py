"""Concurrency limit for slow calls, so that one caller cannot occupy all threads.

A process has few threads. Without a limit, a caller who sends many expensive requests at once
occupies all of them, and the cheapest request of another caller waits for the last one.
"""

import collections
import contextlib
import threading
from collections.abc import Hashable, Iterator

from oslo_config import cfg

from cloudkitty import errors

# How long a call waits for its turn, which occupies a thread.
WAIT_S = 10
# Threads that are reserved for fast calls, if there are enough.
FREE_MIN = 2


class CallLimiter:
    """The semaphore of one process.

    For each caller one call runs and some wait; further ones are refused. A second one would gain
    little, because Python runs one thread at a time, and delay the calls of others. All callers
    together leave some threads free.

    :param threads: of the process.
    """

    running_max = 1
    wait_s = WAIT_S

    def __init__(self, threads: int):
        self._condition = threading.Condition()
        self._admitted: collections.Counter = collections.Counter()
        self._running: collections.Counter = collections.Counter()
        self._admitted_max = max(1, threads - FREE_MIN)
        self._caller_max = max(1, threads // 2)

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> 'CallLimiter':
        """Return the limiter for a configuration."""
        return cls(conf.api.threads)

    @contextlib.contextmanager
    def acquire(self, caller: Hashable) -> Iterator[None]:
        """Wait for a slot and hold it while the block runs.

        :param caller: key of the caller, such as the id of a project.
        :raises TooManyCalls: the caller has too many calls, or no slot became free.
        """
        with self._condition:
            if self._is_over_limit(caller):
                raise errors.TooManyCalls()
            self._admitted[caller] += 1
            try:
                if not self._condition.wait_for(lambda: self._may_run(caller), self.wait_s):
                    raise errors.TooManyCalls()
                self._running[caller] += 1
            except BaseException:
                self._decrement(self._admitted, caller)
                raise
        try:
            yield
        finally:
            with self._condition:
                self._decrement(self._running, caller)
                self._decrement(self._admitted, caller)
                self._condition.notify_all()

    def _is_over_limit(self, caller):
        return (
            self._admitted[caller] >= self._caller_max
            or self._admitted.total() >= self._admitted_max
        )

    def _may_run(self, caller):
        return self._running[caller] < self.running_max

    @staticmethod
    def _decrement(counter, caller):
        counter[caller] -= 1
        if not counter[caller]:
            del counter[caller]
