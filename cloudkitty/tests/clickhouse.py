"""ClickHouse for tests: the engine of chdb behind its HTTP interface."""

import contextlib
import itertools
from pathlib import Path

from cloudkitty.storage.v2.clickhouse import ClickHouseStorage
from cloudkitty.tests import peers, services

_NUMBERS = itertools.count()


def configured(conf, url):
    """Return *conf* with an empty database in ClickHouse."""
    group = ClickHouseStorage.GROUP
    conf.register_opts(ClickHouseStorage.OPTS, group=group)
    conf.set_override('urls', [url], group)
    conf.set_override('database', f'test_{next(_NUMBERS)}', group)
    conf.set_override('backend', 'clickhouse', 'storage')
    return conf


def drop(storage):
    """Remove the databases of *storage*, and close it."""
    for body in storage.body.all:
        body.client.execute(f'DROP DATABASE {body.database} SYNC')
    storage.database.engine.dispose()


@contextlib.contextmanager
def empty(conf, url):
    """Yield a store of an empty database in ClickHouse; *conf* names it."""
    opened = ClickHouseStorage(configured(conf, url))
    opened.init()
    yield opened
    drop(opened)


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
