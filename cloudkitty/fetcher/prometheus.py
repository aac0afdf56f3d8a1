"""Scopes from a label of a Prometheus metric."""

from oslo_config import cfg

from cloudkitty import errors, fetcher
from cloudkitty.clients import prometheus, prometheus_access

# Range of the query in periods: the query runs once a period, possibly with delay.
LOOK_BACK_PERIODS = 2
# A longer range could be too expensive for the server.
LOOK_BACK_MAX_S = 86400


class PrometheusFetcher(fetcher.BaseFetcher):
    """Lists the values of a label in the series of the last two periods.

    So a scope that existed only between two queries is not missed.

    Source: doc/source/contributor/compatibility/collection.rst, "Fetcher: prometheus".
    """

    name = 'prometheus'
    GROUP = 'fetcher_prometheus'
    OPTS = [
        cfg.StrOpt(
            'metric',
            help='Metric whose series have the label scope_attribute, such as '
            'kube_namespace_created.',
        ),
        cfg.StrOpt(
            'scope_attribute', default='project_id', help='Label that holds the id of a scope.'
        ),
        cfg.DictOpt(
            'filters',
            default={},
            help='Use only series with these labels, `label:value,...`.',
        ),
        *prometheus_access.OPTS,
    ]

    def __init__(self, conf, **arguments):
        super().__init__(conf, **arguments)
        self.query = self._build_query()
        self.client = prometheus.Client(prometheus_access.Direct(self.group, self.options))

    def _build_query(self):
        if not self.options.metric:
            self._refuse('metric', 'is not set; allowed: the name of a metric')
        for name in (self.options.scope_attribute, *self.options.filters):
            if not prometheus.is_label(name):
                option = 'filters' if name in self.options.filters else 'scope_attribute'
                self._refuse(option, f'has {name!r}, which is no name of a label')
        filters = ', '.join(
            f'{name}={prometheus.quote(value)}' for name, value in self.options.filters.items()
        )
        selector = f'{self.options.metric}{{{filters}}}' if filters else self.options.metric
        # An expression that is more than a name cannot have a range.
        if prometheus.is_metric(self.options.metric):
            look_back_s = min(LOOK_BACK_PERIODS * self.conf.collect.period, LOOK_BACK_MAX_S)
            selector = f'last_over_time({selector}[{look_back_s}s])'
        return f'max({selector}) by ({self.options.scope_attribute})'

    def _refuse(self, option, reason):
        raise errors.ConfigurationError(reason=f'[{self.group}]{option} {reason}')

    def get_tenants(self):
        try:
            found = {
                series['metric'].get(self.options.scope_attribute)
                for series in self.client.query(self.query)
            }
        except errors.SourceError as exc:
            raise errors.FetcherError(fetcher=self.name, reason=exc.facts['reason']) from exc
        except (KeyError, TypeError, AttributeError) as exc:
            raise errors.FetcherError(
                fetcher=self.name, reason=f'{self.client.safe_url}: unexpected answer'
            ) from exc
        # A series without the label, or with an empty one, belongs to no scope.
        return sorted(found - {None, ''})
