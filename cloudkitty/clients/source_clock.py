"""The clock of a server, as its responses tell it."""

import email.utils
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

# The header has whole seconds, cut off.
HALF_S = timedelta(seconds=0.5)
# What was read longer ago is not used any more, seconds.
AGE_MAX_S = 60


class SourceClock:
    """Reads the header Date of responses. Thread-safe.

    :param monotonic_s: returns seconds that only ever grow.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic):
        self._monotonic_s = monotonic_s
        self._read: tuple[datetime, float] | None = None

    def read(self, headers: Mapping[str, str]) -> None:
        """Take the time from the headers of a response that has just begun."""
        # A response of a cache has the time at which it was made.
        if 'Age' in headers:
            return
        try:
            told = email.utils.parsedate_to_datetime(headers.get('Date', ''))
        except (ValueError, TypeError):
            return
        if told.tzinfo is None:
            told = told.replace(tzinfo=UTC)
        self._read = told + HALF_S, self._monotonic_s()

    def now(self) -> datetime | None:
        """Return the server's current time, aware UTC; None: it has not answered lately."""
        if self._read is None:
            return None
        told, at_s = self._read
        age_s = self._monotonic_s() - at_s
        return told + timedelta(seconds=age_s) if age_s <= AGE_MAX_S else None
