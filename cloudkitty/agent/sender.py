"""Sends metering messages to the bus, or to the spool while the bus is unreachable."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from cloudkitty import errors
from cloudkitty.agent.spool import Spool

LOG = logging.getLogger(__name__)

PAUSE_FIRST_S = 1
PAUSE_MAX_S = 30
# Records that one call sends from the spool, so that a cycle that is due is not late.
RETRIED_MAX = 200

Message = dict[str, Any]


class Sender:
    """Sends messages in the order in which they come. Not thread-safe.

    :param publish: sends messages in one; raises BusUnavailable unless they have arrived.
    :param clock: monotonic clock, seconds.
    :ivar dropped: messages that neither the bus nor the spool accepted, since the start.
    """

    def __init__(
        self,
        publish: Callable[[Sequence[Message]], None],
        spool: Spool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._spool = spool
        self._clock = clock
        self._failures = 0
        self._retry_at_s = clock()
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """How many records wait in the spool."""
        return len(self._spool)

    @property
    def retry_in_s(self) -> float | None:
        """Seconds until retry() may send something; None: nothing waits."""
        return max(0.0, self._retry_at_s - self._clock()) if self.waiting else None

    def send(self, messages: Sequence[Message]) -> bool:
        """Send or spool *messages*; return False if they are lost because the spool is full."""
        # They follow those that wait.
        if not self.waiting and self._is_time and self._try(messages):
            return True
        # As json writes it: the numbers keep the text that is signed.
        content = json.dumps(messages).encode()
        try:
            is_kept = self._spool.append(content)
        except OSError as exc:
            LOG.error('The spool cannot be written: %s', exc.strerror)
            is_kept = False
        if not is_kept:
            if not self.dropped:
                LOG.error('The spool is full: from now on newer messages are lost')
            self.dropped += len(messages)
        return is_kept

    def retry(self) -> None:
        """Send some records of the spool, the oldest first, if it is time for another attempt."""
        for _ in range(RETRIED_MAX):
            record = self._spool.oldest() if self._is_time else None
            if record is None or not self._try(json.loads(record)):
                return
            self._spool.remove_oldest()
            if not self.waiting:
                LOG.info('All that waited in the spool is sent')

    @property
    def _is_time(self) -> bool:
        return self._clock() >= self._retry_at_s

    def _try(self, messages: Sequence[Message]) -> bool:
        try:
            self._publish(messages)
        except errors.BusUnavailable as exc:
            if not self._failures:
                LOG.warning('Messages are kept in the spool from now on: %s', exc)
            pause_s = min(PAUSE_MAX_S, PAUSE_FIRST_S << min(self._failures, 10))
            self._failures += 1
            self._retry_at_s = self._clock() + pause_s
            return False
        if self._failures:
            LOG.info('The message bus takes messages again')
            self._failures = 0
        return True
