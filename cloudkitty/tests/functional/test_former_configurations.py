"""Configurations that installers write for earlier releases: they start, or one line says why not.

Each is read by what the commands do: the schema, the storage, the processor, the API, the check.
"""

import logging
import pathlib

import pytest
import sqlalchemy as sa
import webob
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, errors, storage
from cloudkitty.api import app, paste
from cloudkitty.cli import upgrade_check
from cloudkitty.db import migration, tables
from cloudkitty.doctor import options, web_server
from cloudkitty.processor import service
from cloudkitty.tests import conftest

FOLDER = pathlib.Path(__file__).parents[1] / 'fixtures' / 'configurations'
METRICS = 'metrics: {cpu: {unit: instance}}'
GNOCCHI = (
    'metrics: {cpu: {unit: instance, alt_name: instance, groupby: [id], mutate: NUMBOOL, '
    'extra_args: {aggregation_method: mean, resource_type: instance}}}'
)
HOST_IP = '[api]host_ip has no effect: the WSGI server decides where the API listens'
SERVICES = '[collect]services has no effect: the file of metrics_conf names what is rated'
HEARTBEAT = '[oslo_messaging_rabbit]heartbeat_in_pthread has no effect'
KOLLA = [HEARTBEAT, '[fetcher_keystone]region_name has no effect', HOST_IP]
PRIVILEGED = [
    f'[DEFAULT]os_privileged_user_{name} has no effect'
    for name in ('auth_url', 'name', 'password', 'tenant')
]
# By configuration: what refuses to start and why, and the options without effect.
EXPECTED = {
    'kolla-sqlalchemy': (None, KOLLA),
    'kolla-opensearch': ('opensearch', KOLLA),
    'rhoso': (
        'loki',
        [
            HEARTBEAT,
            '[oslo_messaging_rabbit]rabbit_quorum_queues: no such option; did you mean '
            'rabbit_quorum_queue?',
        ],
    ),
    'helm': (
        None,
        [
            *PRIVILEGED,
            SERVICES,
            '[state]backend has no effect: the progress of scopes is in the database',
        ],
    ),
    'charm': (
        'influxdb',
        [
            '[DEFAULT]verbose has no effect: set debug = true to log more',
            '[ks_auth]auth_protocol has no effect',
            '[keystone_authtoken]auth_uri: no such option; did you mean www_authenticate_uri?',
        ],
    ),
    'puppet': (
        'elasticsearch',
        [
            HOST_IP,
            '[api]pecan_debug has no effect: set [DEFAULT]debug = true to log more',
            '[collect]window has no effect: [orchestrator]batch_periods bounds what is collected '
            'at once',
            SERVICES,
        ],
    ),
}


@pytest.fixture(scope='module')
def connection():
    """A database with the schema, as these installers have one."""
    with conftest.new_database('mariadb') as url:
        conf = configuration.read([], files=[], conf=cfg.ConfigOpts())
        conf.set_override('connection', url, 'database')
        database = db.Database(conf)
        migration.upgrade(database)
        database.close()
        yield url


@pytest.fixture
def read(tmp_path, connection):
    """Returns the configuration of this name as the commands read it."""

    def _read(name, extra=''):
        (tmp_path / 'metrics.yml').write_text(
            METRICS if 'collector = prometheus' in _text(name) else GNOCCHI
        )
        (tmp_path / 'logging.conf').write_text(
            '[loggers]\nkeys=root\n[handlers]\nkeys=null\n[formatters]\nkeys=\n'
            '[logger_root]\nhandlers=null\n[handler_null]\nclass=logging.NullHandler\nargs=()\n'
        )
        (tmp_path / 'api-paste.ini').write_text(_fill('api-paste.ini', tmp_path, connection))
        path = tmp_path / 'cloudkitty.conf'
        path.write_text(_fill(f'{name}.conf', tmp_path, connection) + extra)
        loaded = configuration.read([], files=[str(path)], conf=cfg.ConfigOpts())
        # Each is of another site: they need not agree with one another.
        with db.Database(loaded).writer() as writer:
            writer.execute(sa.delete(tables.agreements))
        return loaded

    return _read


def _text(name):
    return (FOLDER / f'{name}.conf').read_text()


def _fill(name, folder, connection):
    text = (FOLDER / name).read_text()
    return text.replace('{folder}', str(folder)).replace('{connection}', connection)


@pytest.mark.parametrize('name', EXPECTED)
def test_each_starts_or_says_what_to_do(read, name):
    """Schema, storage, processor and API; a store of the past names the command that reads it."""
    store, _ = EXPECTED[name]
    conf = read(name)
    migration.upgrade(db.Database(conf))

    for start in (storage.get_driver, service.check, app.load):
        if store is None:
            start(conf)
            continue
        with pytest.raises(errors.ConfigurationError) as raised:
            start(conf)
        assert str(raised.value) == (
            f"[storage]backend: '{store}' is only read, by `cloudkitty-storage import --from "
            f'{store}`; set backend = sql (or remove it)'
        )


@pytest.mark.parametrize('name', [name for name, (store, _) in EXPECTED.items() if store])
def test_each_starts_with_the_store_of_this_release(read, name):
    """What is left when the line above is followed."""
    conf = read(name)
    conf.set_override('backend', 'sql', 'storage')

    storage.get_driver(conf)
    app.load(conf)
    if name == 'puppet':
        with pytest.raises(errors.ConfigurationError, match='coordination_url: redis://'):
            service.check(conf)
    else:
        service.check(conf)


@pytest.mark.parametrize('name', EXPECTED)
def test_options_without_effect_are_listed(read, name):
    """All of them, and nothing that a library reads."""
    found = [one.explain() for one in options.list_unread(read(name))]

    assert sorted(found) == sorted(EXPECTED[name][1])


def test_the_check_of_an_upgrade_finds_what_is_in_a_configuration(read):
    """With the names that it prints, and the results."""
    results = {name: check(read('helm')) for name, check in upgrade_check.CHECKS}

    assert {name: result.code.name for name, result in results.items() if result.code} == {
        'Storage version': 'WARNING',
        'Options without effect': 'WARNING',
        'API paste file': 'WARNING',
    }
    former = dict(upgrade_check.CHECKS)['Former storage'](read('rhoso'))
    assert 'cloudkitty-storage import --from loki' in former.details


def test_misspelt_options_are_named_at_the_start(read, caplog):
    """One warning each with the likely name, and one for all that nobody knows."""
    conf = read(
        'kolla-sqlalchemy',
        '[colect]\nperiod = 60\n[collect]\nwait_perids = 1\nbatch_scopes = 2\n'
        '[keystone_fetcher]\nauth_section = x\n[collector_two]\ndriver = prometheus\n'
        'promtheus_url = x\nprometheus_user = y\n',
    )

    with caplog.at_level(logging.WARNING):
        options.warn(conf)

    told = [record.getMessage() for record in caplog.records]
    for line in (
        '[colect]period: no such option; did you mean [collect]period?',
        '[collect]wait_perids: no such option; did you mean wait_periods?',
        '[collect]batch_scopes: no such option; did you mean [orchestrator]batch_scopes?',
        '[keystone_fetcher]auth_section: no such option; did you mean '
        '[fetcher_keystone]auth_section?',
        '[collector_two]promtheus_url: no such option; did you mean prometheus_url?',
    ):
        assert line in told
    assert told[-1].startswith('2 further options have no effect, such as [')
    assert not any('prometheus_user' in line for line in told)


def test_the_files_are_named_at_the_start(tmp_path, caplog):
    """Those of a folder, too; none at all is a warning."""
    (tmp_path / 'a.conf').write_text('')
    (tmp_path / 'more').mkdir()
    (tmp_path / 'more' / 'b.conf').write_text('')
    argv = ['--config-file', str(tmp_path / 'a.conf'), '--config-dir', str(tmp_path / 'more')]
    with caplog.at_level(logging.INFO):
        options.warn(configuration.read(argv, conf=cfg.ConfigOpts()))
        options.warn(configuration.read([], files=[], conf=cfg.ConfigOpts()))

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ('INFO', f'Configuration: {tmp_path}/a.conf, {tmp_path}/more/b.conf'),
        ('WARNING', 'No configuration file was found: every option has its default'),
    ]


def test_filters_of_the_paste_file_are_named(read, caplog):
    """The token check, request id and CORS are in the application; two others are not."""
    conf = read('helm')

    with caplog.at_level(logging.WARNING):
        app.load(conf)

    (told,) = [line for line in caplog.messages if line.startswith('[DEFAULT]api_paste_config')]
    assert (
        'audit (keystonemiddleware.audit:filter_factory), '
        'ratelimit (egg:rate-limit-middleware#rate-limit)' in told
    )
    conf.set_override('auth_strategy', 'noauth')
    assert paste.read(conf).explain() is None


def test_public_paths_and_the_file_of_the_health_check_count(read, tmp_path):
    """They are read from the paste file."""
    application = app.load(read('helm'))

    def status(path):
        return webob.Request.blank(path).get_response(application).status_int

    assert [status(path) for path in ('/', '/v1', '/v2', '/healthcheck')] == [200, 200, 401, 200]
    (tmp_path / 'maintenance').touch()
    assert status('/healthcheck') == 503


@pytest.mark.parametrize(
    'text, fault',
    [
        (None, 'there is no such file'),
        ('[broken', 'it cannot be read: '),
        ('pipeline = a', 'it cannot be read: '),
    ],
)
def test_a_paste_file_that_cannot_be_read_stops_nothing(read, tmp_path, text, fault):
    """It is named, and that it is not needed."""
    if text is not None:
        (tmp_path / 'none.ini').write_text(text)
    conf = read('puppet')
    conf.set_override('backend', 'sql', 'storage')

    app.load(conf)

    assert fault in paste.read(conf).explain()
    assert 'no paste file is needed' in paste.read(conf).explain()


@pytest.mark.parametrize(
    'path, text, fault',
    [
        ('etc/uwsgi/apps-enabled/ck.ini', 'module = cloudkitty.wsgi.api:application', None),
        ('etc/uwsgi/apps-enabled/ck.ini', 'module = cloudkitty.wsgi.api', None),
        ('etc/uwsgi/apps-enabled/ck.ini', 'wsgi-file = /usr/bin/cloudkitty-api', None),
        ('etc/uwsgi/apps-enabled/ck.ini', 'wsgi-file = /opt/bin/cloudkitty-api', 'No such file'),
        ('etc/uwsgi.d/ck.ini', 'module = cloudkitty.api.wsgi:app', 'there is no module'),
        ('etc/uwsgi.d/ck.ini', 'module = cloudkitty.api.app:application', 'is no entry point'),
        ('etc/httpd/conf.d/ck.conf', 'WSGIScriptAlias / /usr/bin/cloudkitty-api', None),
        ('etc/httpd/conf.d/ck.conf', 'WSGIScriptAlias /rating "/srv/cloudkitty"', 'has no `app'),
        ('etc/httpd/conf.d/ck.conf', '# WSGIScriptAlias / /opt/cloudkitty', None),
        ('etc/apache2/sites-enabled/x', 'WSGIScriptAlias / /opt/other.wsgi', None),
    ],
)
def test_entry_points_in_files_of_web_servers(tmp_path, path, text, fault):
    """Those of earlier releases work; one that does not is named with the file."""
    for script, content in (
        ('usr/bin/cloudkitty-api', 'from cloudkitty.wsgi.api import application'),
        ('srv/cloudkitty', 'from cloudkitty import api\napi.main()'),
        (path, text),
    ):
        file = tmp_path / script
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)

    found = list(web_server.check_entries(tmp_path))

    assert [fault in one.what for one in found] == ([True] if fault else [])
