"""What happens while rating, told to whoever wants to know."""

from collections.abc import Iterable

from cloudkitty.dataframe import DataFrame

# Why something could not be done; a metric's label has no other values.
SOURCE = 'source'
MODULES = 'modules'
METRIC = 'metric'
RATING = 'rating'
STORING = 'storing'
FETCHER = 'fetcher'
DATABASE = 'database'
OTHER = 'other'
REASONS = (SOURCE, MODULES, METRIC, RATING, STORING, FETCHER, DATABASE, OTHER)


class Observer:
    """Is told; this one keeps nothing. Its methods are called from any thread."""

    def is_alive(self, silent_s: float = 0) -> None:
        """The worker goes on.

        :param silent_s: how long it will sleep now, seconds.
        """

    def answered(self, collector: str, seconds: float) -> None:
        """The source answered a question for one metric, or failed to, within *seconds*."""

    def failed(self, reason: str, count: int = 1) -> None:
        """So many things could not be done; *reason* is one of REASONS."""

    def retried(self, count: int) -> None:
        """So many scopes that had failed were tried again."""

    def stored(self, frames: Iterable[DataFrame]) -> None:
        """Frames were stored, rated."""
