"""Detection of gaps from the times and resources of samples; not used for Prometheus."""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from cloudkitty.core import coverage, metrics
from cloudkitty.core.coverage import Coverage, Gap
from cloudkitty.core.timeframe import Period, from_unix

# Number of earlier periods that are examined, too.
LOOK_BACK = 3
# Gaps of a metric that are examined by resource; any more are assumed to be holes.
EXAMINED_MAX = 10
# Resolution of gaps: steps in a period, and the shortest step, seconds.
STEPS = 12
STEP_MIN_S = 60
# Samples are regular if this fraction of the distances is at most so many times the usual one.
REGULAR_PART = 0.8
REGULAR_FACTOR = 1.5
# Scopes that are examined first, where examining all is expensive.
ASKED_FIRST = 4


class Source(Protocol):
    """Protocol of the queries to a source."""

    def instants(
        self, metric: metrics.Metric, span: Period, step_s: int, scope_ids: Sequence[str]
    ) -> Collection[float]:
        """Return the unix times in *span* at which any resource has samples.

        :param step_s: resolution in seconds: one sample per step is enough; the source may have
            a lower resolution.
        :param scope_ids: examine these only; empty: all.
        """

    def resources(
        self, metric: metrics.Metric, span: Period, alive_until: datetime
    ) -> Collection[tuple[str, str]]:
        """Return (scope id, resource) of the resources with samples in *span*.

        :param alive_until: omit resources that ended before this instant, if the source knows
            when resources ended.
        """


class _Found(NamedTuple):
    """The samples found of a metric.

    :ivar spacing_s: usual time between two samples; None: they are not regular.
    """

    instants: list[float]
    spacing_s: float | None


def examine(
    source: Source,
    definitions: Sequence[metrics.Metric],
    periods: Sequence[Period],
    *,
    known: Mapping[str, Gap],
    now: datetime,
    first: Sequence[str] = (),
) -> dict[str, Coverage]:
    """Return the coverage of each metric, see BaseCollector.coverage().

    Metrics with irregular samples are left out, because a missing sample cannot be detected.

    :param first: scopes that are examined first; all scopes are examined only if these have a
        gap. Empty: all are examined at once.
    """
    length = periods[0].end - periods[0].begin
    view = Period(
        periods[0].begin - LOOK_BACK * length,
        max(periods[-1].end, min(periods[-1].end + length, now)),
    )
    step_s = max(STEP_MIN_S, round(length.total_seconds()) // STEPS)
    found: dict[str, _Found] = {}
    for metric in definitions:
        one = _find(source, metric, view, step_s, first) if first else None
        if one is None or metric.key in known or not _is_whole(one, view, length):
            one = _find(source, metric, view, step_s, ())
        found[metric.key] = one
    by_key = {metric.key: metric for metric in definitions}
    return {
        key: answer
        for key, one in found.items()
        if (answer := _coverage(source, by_key[key], found, view, length, known.get(key)))
        is not None
    }


def some_of(scope_ids: Sequence[str]) -> Sequence[str]:
    """Return the few scopes to examine first."""
    return scope_ids[:: max(1, len(scope_ids) // ASKED_FIRST)][:ASKED_FIRST]


def _find(source, metric, view, step_s, scope_ids) -> _Found:
    instants = sorted(set(source.instants(metric, view, step_s, scope_ids)))
    return _Found(instants, _spacing(instants))


def _spacing(instants: Sequence[float]) -> float | None:
    """Return the usual distance of *instants*; None: they are not regular, or too few."""
    distances = sorted(late - early for early, late in itertools.pairwise(instants))
    if not distances:
        return None
    # A long gap must not hide itself.
    usual = distances[(len(distances) - 1) // 4]
    near = sum(1 for one in distances if one <= REGULAR_FACTOR * usual)
    # Of a few distances one may be that of a gap.
    is_regular = near >= min(REGULAR_PART * len(distances), len(distances) - 1)
    return usual if is_regular else None


def _stretches(one: _Found, view: Period, length: timedelta) -> list[tuple[float, float | None]]:
    spacing_s = one.spacing_s or 0.0
    window = (view.begin.timestamp(), view.end.timestamp())
    # With one sample per period, a missing sample would make the period free.
    is_dense = coverage.GAP * spacing_s <= length.total_seconds()
    factor = coverage.GAP if is_dense else REGULAR_FACTOR
    return coverage.find_gaps(one.instants, spacing_s, window, factor=factor)


def _is_whole(one: _Found, view: Period, length: timedelta) -> bool:
    """Return whether there are samples of all of *view*."""
    if one.spacing_s is None:
        return False
    begin_s = view.begin.timestamp()
    return (
        one.instants[0] <= begin_s + coverage.GAP * one.spacing_s
        and one.spacing_s <= length.total_seconds()
        and not _stretches(one, view, length)
    )


def _coverage(source, metric, found, view, length, known) -> Coverage | None:
    """Return the coverage of *metric*; None: it cannot be determined."""
    one = found[metric.key]
    if not one.instants:
        goes_on = [known._replace(end=view.end)] if known else []
        return Coverage(goes_on, has_samples=False)
    spacing_s = one.spacing_s
    if spacing_s is None:
        return None
    if spacing_s > length.total_seconds():
        text = (
            f'samples of {metric.name} are {spacing_s:g} s apart, and a period is '
            f'{length.total_seconds():g} s'
        )
        return Coverage((), spacing_s, text)
    stretches = _stretches(one, view, length)
    if known and known.begin < view.begin < from_unix(one.instants[0] - coverage.GAP * spacing_s):
        stretches.insert(0, (known.begin.timestamp(), one.instants[0]))
    gaps = []
    for number, (begin_s, end_s) in enumerate(stretches):
        begin, end = from_unix(begin_s), from_unix(end_s) if end_s else view.end
        if begin >= end:
            continue
        is_hole, sign = True, 'there are many gaps'
        if number < EXAMINED_MAX:
            signs = _signs(source, metric, found, Period(begin, end), end_s is not None)
            is_hole, sign = coverage.judge(signs)
        gaps.append(Gap(begin, end, is_hole, sign))
    return Coverage(gaps, spacing_s)


def _signs(source, metric, found, gap, is_over) -> dict[str, int]:
    """Return the evidence for a gap as counts, see coverage.judge()."""
    around = timedelta(seconds=math.ceil(2 * found[metric.key].spacing_s))
    before = set(source.resources(metric, Period(gap.begin - around, gap.begin), gap.end))
    after = (
        set(source.resources(metric, Period(gap.end, gap.end + around), gap.end))
        if is_over
        else set()
    )
    span = gap.begin.timestamp(), gap.end.timestamp()
    others = [one for key, one in found.items() if key != metric.key]
    return {
        'common': len(before & after),
        'scopes': len({scope_id for scope_id, _ in before}),
        'metrics': len(others),
        'others': sum(1 for one in others if any(span[0] <= at < span[1] for at in one.instants)),
    }
