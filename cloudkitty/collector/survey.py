"""Survey of a metric in a source, for people who write definitions. Pure."""

import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# Samples this many times further apart than usual have a gap between them.
HOLE = 1.5
# Fact about a metric that is unknown to the source.
NO_METRIC = 'the source has no such metric'
# Part of notes that apply to many correct definitions.
DIFFER_ONLY = 'differ only in'


@dataclass
class Survey:
    """The findings.

    :ivar facts: facts about the metric in the source.
    :ivar notes: what is probably unintended.
    :ivar faults: why the definition cannot be right.
    """

    facts: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def spacing(series: Iterable[Sequence[float]]) -> float | None:
    """Return the usual distance between samples, seconds.

    :param series: instants, oldest first.
    :returns: None: no series has two samples.
    """
    found = [late - early for instants in series for early, late in itertools.pairwise(instants)]
    return statistics.median(found) if found else None


def largest_hole(series: Iterable[Sequence[float]], usual_s: float) -> tuple[float, float] | None:
    """Return begin and end of the longest gap without a sample of any series; None: no gap."""
    instants = sorted({instant for found in series for instant in found})
    pairs = [pair for pair in itertools.pairwise(instants) if pair[1] - pair[0] > HOLE * usual_s]
    return max(pairs, key=lambda pair: pair[1] - pair[0], default=None)


def varying(rows: Sequence[dict]) -> list[str]:
    """Return the names whose values differ between *rows*."""
    names = sorted({name for row in rows for name in row})
    return [name for name in names if len({row.get(name, '') for row in rows}) > 1]


def is_usual(note: str) -> bool:
    """Return whether *note* applies to many correct definitions."""
    return DIFFER_ONLY in note
