"""ClickHouse for tests: the engine of chdb behind its HTTP interface."""

from pathlib import Path

from cloudkitty.tests import peers, services


class ClickHouse(services.Daemon):
    """A server that loses nothing when it is killed between statements."""

    program = 'clickhouse'
    ready_path = '/ping'

    def __init__(self, folder: Path):
        super().__init__(folder)
        self._bin = peers.environment('clickhouse')

    @property
    def url(self) -> str:
        return f'http://{self.address}'

    def command(self):
        script = peers.LISTS / 'serve_clickhouse.py'
        return [self._bin / 'python', script, str(self.port), self.folder / 'data']
