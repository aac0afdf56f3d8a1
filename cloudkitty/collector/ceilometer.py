"""Usage from Ceilometer's API, version 2: one statistics request for all scopes and periods."""

from datetime import timedelta
from urllib import parse

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.clients import keystone, openstack
from cloudkitty.collector import point_builder, source_coverage
from cloudkitty.core import metrics, timeframe
from cloudkitty.core.timeframe import Period

# Attributes that statistics can be grouped by, with their names in queries.
SCOPE_KEYS = ('project_id', 'user_id')
PERIODS_MAX = 100
# Without a limit, Ceilometer returns 100 and does not say that there are more.
RESOURCES_MAX = 1_000_000


class CeilometerCollector(point_builder.ResourceCollector):
    """Collect statistics of meters by resource; attributes are those of the resource.

    The resource is looked up with the attributes that its samples of the period have.

    Source: doc/source/contributor/compatibility/collection.rst, "Collector: ceilometer".
    """

    collector_name = 'ceilometer'
    GROUP = 'ceilometer_collector'
    EXTRA_ARGS = {
        'resource_key': metrics.short_text,
        'aggregation_method': metrics.choice('max', 'min', 'avg', 'sum', 'count'),
    }
    EXTRA_ARGS_DEFAULTS = {'resource_key': 'resource_id', 'aggregation_method': 'max'}
    OPTS = [
        cfg.StrOpt(
            'interface',
            default='internal',
            choices=['internal', 'public', 'admin'],
            help='Kind of endpoint of the service `metering` to use.',
        ),
        cfg.StrOpt('region_name', help='Region whose endpoint to use; without it, any.'),
        *keystone.OPTS,
    ]

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self._client = openstack.Client(
            self.collector_name,
            keystone.load_session(self.service_conf, self.group),
            version='v2',
            service_type='metering',
            interface=self.options.interface,
            region_name=self.options.region_name,
        )

    @classmethod
    def check_configuration(cls, conf, scope_key):
        if scope_key not in SCOPE_KEYS:
            raise errors.InvalidInput(
                reason=f'[collect]scope_key is {scope_key!r}; Ceilometer can '
                f'group by: {", ".join(SCOPE_KEYS)}'
            )
        found = super().check_configuration(conf, scope_key)
        for metric in found.values():
            if '/' in metric.name:
                raise errors.InvalidInput(
                    reason=f'metric {metric.name!r}: the name of a meter has no slash.'
                )
        return found

    def collect_columns(self, metric_name, periods, scope_ids):
        """Yield pairs of a scope id and a column; see BaseCollector."""
        metric = self.conf[metric_name]
        if scope_ids:
            yield from point_builder.in_runs(
                periods, PERIODS_MAX, lambda run: self._collect_run(metric, run, list(scope_ids))
            )

    def newest(self, metric_names, *, since, now):
        return {key: self._newest(self.conf[key], since, now) for key in metric_names}

    def _newest(self, metric, since, now):
        """Return the time of the newest sample of any resource, with a statistic of one row."""
        answer = self._list(
            _statistics_path(metric),
            _conditions(('timestamp', 'ge', _render(since)), ('timestamp', 'le', _render(now))),
        )
        try:
            return max((timeframe.parse_exact(row['duration_end']) for row in answer), default=None)
        except (LookupError, TypeError, ValueError, AttributeError, errors.InvalidInput) as exc:
            raise self._unexpected(metric) from exc

    def coverage(self, metric_names, periods, *, known, now, scope_ids=()):
        """Return the coverage of meters whose samples are not added up: others come irregularly."""
        chosen = [
            self.conf[key]
            for key in metric_names
            if self.conf[key].extra_args['aggregation_method'] not in ('sum', 'count')
        ]
        return source_coverage.examine(self, chosen, periods, known=known, now=now)

    def instants(self, metric, span, step_s, scope_ids):
        rows = self._list(_statistics_path(metric), [*_within(span), ('period', step_s)])
        try:
            return [timeframe.parse_exact(row['period_start']).timestamp() for row in rows]
        except (LookupError, TypeError, ValueError, AttributeError, errors.InvalidInput) as exc:
            raise self._unexpected(metric) from exc

    def resources(self, metric, span, alive_until):
        groups = [('groupby', self.scope_key), ('groupby', 'resource_id')]
        rows = self._list(_statistics_path(metric), [*_within(span), *groups])
        try:
            return {(row['groupby'][self.scope_key], row['groupby']['resource_id']) for row in rows}
        except (LookupError, TypeError) as exc:
            raise self._unexpected(metric) from exc

    def _unexpected(self, metric):
        return errors.CollectError(
            collector=self.collector_name, reason=f'unexpected answer for {metric.name}'
        )

    def _collect_run(self, metric, periods, scope_ids):
        gathered = point_builder.Gathering(metric, periods, scope_ids)
        try:
            rows = self._rows(metric, periods, scope_ids)
            resources = {}
            for begin, scope_id, resource_id, raw in rows:
                if begin not in resources:
                    (period,) = (period for period in periods if period.begin == begin)
                    resources[begin] = self._resources(metric, period, scope_ids)
                attributes = {
                    **resources[begin].get(resource_id, {}),
                    metric.extra_args['resource_key']: resource_id,
                    self.scope_key: scope_id,
                }
                gathered.add(scope_id, begin, attributes, raw)
        except (LookupError, TypeError, ValueError, AttributeError, errors.InvalidInput) as exc:
            raise self._unexpected(metric) from exc
        yield from gathered.found()

    def _rows(self, metric, periods, scope_ids):
        """Return [(begin of a period, scope id, resource id, number)] of *scope_ids*."""
        length = periods[0].end - periods[0].begin
        answer = self._list(
            _statistics_path(metric),
            [
                *self._query(periods[0].begin, periods[-1].end, scope_ids),
                ('period', length // timedelta(seconds=1)),
                ('groupby', self.scope_key),
                ('groupby', 'resource_id'),
            ],
        )
        wanted = set(scope_ids)
        return [
            (
                timeframe.parse_exact(row['period_start']),
                row['groupby'][self.scope_key],
                row['groupby']['resource_id'],
                row[metric.extra_args['aggregation_method']],
            )
            for row in answer
            if row['groupby'][self.scope_key] in wanted
        ]

    def _resources(self, metric, period, scope_ids):
        """Return the attributes by resource id; empty if the definition needs none."""
        known = {metric.extra_args['resource_key'], self.scope_key}
        if known.issuperset((*metric.groupby, *metric.metadata)):
            return {}
        answer = self._list(
            'resources',
            [*self._query(*period, scope_ids), ('meter_links', 0), ('limit', RESOURCES_MAX)],
        )
        if len(answer) >= RESOURCES_MAX:
            raise errors.CollectError(
                collector=self.collector_name,
                reason=(f'there may be more than {RESOURCES_MAX} resources'),
            )
        return {resource['resource_id']: _attributes(resource) for resource in answer}

    def _list(self, path, parameters):
        answer = self._client.get(path, parameters)
        if not isinstance(answer, list):
            raise self._client.unreachable(f'{path}: the answer is no list')
        return answer

    def _query(self, begin, end, scope_ids):
        """Return the query parameters that select a time, and the scope if there is only one."""
        found = _within(Period(begin, end))
        # Conditions are joined by "and", and no operator takes a list.
        if len(scope_ids) == 1:
            found += _conditions((self.scope_key, 'eq', scope_ids[0]))
        return found


def _statistics_path(metric):
    return f'meters/{parse.quote(metric.name)}/statistics'


def _within(span):
    return _conditions(
        ('timestamp', 'ge', _render(span.begin)), ('timestamp', 'lt', _render(span.end))
    )


def _conditions(*conditions):
    """Return the query parameters for conditions (field, operator, value)."""
    return [
        (f'q.{part}', value)
        for condition in conditions
        for part, value in zip(('field', 'op', 'value'), condition, strict=True)
    ]


def _attributes(resource):
    """Return metadata with Ceilometer's names (`flavor.name`), and the owner, as text."""
    found = {
        **(resource.get('metadata') or {}),
        'resource_id': resource['resource_id'],
        'project_id': resource.get('project_id'),
        'user_id': resource.get('user_id'),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _render(instant):
    return timeframe.to_naive(instant).isoformat(timespec='seconds')
