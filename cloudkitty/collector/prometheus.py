"""Usage from Prometheus: one range query for many scopes and many periods."""

import decimal
import functools
import itertools
import logging
import math
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta

from oslo_config import cfg

from cloudkitty import collector, errors
from cloudkitty.clients import prometheus, prometheus_access
from cloudkitty.collector import (
    definition_warnings,
    point_builder,
    prometheus_answer,
    prometheus_coverage,
    prometheus_measures,
    prometheus_query,
    prometheus_survey,
)
from cloudkitty.collector.prometheus_query import (
    METRIC_LABEL,
    STEPS_MAX,
    alternative,
    build_newest_query,
    build_newest_term,
    build_query,
    build_search,
    build_sparse,
    can_ask_for_many,
    chunks,
    length_s,
    scope_lists,
    steps_max,
)
from cloudkitty.core import timeframe
from cloudkitty.core.columns import points_of
from cloudkitty.core.timeframe import Period

LOG = logging.getLogger(__name__)

# Step of the search for the newest sample of a lagging metric: samples are visible for 5 minutes.
NEWEST_STEP_S = 240
# It begins with the last hour, and goes back by this many times more each time.
NEWEST_SPAN = timedelta(hours=1)
NEWEST_GROWTH = 4
# VictoriaMetrics refuses a query of more than 16 KiB.
NEWEST_LENGTH_MAX = 8000
# Most bytes of an answer for several scopes or periods; parsed it takes about 4 times the memory.
PART_SIZE_MAX_BYTES = 2**20
SCRAPE_INTERVAL = cfg.IntOpt(
    'scrape_interval',
    default=prometheus_measures.SCRAPE_INTERVAL_S,
    min=1,
    help='Seconds between two samples of a series, for metrics that are measured over the period '
    '(`measure` in the metric definitions) and have no scrape_interval of their own. The period '
    'must be a multiple of it.',
)


class PrometheusCollector(collector.BaseCollector):
    """Collects with PromQL.

    A quantity is the value of the query at the *end* of its period, over the range of one period
    before. Queries for definitions with the key `measure` are made by prometheus_measures; without
    it, and in Prometheus 2, a sample exactly on the boundary of two periods counts in both.

    Source: doc/source/contributor/compatibility/collection.rst, "Collector: prometheus".
    """

    collector_name = 'prometheus'
    GROUP = 'collector_prometheus'
    OPTS = [*prometheus_access.OPTS, SCRAPE_INTERVAL]

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.conf = {
            key: prometheus_measures.with_interval(
                metric, self.period, self.options.scrape_interval
            )
            for key, metric in self.conf.items()
        }
        self._reader = prometheus_answer.Reader(self.scope_key)
        self.client = prometheus.Client(self.build_access(), owner=self.collector_name)
        self._coverages: dict[tuple[str, ...], prometheus_coverage.PrometheusCoverage] = {}
        # How far back a query must look where samples are further apart than a period is long, and
        # the scrape intervals of metrics whose samples are further apart than defined.
        self._reaches: dict[str, int] = {}
        self._intervals: dict[str, int] = {}

    def build_access(self) -> prometheus_access.Direct | prometheus_access.Proxied:
        """Return the access to the server; no I/O.

        :raises ConfigurationError: an option is missing or invalid.
        """
        return prometheus_access.Direct(
            self.group, self.options, pool_size=self.service_conf.orchestrator.max_threads
        )

    @classmethod
    def check_configuration(cls, conf, scope_key):
        found = super().check_configuration(conf, scope_key)
        for metric in found.values():
            prometheus_query.check_names(metric)
            prometheus_measures.check_metric(metric)
        return found

    @classmethod
    def check_extra_args(cls, extra_args):
        return prometheus_query.check_extra_args(extra_args)

    @classmethod
    def definition_warnings(cls, metric):
        return definition_warnings.of_prometheus(metric)

    def source_times(self):
        now = self.client.clock.now()
        return () if now is None else (now,)

    def fetch_all(self, metric_name, start, end, scope_id, q_filter=None):
        metric = self.conf[metric_name]
        periods = [Period(start, end)]
        found = self._ask_parts(
            metric, periods, [scope_id], lambda promql: self.client.query(promql, end)
        )
        return [point for *_, points in points_of(found, periods) for point in points]

    def collect(self, metric_name, periods, scope_ids):
        return points_of(self.collect_columns(metric_name, periods, scope_ids), periods)

    def collect_columns(self, metric_name, periods, scope_ids):
        metric = self.conf[metric_name]
        groups = [[scope_id] for scope_id in scope_ids]
        if scope_ids and can_ask_for_many(metric):
            limit = self.client.list_length_max
            if limit is not None:
                limit //= scope_lists(metric)
            groups = [scope_ids] if limit is None else list(chunks(scope_ids, alternative, limit))
        yield from point_builder.in_runs(
            periods,
            steps_max(metric),
            lambda run: (one for group in groups for one in self._collect_run(metric, run, group)),
        )

    def newest(self, metric_names, *, since, now):
        names = {self.conf[key].name for key in metric_names}
        # An instant query finds samples of the last 5 minutes.
        found = self._newest(names, lambda promql: self.client.query(promql, now))
        # What is silent has mostly been so for a short time.
        end, span = now, NEWEST_SPAN
        while end > since and names - found.keys():
            begin = max(since, end - span)
            found |= self._newest(
                names - found.keys(), functools.partial(self._ask_steps, begin=begin, end=end)
            )
            end, span = begin, NEWEST_GROWTH * span
        return {key: found.get(self.conf[key].name) for key in metric_names}

    def coverage(self, metric_names, periods, *, known, now, scope_ids=()):
        names = tuple(metric_names)
        if names not in self._coverages:
            self._coverages[names] = prometheus_coverage.PrometheusCoverage(
                self.client, [self.conf[name] for name in names], scope_key=self.scope_key
            )
        try:
            found = self._coverages[names].examine(
                periods, known=known, now=now, scope_ids=scope_ids
            )
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as exc:
            raise self._unexpected('unexpected answer for the coverage of metrics') from exc
        period_s = length_s(*periods[0])
        for key, one in found.items():
            metric = self.conf[key]
            if one.spacing_s is None:
                continue
            if prometheus_query.takes_levels(metric):
                reach_s = math.ceil(prometheus_coverage.LATE * one.spacing_s)
                self._reaches[key] = max(reach_s, period_s)
            elif 'measure' in metric.extra_args:
                self._intervals[key] = prometheus_measures.fitting_interval(
                    metric, period_s, one.spacing_s
                )
        return found

    def clock(self):
        (series,) = self.client.query('vector(time())')
        return datetime.fromtimestamp(float(series['value'][1]), UTC)

    def samples(self, metric_name, period, scope_id):
        return self._survey(metric_name, period, scope_id).samples(length_s(*period))

    def survey(self, metric_name, period, scope_id):
        return self._survey(metric_name, period, scope_id).run()

    def _survey(self, metric_name, period, scope_id):
        return prometheus_survey.PrometheusSurvey(
            self.client,
            self.conf[metric_name],
            scope_key=self.scope_key,
            scope_id=scope_id,
            period=period,
        )

    def _ask_steps(self, promql, *, begin, end):
        """Return the answer at instants between *begin* and *end*, from *begin* on."""
        step_s = max(NEWEST_STEP_S, length_s(begin, end) // STEPS_MAX + 1)
        return self.client.query_range(promql, begin, end, step_s)

    def _newest(self, names: Collection[str], ask: Callable):
        """Return the time of the newest sample by metric, mostly with one query."""
        found: dict[str, datetime] = {}
        for part in chunks(
            sorted(names),
            lambda name: f' or {build_newest_term(name)}',
            self.client.list_length_max or NEWEST_LENGTH_MAX,
        ):
            found |= self._instants(ask(build_newest_query(part)))
        return found

    def _instants(self, answer):
        """Return the last value of each series in *answer* as an instant, by metric."""
        try:
            return {
                series['metric'][METRIC_LABEL]: timeframe.EPOCH
                + timedelta(
                    seconds=max(
                        float(text) for _, text in series.get('values') or [series['value']]
                    )
                )
                for series in answer
            }
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as exc:
            raise self._unexpected('unexpected answer for the newest data') from exc

    def _collect_run(self, metric, periods, scope_ids):
        # A query whose answer is too large is repeated in parts.
        size_max = PART_SIZE_MAX_BYTES if len(scope_ids) * len(periods) > 1 else None
        return self._ask_parts(
            metric,
            periods,
            scope_ids,
            lambda promql: self.client.query_range(
                promql,
                periods[0].end,
                periods[-1].end,
                length_s(*periods[0]),
                size_max=size_max,
            ),
        )

    def _ask_parts(self, metric, periods, scope_ids, ask):
        """Yield (scope id, column) of each series and of unusable values, with up to three queries.

        Those with a value that is no number are repeated without such samples.
        """
        range_s = length_s(*periods[0])
        range_s = max(self._reaches.get(metric.key, 0), range_s)
        if metric.key in self._intervals:
            metric = prometheus_measures.replaced(metric, self._intervals[metric.key])
        several = self._several(metric, periods, scope_ids, range_s, ask)
        unusable = point_builder.UnusableValues(metric.key, periods)
        for is_plain in (True, False):
            part = [
                one
                for one in scope_ids
                if (len(several.get(one, ())) < len(periods) if is_plain else one in several)
            ]
            if not part:
                continue
            found = self._ask_part(metric, periods, part, range_s, ask, is_plain)
            for scope_id, column in found.columns:
                own = several.get(scope_id, ())
                if not 0 < len(own) < len(periods):
                    yield scope_id, column
                    continue
                # Of these scopes there are two answers.
                kept = [n for n, at in enumerate(column.offsets) if (at in own) is not is_plain]
                if kept:
                    yield scope_id, column.kept(kept)
            for scope_id, offset, reason in found.unusable:
                if (offset in several.get(scope_id, ())) is not is_plain:
                    unusable.add(scope_id, offset, reason)
        yield from unusable.found()

    def _ask_part(self, metric, periods, scope_ids, range_s, ask, is_plain):
        """Return what the source has of scopes whose resources have one series, or several."""
        build = functools.partial(
            build_query, metric, self.scope_key, scope_ids, range_s, is_plain=is_plain
        )
        answer, lost = ask(build()), []
        if metric.extra_args.get('measure') and prometheus_answer.has_non_numbers(answer):
            LOG.warning(
                'Metric %s: samples that are NaN or infinite count as missing, scopes %.200r, '
                'periods that begin %s to %s',
                metric.key,
                list(scope_ids),
                periods[0].begin,
                periods[-1].begin,
            )
            whole, answer = answer, ask(build(is_finite=True))
            if prometheus_measures.is_additive(metric):
                query = build_sparse(metric, self.scope_key, scope_ids, range_s, is_plain=is_plain)
                lost = ask(query)
            lost = itertools.chain(lost, prometheus_answer.lost(whole, answer))
        scaled = prometheus_measures.scaled(metric, length_s(*periods[0]))
        try:
            found = self._reader.read(scaled, answer, periods, scope_ids)
            found.unusable.extend(self._reader.places(lost, periods, scope_ids))
        except (
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
            decimal.DecimalException,
            errors.InvalidInput,
        ) as exc:
            # Only this metric fails; a native histogram, for example, has such an answer.
            raise self._unexpected(f'unexpected answer for {metric.name}') from exc
        if found.foreign:
            LOG.warning(
                'Metric %s: %d series of other scopes skipped, scopes %.200r, periods that begin '
                '%s to %s',
                metric.key,
                found.foreign,
                list(scope_ids),
                periods[0].begin,
                periods[-1].begin,
            )
        return found

    def _several(self, metric, periods, scope_ids, range_s, ask):
        """Return offsets of the periods in which a resource of a scope has several series.

        Mostly there are none, and then a simpler query is enough.
        """
        everywhere = range(len(periods))
        if not prometheus_measures.can_be_plain(metric):
            return dict.fromkeys(scope_ids, everywhere)
        offsets = {int(period.end.timestamp()): offset for offset, period in enumerate(periods)}
        try:
            return {
                series['metric'].get(self.scope_key): {
                    offsets[instant] for instant, _ in prometheus_answer.samples_of(series)
                }
                for series in ask(build_search(metric, self.scope_key, scope_ids, range_s))
            }
        except (LookupError, TypeError, ValueError, AttributeError) as exc:
            raise self._unexpected(f'unexpected answer for {metric.name}') from exc

    def _unexpected(self, text):
        return errors.CollectError(
            collector=self.collector_name, reason=f'{self.client.safe_url}: {text}'
        )
