"""Small drivers in memory, for tests of what uses drivers."""

import threading
from decimal import Decimal
from typing import NamedTuple

from cloudkitty import errors
from cloudkitty.core.columns import NEGATIVE, Unusable, columns_of
from cloudkitty.core.dataframe import DataPoint, Series
from cloudkitty.rating.modules import Failure


class FakeMetric(NamedTuple):
    """What the pipeline wants to know of a metric."""

    published_name: str
    skip_expression: str | None = None


class FakeCollector:
    """A source in which each scope uses `usage(metric, scope id, begin)` of each metric.

    :param metrics: published name, or FakeMetric, by internal key.
    :param usage: returns a quantity, or None for nothing; may raise.
    :ivar reaches: called with the current time; returns what newest() does, or raises.
    :ivar asked: how often newest() was called.
    :ivar covers: called with periods and known gaps; returns what coverage() does, or raises.
    """

    collector_name = 'fake'

    def __init__(self, metrics, usage=lambda metric, scope_id, begin: 1):
        self.conf = {
            key: FakeMetric(metric) if isinstance(metric, str) else metric
            for key, metric in metrics.items()
        }
        self.usage = usage
        self.calls = []
        self.reaches = lambda now: {}
        self.asked = 0
        self.covers = lambda periods, known: {}
        self._lock = threading.Lock()

    def refresh(self):
        """Nothing changes."""

    def collect(self, metric_name, periods, scope_ids):
        with self._lock:
            self.calls.append((metric_name, tuple(scope_ids), len(periods)))
        for scope_id in scope_ids:
            series = Series('unit', {'project_id': scope_id}, {})
            for period in periods:
                quantity = self.usage(metric_name, scope_id, period.begin)
                if quantity is not None:
                    yield scope_id, period, [DataPoint.of(series, Decimal(quantity))]

    def coverage(self, metric_names, periods, *, known, now, scope_ids=()):
        return self.covers(periods, known)

    def newest(self, metric_names, *, since, now):
        self.asked += 1
        found = self.reaches(now)
        return {
            metric: found[metric] if found[metric] and found[metric] >= since else None
            for metric in metric_names
            if metric in found
        }


class StrangeCollector(FakeCollector):
    """One whose source has values that cannot be used.

    :ivar unusable: (metric, scope id, begin) of the periods that lack usage because of them.
    """

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.unusable = set()

    def collect_columns(self, metric_name, periods, scope_ids):
        found = self.collect(metric_name, periods, scope_ids)
        yield from columns_of(self.conf[metric_name].published_name, found, periods)
        for scope_id in scope_ids:
            offsets = [
                offset
                for offset, period in enumerate(periods)
                if (metric_name, scope_id, period.begin) in self.unusable
            ]
            if offsets:
                yield scope_id, Unusable(offsets, NEGATIVE)


class FlatRate:
    """Rating modules that price every unit alike.

    :param refused: scope ids whose frames raise, from this begin on.
    :ivar reason: why the modules cannot be loaded; None: they can.
    """

    def __init__(self, price='0.5', refused=None):
        self.price = Decimal(price)
        self.refused = refused or {}
        self.reason = None

    def refresh(self):
        if self.reason:
            raise errors.ModuleLoadError(module='flat', reason=self.reason)

    def rate_periods(self, usage):
        first = self.refused.get(usage.scope_id)
        late = [n for n in usage.offsets if first and usage.periods[n].begin >= first]
        failure = None
        if late:
            usage = usage.at([offset for offset in usage.offsets if offset < late[0]])
            error = errors.ModuleLoadError(module='flat', reason='no rules')
            failure = Failure(late[0], error)
        priced = (
            column._replace(prices=[qty * self.price for qty in column.quantities])
            for column in usage.columns
        )
        return usage.with_columns(priced), failure


class MemoryStorage:
    """A store that keeps frames by (scope id, begin), and marks by primary key.

    :param marks: mark by primary key; a scope that is not in it is wherever the batch says.
    :param check: called with each scope batch before anything is stored; may raise.
    """

    def __init__(self, marks=None, check=lambda scope_batch: None):
        self.frames = {}
        self.marks = dict(marks or {})
        self.check = check
        self.commits = 0

    def commit(self, batch):
        self.commits += 1
        for one in batch:
            self.check(one)
        late = [one for one in batch if self.marks.get(one.state_id, one.mark) != one.mark]
        for one in batch:
            if one not in late:
                self.marks[one.state_id] = one.new_mark
                self.frames.update({(one.scope_id, frame.start): frame for frame in one.frames})
        return late
