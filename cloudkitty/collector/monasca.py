"""Usage from Monasca: one request for statistics answers for many scopes and many periods."""

from datetime import timedelta

from cloudkitty import collector, errors, metrics, timeframe
from cloudkitty.clients import monasca
from cloudkitty.collector import gathering
from cloudkitty.dataframe import FrozenDict
from cloudkitty.timeframe import Period

# By what a definition calls them.
STATISTICS = {'max': 'max', 'mean': 'avg', 'min': 'min'}
# In forced_project_id: the scope that is asked for.
SCOPE_ID = 'SCOPE_ID'
EXTRA_ARGS = {
    'resource_key': metrics.short_text,
    'aggregation_method': metrics.choice(*STATISTICS),
    'forced_project_id': metrics.text,
}
EXTRA_ARGS_DEFAULTS = {'resource_key': 'resource_id', 'aggregation_method': 'max',
                       'forced_project_id': ''}
# With 100 scopes and a metric of each, an answer of some megabytes.
PERIODS_MAX = 100
# Scopes in a URL, which may have 8 KiB.
FILTER_LENGTH_MAX = 4000
# How exactly the time of the newest measure is asked for.
NEWEST_STEP_S = 60


class MonascaCollector(collector.BaseCollector):
    """Collect statistics of metrics, grouped by their dimensions.

    Attributes are dimensions of the measures themselves, so that they are those of the time of
    the usage.

    Source: contract collection, section 6.2, with the targets W4, W8, W13 and W15.
    """

    collector_name = 'monasca'
    GROUP = 'collector_monasca'
    OPTS = monasca.OPTS

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self._client = monasca.build_client(self.collector_name, self.service_conf, self.group)

    @classmethod
    def check_configuration(cls, conf, scope_key):
        found = {key: gathering.with_resource_key(metric)
                 for key, metric in super().check_configuration(conf, scope_key).items()}
        for metric in found.values():
            for name in (metric.name, *metric.groupby, *metric.metadata):
                if not monasca.is_plain(name) or name.startswith('_'):
                    raise errors.InvalidInput(
                        reason=f'metric {metric.name!r}: {name!r} is no name that a metric or a '
                               'dimension of Monasca can have.')
        return found

    @classmethod
    def check_extra_args(cls, extra_args):
        return FrozenDict({**EXTRA_ARGS_DEFAULTS, **metrics.only_keys(extra_args, EXTRA_ARGS)})

    def fetch_all(self, metric_name, start, end, scope_id, q_filter=None):
        found = self.collect(metric_name, [Period(start, end)], [scope_id])
        return [point for *_, points in found for point in points]

    def collect(self, metric_name, periods, scope_ids):
        metric = self.conf[metric_name]
        groups = [scope_ids] if scope_ids else []
        if metric.extra_args['forced_project_id'] == SCOPE_ID:
            groups = [[scope_id] for scope_id in scope_ids]
        for run in gathering.runs(periods, PERIODS_MAX):
            for group in groups:
                yield from self._collect_run(metric, run, group)

    def newest(self, metric_names, *, since, now):
        # Where each scope has a tenant of its own it would take a request for each.
        return {key: self._newest(self.conf[key], since, now) for key in metric_names
                if self.conf[key].extra_args['forced_project_id'] != SCOPE_ID}

    def _newest(self, metric, since, now):
        parameters = {
            'name': metric.name, 'merge_metrics': 'true', 'statistics': 'count',
            'period': str(NEWEST_STEP_S), 'start_time': _render(since), 'end_time': _render(now)}
        if metric.extra_args['forced_project_id']:
            parameters['tenant_id'] = metric.extra_args['forced_project_id']
        found = None
        for element in self._client.pages('metrics/statistics', parameters, 'elements'):
            try:
                at = element['columns'].index('timestamp')
                instants = [timeframe.parse_exact(row[at]) for row in element['statistics']]
            except (LookupError, TypeError, ValueError, AttributeError,
                    errors.InvalidInput) as exc:
                raise self._unexpected(metric, element) from exc
            found = max([*instants, found] if found else instants, default=None)
        return found

    def _unexpected(self, metric, element):
        return errors.CollectError(
            collector=self.collector_name,
            reason=f'unexpected answer for {metric.name}: {str(element)[:200]}')

    def _collect_run(self, metric, periods, scope_ids):
        gathered = gathering.Gathering(metric, periods, scope_ids)
        elements = self._client.pages(
            'metrics/statistics', self._parameters(metric, periods, scope_ids), 'elements')
        for element in elements:
            try:
                self._read(gathered, metric, element, periods, scope_ids)
            except (LookupError, TypeError, ValueError, AttributeError,
                    errors.InvalidInput) as exc:
                raise self._unexpected(metric, element) from exc
        yield from gathered.found()

    def _parameters(self, metric, periods, scope_ids):
        length = periods[0].end - periods[0].begin
        group_by = [*metric.groupby, *metric.metadata]
        parameters = {
            'name': metric.name, 'merge_metrics': 'true',
            'statistics': STATISTICS[metric.extra_args['aggregation_method']],
            'start_time': _render(periods[0].begin), 'end_time': _render(periods[-1].end),
            'period': str(length // timedelta(seconds=1))}
        tenant_id = metric.extra_args['forced_project_id']
        if tenant_id == SCOPE_ID:
            # All that a tenant has belongs to the scope, whatever its dimensions are.
            tenant_id = scope_ids[0]
            group_by.remove(self.scope_key)
        else:
            parameters['dimensions'] = _filter(self.scope_key, scope_ids)
        if tenant_id:
            parameters['tenant_id'] = tenant_id
        parameters['group_by'] = ','.join(group_by)
        return parameters

    def _read(self, gathered, metric, element, periods, scope_ids):
        """Take the rows of *element*, which is one series or a part of it."""
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
            # The end of the request counts: a measure on it makes a period of its own.
            if begin != periods[-1].end:
                gathered.add(scope_id, begin, attributes, row[column])


def _render(instant):
    return timeframe.to_naive(instant).isoformat(timespec='seconds') + 'Z'


def _filter(scope_key, scope_ids):
    """Return the list of dimensions that finds *scope_ids*, and maybe others.

    Monasca has no way to write some characters: then all that have the dimension are found.
    """
    found = f'{scope_key}:{"|".join(scope_ids)}'
    if len(found) > FILTER_LENGTH_MAX or not all(map(monasca.is_plain, scope_ids)):
        return scope_key
    return found
