"""From the rows of an answer to points, for sources that answer for many scopes at once."""

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from cloudkitty import dataframe, errors, metrics, timeframe
from cloudkitty.dataframe import ZERO, DataPoint, FrozenDict
from cloudkitty.timeframe import Period

LOG = logging.getLogger(__name__)

Found = Iterator[tuple[str, Period, list[DataPoint]]]


class Gathering:
    """The points of one metric for *periods* and *scope_ids*, which are all that was asked for.

    Rows of others are counted and left out, as are numbers that cannot be stored.
    """

    def __init__(self, metric: metrics.Metric, periods: Sequence[Period],
                 scope_ids: Sequence[str]):
        self._metric = metric
        self._periods = {period.begin: period for period in periods}
        self._calendars = {period.begin: FrozenDict(timeframe.calendar_of(period.begin))
                           for period in periods}
        self._points: dict[str, dict] = {scope_id: defaultdict(list) for scope_id in scope_ids}
        self._skipped: dict[str, int] = defaultdict(int)

    def add(self, scope_id: str, begin: datetime, attributes: Mapping[str, str],
            raw: Any) -> None:
        """Take one number.

        :param begin: first instant of its period.
        :param raw: an exact number, not yet through the definition.
        :raises LookupError: no such period was asked for.
        :raises TypeError: it is no number.
        """
        calendar = self._calendars[begin]
        if isinstance(raw, bool) or not isinstance(raw, (int, Decimal)):
            raise TypeError(f'{raw!r} is not a number')
        if scope_id not in self._points:
            self._skipped['rows of other scopes'] += 1
            return
        raw = Decimal(raw)
        if raw.is_finite():
            qty = self._metric.quantity(raw)
            if qty.adjusted() < dataframe.INTEGER_DIGITS_MAX:
                self._points[scope_id][begin].append(DataPoint.of(
                    self._metric.series(attributes), qty, ZERO, calendar))
                return
        self._skipped['values that are NaN, infinite or too large'] += 1

    def found(self) -> Found:
        """Yield (scope id, period, points) wherever there are some; log what was left out."""
        for reason, count in self._skipped.items():
            begins = list(self._periods)
            LOG.warning('Metric %s: %d %s skipped, scopes %.200r, periods that begin %s to %s',
                        self._metric.key, count, reason, list(self._points), begins[0],
                        begins[-1])
        for scope_id, rows in self._points.items():
            for begin, period in self._periods.items():
                if begin in rows:
                    yield scope_id, period, rows[begin]


def runs(periods: Sequence[Period], length_max: int) -> Iterator[list[Period]]:
    """Yield parts of *periods* that one request can ask for: without gap, of one length."""
    run: list[Period] = []
    for period in periods:
        if run and (period.begin != run[-1].end or len(run) == length_max
                    or period.end - period.begin != run[0].end - run[0].begin):
            yield run
            run = []
        run.append(period)
    if run:
        yield run


def with_resource_key(metric: metrics.Metric) -> metrics.Metric:
    """Return *metric* with the attribute that names a resource in its groupby.

    :raises InvalidInput: it is in metadata.
    """
    resource_key = metric.extra_args['resource_key']
    if resource_key in metric.metadata:
        raise errors.InvalidInput(
            reason=f'metric {metric.name!r}: {resource_key} must not be in metadata; the '
                   'resource_key is in groupby always.')
    return dataclasses.replace(
        metric, groupby=tuple(dict.fromkeys((*metric.groupby, resource_key))))
