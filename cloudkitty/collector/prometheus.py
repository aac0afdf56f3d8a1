"""Usage from Prometheus: one range query answers for many scopes and many periods."""

import decimal
import logging
from collections import defaultdict
from collections.abc import Callable, Collection
from datetime import timedelta
from decimal import Decimal

from cloudkitty import collector, errors, timeframe
from cloudkitty.clients import prometheus, prometheus_access
from cloudkitty.collector import gathering, prometheus_query
from cloudkitty.collector.prometheus_query import (
    METRIC_LABEL,
    STEPS_MAX,
    alternative,
    build_newest_query,
    build_newest_term,
    build_query,
    can_ask_for_many,
    chunks,
    length_s,
    steps_max,
)
from cloudkitty.dataframe import INTEGER_DIGITS_MAX, ZERO, DataPoint, FrozenDict, Series
from cloudkitty.timeframe import Period

LOG = logging.getLogger(__name__)

# How often a silent metric is looked for in the past: Prometheus shows a sample for 5 minutes.
NEWEST_STEP_S = 240
# VictoriaMetrics refuses a query of more than 16 KiB.
NEWEST_LENGTH_MAX = 8000
# Of an answer about several scopes or periods; read, it takes about 4 times the memory.
PART_SIZE_MAX_BYTES = 2**20
# About 1 KiB each.
SERIES_KEPT_MAX = 30_000


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
        return prometheus_query.check_extra_args(extra_args)

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
            limit = self.client.list_length_max
            groups = ([scope_ids] if limit is None
                      else list(chunks(scope_ids, alternative, limit)))
        for run in gathering.runs(periods, steps_max(metric)):
            for group in groups:
                yield from self._collect_run(metric, run, group)

    def newest(self, metric_names, *, since, now):
        names = {self.conf[key].name for key in metric_names}
        # What Prometheus has of the last 5 minutes.
        found = self._newest(names, lambda promql: self.client.query(promql, now))
        if names - found.keys():
            step_s = max(NEWEST_STEP_S, length_s(since, now) // STEPS_MAX + 1)
            found |= self._newest(names - found.keys(), lambda promql: self.client.query_range(
                promql, since, now, step_s))
        return {key: found.get(self.conf[key].name) for key in metric_names}

    def _newest(self, names: Collection[str], ask: Callable):
        """Return the instant of the newest sample by metric; as a rule with one query."""
        found = {}
        for part in chunks(sorted(names), lambda name: f' or {build_newest_term(name)}',
                           self.client.list_length_max or NEWEST_LENGTH_MAX):
            found |= self._instants(ask(build_newest_query(part)))
        return found

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
        # What is too large is asked in parts.
        size_max = PART_SIZE_MAX_BYTES if len(scope_ids) * len(periods) > 1 else None
        answer = self.client.query_range(promql, periods[0].end, periods[-1].end, step_s,
                                         size_max=size_max)
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
