"""Builds points from the rows of an answer, for sources that answer for many scopes at once."""

import dataclasses
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from cloudkitty import collector, errors
from cloudkitty.core import bounds, columns, decimals, metrics
from cloudkitty.core.columns import Column, Unusable
from cloudkitty.core.dataframe import DataPoint, FrozenDict
from cloudkitty.core.decimals import ZERO
from cloudkitty.core.timeframe import Period

LOG = logging.getLogger(__name__)


class ResourceCollector(collector.BaseCollector):
    """Base of collectors whose source identifies resources and answers for many scopes at once.

    :cvar EXTRA_ARGS: validators of the parameters of a metric, including `resource_key`.
    :cvar EXTRA_ARGS_DEFAULTS: their defaults.
    """

    EXTRA_ARGS: Mapping[str, metrics.Check] = {}
    EXTRA_ARGS_DEFAULTS: Mapping[str, Any] = {}

    @classmethod
    def check_configuration(cls, conf, scope_key):
        return {
            key: with_resource_key(metric)
            for key, metric in super().check_configuration(conf, scope_key).items()
        }

    @classmethod
    def check_extra_args(cls, extra_args):
        checked = metrics.only_keys(extra_args, cls.EXTRA_ARGS)
        return FrozenDict({**cls.EXTRA_ARGS_DEFAULTS, **checked})

    def fetch_all(self, metric_name, start, end, scope_id, q_filter=None):
        found = self.collect(metric_name, [Period(start, end)], [scope_id])
        return [point for *_, points in found for point in points]

    def collect(self, metric_name, periods, scope_ids):
        return columns.points_of(self.collect_columns(metric_name, periods, scope_ids), periods)


class UnusableValues:
    """Counts the values of an answer that cannot be used, by scope, period and reason.

    :param key: internal key of the metric.
    """

    def __init__(self, key: str, periods: Sequence[Period]):
        self._key = key
        self._periods = periods
        self._counts: dict[tuple[str, str], Counter[int]] = {}

    def add(self, scope_id: str, offset: int, reason: str, count: int = 1) -> None:
        """Add *count* values of the period at *offset*; what they are is *reason*."""
        self._counts.setdefault((scope_id, reason), Counter())[offset] += count

    def found(self) -> Iterator[tuple[str, Unusable]]:
        """Yield pairs of a scope id and its unusable values; log one line for each reason."""
        for reason in dict.fromkeys(reason for _, reason in self._counts):
            own = {one: counts for (one, why), counts in self._counts.items() if why == reason}
            offsets = sorted(set().union(*own.values()))
            LOG.warning(
                'Metric %s: %d values that are %s left out, scopes %.200r, periods that begin %s '
                'to %s',
                self._key,
                sum(counts.total() for counts in own.values()),
                reason,
                list(own),
                self._periods[offsets[0]].begin,
                self._periods[offsets[-1]].begin,
            )
        for (scope_id, reason), counts in self._counts.items():
            yield scope_id, Unusable(sorted(counts), reason)


class Gathering:
    """Collects the points of one metric for the requested *periods* and *scope_ids*.

    Rows of other scopes are dropped and counted; numbers that cannot be stored are unusable.
    """

    def __init__(self, metric: metrics.Metric, periods: Sequence[Period], scope_ids: Sequence[str]):
        self._metric = metric
        self._periods = periods
        self._offsets = {period.begin: offset for offset, period in enumerate(periods)}
        self._calendars = columns.calendars_of(periods)
        self._points: dict[str, dict] = {scope_id: defaultdict(list) for scope_id in scope_ids}
        self._unusable = UnusableValues(metric.key, periods)
        self._foreign = 0

    def add(self, scope_id: str, begin: datetime, attributes: Mapping[str, str], raw: Any) -> None:
        """Add one number.

        :param begin: first instant of its period.
        :param raw: an exact number, before the conversion of the metric definition.
        :raises LookupError: the period was not requested.
        :raises TypeError: it is no number.
        """
        offset = self._offsets[begin]
        calendar = self._calendars[offset]
        if isinstance(raw, bool) or not isinstance(raw, (int, Decimal)):
            raise TypeError(f'{raw!r} is not a number')
        if scope_id not in self._points:
            self._foreign += 1
            return
        raw = Decimal(raw)
        if bounds.is_bounded(raw):
            qty = self._metric.quantity(raw)
            if qty < 0 and not self._metric.allow_negative:
                self._unusable.add(scope_id, offset, columns.NEGATIVE)
                return
            if qty.adjusted() < decimals.INTEGER_DIGITS_MAX:
                self._points[scope_id][offset].append(
                    DataPoint.of(self._metric.series(attributes), qty, ZERO, calendar)
                )
                return
        self._unusable.add(scope_id, offset, columns.NOT_NUMBERS)

    def found(self) -> Iterator[tuple[str, Column | Unusable]]:
        """Yield the columns and the unusable values of each scope; log what was dropped."""
        if self._foreign:
            LOG.warning(
                'Metric %s: %d rows of other scopes skipped, scopes %.200r, periods that begin %s '
                'to %s',
                self._metric.key,
                self._foreign,
                list(self._points),
                self._periods[0].begin,
                self._periods[-1].begin,
            )
        points = (
            (scope_id, self._periods[offset], rows[offset])
            for scope_id, rows in self._points.items()
            for offset in sorted(rows)
        )
        yield from columns.columns_of(self._metric.published_name, points, self._periods)
        yield from self._unusable.found()


def runs(periods: Sequence[Period], length_max: int) -> Iterator[list[Period]]:
    """Yield parts of *periods* for one request each: without gaps and of equal length."""
    run: list[Period] = []
    for period in periods:
        if run and (
            period.begin != run[-1].end
            or len(run) == length_max
            or period.end - period.begin != run[0].end - run[0].begin
        ):
            yield run
            run = []
        run.append(period)
    if run:
        yield run


def in_runs(
    periods: Sequence[Period],
    length_max: int,
    collect: Callable[[list[Period]], Iterable[tuple[str, Column | Unusable]]],
) -> Iterator[tuple[str, Column | Unusable]]:
    """Yield what *collect* returns for each of runs(), with the offsets of *periods*."""
    offset = 0
    for run in runs(periods, length_max):
        for scope_id, column in collect(run):
            yield scope_id, column.moved(offset)
        offset += len(run)


def with_resource_key(metric: metrics.Metric) -> metrics.Metric:
    """Return *metric* with the attribute that identifies a resource added to its groupby.

    :raises InvalidInput: the attribute is in metadata.
    """
    resource_key = metric.extra_args['resource_key']
    if resource_key in metric.metadata:
        raise errors.InvalidInput(
            reason=f'metric {metric.name!r}: {resource_key} must not be in metadata; the '
            'resource_key is in groupby always.'
        )
    return dataclasses.replace(
        metric, groupby=tuple(dict.fromkeys((*metric.groupby, resource_key)))
    )
