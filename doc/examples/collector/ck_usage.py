"""A collector: a web service says how much a customer used in a period."""

from decimal import Decimal, InvalidOperation

import requests
from oslo_config import cfg

from cloudkitty import collector, errors
from cloudkitty.core.dataframe import DataPoint

ZERO = Decimal(0)


class UsageCollector(collector.BaseCollector):
    """Reads `{"usage": [{"quantity": "1.5", "resource": "disk-1"}, ...]}` from a URL.

    The parameters of a request are the metric, the scope, and begin and end of the period.
    """

    collector_name = 'usage'
    GROUP = 'collector_usage'
    OPTS = [
        cfg.URIOpt('url', required=True, help='URL of the usage.'),
        cfg.IntOpt('timeout', default=30, min=1, help='Seconds to wait for an answer.'),
    ]

    def fetch_all(self, metric_name, start, end, scope_id, q_filter=None) -> list[DataPoint]:
        metric = self.conf[metric_name]
        parameters = {
            'metric': metric.name,
            'scope': scope_id,
            'begin': start.isoformat(),
            'end': end.isoformat(),
        }
        return [self._point(metric, scope_id, row) for row in self._ask(parameters)]

    def _ask(self, parameters):
        try:
            answer = requests.get(self.options.url, params=parameters, timeout=self.options.timeout)
        except requests.RequestException as exc:
            # No other query would be answered either: nothing is rated until it works again.
            raise errors.SourceUnreachable(collector=self.collector_name, reason=str(exc)) from exc
        try:
            answer.raise_for_status()
            # Quantities are text or exact numbers, never floating point numbers.
            return answer.json(parse_float=Decimal)['usage']
        except (requests.RequestException, ValueError, LookupError, TypeError) as exc:
            # This query failed, others may work: only the scopes in question are held back.
            raise errors.CollectError(collector=self.collector_name, reason=str(exc)) from exc

    def _point(self, metric, scope_id, row) -> DataPoint:
        try:
            raw = Decimal(row['quantity'])
        except (LookupError, TypeError, ValueError, InvalidOperation) as exc:
            raise errors.CollectError(
                collector=self.collector_name, reason=f'{metric.name}: bad row {row!r:.100}'
            ) from exc
        series = metric.series({**row, self.scope_key: scope_id})
        return DataPoint.of(series, metric.quantity(raw), ZERO)
