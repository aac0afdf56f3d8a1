"""Detection of gaps in the samples of Prometheus, and of their cause.

The samples of the densest series of each metric are counted, period by period, in one query for all
metrics. Periods in which it has all samples have no gap; only the others are examined further.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from cloudkitty.clients import prometheus
from cloudkitty.collector import prometheus_measures, prometheus_targets
from cloudkitty.collector.prometheus_query import METRIC_LABEL, STEPS_MAX, chunks, scope_matcher
from cloudkitty.collector.prometheus_targets import SIGN_LABEL
from cloudkitty.core import coverage, metrics
from cloudkitty.core.coverage import Coverage, Gap
from cloudkitty.core.timeframe import Period, from_unix

# VictoriaMetrics refuses a query of more than 16 KiB.
LENGTH_MAX = 8000
# Least time before the periods that is examined, too; seconds.
LOOK_BACK_S = 3600
# Samples of the last 5 minutes are visible.
STEP_MAX_S = 240
# Gaps of a metric whose signs are queried; any more are assumed to be holes.
EXAMINED_MAX = 50
# For how long it is cached that a metric has no series, with any labels.
ABSENT = timedelta(hours=6)
# Samples may be this much further apart than usual.
LATE = 1.05
# Scopes that are examined first.
ASKED_FIRST = 4
# Stands for the targets where other terms of a query have the number of a metric.
TARGETS = 'targets'
# Between the key of a metric and the name of the metric that it is combined with.
OPERAND_SEPARATOR = ' and '


class Sight(NamedTuple):
    """The series of a metric that are examined.

    :ivar selector: selects the series of all scopes.
    :ivar resource: labels that identify a resource.
    :ivar interval_s: scrape interval in the definition; None: any.
    :ivar health: selects series that are 0 while a target lacks the metric; None: there are none.
    """

    name: str
    selector: str
    resource: tuple[str, ...]
    interval_s: float | None
    health: str | None = None


class Stretch(NamedTuple):
    """A time without samples, unix times.

    :ivar last: the last sample before it.
    :ivar end: None: it lasts until the end of the examined time.
    :ivar spacing_s: usual time between two samples.
    """

    last: float
    end: float | None
    spacing_s: float

    @property
    def begin(self) -> float:
        return self.last + self.spacing_s


class View:
    """The examined time: periods, some time before them, and one period after.

    Times are unix times.

    :ivar first_end: end of the first period.
    :ivar ends: ends of the periods and of the earlier ones that are examined.
    """

    def __init__(self, periods: Sequence[Period], now: datetime):
        self.length_s = round((periods[0].end - periods[0].begin).total_seconds())
        first, last = periods[0].begin.timestamp(), periods[-1].end.timestamp()
        self.begin = first - max(2, math.ceil(LOOK_BACK_S / self.length_s)) * self.length_s
        self.first_end = first + self.length_s
        self.end = max(last, min(last + self.length_s, math.floor(now.timestamp())))
        count = round((last - self.begin) / self.length_s)
        self.ends = [self.begin + self.length_s * (number + 1) for number in range(count)]

    def around(self, ends: Sequence[float]) -> tuple[float, float]:
        """Return the time of the periods with these ends, with a margin on both sides."""
        return (
            max(self.begin, min(ends) - 2 * self.length_s),
            min(self.end, max(ends) + self.length_s),
        )


class PrometheusCoverage:
    """Examines metrics of all scopes.

    :param scope_matcher: label matcher for the scopes; None: all that have the label.
    """

    def __init__(
        self,
        client: prometheus.Client,
        definitions: Sequence[metrics.Metric],
        *,
        scope_key: str,
        scope_matcher: str | None = None,
    ):
        self._client = client
        self._scope_key = scope_key
        self._length_max = client.list_length_max or LENGTH_MAX
        self._absent: dict[str, float] = {}
        matcher = scope_matcher or f'{prometheus.label(scope_key)}!=""'
        # The metrics that others are combined with are examined as metrics of their own.
        self._operands: dict[str, str] = {}
        self._sights: dict[str, Sight] = {}
        for metric in definitions:
            args = metric.extra_args
            sight = Sight(
                metric.name,
                prometheus.selector(metric.name, matcher),
                tuple(dict.fromkeys((*(args.get('resource_key') or metric.groupby), scope_key))),
                args.get('scrape_interval'),
                args.get('health'),
            )
            self._sights[metric.key] = sight
            other = prometheus_measures.operand(metric)
            if other:
                key = f'{metric.key}{OPERAND_SEPARATOR}{other}'
                self._operands[key] = metric.key
                self._sights[key] = sight._replace(
                    name=other, selector=prometheus.selector(other, matcher)
                )
        # By a name in queries: those that are up, and those that can measure some of the metrics.
        self._targets = {
            f'{TARGETS} {number}': prometheus_targets.TargetCoverage(
                client,
                {
                    key: sight
                    for key, sight in self._sights.items()
                    if health in (prometheus_targets.UP, sight.health)
                },
                matcher=matcher,
                length_max=self._length_max,
                health=health,
            )
            for number, health in enumerate(
                dict.fromkeys(
                    (
                        prometheus_targets.UP,
                        *(one.health for one in self._sights.values() if one.health),
                    )
                )
            )
        }

    def examine(
        self,
        periods: Sequence[Period],
        *,
        known: Mapping[str, Gap],
        now: datetime,
        scope_ids: Sequence[str] = (),
    ) -> dict[str, Coverage]:
        """Return the coverage of each metric, see BaseCollector.coverage().

        :raises SourceUnreachable, CollectError: see clients.prometheus.
        """
        known = {
            **known,
            **{key: known[own] for key, own in self._operands.items() if own in known},
        }
        view = View(periods, now)
        # Targets that lack scrapes.
        suspects: dict[str, set[prometheus_targets.Target]] = {
            name: set() for name in self._targets
        }
        found = self._examine(view, known, scope_ids, suspects)
        for name, targets in self._targets.items():
            for key, gaps in targets.find(suspects[name], view, known).items():
                found[key] = _with_gaps(found[key], gaps)
        for key, own in self._operands.items():
            found[own] = _joined(found[own], found.pop(key), self._sights[key].name, view)
        return found

    def _examine(self, view, known, scope_ids, suspects) -> dict[str, Coverage]:
        whole = self._find_whole(view, known, scope_ids, suspects)
        counts = self._count(
            [one.selector for key, one in self._sights.items() if key not in whole],
            view,
            None if whole else suspects,
        )
        seen = {
            key: counts[sight.selector]
            for key, sight in self._sights.items()
            if key not in whole and counts[sight.selector]
        }
        silent = [key for key in self._sights if key not in whole and key not in seen]
        return (
            whole
            | {
                key: self._coverage(self._sights[key], found, view, known.get(key))
                for key, found in seen.items()
            }
            | self._coverage_of_silent(silent, view, known)
        )

    def _find_whole(self, view, known, scope_ids, suspects) -> dict[str, Coverage]:
        """Return the coverage of metrics for which a few scopes have all samples.

        If they have, there is no gap, whatever other scopes have; such a query is much cheaper.
        """
        if len(scope_ids) <= ASKED_FIRST:
            return {}
        step = max(1, len(scope_ids) // ASKED_FIRST)
        matcher = scope_matcher(self._scope_key, scope_ids[::step][:ASKED_FIRST])
        selectors = {
            key: prometheus.selector(sight.name, matcher)
            for key, sight in self._sights.items()
            if key not in known
        }
        counts = self._count(list(selectors.values()), view, suspects if selectors else None)
        found = {}
        for key, selector in selectors.items():
            sight = self._sights[key]
            spacing_s = view.length_s / max(counts[selector].values(), default=1)
            if (
                counts[selector]
                and min(counts[selector]) <= view.first_end
                and not _suspects(sight, counts[selector], view, spacing_s)
            ):
                found[key] = Coverage((), spacing_s, _misfit(sight, spacing_s, view.length_s))
        return found

    def _coverage(self, sight, counts, view, known):
        most = max(counts.values())
        spacing_s = view.length_s / most
        suspects = _suspects(sight, counts, view, spacing_s)
        goes_on = known is not None and known.begin.timestamp() < view.begin
        stretches = []
        if suspects or goes_on:
            window = view.around([view.ends[0], *suspects] if goes_on else suspects)
            instants = self._instants(sight, window, min(spacing_s, sight.interval_s or spacing_s))
            if most <= 1:
                spacing_s = _usual_distance(instants) or spacing_s
            expected_s = max(spacing_s, sight.interval_s or 0)
            stretches = [
                Stretch(begin - expected_s, end, expected_s)
                for begin, end in coverage.find_gaps(instants, expected_s, window)
            ]
            if goes_on and instants and instants[0] > view.begin + coverage.GAP * expected_s:
                last = known.begin.timestamp() - expected_s
                stretches.insert(0, Stretch(last, instants[0], expected_s))
        gaps = [
            self._judged(sight, one, view)
            if number < EXAMINED_MAX
            else Gap(
                from_unix(one.begin), from_unix(one.end or view.end), True, 'there are many gaps'
            )
            for number, one in enumerate(stretches)
            if one.begin < (one.end or view.end)
        ]
        return Coverage(gaps, spacing_s, _misfit(sight, spacing_s, view.length_s))

    # Metrics without series of any scope

    def _coverage_of_silent(self, keys, view, known):
        """Return the coverage of metrics without any series that has the label of the scope."""
        found = {
            key: Coverage(
                [known[key]._replace(end=from_unix(view.end))] if key in known else (),
                has_samples=False,
            )
            for key in keys
        }
        limit = view.end - ABSENT.total_seconds()
        names = {
            self._sights[key].name
            for key in keys
            if key not in known and self._absent.get(self._sights[key].name, limit) <= limit
        }
        if not names:
            return found
        selectors = {name: prometheus.selector(name, '') for name in sorted(names)}
        counts = self._count(list(selectors.values()), view)
        for name, selector in selectors.items():
            if not counts[selector]:
                self._absent[name] = view.end
        return found | {
            key: self._unlabelled(self._sights[key].name, counts[selectors[name]], view)
            for key in keys
            if (name := self._sights[key].name) in names and counts[selectors[name]]
        }

    def _unlabelled(self, name, counts, view):
        text = f'{name} has samples, none with label {self._scope_key}'
        begin, end = min(counts) - view.length_s, max(counts)
        return Coverage(
            [Gap(from_unix(begin), from_unix(end), True, text)], warning=text, has_samples=False
        )

    # Density of the samples

    def _count(self, selectors, view, suspects=None) -> dict[str, dict[float, int]]:
        """Return the samples of the densest series, by selector and end of the period.

        :param suspects: targets that lack scrapes are added to it; None: they are not queried.
        """
        names = {str(number): one for number, one in enumerate(dict.fromkeys(selectors))}
        found: dict[str, dict[float, int]] = {one: {} for one in selectors}

        def term(name):
            # A millisecond less, because ranges include their begin up to Prometheus 2.
            densest = f'max(count_over_time({names[name]}[{1000 * view.length_s - 1}ms]))'
            return f'label_replace({densest}, "{METRIC_LABEL}", "{name}", "", "")'

        terms = {name: term(name) for name in names}
        for name, targets in self._targets.items() if suspects is not None else ():
            if failing := targets.term(view.length_s):
                terms[name] = f'label_replace({failing}, "{METRIC_LABEL}", "{name}", "", "")'
        for part in chunks(list(terms), lambda name: f' or {terms[name]}', self._length_max):
            for series in self._client.query_range(
                ' or '.join(terms[name] for name in part),
                from_unix(view.ends[0]),
                from_unix(view.ends[-1]),
                view.length_s,
            ):
                name = series['metric'][METRIC_LABEL]
                if name in self._targets:
                    suspects[name].update(prometheus_targets.targets_of([series]))
                    continue
                selector = names[name]
                found[selector] = {float(at): int(text) for at, text in series['values']}
        return found

    def _instants(self, sight, window, spacing_s) -> list[float]:
        """Return when there were samples of any series, in order.

        Samples closer than half the spacing may be left out.
        """
        step_s = max(1, min(STEP_MAX_S, int(spacing_s / 2)))
        query = f'max(timestamp({sight.selector}))'
        found: set[float] = set()
        begin, end = window
        while begin < end:
            last = min(end, begin + step_s * (STEPS_MAX - 1))
            for series in self._client.query_range(
                query, from_unix(begin), from_unix(last), step_s
            ):
                found.update(float(text) for _, text in series['values'])
            begin = last + step_s
        return sorted(at for at in found if window[0] <= at <= end)

    # Causes of gaps

    def _judged(self, sight, stretch, view) -> Gap:
        """Return a gap with its sign: the evidence whether samples are missing."""
        is_hole, sign = coverage.judge(self._signs(sight, stretch, view))
        return Gap(from_unix(stretch.begin), from_unix(stretch.end or view.end), is_hole, sign)

    def _signs(self, sight, stretch, view) -> dict[str, int]:
        """Return the evidence for a gap as counts, with one query.

        resources, scopes: those with samples just before it; common: resources with samples just
        after it, too; targets: where those came from, as far as they have `up`; alive: those of
        them that answered; unlabelled: resources that go on without the label of the scope;
        metrics: other ones; others: those that have samples in the gap.
        """
        around_s = math.ceil(2 * stretch.spacing_s)
        end = stretch.end or view.end
        # The query is evaluated some samples after the gap. An offset of 0 is refused.
        offset = f' offset {around_s + 1}s' if stretch.end else ''
        at = end + around_s if stretch.end else end
        length_s = max(1, math.ceil(end - stretch.begin))
        resource = ', '.join(map(prometheus.label, sight.resource))
        back_s = math.ceil(at - stretch.last) - 1
        before = f'last_over_time({sight.selector}[{around_s}s] offset {back_s}s)'
        after = f'last_over_time({sight.selector}[{around_s + 1}s])'
        answering = f'last_over_time(up[{around_s}s] offset {back_s}s)'
        up = f'min by (job, instance) (min_over_time(up[{length_s}s]{offset})) == 1'
        if sight.health:
            health = f'min_over_time({sight.health}[{length_s}s]{offset})'
            up += f' unless on (job, instance) {health} == 0'
        targets = f'group by (job, instance) ({before}) and on (job, instance) {answering}'
        others = self._others(sight)
        terms = {
            'resources': f'count(group by ({resource}) ({before}))',
            'scopes': f'count(group by ({prometheus.label(self._scope_key)}) ({before}))',
            'targets': f'count({targets})',
            'alive': f'count(({targets}) and on (job, instance) ({up}))',
        }
        if stretch.end:
            terms['common'] = (
                f'count(group by ({resource}) ({before}) and on ({resource}) '
                f'group by ({resource}) ({after}))'
            )
        names = ', '.join(
            prometheus.label(name) for name in sight.resource if name != self._scope_key
        )
        if names:
            bare = prometheus.selector(sight.name, f'{prometheus.label(self._scope_key)}=""')
            terms['unlabelled'] = (
                f'count(group by ({names}) ({before}) and on ({names}) '
                f'last_over_time({bare}[{length_s}s]{offset}))'
            )
        if others:
            found = ' or '.join(
                f'count(last_over_time({one}[{length_s}s]{offset}))' for one in others
            )
            terms['others'] = f'max({found})'
        query = ' or '.join(
            f'label_replace({text}, "{SIGN_LABEL}", "{name}", "", "")'
            for name, text in terms.items()
        )
        return {'metrics': len(others)} | {
            series['metric'][SIGN_LABEL]: int(series['value'][1])
            for series in self._client.query(query, from_unix(at))
        }

    def _others(self, sight):
        """Return selectors of other metrics, as many as fit into a query."""
        selectors = sorted(
            {one.selector for one in self._sights.values() if one.name != sight.name}
        )
        size = 'count(last_over_time([999999s] offset 999999s)) or '
        return next(chunks(selectors, lambda one: f'{size}{one}', self._length_max // 2), [])


def _joined(own: Coverage, other: Coverage, name: str, view: View) -> Coverage:
    """Return the coverage of a metric that needs samples of *name*, too.

    :param other: coverage of *name*.
    """
    if not own.has_samples:
        return own
    begin = from_unix(view.first_end - view.length_s)
    gaps = list(other.gaps)
    if not gaps and not other.has_samples:
        gaps = [Gap(begin, from_unix(view.end), True, 'there are none')]
    found = _with_gaps(own, [gap._replace(sign=f'samples of {name}: {gap.sign}') for gap in gaps])
    return found._replace(warning=own.warning or other.warning)


def _with_gaps(own: Coverage, gaps: Sequence[Gap]) -> Coverage:
    """Return *own* with what its gaps leave of *gaps*."""
    least = timedelta(seconds=own.spacing_s or 0)
    added = [
        gap._replace(begin=part.begin, end=part.end)
        for gap in gaps
        for part in coverage.without(
            Period(gap.begin, gap.end), [Period(one.begin, one.end) for one in own.gaps]
        )
        # The edges of the same gap of two metrics differ by a scrape.
        if part.end - part.begin > least
    ]
    return own._replace(gaps=sorted((*own.gaps, *added)))


def _suspects(sight, counts, view, spacing_s):
    """Return the ends of the periods in which the densest series lacks samples."""
    expected_s = sight.interval_s or spacing_s
    needed = max(math.floor(view.length_s / expected_s) - 1, 1)
    # A gap before the first sample, which may be within a period, cannot be detected.
    begin = min(counts)
    if begin < view.first_end:
        begin += view.length_s
    return [end for end in view.ends if end >= begin and counts.get(end, 0) < needed]


def _usual_distance(instants):
    distances = [late - early for early, late in pairwise(instants)]
    return statistics.median(distances) if distances else None


def _misfit(sight, spacing_s, length_s):
    """Return why the definition does not fit the spacing of samples; '': it does."""
    text = f'samples of {sight.name} are {spacing_s:g} s apart'
    if sight.interval_s is None:
        if spacing_s > length_s:
            return f'{text}, and a period is {length_s} s'
    elif spacing_s > prometheus_measures.BRIDGED * sight.interval_s:
        return f'{text}, and scrape_interval is {sight.interval_s:g} s'
    return ''
