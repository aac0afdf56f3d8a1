"""Usage from a Prometheus behind Aetos, a proxy that requires a Keystone token."""

from oslo_config import cfg

from cloudkitty.clients import keystone, prometheus_access
from cloudkitty.collector import prometheus


class AetosCollector(prometheus.PrometheusCollector):
    """Collects with PromQL from the endpoint in the catalog.

    The user needs a role with which Aetos allows reading all projects, mostly `admin` or `service`.

    Source: doc/source/contributor/compatibility/collection.rst, "Collector: aetos".
    """

    collector_name = 'aetos'
    GROUP = 'collector_aetos'
    OPTS = [
        cfg.StrOpt(
            'interface',
            default='public',
            choices=['internal', 'public', 'admin'],
            help='Interface of the endpoint to take from the catalog.',
        ),
        cfg.StrOpt('region_name', help='Region of the endpoint; needed where there are several.'),
        prometheus.SCRAPE_INTERVAL,
        *keystone.OPTS,
    ]

    def build_access(self):
        return prometheus_access.Proxied(
            keystone.load_session(self.service_conf, self.group),
            {
                'service_type': 'metric-storage',
                'interface': self.options.interface,
                'region_name': self.options.region_name,
            },
        )
