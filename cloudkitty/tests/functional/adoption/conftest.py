"""Databases of earlier releases, and what adopts them."""

import contextlib
from datetime import datetime

import pytest

from cloudkitty import db
from cloudkitty.db import adoption, migration
from cloudkitty.db.adoption import options, zone
from cloudkitty.tests import conftest, formers

IDENTITY = ('project_id', 'source', 'prometheus')
NOW = datetime(2026, 11, 30, 12)
# One with everything, those whose columns differ, and the other kind of server.
NAMES = (
    '25-mariadb-sqlv1',
    '25-mariadb-influxdb',
    '25-mariadb-small',
    '22-mariadb',
    '13-mariadb-sqlv1',
    '21-postgresql-sqlv1',
)


@contextlib.contextmanager
def loaded(name):
    """Yield the URL of the former database *name*."""
    kind = formers.kind_of(name)
    words = formers.MARIADB_OPTIONS if kind == 'mariadb' else ''
    with conftest.new_database(kind, words) as url:
        formers.load(name, url)
        yield url


@contextlib.contextmanager
def opened(name, conf):
    """Yield the former database *name*, which *conf* names too."""
    with loaded(name) as url:
        conf.set_override('connection', url, 'database')
        conf.set_override('scope_key', IDENTITY[0], 'collect')
        conf.set_override('backend', IDENTITY[1], 'fetcher')
        conf.set_override('collector', IDENTITY[2], 'collect')
        database = db.Database(conf)
        yield database
        database.close()


@pytest.fixture(params=NAMES)
def former(request, conf):
    """Each of the databases in turn."""
    with opened(request.param, conf) as database:
        database.name = request.param
        yield database


@pytest.fixture
def former_25(conf):
    """The one of release 25 with everything but rated data."""
    with opened('25-mariadb-influxdb', conf) as database:
        yield database


@pytest.fixture(params=['25-mariadb-influxdb', '21-postgresql-sqlv1'])
def any_former(request, conf):
    """One of each kind of server."""
    with opened(request.param, conf) as database:
        yield database


def adopt(database, zone_name='UTC', *, tell=lambda line: None, **more):
    """Adopt *database*; return the lines that are told, *tell* hears them at once."""
    lines = []

    def hear(line):
        lines.append(line)
        tell(line)

    told = options.Options(
        zone=zone.named(zone_name), identity=IDENTITY, period_s=3600, now=NOW, **more
    )
    migration.upgrade(database, adopter=adoption.Adoption(told, hear))
    return lines


@pytest.fixture
def former_v1(conf):
    """The one of release 25 with rated data of storage v1."""
    with opened('25-mariadb-sqlv1', conf) as database:
        yield database
