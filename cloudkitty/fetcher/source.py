"""Scopes that the configuration file lists."""

from oslo_config import cfg

from cloudkitty import fetcher


class SourceFetcher(fetcher.BaseFetcher):
    """Serve the scope ids written in the configuration file."""

    name = 'source'
    GROUP = 'fetcher_source'
    OPTS = [cfg.ListOpt('sources', default=[], help='Scope ids to rate.')]

    def get_tenants(self):
        return list(self.options.sources)
