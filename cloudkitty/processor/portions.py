"""How much a worker takes on at once, so that the points of a batch fit into its memory."""

import gc
from collections.abc import Iterator

from cloudkitty.pipeline import Batch, points_allowed

# By how much a portion may be larger than the one before, and is smaller after one too large.
GROWTH = 4


class Portions:
    """Cuts batches by how many points a period of a scope had of late.

    :param points_max: points in a portion, see pipeline.points_allowed().
    """

    def __init__(self, points_max: int):
        self._points_max = points_max
        # Points of a period of a scope; 0: nobody knows.
        self._density = 0.0
        self._is_too_large = False

    def first(self, batch: Batch) -> Batch:
        """Return the beginning of *batch* that is taken on at once: fewer scopes, then periods."""
        if self._density * _size(batch) <= self._allowed(batch):
            return batch
        count = 1
        if self._density <= self._points_max:
            count = int(self._allowed(batch) / self._density)
        portion = batch._replace(periods=batch.periods[:count])
        scopes = self._allowed(portion) / (self._density * len(portion.periods))
        return portion._replace(scopes=batch.scopes[:max(int(scopes), 1)])

    def split(self, batch: Batch) -> Iterator[Batch]:
        """Yield portions of *batch*, each as large as what is known by then allows.

        One that was too large comes again, smaller. Periods that are cut off are left out.
        """
        while batch.scopes:
            self._is_too_large = False
            portion = self.first(batch)
            yield portion
            if not self._is_too_large:
                batch = batch._replace(scopes=batch.scopes[len(portion.scopes):])

    def fitted(self, portion: Batch, points: int) -> None:
        """Take note that *portion* had so many points."""
        self._density = max(points / _size(portion), self._density / GROWTH)

    def burst(self, portion: Batch) -> None:
        """Take note that *portion* was too large."""
        self._is_too_large = True
        self._density = GROWTH * self._allowed(portion) / _size(portion)
        # Tracebacks hold what was collected, in circles that nobody would look for soon.
        gc.collect()

    def _allowed(self, batch):
        return points_allowed(self._points_max, len(batch.periods))


def _size(portion):
    return len(portion.scopes) * len(portion.periods)
