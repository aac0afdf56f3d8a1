"""Drivers without a source: they answer from memory."""

from datetime import UTC, datetime
from decimal import Decimal

from cloudkitty import collector, errors, fetcher
from cloudkitty.core.dataframe import DataPoint, FrozenDict
from cloudkitty.core.timeframe import calendar_of
from cloudkitty.tests import history


class FakeFetcher(fetcher.BaseFetcher):
    """List what the test says.

    :ivar scope_ids: the ids, or None: listing fails.
    """

    name = 'fake'

    def __init__(self, conf, scope_ids=()):
        super().__init__(conf)
        self.scope_ids = scope_ids

    def get_tenants(self):
        if self.scope_ids is None:
            raise errors.FetcherError(fetcher=self.name, reason='told to fail')
        return list(self.scope_ids)


class FakeCollector(collector.BaseCollector):
    """Collect the largest sample of each series in a period from *families*.

    It has no collect() of its own, as foreign drivers have none.
    """

    collector_name = 'fake'
    families = history.FAMILIES

    def fetch_all(self, metric_name, start, end, scope_id, q_filter=None):
        metric = self.conf[metric_name]
        begin_s, end_s = start.timestamp(), end.timestamp()
        calendar = FrozenDict(calendar_of(start))
        points = []
        for labels, samples in self._series(metric.name, scope_id):
            values = [
                Decimal(str(value))
                for instant, value in samples
                if begin_s <= instant <= end_s and Decimal(str(value)).is_finite()
            ]
            if values:
                points.append(
                    DataPoint.of(
                        metric.series(labels), metric.quantity(max(values)), calendar=calendar
                    )
                )
        return points

    def newest(self, metric_names, *, since, now):
        found = {}
        for key in metric_names:
            name = self.conf[key].name
            instants = [
                instant
                for family in self.families
                if family.name == name
                for _, samples in family.series
                for instant, _ in samples
                if since.timestamp() <= instant <= now.timestamp()
            ]
            found[key] = datetime.fromtimestamp(max(instants), UTC) if instants else None
        return found

    def _series(self, name, scope_id):
        return [
            series
            for family in self.families
            if family.name == name
            for series in family.series
            if series[0].get(self.scope_key) == scope_id
        ]
