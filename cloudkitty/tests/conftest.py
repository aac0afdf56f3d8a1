"""Fixtures every test may use. A service that is missing is an error, never a skip."""

import os
import shutil
import uuid

import pytest
import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db
from cloudkitty.db import migration
from cloudkitty.tests import gnocchi as gnocchi_peer
from cloudkitty.tests import history, metric_stores, services
from cloudkitty.tests.aetos import Aetos
from cloudkitty.tests.keystone import Keystone

SERVERS = {
    'postgresql': os.environ.get('CLOUDKITTY_TEST_POSTGRESQL',
                                 'postgresql+psycopg2://postgres@127.0.0.1:5432'),
    'mariadb': os.environ.get('CLOUDKITTY_TEST_MARIADB', 'mysql+pymysql://root@127.0.0.1:3306'),
}
MAINTENANCE = {'postgresql': 'postgres', 'mariadb': ''}


@pytest.fixture
def conf(tmp_path):
    """A configuration of its own, with defaults and a fresh SQLite file."""
    loaded = configuration.load([], files=[], conf=cfg.ConfigOpts())
    loaded.set_override('connection', f'sqlite:///{tmp_path}/cloudkitty.sqlite', 'database')
    loaded.set_override('coordination_url', f'file://{tmp_path}/locks', 'orchestrator')
    return loaded


def _create_database(kind):
    name = f'ck_{uuid.uuid4().hex[:12]}'
    admin = sa.create_engine(f'{SERVERS[kind]}/{MAINTENANCE[kind]}', isolation_level='AUTOCOMMIT')
    with admin.connect() as connection:
        connection.execute(sa.text(f'CREATE DATABASE {name}'))
    return admin, name


@pytest.fixture(params=['sqlite', 'postgresql', 'mariadb'])
def any_conf(request, conf):
    """The configuration, once with each kind of database."""
    if request.param == 'sqlite':
        yield conf
        return
    admin, name = _create_database(request.param)
    conf.set_override('connection', f'{SERVERS[request.param]}/{name}', 'database')
    yield conf
    with admin.connect() as connection:
        force = ' WITH (FORCE)' if request.param == 'postgresql' else ''
        connection.execute(sa.text(f'DROP DATABASE {name}{force}'))
    admin.dispose()


@pytest.fixture(scope='session')
def sqlite_template(tmp_path_factory):
    """A SQLite file with the schema, to be copied."""
    path = tmp_path_factory.mktemp('template') / 'cloudkitty.sqlite'
    configured = configuration.load([], files=[], conf=cfg.ConfigOpts())
    configured.set_override('connection', f'sqlite:///{path}', 'database')
    database = db.Database(configured)
    migration.upgrade(database)
    # With its connections closed, all is in the one file.
    database.engine.dispose()
    return path


def _open(configured, template):
    database = db.Database(configured)
    if database.engine.dialect.name == 'sqlite':
        shutil.copy(template, database.engine.url.database)
    else:
        migration.upgrade(database)
    return database


@pytest.fixture
def database(conf, sqlite_template):
    """An empty SQLite database with the schema."""
    opened = _open(conf, sqlite_template)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def any_database(any_conf, sqlite_template):
    """An empty database with the schema, once of each kind."""
    opened = _open(any_conf, sqlite_template)
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope='session')
def prometheus(tmp_path_factory):
    """A real Prometheus that has the samples of tests/history.py; not to be stopped."""
    with services.Prometheus(tmp_path_factory.mktemp('prometheus'),
                             history=history.FAMILIES) as server:
        yield server


@pytest.fixture(scope='session')
def gnocchi(tmp_path_factory):
    """A real Gnocchi that has the samples of tests/history.py; not to be stopped.

    Its tests are marked with xdist_group('gnocchi'), since it starts in 10 seconds.
    """
    with gnocchi_peer.Gnocchi(tmp_path_factory.mktemp('gnocchi'),
                              SERVERS['postgresql']) as server:
        server.define({'test': gnocchi_peer.texts('resource', 'flavor', 'volume_type')})
        server.load(gnocchi_peer.of_families(history.FAMILIES, history.BEGIN,
                                             resource_type='test'))
        yield server


@pytest.fixture(scope='session')
def victoria_metrics(tmp_path_factory):
    """A real VictoriaMetrics that has the samples of tests/history.py; not to be stopped."""
    with metric_stores.VictoriaMetrics(tmp_path_factory.mktemp('victoria-metrics'),
                                       history=history.FAMILIES) as server:
        yield server


@pytest.fixture(scope='session')
def keystone(tmp_path_factory):
    """A real Keystone; not to be stopped. Its tests are of the group `keystone`: one start."""
    with Keystone(tmp_path_factory.mktemp('keystone')) as server:
        yield server


@pytest.fixture(scope='session')
def aetos(tmp_path_factory, keystone, prometheus):
    """A real Aetos in front of the Prometheus above, in the catalog of the Keystone above."""
    with Aetos(tmp_path_factory.mktemp('aetos'), keystone=keystone,
               prometheus_port=prometheus.port) as server:
        keystone.announce(server.url, name='aetos', kind='metric-storage')
        yield server
