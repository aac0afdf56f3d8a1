"""Fixtures every test may use. A service that is missing is an error, never a skip."""

import contextlib
import os
import shutil

import hypothesis
import pytest
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db
from cloudkitty.db import migration
from cloudkitty.tests import clickhouse_cluster as clusters
from cloudkitty.tests import gnocchi as gnocchi_peer
from cloudkitty.tests import history, metric_stores, schemas, services
from cloudkitty.tests.aetos import Aetos
from cloudkitty.tests.clickhouse import ClickHouse
from cloudkitty.tests.influxdb import InfluxDB
from cloudkitty.tests.keystone import Keystone
from cloudkitty.tests.rabbitmq import RabbitMQ

SERVERS = {
    'postgresql': os.environ.get(
        'CLOUDKITTY_TEST_POSTGRESQL', 'postgresql+psycopg2://postgres@127.0.0.1:5432'
    ),
    'mariadb': os.environ.get('CLOUDKITTY_TEST_MARIADB', 'mysql+pymysql://root@127.0.0.1:3306'),
}
KINDS = ('sqlite', *SERVERS)
# Characters of a value in the name of a test.
ID_MAX = 150

# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile('tests', deadline=None)
hypothesis.settings.load_profile('tests')


def pytest_make_parametrize_id(val):
    """Cut a long text in the name of a test: some have 100,000 characters."""
    if isinstance(val, str | bytes) and len(val) > ID_MAX:
        return f'{val[:ID_MAX]!a}... of {len(val)}'
    return None


@pytest.fixture
def conf(tmp_path):
    """A configuration of its own, with defaults and a fresh SQLite file."""
    loaded = configuration.load([], files=[], conf=cfg.ConfigOpts())
    loaded.set_override('connection', f'sqlite:///{tmp_path}/cloudkitty.sqlite', 'database')
    loaded.set_override('coordination_url', f'file://{tmp_path}/locks', 'orchestrator')
    return loaded


def new_database(kind: str, options: str = '') -> contextlib.AbstractContextManager[str]:
    """Yield the URL of an empty database on the server of this *kind*; it is dropped afterwards.

    :param options: words for the end of CREATE DATABASE.
    """
    return schemas.new_database(SERVERS[kind], kind, options)


@contextlib.contextmanager
def on_database(kind, conf):
    """Yield *conf* with an empty database of this kind, which is removed afterwards."""
    if kind == 'sqlite':
        yield conf
        return
    with new_database(kind) as url:
        conf.set_override('connection', url, 'database')
        yield conf


@pytest.fixture(scope='session')
def server_schemas():
    """What gives databases with the schema, by kind of server."""
    with contextlib.ExitStack() as opened:
        given = {kind: schemas.Schemas(url, kind, _upgrade) for kind, url in SERVERS.items()}
        for one in given.values():
            opened.callback(one.close)
        yield given


def _upgrade(url):
    configured = configuration.load([], files=[], conf=cfg.ConfigOpts())
    configured.set_override('connection', url, 'database')
    database = db.Database(configured)
    migration.upgrade(database)
    database.engine.dispose()


@contextlib.contextmanager
def on_schema(kind, conf, server_schemas):
    """Yield *conf* with a database of this kind for the fixture database or any_database."""
    if kind == 'sqlite':
        yield conf
        return
    with server_schemas[kind].database() as url:
        conf.set_override('connection', url, 'database')
        yield conf


@pytest.fixture(params=KINDS)
def any_conf(request, conf, server_schemas):
    """The configuration, once with each kind of database: empty, or that of any_database."""
    opened = (
        on_schema(request.param, conf, server_schemas)
        if 'any_database' in request.fixturenames
        else on_database(request.param, conf)
    )
    with opened as configured:
        yield configured


@pytest.fixture(scope='module', params=['postgresql', 'mariadb'])
def server_conf(request):
    """A configuration with a database that has the schema, once of each kind of server.

    Making the schema takes a second: the tests of a module share it, and empty its tables.
    """
    unchanged = configuration.load([], files=[], conf=cfg.ConfigOpts())
    with on_database(request.param, unchanged) as configured:
        _upgrade(configured.database.connection)
        yield configured


@pytest.fixture(scope='session')
def clickhouse(tmp_path_factory):
    """ClickHouse; for tests of the xdist group clickhouse."""
    with ClickHouse(tmp_path_factory.mktemp('clickhouse')) as server:
        yield server


@pytest.fixture(scope='session')
def clickhouse_cluster(tmp_path_factory):
    """The replicas of two shards; for tests of the xdist group clickhouse_cluster."""
    if not clusters.is_available():
        pytest.skip('only Debian 12 has a server of ClickHouse')
    with clusters.cluster(tmp_path_factory.mktemp('clickhouse_cluster')) as shards:
        yield shards


@pytest.fixture(scope='session')
def broker(tmp_path_factory):
    """RabbitMQ; for tests of the xdist group rabbitmq."""
    with RabbitMQ(tmp_path_factory.mktemp('rabbitmq')) as server:
        yield server


@pytest.fixture(scope='session')
def sqlite_template(tmp_path_factory):
    """A SQLite file with the schema, to be copied."""
    path = tmp_path_factory.mktemp('template') / 'cloudkitty.sqlite'
    # It closes its connections, so that all is in the one file.
    _upgrade(f'sqlite:///{path}')
    content = path.read_bytes()
    yield path
    assert path.read_bytes() == content, 'a test has written to the template of all others'


def _open(configured, template):
    database = db.Database(configured)
    if database.engine.dialect.name == 'sqlite':
        shutil.copy(template, database.engine.url.database)
    return database


@pytest.fixture
def database(conf, sqlite_template):
    """An empty database with the schema: SQLite, unless *conf* has another of on_schema()."""
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
    with services.Prometheus(
        tmp_path_factory.mktemp('prometheus'), history=history.FAMILIES
    ) as server:
        yield server


@pytest.fixture(scope='session')
def gnocchi(tmp_path_factory):
    """A real Gnocchi that has the samples of tests/history.py; not to be stopped.

    Its tests are marked with xdist_group('gnocchi'), since it starts in 10 seconds.
    """
    with gnocchi_peer.Gnocchi(tmp_path_factory.mktemp('gnocchi'), SERVERS['postgresql']) as server:
        server.define({'test': gnocchi_peer.texts('resource', 'flavor', 'volume_type')})
        server.load(gnocchi_peer.of_families(history.FAMILIES, history.BEGIN, resource_type='test'))
        yield server


@pytest.fixture(scope='session')
def victoria_metrics(tmp_path_factory):
    """A real VictoriaMetrics that has the samples of tests/history.py; not to be stopped."""
    with metric_stores.VictoriaMetrics(
        tmp_path_factory.mktemp('victoria-metrics'), history=history.FAMILIES
    ) as server:
        yield server


@pytest.fixture(scope='session')
def keystone(tmp_path_factory):
    """A real Keystone; not to be stopped. Its tests are of the group `keystone`: one start."""
    with Keystone(tmp_path_factory.mktemp('keystone')) as server:
        yield server


@pytest.fixture(scope='session')
def aetos(tmp_path_factory, keystone, prometheus):
    """A real Aetos in front of the Prometheus above, in the catalog of the Keystone above."""
    with Aetos(
        tmp_path_factory.mktemp('aetos'), keystone=keystone, prometheus_port=prometheus.port
    ) as server:
        keystone.announce(server.url, name='aetos', kind='metric-storage')
        yield server


@pytest.fixture(scope='session')
def influxdb(tmp_path_factory):
    """A real InfluxDB 1 without a database; not to be stopped."""
    with InfluxDB(tmp_path_factory.mktemp('influxdb')) as server:
        yield server
