"""Usage from Prometheus: one range query answers for many scopes and many periods."""

import decimal
import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from urllib import parse

from cloudkitty import collector, errors, metrics, timeframe
from cloudkitty.clients import prometheus, prometheus_access
from cloudkitty.dataframe import INTEGER_DIGITS_MAX, ZERO, DataPoint, FrozenDict, Series
from cloudkitty.timeframe import Period

LOG = logging.getLogger(__name__)

# Prometheus refuses a range query of more steps.
STEPS_MAX = 11000
# How often a silent metric is looked for in the past: as often as it may have been scraped.
NEWEST_STEP_S = 60
# Carries the name of a metric in answers that have no other labels.
METRIC_LABEL = 'metric'
# About 1 KiB each.
SERIES_KEPT_MAX = 100_000
EXTRA_ARGS = {
    'aggregation_method': metrics.choice('avg', 'count', 'max', 'min', 'stddev', 'stdvar', 'sum'),
    'query_function': metrics.choice('abs', 'ceil', 'exp', 'floor', 'ln', 'log2', 'log10',
                                     'round', 'sqrt'),
    'range_function': metrics.choice('changes', 'delta', 'deriv', 'idelta', 'irate', 'rate'),
    'query_prefix': metrics.text,
    'query_suffix': metrics.text,
}
EXTRA_ARGS_DEFAULTS = {'aggregation_method': 'max', 'query_prefix': '', 'query_suffix': ''}
# Words in a prefix or suffix that look at one series at a time, so that asking for many scopes
# at once gives what asking for each gives. `topk` is one that does not.
SEPARABLE_WORDS = frozenset(('abs', 'bool', 'ceil', 'clamp', 'clamp_max', 'clamp_min', 'exp',
                             'floor', 'ln', 'log10', 'log2', 'round', 'sgn', 'sqrt'))
_WORD = re.compile(r'(?<![\w.])[a-zA-Z_]\w*')
_NO_ARITHMETIC = re.compile(r'[^\w\s.,()+\-*/%^<>=!]', re.ASCII)


class PrometheusCollector(collector.BaseCollector):
    """Collect with PromQL.

    A quantity is what the query says at the *end* of its period, about the range of one period
    before it. In Prometheus 2 a range includes both its ends: a sample exactly on the edge of two
    periods counts in both.

    Source: contract collection, section 5.2, with the targets W6, W8, W13 and W15.
    """

    collector_name = 'prometheus'
    GROUP = 'collector_prometheus'
    OPTS = prometheus_access.OPTS

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self._series: dict[Series, Series] = {}
        self.client = prometheus.Client(self.build_access(), owner=self.collector_name)

    def build_access(self) -> prometheus_access.Direct | prometheus_access.Proxied:
        """Return the way to the server; no I/O.

        :raises ConfigurationError: an option is missing or makes no sense.
        """
        return prometheus_access.Direct(self.group, self.options,
                                        pool_size=self.service_conf.orchestrator.max_threads)

    @classmethod
    def check_configuration(cls, conf, scope_key):
        found = super().check_configuration(conf, scope_key)
        for metric in found.values():
            wrong = [((key,), f'{name!r} in groupby or metadata is no name of a Prometheus label.')
                     for key in ('groupby', 'metadata') for name in metric[key]
                     if not prometheus.is_label(name)]
            if wrong:
                raise errors.InvalidInput(reason=f'metric {metric.name!r}: {wrong[0][1]}',
                                          parts=wrong)
            if not prometheus.is_metric(metric.name):
                raise errors.InvalidInput(reason=f'metric {metric.name!r}: this is no name of a '
                                                 'Prometheus metric.')
        return found

    @classmethod
    def check_extra_args(cls, extra_args):
        return FrozenDict({**EXTRA_ARGS_DEFAULTS, **metrics.only_keys(extra_args, EXTRA_ARGS)})

    def fetch_all(self, metric_name, start, end, scope_id, q_filter=None):
        metric = self.conf[metric_name]
        promql = build_query(metric, self.scope_key, [scope_id], length_s(start, end))
        answer = self.client.query(promql, end)
        found = self._points(metric, answer, [Period(start, end)], [scope_id])
        return [point for *_, points in found for point in points]

    def collect(self, metric_name, periods, scope_ids):
        metric = self.conf[metric_name]
        groups = [[scope_id] for scope_id in scope_ids]
        if scope_ids and can_ask_for_many(metric):
            limit = self.client.scopes_length_max
            groups = [scope_ids] if limit is None else list(chunks(scope_ids, limit))
        for run in runs(periods, steps_max(metric)):
            for group in groups:
                yield from self._collect_run(metric, run, group)

    def newest(self, metric_names, *, since, now):
        names = {self.conf[key].name for key in metric_names}
        # What Prometheus has of the last 5 minutes: all metrics in one query.
        answer = self.client.query(build_newest_query(names), now)
        found = self._instants(answer)
        if names - found.keys():
            step_s = max(NEWEST_STEP_S, length_s(since, now) // STEPS_MAX + 1)
            found |= self._instants(self.client.query_range(
                build_newest_query(names - found.keys()), since, now, step_s))
        return {key: found.get(self.conf[key].name) for key in metric_names}

    def _instants(self, answer):
        """Return the latest value of each series in *answer* as an instant, by metric."""
        try:
            return {series['metric'][METRIC_LABEL]: timeframe.EPOCH + timedelta(seconds=max(
                float(text) for _, text in series.get('values') or [series['value']]))
                for series in answer}
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as exc:
            raise errors.CollectError(
                collector=self.collector_name,
                reason=f'{self.client.safe_url}: unexpected answer for the newest data') from exc

    def _collect_run(self, metric, periods, scope_ids):
        step_s = length_s(*periods[0])
        promql = build_query(metric, self.scope_key, scope_ids, step_s)
        answer = self.client.query_range(promql, periods[0].end, periods[-1].end, step_s)
        return self._points(metric, answer, periods, scope_ids)

    def _points(self, metric, answer, periods, scope_ids):
        """Return [(scope id, period, points)] of the series in *answer*."""
        try:
            found, skipped = self._read(metric, answer, periods, scope_ids)
        except (LookupError, TypeError, ValueError, AttributeError, decimal.DecimalException,
                errors.InvalidInput) as exc:
            # Only of this metric: native histograms are such an answer, for one.
            raise errors.CollectError(
                collector=self.collector_name,
                reason=f'{self.client.safe_url}: unexpected answer for {metric.name}') from exc
        for reason, count in skipped.items():
            LOG.warning('Metric %s: %d %s skipped, scopes %.200r, periods that begin %s to %s',
                        metric.key, count, reason, list(scope_ids), periods[0].begin,
                        periods[-1].begin)
        return found

    def _read(self, metric, answer, periods, scope_ids):
        """Return [(scope id, period, points)], and how many of what were skipped by reason."""
        calendars = {int(period.end.timestamp()): FrozenDict(timeframe.calendar_of(period.begin))
                     for period in periods}
        points = {scope_id: defaultdict(list) for scope_id in scope_ids}
        skipped: dict[str, int] = defaultdict(int)
        only_scope = scope_ids[0] if len(scope_ids) == 1 else None
        quantity, point_of = metric.quantity, DataPoint.of
        for result in answer:
            labels = result['metric']
            # A prefix or suffix may have dropped or replaced the label of the one scope asked for.
            scope_id = labels.get(self.scope_key, '') if only_scope is None else only_scope
            if scope_id not in points:
                skipped['series of other scopes'] += 1
                continue
            rows = points[scope_id]
            series = self._shared(metric.series({**labels, self.scope_key: scope_id}))
            for instant, text in result['values'] if 'values' in result else [result['value']]:
                raw = Decimal(text)
                if raw.is_finite() and (qty := quantity(raw)).adjusted() < INTEGER_DIGITS_MAX:
                    rows[instant].append(point_of(series, qty, ZERO, calendars[instant]))
                else:
                    skipped['values that are NaN, infinite or too large'] += 1
        found = [(scope_id, period, rows[instant]) for scope_id, rows in points.items()
                 for instant, period in zip(calendars, periods, strict=True) if instant in rows]
        return found, skipped

    def _shared(self, series):
        """Return the object that stood for *series* before: all that follows compares objects."""
        if len(self._series) > SERIES_KEPT_MAX:
            self._series.clear()
        return self._series.setdefault(series, series)


def length_s(begin: datetime, end: datetime) -> int:
    """Return the length of a period, whole seconds."""
    return abs(round((end - begin).total_seconds()))


def runs(periods: Sequence[Period], length_max: int = STEPS_MAX) -> Iterator[list[Period]]:
    """Yield parts of *periods* that one range query can ask for: without gap, of one length."""
    run: list[Period] = []
    for period in periods:
        if run and (period.begin != run[-1].end or len(run) == length_max
                    or length_s(*period) != length_s(*run[0])):
            yield run
            run = []
        run.append(period)
    if run:
        yield run


def chunks(scope_ids: Sequence[str], length_max: int) -> Iterator[list[str]]:
    """Yield parts of *scope_ids* that fit into a URL together.

    :param length_max: of the ids of one part, encoded.
    """
    chunk: list[str] = []
    length = 0
    for scope_id in scope_ids:
        size = len(parse.quote(f'|{prometheus.quote_regex(scope_id)}'))
        if chunk and length + size > length_max:
            yield chunk
            chunk, length = [], 0
        chunk.append(scope_id)
        length += size
    if chunk:
        yield chunk


def steps_max(metric: metrics.Metric) -> int:
    """Return for how many periods one range query gives what a query for each would give."""
    # `@ end()` is the end of the whole range.
    return 1 if '@' in _added(metric) else STEPS_MAX


def _added(metric):
    return f'{metric.extra_args["query_prefix"]} {metric.extra_args["query_suffix"]}'


def can_ask_for_many(metric: metrics.Metric) -> bool:
    """Return whether one query for many scopes gives what a query for each would give."""
    added = _added(metric)
    return not _NO_ARITHMETIC.search(added) and SEPARABLE_WORDS.issuperset(_WORD.findall(added))


def build_query(metric: metrics.Metric, scope_key: str, scope_ids: Sequence[str],
                range_s: int) -> str:
    """Return the PromQL text that asks for *metric* of *scope_ids*.

    Source: contract collection, section 5.2, "Query".
    """
    if len(scope_ids) == 1:
        matcher = f'{scope_key}={prometheus.quote(scope_ids[0])}'
    else:
        regex = '|'.join(map(prometheus.quote_regex, scope_ids))
        matcher = f'{scope_key}=~{prometheus.quote(regex)}'
    args = metric.extra_args
    method = args['aggregation_method']
    inner = args.get('range_function') or f'{method}_over_time'
    query = f'{inner}({metric.name}{{{matcher}}}[{range_s}s])'
    if 'query_function' in args:
        query = f'{args["query_function"]}({query})'
    query = f'{method}({query}) by ({", ".join((*metric.groupby, *metric.metadata))})'
    if args['query_prefix']:
        query = f'{args["query_prefix"]} {query}'
    if args['query_suffix']:
        query = f'{query} {args["query_suffix"]}'
    return query


def build_newest_query(names: Iterable[str]) -> str:
    """Return the PromQL text that asks for the time of the newest sample of each metric."""
    return ' or '.join(f'label_replace(max(timestamp({name})), "{METRIC_LABEL}", "{name}", "", "")'
                       for name in sorted(names))
