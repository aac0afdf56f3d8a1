"""Batch sizes that keep the points of a batch within the memory of a worker."""

import gc
from collections.abc import Iterator

from cloudkitty.pipeline import Batch, points_allowed

# Factor by which parts may grow from one to the next, and shrink after one that was too large.
GROWTH = 4


class BatchSizer:
    """Cuts batches into parts by the recently observed number of points per scope and period.

    :param points_max: most points in a part, see pipeline.points_allowed().
    """

    def __init__(self, points_max: int):
        self._points_max = points_max
        # Recently observed points per scope and period; 0: nothing was observed yet.
        self._points_per_period = 0.0
        self._was_too_large = False

    def first_part(self, batch: Batch) -> Batch:
        """Return the first part of *batch*: as many periods as fit, then as many scopes."""
        if self._points_per_period * _size(batch) <= self._allowed(batch):
            return batch
        count = 1
        if self._points_per_period <= self._points_max:
            count = int(self._allowed(batch) / self._points_per_period)
        part = batch._replace(periods=batch.periods[:count])
        scopes = self._allowed(part) / (self._points_per_period * len(part.periods))
        return part._replace(scopes=batch.scopes[: max(int(scopes), 1)])

    def split(self, batch: Batch) -> Iterator[Batch]:
        """Yield parts of *batch*, each sized by what was observed up to then.

        A part that was too large is cut smaller and yielded again. Periods that are cut off
        are not yielded at all.
        """
        while batch.scopes:
            self._was_too_large = False
            part = self.first_part(batch)
            yield part
            if not self._was_too_large:
                batch = batch._replace(scopes=batch.scopes[len(part.scopes) :])

    def record_size(self, part: Batch, points: int) -> None:
        """Record that *part* had *points* points."""
        self._points_per_period = max(points / _size(part), self._points_per_period / GROWTH)

    def record_too_large(self, part: Batch) -> None:
        """Record that *part* was too large."""
        self._was_too_large = True
        self._points_per_period = GROWTH * self._allowed(part) / _size(part)
        # Tracebacks hold the collected points in reference cycles, which would be freed late.
        gc.collect()

    def _allowed(self, batch):
        return points_allowed(self._points_max, len(batch.periods))


def _size(part):
    return len(part.scopes) * len(part.periods)
