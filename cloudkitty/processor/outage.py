"""Something outside does not work for a while: when to try again, and one log line for it."""

import logging
from datetime import datetime

from oslo_db import exception as db_exception

from cloudkitty import errors, schedule

LOG = logging.getLogger(__name__)

# Errors of the world outside; with others the log shows where they come from.
EXPECTED = (errors.ServiceError, db_exception.DBError)


class Outage:
    """The outage of one peer, if there is one.

    :param what: names the peer in the log.
    :param length_s: length of a period, seconds; waiting longer makes no sense.
    :ivar until: when to try again; None: nothing is wrong.
    """

    def __init__(self, what: str, length_s: int):
        self._what = what
        self._length_s = length_s
        self._failures = 0
        self._since: datetime | None = None
        self.until: datetime | None = None

    def is_waiting(self, now: datetime) -> bool:
        """Say whether it is too early to try again."""
        return self.until is not None and now < self.until

    def begin(self, now: datetime, exc: Exception) -> datetime:
        """Record a failure; return when to try again.

        Not to be called while *exc* is handled: oslo.log would say it a second time.
        """
        self._failures += 1
        if self._since is None:
            self._since = now
            LOG.error('%s failed, and is tried again until it works: %s', self._what,
                      errors.describe(exc), exc_info=not isinstance(exc, EXPECTED) and exc)
        self.until = now + schedule.retry_delay(self._failures, self._length_s)
        return self.until

    def end(self, now: datetime) -> None:
        """Record a success."""
        if self._since is not None:
            LOG.info('%s works again after %s and %s failures', self._what, now - self._since,
                     self._failures)
        self._failures, self._since, self.until = 0, None, None
