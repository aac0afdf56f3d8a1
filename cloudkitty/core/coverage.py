"""Gaps: times in which a source has no samples of a metric, and which of them are holes. Pure.

A gap in which nothing was used is no fault. A hole is one in which samples are missing. Which
it is, is decided by signs: what else the source has of that time.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from cloudkitty.core.timeframe import Period

# Two samples this many times further apart than usual have a gap between them: one lost scrape,
# which the definitions bridge, is none.
GAP = 2.5
# Scopes whose resources end at once: so many do not by chance.
SCOPES_AT_ONCE = 2


class Gap(NamedTuple):
    """A time, [begin, end), aware UTC, without samples of a metric, of any scope.

    :ivar is_hole: samples are missing; False: nothing was used.
    :ivar sign: what the source has that tells which of the two it is, for people.
    """

    begin: datetime
    end: datetime
    is_hole: bool
    sign: str


class Coverage(NamedTuple):
    """What a source has of one metric in a time.

    :ivar gaps: in order; they do not overlap.
    :ivar spacing_s: usual seconds between two samples of a series; None: unknown.
    :ivar warning: why the metric definition does not fit what the source has, for people; '':
        it fits.
    :ivar has_samples: False: there are none, so nothing is known of gaps that are not listed.
    """

    gaps: Sequence[Gap] = ()
    spacing_s: float | None = None
    warning: str = ''
    has_samples: bool = True

    @property
    def holes(self) -> list[Gap]:
        """The gaps in which samples are missing."""
        return [gap for gap in self.gaps if gap.is_hole]


def find_gaps(
    instants: Iterable[float],
    spacing_s: float,
    window: tuple[float, float],
    *,
    factor: float = GAP,
) -> list[tuple[float, float | None]]:
    """Return begin and end of the gaps after the first of *instants*, unix times.

    A sample stands for the time up to one spacing after it.

    :param instants: of samples, in any order.
    :param window: what was searched; a gap that reaches to its end has the end None.
    :param factor: samples this many times further apart than usual have a gap between them.
    """
    inside = sorted({at for at in instants if window[0] <= at <= window[1]})
    found: list[tuple[float, float | None]] = [
        (early + spacing_s, late)
        for early, late in itertools.pairwise(inside)
        if late - early > factor * spacing_s
    ]
    if inside and window[1] - inside[-1] > factor * spacing_s:
        found.append((inside[-1] + spacing_s, None))
    return found


def judge(signs: Mapping[str, int]) -> tuple[bool, str]:
    """Return whether samples are missing in a gap, and the sign that tells it.

    :param signs: counts. scopes: those with samples just before the gap; common: resources with
        samples just before and just after it; targets: where those before came from, as far as
        that is known; alive: those of them that answered; unlabelled: resources that go on without
        the label of the scope; metrics: other ones that were looked at; others: those that have
        samples in the gap. What is not counted is left out.
    """
    common, targets, scopes = (signs.get(name, 0) for name in ('common', 'targets', 'scopes'))
    silent = targets - signs.get('alive', 0)
    if common:
        return True, f'{common} resources have samples before and after it'
    if unlabelled := signs.get('unlabelled'):
        return True, f'{unlabelled} resources have samples in it, without the label of the scope'
    if silent:
        return True, f'{silent} of {targets} targets did not answer (up)'
    if not targets and not signs['metrics']:
        return True, 'there is no other metric to compare with'
    if not targets and not signs.get('others'):
        return True, 'no other metric has samples in it'
    if scopes >= SCOPES_AT_ONCE:
        return True, f'the resources of {scopes} scopes ended at once'
    answered = f'{targets} targets answered (up)' if targets else 'other metrics have samples in it'
    return False, f'{answered}, and no resource has samples before and after it'


def without(span: Period, others: Iterable[Period]) -> list[Period]:
    """Return the parts of *span* that none of *others* covers."""
    parts = [span]
    for begin, end in others:
        parts = [
            Period(*piece)
            for part in parts
            for piece in ((part.begin, min(part.end, begin)), (max(part.begin, end), part.end))
            if piece[0] < piece[1]
        ]
    return parts


def overlaps(one: Period, other: Period) -> bool:
    """Return whether two half open times have an instant in common."""
    return one.begin < other.end and other.begin < one.end


def names_by_period(
    holes: Mapping[str, Collection[Period]], periods: Sequence[Period]
) -> list[tuple[str, ...]]:
    """Return the metrics with a hole in each of *periods*."""
    return [
        tuple(
            sorted(
                name
                for name, spans in holes.items()
                if any(overlaps(period, span) for span in spans)
            )
        )
        for period in periods
    ]


def first_run(items: Sequence[tuple[str, ...]]) -> int:
    """Return how many of *items* equal the first."""
    return sum(1 for _ in itertools.takewhile(lambda item: item == items[0], items))
