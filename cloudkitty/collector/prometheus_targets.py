"""Detection of holes of single targets of Prometheus, while others have samples of the same metric.

`up` tells which targets could not be scraped for a time, in a part of the query that all metrics
share. Only of these it is examined which resources have no samples meanwhile.
"""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple, Protocol

from cloudkitty.clients import prometheus
from cloudkitty.collector.prometheus_query import STEPS_MAX, chunks
from cloudkitty.core import coverage
from cloudkitty.core.coverage import Gap
from cloudkitty.core.timeframe import from_unix

# Targets of one step of the query that are examined: those with the most failed scrapes.
SUSPECTS_MAX = 500
# Holes that are examined; any more are assumed to concern all metrics.
EXAMINED_MAX = 50
# A target has a hole if its scrapes are this many times further apart than usual.
GAP = 5
# Failed scrapes in a period that are looked at.
FAILED_MIN = 2
# The scrapes of a period are looked at in so many steps, none longer than samples are visible.
STEPS = 60
STEP_MAX_S = 240
# A target that did not answer for so long was removed.
REMOVED = timedelta(days=7)
# For how long it is cached which jobs have the metrics; seconds of the examined time.
JOBS_KEPT_S = 86400
SIGN_LABEL = 'sign'
# The health of a target as a whole.
UP = 'up'
FAILED = 'failed'
COMMON = 'common'
MORE = '; more targets'

Target = tuple[str, str]


class Sight(Protocol):
    """What is examined of a metric, see prometheus_coverage.Sight."""

    @property
    def name(self) -> str: ...

    @property
    def resource(self) -> tuple[str, ...]: ...


class Outage(NamedTuple):
    """A time in which targets were not scraped, unix times.

    :ivar targets: (job, instance).
    :ivar last: the last good scrape before it.
    :ivar end: None: it lasts until the end of the examined time.
    :ivar spacing_s: usual time between two scrapes, or two looks.
    """

    targets: tuple[Target, ...]
    last: float
    end: float | None
    spacing_s: float

    def is_like(self, other: 'Outage') -> bool:
        if self.spacing_s != other.spacing_s or (self.end is None) is not (other.end is None):
            return False
        return (
            max(abs(self.last - other.last), abs((self.end or 0) - (other.end or 0)))
            <= self.spacing_s
        )


class TargetCoverage:
    """Examines the targets that have metrics.

    :param sights: metrics by key.
    :param matcher: label matcher for the scopes.
    :param health: selects the series that are 1 while a target has the metrics, and 0 or absent
        while it has none of them.
    """

    def __init__(
        self,
        client: prometheus.Client,
        sights: Mapping[str, Sight],
        *,
        matcher: str,
        length_max: int,
        health: str = UP,
    ):
        self._client = client
        self._health = health
        self._sights = sights
        self._matcher = matcher
        self._length_max = length_max
        # None: not known.
        self._jobs: list[str] | None = None
        self._jobs_at = 0.0

    def term(self, length_s: int) -> str:
        """Return PromQL for the targets that lack scrapes in the period before the instant.

        They failed, or are fewer than in the period before, although targets that were away for
        all of both periods are left out. '': no target has the metrics.
        """
        if self._jobs == []:
            return ''
        up = self._selector(prometheus.one_of('job', self._jobs) if self._jobs else '')
        span, both = f'{1000 * length_s - 1}ms', f'{2000 * length_s - 1}ms'
        count, before = f'count_over_time({up}[{span}])', f'count_over_time({up}[{span}] offset '
        before += f'{length_s}s)'
        failed = (
            f'({count} - sum_over_time({up}[{span}]) >= {FAILED_MIN} '
            f'and sum_over_time({up}[{both}]) > 0)'
        )
        if self._health != UP:
            # A target that has none of the series did not answer, or never had them.
            return f'topk({SUSPECTS_MAX}, max by (job, instance) {failed})'
        fewer = f'({before} - {count} >= {FAILED_MIN})'
        return (
            f'topk({SUSPECTS_MAX}, max by (job, instance) '
            f'({failed} or {fewer} or ({before} unless {count})))'
        )

    def _selector(self, matchers: str) -> str:
        """Return what selects the health of the targets that match *matchers*."""
        name, brace, own = self._health.partition('{')
        return prometheus.selector(name, ', '.join(filter(None, (own.removesuffix('}'), matchers))))

    def find(self, suspects: set[Target], view, known: Mapping[str, Gap]) -> dict[str, list[Gap]]:
        """Return holes by the key of a metric, in order; they do not overlap.

        :param suspects: answer to term() for the periods of *view*.
        :param view: examined time, see prometheus_coverage.View.
        :param known: gaps that may go on, by metric.
        """
        begin = min(
            (gap.begin.timestamp() - 2 * view.length_s for gap in known.values() if gap.is_hole),
            default=view.begin,
        )
        begin = min(view.begin, max(begin, view.end - REMOVED.total_seconds()))
        if abs(view.end - self._jobs_at) > JOBS_KEPT_S:
            self._jobs = None
        if suspects and self._jobs is None:
            self._jobs, self._jobs_at = self._find_jobs(view), view.end
            suspects = self._suspects(view.begin, view)
        if begin < view.begin:
            suspects = suspects | self._suspects(begin, view)
        found: dict[str, list[Gap]] = {}
        outages = self._outages(sorted(suspects), begin, view) if suspects else []
        for number, one in enumerate(outages):
            span = from_unix(one.last + one.spacing_s), from_unix(one.end or view.end)
            signs = (
                self._signs(one, view)
                if number < EXAMINED_MAX
                else dict.fromkeys(self._sights, f'{_names(one.targets)}: there are many gaps')
            )
            for key, text in signs.items():
                found.setdefault(key, []).append(Gap(*span, True, text))
        return {key: _united(gaps) for key, gaps in found.items()}

    def _find_jobs(self, view) -> list[str]:
        """Return the jobs with samples of the metrics at the begin or end of the view."""
        selectors = sorted(
            {prometheus.selector(one.name, self._matcher) for one in self._sights.values()}
        )

        def term(selector):
            return f'group by (job) (last_over_time({selector}[{view.length_s}s]))'

        return sorted(
            {
                series['metric']['job']
                for part in chunks(selectors, lambda one: f' or {term(one)}', self._length_max)
                for at in (view.ends[0], view.end)
                for series in self._client.query(' or '.join(map(term, part)), from_unix(at))
                if 'job' in series['metric']
            }
        )

    def _suspects(self, begin, view) -> set[Target]:
        query = self.term(view.length_s)
        if not query:
            return set()
        first = view.ends[0] - math.ceil((view.begin - begin) / view.length_s) * view.length_s
        answer = self._client.query_range(
            query, from_unix(first), from_unix(view.ends[-1]), view.length_s
        )
        return targets_of(answer)

    # Times without scrapes

    def _outages(self, suspects, begin, view) -> list[Outage]:
        """Return when suspects were not scraped, the longest first; similar times as one."""
        step_s = max(1, min(STEP_MAX_S, view.length_s // STEPS))
        instants = self._instants(suspects, begin, view.end, step_s)
        found: list[Outage] = []
        for target, at in sorted(instants.items()):
            own = sorted(at)
            distances = [late - early for early, late in pairwise(own)]
            spacing_s = max(step_s, statistics.median(distances)) if distances else step_s
            for start, end in coverage.find_gaps(own, spacing_s, (begin, view.end), factor=GAP):
                found.append(Outage((target,), start - spacing_s, end, spacing_s))
        joined: list[Outage] = []
        for one in sorted(found, key=lambda one: one.last):
            place = next((n for n, old in enumerate(joined) if old.is_like(one)), None)
            if place is None:
                joined.append(one)
            else:
                old = joined[place]
                joined[place] = old._replace(targets=(*old.targets, *one.targets))
        return sorted(joined, key=lambda one: one.last - (one.end or view.end))

    def _instants(self, suspects, begin, end, step_s) -> dict[Target, set[float]]:
        """Return when targets were scraped well; one instant for each step is enough."""
        found: dict[Target, set[float]] = defaultdict(set)
        for part in _parts(suspects, self._length_max):
            up = self._selector(_matcher_of(part))
            query = f'max by (job, instance) (timestamp({up}) and {up} == 1)'
            at = begin
            while at < end:
                last = min(end, at + step_s * (STEPS_MAX - 1))
                for series in self._client.query_range(
                    query, from_unix(at), from_unix(last), step_s
                ):
                    for target in targets_of([series]):
                        found[target].update(float(text) for _, text in series['values'])
                at = last + step_s
        return found

    # What was lost in them

    def _signs(self, outage, view) -> dict[str, str]:
        """Return the evidence for a hole by the key of each metric that has one.

        Resources that a target had just before are lost if they have no samples of any target in
        the outage: those that are there after it, and all while the target fails to answer.
        """
        end = outage.end or view.end
        at = end + math.ceil(2 * outage.spacing_s) if outage.end else end
        found: dict[str, Counter[Target]] = defaultdict(Counter)
        for targets in _parts(outage.targets, self._length_max // 4):
            terms = [
                f'label_replace({text}, "{SIGN_LABEL}", "{kind} {number}", "", "")'
                for number, sight in enumerate(self._sights.values())
                for kind, text in self._terms(sight, targets, outage, at, end)
            ]
            for part in chunks(terms, lambda term: f'{term} or ', self._length_max):
                for series in self._client.query(' or '.join(part), from_unix(at)):
                    for target in targets_of([series]):
                        found[series['metric'][SIGN_LABEL]][target] += int(series['value'][1])
        signs = {}
        for number, key in enumerate(self._sights):
            if common := found.get(f'{COMMON} {number}'):
                signs[key] = (
                    f'{common.total()} resources of {_names(common)} have samples before and '
                    'after it, and none in it'
                )
            elif failed := found.get(f'{FAILED} {number}'):
                signs[key] = (
                    f'{_names(failed)} did not answer ({self._health}), with {failed.total()} '
                    'resources before it'
                )
        return signs

    def _terms(self, sight, targets, outage, at, end) -> Iterator[tuple[str, str]]:
        """Yield PromQL for the numbers of lost resources by target, evaluated at *at*."""
        spacing_s, own = outage.spacing_s, _matcher_of(targets)
        around_s = math.ceil(2 * spacing_s)
        # Edges are known to a step, and those of similar outages differ by one.
        inside = f'[{math.floor(end - outage.last - 2 * spacing_s)}s]'
        if outage.end:
            length_s = max(1, math.floor(end - outage.last - 4 * spacing_s))
            inside = f'[{length_s}s] offset {2 * around_s}s'
        up = self._selector(own)
        refused = f'last_over_time({up}{inside})'
        if not outage.end:
            refused = f'last_over_time({up}[{around_s}s])'
        resource = ', '.join(map(prometheus.label, sight.resource))
        before = prometheus.selector(sight.name, f'{self._matcher}, {own}')
        every = prometheus.selector(sight.name, self._matcher)
        back_s = math.ceil(at - outage.last - spacing_s)
        offset = f' offset {back_s}s' if back_s > 0 else ''
        groups = (
            f'group by ({resource}, job, instance) (last_over_time({before}[{around_s}s]{offset}))'
        )
        lost = f'unless on ({resource}) last_over_time({every}{inside})'
        count = 'count by (job, instance)'
        yield FAILED, f'{count} (({groups} and on (job, instance) {refused}) {lost})'
        if outage.end:
            after = f'last_over_time({every}[{around_s}s])'
            yield COMMON, f'{count} (({groups} and on ({resource}) {after}) {lost})'


def targets_of(answer) -> set[Target]:
    """Return (job, instance) of the series that have such labels."""
    return {
        (labels['job'], labels['instance'])
        for labels in (series['metric'] for series in answer)
        if {'job', 'instance'} <= labels.keys()
    }


def _names(targets: Collection[Target]) -> str:
    job, instance = min(targets)
    more = f' and {len(targets) - 1} more' if len(targets) > 1 else ''
    return f'target {instance} ({job}){more}'


def _matcher_of(targets: Sequence[Target]) -> str:
    jobs, instances = (sorted(set(names)) for names in zip(*targets, strict=True))
    return f'{prometheus.one_of("job", jobs)}, {prometheus.one_of("instance", instances)}'


def _parts(targets: Sequence[Target], length_max: int) -> Iterator[list[Target]]:
    """Yield the targets of one job after the other, as many as fit into a query."""
    for job in dict.fromkeys(job for job, _ in targets):
        instances = [instance for own, instance in targets if own == job]
        # A query has the list up to twice.
        for part in chunks(instances, lambda one: f'||{one}{one}', length_max // 2):
            yield [(job, instance) for instance in part]


def _united(gaps: Sequence[Gap]) -> list[Gap]:
    """Return *gaps* in order, those that overlap as one."""
    found: list[Gap] = []
    for gap in sorted(gaps):
        if found and gap.begin <= found[-1].end:
            last = found[-1]
            text = last.sign if last.sign.endswith(MORE) else f'{last.sign}{MORE}'
            found[-1] = last._replace(end=max(last.end, gap.end), sign=text)
        else:
            found.append(gap)
    return found
