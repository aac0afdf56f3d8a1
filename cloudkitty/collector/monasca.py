"""Usage from Monasca: one statistics request for many scopes and many periods."""

import math
from datetime import timedelta

from cloudkitty import errors
from cloudkitty.clients import monasca
from cloudkitty.collector import point_builder, source_coverage
from cloudkitty.core import metrics, timeframe
from cloudkitty.core.timeframe import Period

# Names in definitions to names in Monasca.
STATISTICS = {'max': 'max', 'mean': 'avg', 'min': 'min'}
# Placeholder in forced_project_id for the current scope.
SCOPE_ID = 'SCOPE_ID'
# With 100 scopes and a metric of each, an answer has some megabytes.
PERIODS_MAX = 100
# Most scopes in a URL, which may have 8 KiB.
FILTER_LENGTH_MAX = 4000
# Resolution of the time of the newest measure.
NEWEST_STEP_S = 60


class MonascaCollector(point_builder.ResourceCollector):
    """Collects statistics of metrics by their dimensions.

    Attributes are dimensions of the measures themselves, so they are those at the time of the
    usage.

    Source: doc/source/contributor/compatibility/collection.rst, "Collector and fetcher: monasca".
    """

    collector_name = 'monasca'
    GROUP = 'collector_monasca'
    EXTRA_ARGS = {
        'resource_key': metrics.short_text,
        'aggregation_method': metrics.choice(*STATISTICS),
        'forced_project_id': metrics.text,
    }
    EXTRA_ARGS_DEFAULTS = {
        'resource_key': 'resource_id',
        'aggregation_method': 'max',
        'forced_project_id': '',
    }
    OPTS = monasca.OPTS

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self._client = monasca.build_client(self.collector_name, self.service_conf, self.group)

    @classmethod
    def check_configuration(cls, conf, scope_key):
        found = super().check_configuration(conf, scope_key)
        for metric in found.values():
            for name in (metric.name, *metric.groupby, *metric.metadata):
                if not monasca.is_plain(name) or name.startswith('_'):
                    raise errors.InvalidInput(
                        reason=f'metric {metric.name!r}: {name!r} is no name that a metric or a '
                        'dimension of Monasca can have.'
                    )
        return found

    def collect_columns(self, metric_name, periods, scope_ids):
        """Yield pairs of a scope id and a column; see BaseCollector."""
        metric = self.conf[metric_name]
        groups = [scope_ids] if scope_ids else []
        if metric.extra_args['forced_project_id'] == SCOPE_ID:
            groups = [[scope_id] for scope_id in scope_ids]
        yield from point_builder.in_runs(
            periods,
            PERIODS_MAX,
            lambda run: (one for group in groups for one in self._collect_run(metric, run, group)),
        )

    def newest(self, metric_names, *, since, now):
        # If each scope has a tenant of its own, there would be one request for each.
        return {
            key: self._newest(self.conf[key], since, now)
            for key in metric_names
            if self.conf[key].extra_args['forced_project_id'] != SCOPE_ID
        }

    def _newest(self, metric, since, now):
        found = self.instants(metric, Period(since, now), NEWEST_STEP_S, ())
        return timeframe.from_unix(max(found)) if found else None

    def coverage(self, metric_names, periods, *, known, now, scope_ids=()):
        """Return the coverage, except of metrics that each scope has in a tenant of its own."""
        chosen = [
            self.conf[key]
            for key in metric_names
            if self.conf[key].extra_args['forced_project_id'] != SCOPE_ID
        ]
        return source_coverage.examine(self, chosen, periods, known=known, now=now)

    def instants(self, metric, span, step_s, scope_ids):
        found: set[float] = set()
        for element in self._counts(metric, span, {'period': str(step_s)}):
            try:
                at = element['columns'].index('timestamp')
                found.update(
                    timeframe.parse_exact(row[at]).timestamp() for row in element['statistics']
                )
            except (LookupError, TypeError, ValueError, AttributeError, errors.InvalidInput) as exc:
                raise self._unexpected(metric, element) from exc
        return found

    def resources(self, metric, span, alive_until):
        names = (self.scope_key, metric.extra_args['resource_key'])
        length_s = max(1, math.ceil((span.end - span.begin).total_seconds()))
        parameters = {'period': str(length_s), 'group_by': ','.join(dict.fromkeys(names))}
        found = set()
        for element in self._counts(metric, span, parameters):
            try:
                dimensions = element['dimensions']
                found.add((str(dimensions[names[0]]), str(dimensions[names[1]])))
            except (LookupError, TypeError) as exc:
                raise self._unexpected(metric, element) from exc
        return found

    def _counts(self, metric, span, parameters):
        """Yield parts of the answer with the number of samples."""
        whole = {
            'name': metric.name,
            'merge_metrics': 'true',
            'statistics': 'count',
            'start_time': _render(span.begin),
            'end_time': _render(span.end),
            **parameters,
        }
        if metric.extra_args['forced_project_id']:
            whole['tenant_id'] = metric.extra_args['forced_project_id']
        return self._client.pages('metrics/statistics', whole, 'elements')

    def _unexpected(self, metric, element):
        return errors.CollectError(
            collector=self.collector_name,
            reason=f'unexpected answer for {metric.name}: {str(element)[:200]}',
        )

    def _collect_run(self, metric, periods, scope_ids):
        gathered = point_builder.Gathering(metric, periods, scope_ids)
        elements = self._client.pages(
            'metrics/statistics', self._parameters(metric, periods, scope_ids), 'elements'
        )
        for element in elements:
            try:
                self._read(gathered, metric, element, periods, scope_ids)
            except (LookupError, TypeError, ValueError, AttributeError, errors.InvalidInput) as exc:
                raise self._unexpected(metric, element) from exc
        yield from gathered.found()

    def _parameters(self, metric, periods, scope_ids):
        length = periods[0].end - periods[0].begin
        group_by = [*metric.groupby, *metric.metadata]
        parameters = {
            'name': metric.name,
            'merge_metrics': 'true',
            'statistics': STATISTICS[metric.extra_args['aggregation_method']],
            'start_time': _render(periods[0].begin),
            'end_time': _render(periods[-1].end),
            'period': str(length // timedelta(seconds=1)),
        }
        tenant_id = metric.extra_args['forced_project_id']
        if tenant_id == SCOPE_ID:
            # All metrics in the tenant belong to the scope, whatever their dimensions are.
            tenant_id = scope_ids[0]
            group_by.remove(self.scope_key)
        else:
            parameters['dimensions'] = _filter(self.scope_key, scope_ids)
        if tenant_id:
            parameters['tenant_id'] = tenant_id
        parameters['group_by'] = ','.join(group_by)
        return parameters

    def _read(self, gathered, metric, element, periods, scope_ids):
        """Add the rows of *element*, which is one series or a part of it."""
        attributes = element['dimensions']
        if metric.extra_args['forced_project_id'] == SCOPE_ID:
            scope_id = scope_ids[0]
        else:
            scope_id = attributes[self.scope_key]
        attributes = {**attributes, self.scope_key: scope_id}
        column = element['columns'].index(STATISTICS[metric.extra_args['aggregation_method']])
        at = element['columns'].index('timestamp')
        for row in element['statistics']:
            begin = timeframe.parse_exact(row[at])
            # The end of the request is inclusive: a measure exactly at it gets a row of its own.
            if begin != periods[-1].end:
                gathered.add(scope_id, begin, attributes, row[column])


def _render(instant):
    return timeframe.to_naive(instant).isoformat(timespec='seconds') + 'Z'


def _filter(scope_key, scope_ids):
    """Return the dimension filter that matches *scope_ids*, and possibly other scopes.

    Monasca cannot escape some characters: then the filter matches all values of the dimension.
    """
    found = f'{scope_key}:{"|".join(scope_ids)}'
    if len(found) > FILTER_LENGTH_MAX or not all(map(monasca.is_plain, scope_ids)):
        return scope_key
    return found
