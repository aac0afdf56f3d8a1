"""Instrumentation hooks that the rating code calls; the base class ignores them."""

from collections.abc import Iterable

from cloudkitty.core.scope_period import ScopePeriods

# Reasons for a failure: all values that the label `reason` of a metric can have.
SOURCE = 'source'
MODULES = 'modules'
METRIC = 'metric'
RATING = 'rating'
STORING = 'storing'
FETCHER = 'fetcher'
DATABASE = 'database'
AGREEMENT = 'agreement'
CLOCK = 'clock'
OTHER = 'other'
REASONS = (
    SOURCE,
    MODULES,
    METRIC,
    RATING,
    STORING,
    FETCHER,
    DATABASE,
    AGREEMENT,
    CLOCK,
    OTHER,
)


class Observer:
    """No-op base class for instrumentation. Its methods are called from any thread."""

    def heartbeat(self, next_in_s: float = 0) -> None:
        """Record a heartbeat of the worker.

        :param next_in_s: for how long the worker will sleep now, seconds.
        """

    def answered(self, collector: str, seconds: float) -> None:
        """Record that a query for one metric took *seconds*, whether it succeeded or failed."""

    def failed(self, reason: str, count: int = 1) -> None:
        """Record *count* failures; *reason* is one of REASONS."""

    def retried(self, count: int) -> None:
        """Record that *count* scopes are tried again after a failure."""

    def stored(self, usage: Iterable[ScopePeriods]) -> None:
        """Record that these periods were rated and stored."""
