"""Fixtures of the API tests: an application with data, and callers."""

import pathlib
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.api import app
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import sql
from cloudkitty.tests.functional.api import keystone
from cloudkitty.tests.functional.api.described import Described

BIN = pathlib.Path(sys.executable).parent
HOUR = timedelta(hours=1)
BEGIN = datetime(2019, 1, 1, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'source', 'prometheus')


METRICS = """\
metrics:
  cpu:
    unit: instance
    alt_name: instance
    groupby: [id, project_id]
    metadata: [flavor_name, flavor_id, vcpus]
    mutate: MAP
    mutate_map: {0.0: 1.0, 11: 1}
  image.size:
    - {unit: MiB, factor: 1/1048576, metadata: [disk_format, container_format]}
    - {unit: image, alt_name: image.count}
"""


def _point(project, qty, price, **groupby):
    return DataPoint(
        'instance', qty, price, {'project_id': project, **groupby}, {'flavor_name': 'm1'}
    )


def frames():
    """Two hours of two projects; an address only in the first hour of p1."""
    for hour in range(2):
        begin = BEGIN + hour * HOUR
        usage = {'instance': [_point('p1', '1', '0.25', id='u1', name='a:b')]}
        if hour == 0:
            usage['ip'] = [_point('p1', '1', '0.1', id="O'Brien")]
        yield 'p1', DataFrame(begin, begin + HOUR, usage)
        yield (
            'p2',
            DataFrame(
                begin,
                begin + HOUR,
                {'instance': [_point('p2', '2', '0.5000000000000000000000000001', id='u2')]},
            ),
        )


@pytest.fixture
def storage(conf, database):
    """The default storage with a few frames."""
    opened = sql.SQLStorage(conf)
    for scope_id, frame in frames():
        opened.push([frame], scope_id)
    yield opened
    opened.database.engine.dispose()


def rate_as(conf, identity=IDENTITY):
    """Let *conf* rate scopes of *identity*."""
    conf.set_override('scope_key', identity.scope_key, 'collect')
    conf.set_override('backend', identity.fetcher, 'fetcher')
    conf.set_override('collector', identity.collector, 'collect')


@pytest.fixture
def known_scopes(conf, database):
    """Three scopes of those that are rated, the last one switched off."""
    rate_as(conf)
    names = ['p1', 'p2', 'p3']
    with database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, names, now=BEGIN, initial_mark=BEGIN, final_mark=BEGIN
        )
        scope_state.claim_fetch(connection, IDENTITY, seen=None, now=datetime.now(UTC))
        connection.execute(
            scope_state.tables.scopes.update()
            .values(active=False)
            .where(scope_state.tables.scopes.c.identifier == 'p3')
        )
    return names


@pytest.fixture
def metrics_file(tmp_path, conf):
    """The path of the metric definitions."""
    path = tmp_path / 'metrics.yml'
    path.write_text(METRICS)
    conf.set_override('metrics_conf', str(path), 'collect')
    return path


@pytest.fixture
def noauth(conf, database, storage, known_scopes, metrics_file):
    """The application for which everybody is the administrator."""
    conf.set_override('auth_strategy', 'noauth')
    return Described(app.build(conf, database=database, storage=storage))


def behind_a_proxy(conf, database, storage, policy_file):
    """Return an application that believes the identity headers, as behind a token check."""
    for group, options in app.library_options(conf):
        conf.register_opts(options, group=group)
    conf.set_override('policy_file', str(policy_file), 'oslo_policy')
    conf.set_override('auth_strategy', 'noauth')
    application = app.build(conf, database=database, storage=storage)
    conf.set_override('auth_strategy', 'keystone')
    return application


@pytest.fixture(scope='session')
def identity_service():
    """A Keystone that knows a few tokens, see keystone.TOKENS."""
    with keystone.serve() as url:
        yield url


@pytest.fixture
def authenticated(tmp_path, identity_service, conf, database, storage, known_scopes, metrics_file):
    """The application behind keystonemiddleware."""
    path = tmp_path / 'keystone.conf'
    path.write_text(keystone.middleware_options(identity_service))
    secured = configuration.load([], files=[str(path)], conf=cfg.ConfigOpts())
    secured.set_override('connection', conf.database.connection, 'database')
    secured.set_override('metrics_conf', str(metrics_file), 'collect')
    secured.set_override('enabled', conf.billing.enabled, 'billing')
    rate_as(secured)
    return Described(app.build(secured, database=database, storage=storage))


def _free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture
def config_file(tmp_path, conf, metrics_file):
    """A configuration file for noauth on a free port; returns (path, port)."""
    port = _free_port()
    path = tmp_path / 'cloudkitty.conf'
    path.write_text(
        f'[DEFAULT]\nauth_strategy = noauth\n[api]\nport = {port}\n'
        f'[database]\nconnection = {conf.database.connection}\n'
        f'[collect]\nmetrics_conf = {metrics_file}\ncollector = {IDENTITY.collector}\n'
        f'[fetcher]\nbackend = {IDENTITY.fetcher}\n'
    )
    return path, port


@pytest.fixture
def server(config_file, storage, known_scopes):
    """A running cloudkitty-api with data; returns its URL."""
    path, port = config_file
    process = subprocess.Popen(
        [BIN / 'cloudkitty-api', '--config-file', str(path)],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    url = f'http://127.0.0.1:{port}'
    # Log lines come first; the test's own timeout ends a wait in vain.
    assert f'cloudkitty-api listens on {url}\n' in iter(process.stdout.readline, '')
    yield url
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0
    assert 'Traceback' not in process.stdout.read()
