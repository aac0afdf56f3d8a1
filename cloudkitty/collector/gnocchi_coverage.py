"""Times and resources of the measures in Gnocchi."""

from datetime import datetime

from cloudkitty.clients import gnocchi
from cloudkitty.core import timeframe
from cloudkitty.core.metrics import Metric
from cloudkitty.core.timeframe import Period


class Sight:
    """Queries the measures of several scopes together; see source_coverage.Source."""

    def __init__(self, client: gnocchi.Client, scope_key: str):
        self._client = client
        self._scope_key = scope_key

    def instants(self, metric, span, step_s, scope_ids):
        conditions = _existing(span.begin)
        if scope_ids:
            conditions.append({'in': {self._scope_key: list(scope_ids)}})
        rows = [
            row
            for _, rows in self._measures(metric, span, {'and': conditions}, ['type'])
            for row in rows
        ]
        shortest = min((length for _, length, _ in rows), default=0)
        return {
            datetime.fromisoformat(begin).timestamp()
            for begin, length, value in rows
            if length == shortest and value is not None
        }

    def resources(self, metric, span, alive_until):
        conditions = _existing(alive_until)
        found = self._measures(metric, span, {'and': conditions}, [self._scope_key, 'id'])
        return {
            (str(group[self._scope_key]), str(group['id']))
            for group, rows in found
            if any(value is not None for *_, value in rows)
        }

    def _measures(self, metric: Metric, span: Period, query: dict, groupby: list[str]):
        args = metric.extra_args
        # Only the times are used, so any method will do; Gnocchi has a bug in `count`.
        return self._client.measures(
            ['aggregate', 'max', ['metric', metric.name, args['aggregation_method']]],
            args['resource_type'],
            query,
            groupby=groupby,
            begin=span.begin,
            end=span.end,
            granularity_s=args['force_granularity'],
            needed_overlap=0,
        )


def _existing(instant: datetime) -> list[dict]:
    """Return conditions on resources that did not end before *instant*."""
    return [{'or': [{'=': {'ended_at': None}}, {'>=': {'ended_at': timeframe.render(instant)}}]}]
