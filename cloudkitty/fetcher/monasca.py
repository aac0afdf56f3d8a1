"""Scopes from a dimension of Monasca's metrics."""

from oslo_config import cfg

from cloudkitty import errors, fetcher
from cloudkitty.clients import monasca


class MonascaFetcher(fetcher.BaseFetcher):
    """Lists the values of a dimension.

    Source: doc/source/contributor/compatibility/collection.rst, "Collector and fetcher: monasca".
    """

    name = 'monasca'
    GROUP = 'fetcher_monasca'
    OPTS = [
        cfg.StrOpt(
            'dimension_name', default='project_id', help='Dimension that holds the id of a scope.'
        ),
        cfg.StrOpt(
            'monasca_tenant_id',
            help='Tenant whose metrics are queried; without it, that of the credentials. '
            'For another tenant the user needs a delegate role of Monasca.',
        ),
        *monasca.OPTS,
    ]

    def __init__(self, conf, *, group=None):
        super().__init__(conf, group=group)
        self._client = monasca.build_client(self.name, conf, self.group)

    def get_tenants(self):
        parameters = {'dimension_name': self.options.dimension_name}
        if self.options.monasca_tenant_id:
            parameters['tenant_id'] = self.options.monasca_tenant_id
        try:
            found = {
                element['dimension_value']
                for element in self._client.pages(
                    'metrics/dimensions/names/values', parameters, 'elements'
                )
            }
            return sorted(found - {''})
        except errors.SourceError as exc:
            raise errors.FetcherError(fetcher=self.name, reason=exc.facts['reason']) from exc
        except (KeyError, TypeError) as exc:
            raise errors.FetcherError(
                fetcher=self.name, reason='unexpected answer of Monasca'
            ) from exc
