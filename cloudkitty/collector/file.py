"""Usage from CSV and JSON-lines files."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from decimal import Decimal

import orjson
from oslo_config import cfg

from cloudkitty import collector, errors
from cloudkitty.clients import usage
from cloudkitty.collector import source_coverage
from cloudkitty.core import metrics, timeframe
from cloudkitty.core.dataframe import DataPoint, FrozenDict, Series
from cloudkitty.core.decimals import CONTEXT, INTEGER_DIGITS_MAX, SUM_CONTEXT, ZERO
from cloudkitty.core.timeframe import Period

# About 1 KiB each.
SERIES_KEPT_MAX = 30_000


def _sum(values):
    total = ZERO
    for value in values:
        total = SUM_CONTEXT.add(total, value)
    return total


AGGREGATIONS: dict[str, Callable[[Sequence[Decimal]], Decimal]] = {
    'avg': lambda values: CONTEXT.divide(_sum(values), Decimal(len(values))),
    'count': lambda values: Decimal(len(values)),
    'max': max,
    'min': min,
    'sum': _sum,
}
EXTRA_ARGS = {'aggregation_method': metrics.choice(*AGGREGATIONS)}
EXTRA_ARGS_DEFAULTS = {'aggregation_method': 'sum'}


class FileCollector(collector.BaseCollector):
    """Collects the usage in lines of files.

    A line counts in the period that its begin, or its instant, lies in. Lines of one series in one
    period are aggregated; the same series twice at the same time is an error, and so is a line
    that ends after its period: there is no rule for dividing it.
    """

    collector_name = 'file'
    GROUP = 'collector_file'
    OPTS = [
        cfg.ListOpt(
            'files',
            default=[],
            help='Files with usage, .csv or .jsonl, also with .gz: paths, patterns such as '
            '``/srv/usage/**/*.csv``, or directories.',
        ),
    ]

    def __init__(self, **arguments):
        super().__init__(**arguments)
        if not self.options.files:
            raise errors.ConfigurationError(
                reason=f'[{self.group}]files is empty; allowed: paths of files or directories'
            )
        self._index = usage.UsageIndex(self.options.files, self.scope_key)
        self._series: dict[tuple, Series] = {}

    @classmethod
    def check_extra_args(cls, extra_args):
        return FrozenDict({**EXTRA_ARGS_DEFAULTS, **metrics.only_keys(extra_args, EXTRA_ARGS)})

    def fetch_all(self, metric_name, start, end, scope_id, q_filter=None):
        found = self._collect(metric_name, [Period(start, end)], [scope_id])
        return [point for *_, points in found for point in points]

    def collect(self, metric_name, periods, scope_ids):
        return iter(self._collect(metric_name, periods, scope_ids) if periods else ())

    def newest(self, metric_names, *, since, now):
        """Return the latest end in all files for every metric: they are written together."""
        try:
            found = self._index.newest()
        except errors.SourceError as exc:
            raise self._unreadable(exc) from exc
        known = None if found is None or found < since else min(found, now)
        return dict.fromkeys(metric_names, known)

    def coverage(self, metric_names, periods, *, known, now, scope_ids=()):
        """Return the coverage by lines with begin and end; of sums instants tell nothing."""
        try:
            return source_coverage.examine(
                self, [self.conf[key] for key in metric_names], periods, known=known, now=now
            )
        except errors.SourceError as exc:
            raise self._unreadable(exc) from exc

    def instants(self, metric, span, step_s, scope_ids):
        is_sum = metric.extra_args['aggregation_method'] in ('sum', 'count')
        return self._index.begins(metric.name, *span, is_span=is_sum)

    def resources(self, metric, span, alive_until):
        return self._index.resources(metric.name, *span)

    def _collect(self, metric_name, periods, scope_ids):
        """Return [(scope id, period, points)]."""
        metric = self.conf[metric_name]
        values = self._values(metric, periods, scope_ids)
        aggregate = AGGREGATIONS[metric.extra_args['aggregation_method']]
        return [
            (scope_id, period, self._points(metric, period, aggregate, series))
            for (scope_id, period), series in values.items()
        ]

    def _points(self, metric, period, aggregate, values):
        calendar = FrozenDict(timeframe.calendar_of(period.begin))
        points = []
        for series, found in values.items():
            quantity = metric.quantity(aggregate(found))
            if quantity.adjusted() >= INTEGER_DIGITS_MAX:
                raise self._error(
                    f'metric {metric.key}: a quantity has more than '
                    f'{INTEGER_DIGITS_MAX} digits before the point'
                )
            if quantity < 0 and not metric.allow_negative:
                raise self._error(
                    f'metric {metric.key}: a quantity is {quantity}; allow_negative is not set'
                )
            points.append(DataPoint.of(series, quantity, ZERO, calendar))
        return points

    def _values(self, metric, periods, scope_ids):
        """Return {(scope id, period): {series: [values]}}."""
        begins = [usage.to_us(period.begin) for period in periods]
        ends = [usage.to_us(period.end) for period in periods]
        found: dict[tuple, dict] = defaultdict(lambda: defaultdict(list))
        places: dict[tuple, str] = {}
        for path, row in self._find(
            metric.name, scope_ids, Period(periods[0].begin, periods[-1].end)
        ):
            number = bisect_right(begins, row.begin) - 1
            # In a gap between two periods.
            if row.begin >= ends[number]:
                continue
            place = f'{path}:{row.line}'
            if row.end > ends[number]:
                raise self._error(
                    f'{place}: end is after that of the period '
                    f'{timeframe.render(periods[number].begin)}'
                )
            same = places.setdefault((row.scope_id, row.attributes, row.begin), place)
            if same != place:
                raise self._error(
                    f'{place}: metric, scope, time and attributes are those of {same}'
                )
            series = self._series_of(metric, row.scope_id, row.attributes)
            found[row.scope_id, periods[number]][series].append(Decimal(row.quantity))
        return found

    def _find(self, metric_name, scope_ids, span):
        try:
            return self._index.find(metric_name, scope_ids, *span)
        except errors.BadLines as exc:
            raise self._error(exc.facts['reason']) from exc
        except errors.SourceError as exc:
            raise self._unreadable(exc) from exc

    def _series_of(self, metric, scope_id, attributes):
        """Intern the series of equal lines: later code compares them by identity."""
        key = (metric.key, scope_id, attributes)
        series = self._series.get(key)
        if series is None:
            if len(self._series) > SERIES_KEPT_MAX:
                self._series.clear()
            series = metric.series({**orjson.loads(attributes), self.scope_key: scope_id})
            self._series[key] = series
        return series

    def _error(self, reason):
        return errors.CollectError(collector=self.collector_name, reason=reason)

    def _unreadable(self, exc):
        return errors.SourceUnreachable(collector=self.collector_name, reason=exc.facts['reason'])
