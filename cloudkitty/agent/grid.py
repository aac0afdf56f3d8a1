"""Begins of cycles: a fixed grid with an offset for each host. Pure."""

import hashlib
from typing import NamedTuple


class Grid(NamedTuple):
    """Instants that are an interval apart, seconds since the epoch.

    :ivar offset_s: of the first after the epoch, below the interval.
    """

    interval_s: int
    offset_s: int

    @classmethod
    def of(cls, interval_s: int, host: str) -> 'Grid':
        """Return the grid of a host: hosts do not all begin at once."""
        digest = hashlib.sha256(host.encode()).digest()
        return cls(interval_s, int.from_bytes(digest[:8], 'big') % interval_s)

    def after(self, instant_s: float) -> int:
        """Return the first instant of the grid after another."""
        passed = (instant_s - self.offset_s) // self.interval_s
        return int(passed + 1) * self.interval_s + self.offset_s

    def skipped(self, begun_s: int, now_s: float) -> int:
        """Return how many instants have passed during a cycle that began at one of the grid."""
        return max(0, (self.after(now_s) - begun_s) // self.interval_s - 1)
