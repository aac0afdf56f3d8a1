"""Builds points from the rows of an answer, for sources that answer for many scopes at once."""

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from cloudkitty import collector, errors
from cloudkitty.core import bounds, decimals, metrics, timeframe
from cloudkitty.core.dataframe import DataPoint, FrozenDict
from cloudkitty.core.decimals import ZERO
from cloudkitty.core.timeframe import Period

LOG = logging.getLogger(__name__)

Found = Iterator[tuple[str, Period, list[DataPoint]]]


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


class Gathering:
    """Collects the points of one metric for the requested *periods* and *scope_ids*.

    Rows of other periods and scopes are dropped and counted, as are numbers that cannot be stored.
    """

    def __init__(self, metric: metrics.Metric, periods: Sequence[Period], scope_ids: Sequence[str]):
        self._metric = metric
        self._periods = {period.begin: period for period in periods}
        self._calendars = {
            period.begin: FrozenDict(timeframe.calendar_of(period.begin)) for period in periods
        }
        self._points: dict[str, dict] = {scope_id: defaultdict(list) for scope_id in scope_ids}
        self._skipped: dict[str, int] = defaultdict(int)

    def add(self, scope_id: str, begin: datetime, attributes: Mapping[str, str], raw: Any) -> None:
        """Add one number.

        :param begin: first instant of its period.
        :param raw: an exact number, before the conversion of the metric definition.
        :raises LookupError: the period was not requested.
        :raises TypeError: it is no number.
        """
        calendar = self._calendars[begin]
        if isinstance(raw, bool) or not isinstance(raw, (int, Decimal)):
            raise TypeError(f'{raw!r} is not a number')
        if scope_id not in self._points:
            self._skipped['rows of other scopes'] += 1
            return
        raw = Decimal(raw)
        if bounds.is_bounded(raw):
            qty = self._metric.quantity(raw)
            if qty < 0 and not self._metric.allow_negative:
                self._skipped['values below 0'] += 1
                return
            if qty.adjusted() < decimals.INTEGER_DIGITS_MAX:
                self._points[scope_id][begin].append(
                    DataPoint.of(self._metric.series(attributes), qty, ZERO, calendar)
                )
                return
        self._skipped['values that are NaN, infinite or too large'] += 1

    def found(self) -> Found:
        """Yield (scope id, period, points) wherever there are points; log what was dropped."""
        for reason, count in self._skipped.items():
            begins = list(self._periods)
            LOG.warning(
                'Metric %s: %d %s skipped, scopes %.200r, periods that begin %s to %s',
                self._metric.key,
                count,
                reason,
                list(self._points),
                begins[0],
                begins[-1],
            )
        for scope_id, rows in self._points.items():
            for begin, period in self._periods.items():
                if begin in rows:
                    yield scope_id, period, rows[begin]


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
