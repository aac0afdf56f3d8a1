"""Usage from a Prometheus behind Aetos, a proxy that wants a Keystone token."""

from oslo_config import cfg

from cloudkitty.clients import keystone, prometheus_access
from cloudkitty.collector import prometheus


class AetosCollector(prometheus.PrometheusCollector):
    """Collect with PromQL what the endpoint of the catalog lets the user see.

    The user needs a role that Aetos lets read all projects, as a rule `admin` or `service`.

    Source: contract collection, section 5.3.
    """

    collector_name = 'aetos'
    GROUP = 'collector_aetos'
    OPTS = [
        cfg.StrOpt('interface', default='public', choices=['internal', 'public', 'admin'],
                   help='Interface of the endpoint to take from the catalog.'),
        cfg.StrOpt('region_name', help='Region of the endpoint; needed where there are several.'),
        *keystone.OPTS,
    ]

    def build_access(self):
        return prometheus_access.Proxied(
            keystone.load_session(self.service_conf, self.group),
            {'service_type': 'metric-storage', 'interface': self.options.interface,
             'region_name': self.options.region_name})
