"""Backoff while an external service is down: when to try again, and one log line per outage."""

import logging
from datetime import datetime

from oslo_db import exception as db_exception

from cloudkitty import errors
from cloudkitty.core import schedule

LOG = logging.getLogger(__name__)

# Errors that external services cause; any other is logged with its traceback.
EXPECTED = (errors.ServiceError, db_exception.DBError)


class Backoff:
    """Tracks whether one external service is down, and when to try it again.

    :param what: name of the service in the log.
    :param length_s: length of a period, seconds: the longest delay.
    :ivar until: when to try again; None: there is no outage.
    """

    def __init__(self, what: str, length_s: int):
        self._what = what
        self._length_s = length_s
        self._failures = 0
        self._since: datetime | None = None
        self.until: datetime | None = None

    def is_waiting(self, now: datetime) -> bool:
        """Return whether it is too early to try again."""
        return self.until is not None and now < self.until

    def record_failure(self, now: datetime, exc: Exception) -> datetime:
        """Record a failure; return when to try again.

        Do not call this in the `except` block of *exc*: oslo.log would log it a second time.
        """
        self._failures += 1
        if self._since is None:
            self._since = now
            LOG.error(
                '%s failed, and is tried again until it works: %s',
                self._what,
                errors.describe(exc),
                exc_info=not isinstance(exc, EXPECTED) and exc,
            )
        self.until = now + schedule.retry_delay(self._failures, self._length_s)
        return self.until

    def record_success(self, now: datetime) -> None:
        """Record a success."""
        if self._since is not None:
            LOG.info(
                '%s works again after %s and %s failures',
                self._what,
                now - self._since,
                self._failures,
            )
        self._failures, self._since, self.until = 0, None, None
