"""Owners of the points of a frame. Pure."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from cloudkitty import errors
from cloudkitty.core.dataframe import DataFrame


def split(frames: Iterable[DataFrame], scope_key: str) -> Iterator[tuple[str, DataFrame]]:
    """Yield (scope id, frame) for every scope that the points of *frames* name, one a period.

    :raises InvalidInput: two frames of a scope begin together and end at different times.
    """
    merged: dict[tuple[str, datetime], DataFrame] = {}
    for frame in frames:
        for name, point in frame:
            owner = str(point.groupby.get(scope_key, ''))
            whole = merged.setdefault((owner, frame.start), DataFrame(frame.start, frame.end))
            if whole.end != frame.end:
                raise errors.InvalidInput(
                    reason=f'two frames of scope {owner!r} begin at {frame.start} and end at '
                    f'different times'
                )
            whole.add_point(point, name)
    for (owner, _), frame in merged.items():
        yield owner, frame
