"""A database with data that tests of one module share, and applications over it.

For tests that only read, or whose changes nobody else notices: building an application takes a
tenth of a second, filling a database longer.
"""

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import webob
import yaml
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db
from cloudkitty.storage.v2 import sql
from cloudkitty.tests.functional.api import conftest
from cloudkitty.tests.functional.api.described import Described


class World:
    """A configuration, its database and its storage.

    :ivar folder: where files may be written.
    """

    def __init__(self, folder: Path, template: Path):
        path = folder / 'cloudkitty.sqlite'
        shutil.copy(template, path)
        self.folder = folder
        self.conf = configuration.load([], files=[], conf=cfg.ConfigOpts())
        self.conf.set_override('connection', f'sqlite:///{path}', 'database')
        metrics = folder / 'metrics.yml'
        metrics.write_text(conftest.METRICS)
        self.conf.set_override('metrics_conf', str(metrics), 'collect')
        self.database = db.Database(self.conf)
        self.storage = sql.SQLStorage(self.conf)
        self._numbers = itertools.count()

    def behind_a_proxy(self, policy: Mapping[str, str]):
        """Return an application that believes identity headers, with rules of the operator."""
        path = self.folder / f'policy-{next(self._numbers)}.yaml'
        path.write_text(yaml.safe_dump(dict(policy)))
        return conftest.behind_a_proxy(self.conf, self.database, self.storage, path)

    def noauth(self) -> Described:
        """Return an application for which everybody is the administrator."""
        application = self.behind_a_proxy({})
        self.conf.set_override('auth_strategy', 'noauth')
        return Described(application)


@contextlib.contextmanager
def opened(folder: Path, template: Path) -> Iterator[World]:
    """Yield a world without data, see fixture `sqlite_template`."""
    world = World(folder, template)
    yield world
    world.storage.database.engine.dispose()
    world.database.engine.dispose()


def call(application, path: str, method: str = 'GET', *, json=None, **headers) -> webob.Response:
    """Return the answer; *headers* are named with underscores."""
    given = {name.replace('_', '-'): value for name, value in headers.items()}
    kwargs = {} if json is None else {'json': json, 'content_type': 'application/json'}
    request = webob.Request.blank(path, method=method, headers=given, **kwargs)
    return request.get_response(application)
