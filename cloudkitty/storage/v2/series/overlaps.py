"""Makes sure that no time of a scope is rated twice."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.storage.v2.series.frame_rows import Frame

# Begin and end, naive UTC.
Span = tuple[datetime, datetime]


def require_apart(frames: Iterable[Frame], stored: Mapping[int, Sequence[Span]]) -> None:
    """Make sure that *frames* overlap neither each other nor the stored ones of their scopes.

    :param frames: of one origin.
    :param stored: frames that are kept or replaced, by scope.
    :raises PeriodsOverlap: two of them overlap.
    """
    spans: dict[int, dict[datetime, datetime]] = {}
    for frame in frames:
        spans.setdefault(frame.owner, {})[frame.begin] = frame.end
    for owner, new in spans.items():
        old = [span for span in stored.get(owner, ()) if span[0] not in new]
        _check(sorted([*new.items(), *old]))


def _check(spans: Sequence[Span]) -> None:
    """Raise unless each of *spans*, in order of their begins, ends before the next begins."""
    for before, after in zip(spans, spans[1:], strict=False):
        if before[1] > after[0]:
            raise errors.PeriodsOverlap(
                begin=timeframe.render(timeframe.from_naive(after[0])),
                stored=timeframe.render(timeframe.from_naive(before[0])),
            )
