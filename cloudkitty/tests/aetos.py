"""A real Aetos on loopback: a proxy in front of a Prometheus that wants a Keystone token."""

from collections.abc import Mapping
from pathlib import Path

from keystoneauth1 import loading
from oslo_config import cfg

from cloudkitty.collector.aetos import AetosCollector
from cloudkitty.tests import peers
from cloudkitty.tests.keystone import REGION, Keystone

CONFIGURATION = """
[prometheus]
host = 127.0.0.1
port = {port}
project_label_name = project_id
"""


class Aetos(peers.WsgiPeer):
    """Aetos in front of the Prometheus on loopback port *prometheus_port*."""

    program = 'aetos'
    ready_path = '/'
    application = 'aetos.wsgi.api:application'

    def __init__(self, folder: Path, *, keystone: Keystone, prometheus_port: int):
        super().__init__(folder, peers.environment('aetos'))
        self._keystone = keystone
        self._prometheus_port = prometheus_port

    def environment(self):
        # Home is where it looks for its file; no variable and no argument names another.
        return {**super().environment(), 'HOME': str(self.folder)}

    def prepare(self):
        (self.folder / 'aetos.conf').write_text(
            CONFIGURATION.format(port=self._prometheus_port) + self._keystone.auth_token_options
        )


def build(
    conf: cfg.ConfigOpts, keystone: Keystone, definitions: Mapping, region: str = REGION
) -> AetosCollector:
    """Return the collector that finds its server in the catalog of *keystone*."""
    group = AetosCollector.GROUP
    conf.register_opts(AetosCollector.OPTS, group)
    conf.register_opts(loading.get_auth_plugin_conf_options('v3password'), group)
    for name, value in {
        'auth_type': 'v3password',
        'auth_url': f'{keystone.url}/v3',
        'username': 'cloudkitty',
        'password': 'cloudkitty',
        'project_name': 'service',
        'user_domain_id': 'default',
        'project_domain_id': 'default',
        'region_name': region,
    }.items():
        conf.set_override(name, value, group)
    return AetosCollector(period=3600, conf=definitions, service_conf=conf)
