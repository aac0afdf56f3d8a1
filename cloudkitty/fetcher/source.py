"""Scopes from the configuration file."""

from oslo_config import cfg

from cloudkitty import fetcher


class SourceFetcher(fetcher.BaseFetcher):
    """Returns the scope ids in the configuration file."""

    name = 'source'
    GROUP = 'fetcher_source'
    OPTS = [cfg.ListOpt('sources', default=[], help='Scope ids to rate.')]

    def get_tenants(self):
        return list(self.options.sources)
