"""Our own API as a process with a database and a Keystone."""

import subprocess
import sys
from pathlib import Path

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.storage.v2 import sql
from cloudkitty.tests import services
from cloudkitty.tests.keystone import Keystone

BIN = Path(sys.executable).parent
CONFIGURATION = """
[DEFAULT]
auth_strategy = keystone
[api]
port = {port}
[ui]
enabled = true
sso_protocols = openid
[rating]
currency = EUR
[database]
connection = sqlite:///{folder}/cloudkitty.sqlite
[fetcher]
backend = source
[collect]
collector = prometheus
metrics_conf = {folder}/metrics.yml
[orchestrator]
coordination_url = file://{folder}/locks
{auth_token}
"""


class RatingApi(services.Daemon):
    """cloudkitty-api on SQLite, which asks *keystone* who calls and is in its catalog.

    :param metrics: text of the metric definitions.
    """

    program = 'cloudkitty-api'
    ready_path = '/healthcheck'

    def __init__(self, folder: Path, *, keystone: Keystone, metrics: str):
        super().__init__(folder)
        self.keystone = keystone
        self.metrics = metrics

    @property
    def url(self) -> str:
        return f'http://{self.address}'

    @property
    def config_file(self) -> Path:
        return self.folder / 'cloudkitty.conf'

    def command(self):
        return [str(BIN / self.program), '--config-file', str(self.config_file)]

    def prepare(self):
        (self.folder / 'metrics.yml').write_text(self.metrics)
        self.config_file.write_text(
            CONFIGURATION.format(
                port=self.port, folder=self.folder, auth_token=self.keystone.auth_token_options
            )
        )
        ended = subprocess.run(
            [BIN / 'cloudkitty-dbsync', '--config-file', self.config_file, 'upgrade'],
            text=True,
            timeout=60,
            capture_output=True,
        )
        if ended.returncode:
            raise services.ServiceFailed(f'cloudkitty-dbsync: {ended.stderr[-1000:]}')

    def start(self):
        super().start()
        self.keystone.announce(self.url)

    def open_storage(self) -> sql.SQLStorage:
        """Return the storage of this service, to be filled."""
        return sql.SQLStorage(
            configuration.load([], files=[str(self.config_file)], conf=cfg.ConfigOpts())
        )
