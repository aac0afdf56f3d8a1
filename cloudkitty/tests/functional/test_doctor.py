"""cloudkitty-status doctor: each planted fault is found with its remedy, and nothing on a site
where all is well.
"""

import json
import logging
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from cloudkitty import db, storage
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.db.migration import VERSION_TABLE as VERSIONS
from cloudkitty.doctor import Severity, examination, start
from cloudkitty.doctor.site import Site
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import fields, mappings
from cloudkitty.rating.hashmap.store import services as hashmap_services
from cloudkitty.scopes import agreement, source_gaps, source_lag
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import faults, ini, services
from cloudkitty.tests.functional.api import keystone

COMMAND = Path(sys.executable).parent / 'cloudkitty-status'
IDENTITY = scope_state.Identity('project_id', 'prometheus', 'prometheus')
NOBODY = '127.0.0.1:1'
HOUR = timedelta(hours=1)
CPU = 'cpu:\n    unit: core\n    groupby: [id]\n    extra_args: {aggregation_method: max}\n'
METRICS = f'metrics:\n  {CPU}'
LABELS = {'project_id': 'p1', 'id': 'web'}
OLD, SPARSE, UNLABELLED, COUNTER = 'old', 'sparse', 'unlabelled', 'requests_total'


def _history(now):
    """Return five hours of samples, one a minute, and metrics with faults of their own."""
    end = int(now.timestamp())

    def samples(step_s, until=end):
        return [(at, 1) for at in range(until - 5 * 3600, until, step_s)]

    return [
        services.Family('cpu', 'gauge', [(LABELS, samples(60))]),
        services.Family(OLD, 'gauge', [(LABELS, samples(60, end - 30 * 3600))]),
        services.Family(SPARSE, 'gauge', [(LABELS, samples(600))]),
        services.Family(UNLABELLED, 'gauge', [({'id': 'x'}, samples(60))]),
        services.Family(COUNTER, 'counter', [(LABELS, samples(60))]),
    ]


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A Prometheus with data up to now."""
    with services.Prometheus(
        tmp_path_factory.mktemp('source'), history=_history(datetime.now(UTC))
    ) as server:
        yield server


@pytest.fixture(scope='module')
def identity_service():
    with keystone.serve() as url:
        yield url


class Deployment:
    """A site on which all is well, until a fault is planted.

    :ivar sections: the configuration file.
    """

    def __init__(self, folder, database, source_url):
        self.folder = folder
        self.database = database
        self.now = datetime.now(UTC)
        self.sections = {
            'DEFAULT': {'auth_strategy': 'noauth'},
            'api': {'host': '127.0.0.1'},
            'database': {'connection': database.url},
            'collect': {
                'collector': 'prometheus',
                'metrics_conf': folder / 'metrics.yml',
            },
            'collector_prometheus': {'prometheus_url': source_url},
            'fetcher': {'backend': 'prometheus'},
            'fetcher_prometheus': {'prometheus_url': source_url, 'metric': 'cpu'},
            'orchestrator': {'coordination_url': f'file://{folder}/locks', 'max_workers': 1},
        }
        self.define(METRICS)

    def set(self, section, **values):
        self.sections.setdefault(section, {}).update(values)

    def define(self, text):
        (self.folder / 'metrics.yml').write_text(text)

    def write(self, path, text):
        """Write a file of another program."""
        file = self.folder / 'root' / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def change(self, statement):
        self.database.write(lambda connection: connection.execute(statement))

    def enable(self, name, enabled=True):
        self.database.write(
            lambda connection: module_state.update(connection, name, enabled=enabled)
        )

    def price(self, service='cpu', field=None, **values):
        """Make a mapping, and what it belongs to."""

        def _make(connection):
            known = {one.name: one for one in hashmap_services.list_all(connection)}
            parent = known.get(service) or hashmap_services.create(connection, service)
            parents = {'service_id': parent.service_id}
            if field:
                made = fields.create(connection, field, parent.service_id)
                parents = {'field_id': made.field_id}
                values.setdefault('value', 'x')
            new = mappings.NewMapping(
                **{
                    'cost': Decimal('0.03'),
                    'start': self.now - 24 * HOUR,
                    **parents,
                    **values,
                }
            )
            mappings.create(connection, new, now=self.now, author='test', force=True)

        self.database.write(_make)

    def unprice(self):
        self.change(sa.delete(tables.hashmap_mappings))

    def rate(self, mark, identity=IDENTITY, fetched_at=None):
        """Let a processor have rated scope p1 up to *mark*."""

        def _rate(connection):
            scope_state.record_seen(
                connection, identity, ['p1'], now=mark, initial_mark=mark, final_mark=mark
            )
            scope_state.claim_fetch(connection, identity, seen=None, now=fetched_at or self.now)

        self.database.write(_rate)

    def examine(self, **limits):
        conf = ini.load(self.folder / 'cloudkitty.conf', self.sections)
        site = Site(conf, now=lambda: self.now, root=self.folder / 'root')
        return list(examination.examine(site, **limits))


@pytest.fixture
def site(tmp_path, database, source):
    """All is well: the source has data, hashmap prices it, a processor has just rated it."""
    deployment = Deployment(tmp_path, database, source.url)
    deployment.enable('hashmap')
    deployment.price()
    deployment.rate(deployment.now - 3 * HOUR)
    return deployment


def test_nothing_is_found_where_all_is_well(site):
    assert site.examine() == []


# Faults: what is planted, what it is about, what is said of it, and what to do.


def _paste(site):
    (site.folder / 'api.ini').write_text(
        '[pipeline:api+noauth]\npipeline = ratelimit ck_api\n'
        '[filter:ratelimit]\npaste.filter_factory = limits:filter\n'
    )
    site.set('DEFAULT', api_paste_config=site.folder / 'api.ini')


def _policy(site, text, name='policy.yaml'):
    (site.folder / name).write_text(text)
    site.set('oslo_policy', policy_file=site.folder / name)


def _uwsgi(site, text):
    site.write(
        'etc/cloudkitty/cloudkitty-api-uwsgi.ini',
        f'[uwsgi]\nmodule = cloudkitty.wsgi.api:application\n{text}',
    )


WELL = 'buffer-size = 65535\nneed-app = true\ndie-on-term = true\nthreads = 8\n'


def _replace_price(site, **values):
    site.unprice()
    site.price(**values)


def _metric(site, name, arguments='aggregation_method: max'):
    site.define(
        METRICS + f'  {name}:\n    unit: x\n    groupby: [id]\n    extra_args: {{{arguments}}}\n'
    )
    site.price(name)


def _fail(site):
    site.change(
        sa.update(tables.scopes).values(
            failure_count=3,
            failure_reason='Rating module hashmap cannot be loaded',
            failed_at=datetime(2026, 1, 1),
            retry_at=datetime(2026, 1, 1),
            failing_since=datetime(2026, 1, 1),
        )
    )


def _agree(site, **changes):
    terms = agreement.Terms(3600, 'project_id')._replace(**changes)
    agreement.settle(site.database, terms, now=site.now)


def _order(site, hours):
    """Let a change wait since some hours, for a scope that is not rated up to then."""
    _agree(site)
    begin = site.now.replace(minute=0, second=0, microsecond=0) - hours * HOUR
    _age(site, hours + 2)
    site.change(
        sa.insert(tables.agreements).values(
            id=2,
            begin=begin.replace(tzinfo=None),
            period=7200,
            scope_key='project_id',
            time_basis='UTC',
            in_force=False,
            agreed_at=begin.replace(tzinfo=None),
        )
    )


def _gap(site, state, *hours):
    gaps = [
        source_gaps.Gap('cpu', site.now - (hour + 0.5) * HOUR, site.now - hour * HOUR, state, 'up')
        for hour in hours
    ]
    whole = Period(site.now - 100 * HOUR, site.now)
    site.database.write(
        lambda connection: source_gaps.record(connection, IDENTITY, {'cpu': gaps}, whole)
    )


def _lag(site):
    lag = source_lag.Lag(source_lag.HELD, None, site.now - HOUR, site.now - HOUR)
    site.database.write(
        lambda connection: source_lag.record(
            connection, IDENTITY, {'cpu': lag}, newest={}, defined=['cpu']
        )
    )


def _age(site, hours):
    site.change(
        sa.update(tables.scopes).values(
            last_processed_timestamp=(site.now - hours * HOUR).replace(tzinfo=None)
        )
    )


def _fetched(site, hours):
    site.change(sa.delete(tables.fetches))
    site.rate(site.now - 3 * HOUR, fetched_at=site.now - hours * HOUR)


def _former_storage(site):
    site.set('storage', version=1, backend='sqlalchemy')
    storage.get_driver(ini.load(site.folder / 'cloudkitty.conf', site.sections)).init()


def _keystone(site, url):
    site.sections['DEFAULT']['auth_strategy'] = 'keystone'
    site.set(
        'keystone_authtoken',
        auth_type='password',
        auth_url=url,
        username='cloudkitty',
        password='secret',
        project_name='service',
        user_domain_id='default',
        project_domain_id='default',
    )


FAULTS = {
    'misspelt option': (
        lambda site: site.set('collect', wait_perids=1),
        'configuration',
        'did you mean wait_periods?',
        'correct its name',
    ),
    'option of an earlier release': (
        lambda site: site.set('api', host_ip='::'),
        'configuration',
        '[api]host_ip has no effect',
        'remove it',
    ),
    'filter of a paste file': (_paste, 'configuration', 'ratelimit (limits:filter)', 'filters do'),
    'store of an earlier release': (
        lambda site: site.set('storage', backend='influxdb'),
        'configuration',
        "'influxdb' is only read",
        'backend = sql',
    ),
    'short retention': (
        lambda site: site.set('storage', retention_period=200),
        'configuration',
        'retention_period = 200: points before 20',
        '1488 hours',
    ),
    'sums before points': (
        lambda site: site.set('storage', retention_period=2000, rollup_retention_period=1900),
        'configuration',
        'sums go before the points',
        'longer than retention_period',
    ),
    'everybody is administrator': (
        lambda site: site.set('api', host='0.0.0.0'),
        'configuration',
        'whoever reaches the API is the administrator',
        'host = 127.0.0.1',
    ),
    'odd period': (
        lambda site: site.set('collect', period=7000),
        'configuration',
        'period = 7000 does not divide a day',
        'take 3600',
    ),
    'broken policy': (
        lambda site: _policy(site, 'a: [b'),
        'configuration',
        'cannot be read',
        'correct the file',
    ),
    'policy without rules': (
        lambda site: _policy(site, '- a'),
        'configuration',
        'holds no rules',
        'NAME: RULE',
    ),
    'entry point that is gone': (
        lambda site: _uwsgi(site, f'{WELL}wsgi-file = /opt/cloudkitty/old.py'),
        'web server',
        'No such file',
        'cloudkitty.wsgi.api:application',
    ),
    'small buffer': (
        lambda site: _uwsgi(site, WELL.replace('65535', '4096')),
        'web server',
        'long queries do not fit',
        'buffer-size = 65535',
    ),
    'ready without application': (
        lambda site: _uwsgi(site, WELL.replace('need-app = true', '')),
        'web server',
        'is ready though the application cannot load',
        'need-app = true',
    ),
    'applications loaded late': (
        lambda site: _uwsgi(site, f'{WELL}lazy-apps = true'),
        'web server',
        'is ready though the application cannot load',
        'lazy-apps',
    ),
    'SIGTERM': (
        lambda site: _uwsgi(site, WELL.replace('die-on-term', 'other')),
        'web server',
        'SIGTERM reloads uWSGI',
        'die-on-term = true',
    ),
    'threads': (
        lambda site: _uwsgi(site, WELL.replace('threads = 8', 'threads = 20')),
        'web server',
        'it has 20 threads, and [api]threads is 8',
        'set [api]threads = 20',
    ),
    'threads of Apache': (
        lambda site: site.write(
            'etc/httpd/conf.d/ck.conf', 'WSGIDaemonProcess cloudkitty-api threads=10\n'
        ),
        'web server',
        'it has 10 threads',
        'set [api]threads = 10',
    ),
    'database down': (
        lambda site: site.set('database', connection=f'mysql+pymysql://ck:secret@{NOBODY}/ck'),
        'database',
        'does not answer',
        'start the database',
    ),
    'no schema': (
        lambda site: site.set('database', connection=f'sqlite:///{site.folder}/other'),
        'database',
        'holds no schema',
        'cloudkitty-dbsync upgrade',
    ),
    'newer schema': (
        lambda site: site.change(sa.text(f"UPDATE {VERSIONS} SET version_num = '9999'")),
        'database',
        'holds schema 9999',
        'run the newer release',
    ),
    'replica down': (
        lambda site: site.set('database', slave_connection=f'mysql+pymysql://ck@{NOBODY}/ck'),
        'database',
        'slave_connection does not answer',
        'start the replica',
    ),
    'locks down': (
        lambda site: site.set('orchestrator', coordination_url=f'redis://{NOBODY}'),
        'lock service',
        'redis:// cannot be used',
        'start the lock service',
    ),
    'bus down': (
        lambda site: site.set('DEFAULT', transport_url=f'rabbit://ck:secret@{NOBODY}/'),
        'message bus',
        f'{NOBODY}: ',
        'start the broker',
    ),
    'Keystone down': (
        lambda site: _keystone(site, f'http://{NOBODY}/v3'),
        'Keystone',
        'Unable to establish connection',
        'correct auth_url and account',
    ),
    'storage of interface 1': (
        _former_storage,
        'storage',
        '[storage]version = 1',
        'cloudkitty-storage migrate',
    ),
    'wrong definition': (
        lambda site: site.define(METRICS + '    colour: red\n'),
        'definitions',
        "unknown key 'colour'",
        'correct the definition',
    ),
    'no definitions': (
        lambda site: (site.folder / 'metrics.yml').unlink(),
        'definitions',
        'metrics.yml',
        'correct that',
    ),
    'doubtful definition': (
        lambda site: site.define(METRICS.replace('[id]', '[id, month]')),
        'definitions',
        'month',
        'cloudkitty-metrics try',
    ),
    'unknown collector': (
        lambda site: site.set('collect', collector='tape'),
        'definitions',
        "no driver is named 'tape'",
        'correct that',
    ),
    'fetcher down': (
        lambda site: site.set('fetcher_prometheus', prometheus_url=f'http://{NOBODY}/api/v1'),
        'scopes',
        '[fetcher]backend = prometheus: Fetcher',
        'the source answers there',
    ),
    'no scopes': (
        lambda site: site.set('fetcher_prometheus', scope_attribute='tenant'),
        'scopes',
        'lists no scope',
        'scope_key = project_id names the same',
    ),
    'no scopes are named': (
        lambda site: site.set('fetcher', backend='source'),
        'scopes',
        '[fetcher]backend = source lists no scope',
        'name the scopes in [fetcher_source]sources',
    ),
    'source down': (
        lambda site: site.set('collector_prometheus', prometheus_url=f'http://{NOBODY}/api/v1'),
        'source',
        "Collector 'prometheus'",
        'correct that',
    ),
    'unknown metric': (
        lambda site: _metric(site, 'volume_gigabytes'),
        'source',
        'volume_gigabytes: the source has no such metric',
        'cloudkitty-metrics try',
    ),
    'misspelt metric': (
        lambda site: _metric(site, 'unlabeled'),
        'source',
        'has no metric unlabeled; it has unlabelled',
        'cloudkitty-metrics try',
    ),
    'scope label': (
        lambda site: _metric(site, UNLABELLED),
        'source',
        'none with label project_id; it has id',
        'cloudkitty-metrics try',
    ),
    'spacing': (
        lambda site: _metric(site, SPARSE, 'measure: mean, scrape_interval: 60'),
        'source',
        'samples are 600 s apart, and scrape_interval is 60 s: it must not be shorter',
        'cloudkitty-metrics try',
    ),
    'height of a counter': (
        lambda site: _metric(site, COUNTER),
        'source',
        'it is a counter',
        'cloudkitty-metrics try',
    ),
    'data that ends': (
        lambda site: _metric(site, OLD),
        'source',
        'old: the newest data is of 20',
        'exporter or agent has stopped',
    ),
    'nothing enabled': (
        lambda site: (site.enable('hashmap', False), site.unprice()),
        'prices',
        'all usage is stored at the price 0',
        'module enable hashmap',
    ),
    'module that is not installed': (
        lambda site: site.enable('gone'),
        'prices',
        "module 'gone' cannot be loaded",
        'install',
    ),
    'scripts without script': (
        lambda site: site.enable('pyscripts'),
        'prices',
        'has no valid script',
        'create one',
    ),
    'hashmap is off': (
        lambda site: (site.enable('hashmap', False), site.enable('pyscripts')),
        'prices',
        'hashmap has 1 rules and is not enabled',
        'module enable hashmap',
    ),
    'metric without price': (
        lambda site: site.unprice(),
        'prices',
        'cpu has no price: no rule is of it',
        'create a mapping',
    ),
    'price of the future': (
        lambda site: _replace_price(site, start=site.now + HOUR),
        'prices',
        'cpu has no price yet: its first rule begins at 20',
        'with force',
    ),
    'only factors': (
        lambda site: _replace_price(site, type='rate'),
        'prices',
        'cpu costs 0: its rules are all of the type rate',
        'type flat',
    ),
    'price of one scope': (
        lambda site: _replace_price(site, tenant_id='p7'),
        'prices',
        'cpu has a price for 1 scopes only',
        'without tenant',
    ),
    'rule of no metric': (
        lambda site: site.price('cpus'),
        'prices',
        'rules of the service cpus never apply',
        'make a service cpu with',
    ),
    'rule of no attribute': (
        lambda site: site.price(field='idd'),
        'prices',
        'rules of the field idd of cpu never apply',
        'make a field id with',
    ),
    'no processor': (
        lambda site: _fetched(site, 5),
        'progress',
        'no processor has fetched scopes since 20',
        'start cloudkitty-processor',
    ),
    'never a processor': (
        lambda site: site.change(sa.delete(tables.fetches)),
        'progress',
        'no processor has fetched scopes yet',
        'start cloudkitty-processor',
    ),
    'other names': (
        lambda site: site.change(sa.update(tables.scopes).values(collector='gnocchi')),
        'progress',
        'scope_key project_id, fetcher prometheus and collector gnocchi',
        'back',
    ),
    'scope that fails': (
        _fail,
        'progress',
        '1 of 1 scopes that are held back, such as p1: Rating',
        'the cause',
    ),
    'scope that is behind': (
        lambda site: _age(site, 100),
        'progress',
        '1 scopes are behind, p1 since 20',
        'run more workers',
    ),
    'period that was not agreed on': (
        lambda site: _agree(site, period_s=7200),
        'agreement',
        '[collect]period is 3600 here and 7200 in the database',
        'order the change with `cloudkitty-status agreement`',
    ),
    'change that waits': (
        lambda site: _order(site, 5),
        'agreement',
        'waits for scopes that are not rated up to then, such as p1',
        'see what holds them back',
    ),
    'scope in the future': (
        lambda site: _age(site, -30),
        'agreement',
        '1 scopes are rated beyond the present',
        'set the scopes back',
    ),
    'hole that is waited for': (
        lambda site: _gap(site, source_gaps.HELD, 1),
        'coverage',
        ', 0 days ago: periods wait for them (up)',
        'see why the exporter',
    ),
    'hole that was noted': (
        lambda site: _gap(site, source_gaps.NOTED, 1, 50),
        'coverage',
        ' and 1 more times, 2 days ago: periods were rated without',
        'cloudkitty-status accept-gap',
    ),
    'samples that came later': (
        lambda site: _gap(site, source_gaps.BACK, 1),
        'coverage',
        'they came after the periods were rated',
        'rate the periods again',
    ),
    'source that lags': (
        _lag,
        'progress',
        'lags with cpu since 20',
        'see why the exporter or agent is late',
    ),
}
# Faults that are two by nature: what follows from them is told too.
TWOFOLD = (
    'no scopes are named',
    'store of an earlier release',
    'doubtful definition',
    'height of a counter',
    'unknown collector',
    'hashmap is off',
    'other names',
)


@pytest.mark.parametrize('name', FAULTS)
def test_each_fault_is_found_with_its_remedy(site, name):
    """It and nothing else, but for what follows from it."""
    plant, subject, what, remedy = FAULTS[name]
    plant(site)

    found = site.examine()

    mine = [one for one in found if one.subject == subject and what in one.what]
    assert len(mine) == 1, found
    assert remedy in mine[0].remedy
    assert 'secret' not in repr(found)
    if name not in TWOFOLD:
        assert found == mine


def test_no_scopes_and_a_source_that_is_down(site):
    """Both are found at once."""
    for name in ('no scopes', 'source down'):
        FAULTS[name][0](site)

    assert {'scopes', 'source'} <= {one.subject for one in site.examine()}


def test_an_endpoint_that_is_not_in_the_catalog(site, identity_service):
    """The account gets a token, and clients would not find the service."""
    _keystone(site, identity_service)

    (found,) = site.examine()

    assert (found.subject, found.severity) == ('Keystone', Severity.WARNING)
    assert 'no endpoint of the type rating' in found.what
    assert 'openstack service create rating' in found.remedy


@pytest.mark.parametrize('ahead_s, word', [(3600, 'behind'), (-3600, 'ahead of')])
def test_clocks_that_differ(site, server_conf, ahead_s, word):
    """Of the database server and of the source, which are right here."""
    database = db.Database(server_conf)
    site.set('database', connection=database.url)
    site.now += timedelta(seconds=ahead_s)

    found = [one for one in site.examine() if 'its clock is' in one.what]

    assert [one.subject for one in found] == ['database', 'source']
    for one in found:
        seconds = int(one.what.split()[3])
        assert abs(seconds - 3600) < 300
        assert f's {word} that of this host' in one.what
        assert 'synchronise' in one.remedy


def test_a_database_that_only_reads(site, server_conf):
    """A server with too few connections is told too."""
    database = db.Database(server_conf)
    if database.engine.dialect.name != 'postgresql':
        site.set('orchestrator', max_workers=1000)
        expected = 'connections, and the workers of this host alone'
    else:
        name = sa.make_url(database.url).database
        with database.engine.connect() as connection:
            connection.execute(
                sa.text(f'ALTER DATABASE {name} SET default_transaction_read_only = on')
            )
            connection.commit()
        expected = 'cannot be written to'
    site.set('database', connection=database.url)

    assert any(expected in one.what for one in site.examine() if one.subject == 'database')


def test_what_hangs_hides_nothing(site):
    """A source that takes connections and says nothing costs its limit; the rest is examined."""
    site.set('storage', retention_period=200)
    with faults.FaultyServer(faults.hang) as server:
        site.set('collector_prometheus', prometheus_url=server.url)
        begin_s = time.monotonic()
        found = site.examine(check_limit_s=2, total_limit_s=30)
        assert time.monotonic() - begin_s < 30

    assert [one.subject for one in found] == ['configuration', 'source']
    assert found[1].what == 'no answer within 2 s'
    assert 'firewall' in found[1].remedy


def test_the_processor_warns_of_prices_at_its_start(site, caplog):
    """Of rules that cannot be meant so; a database that is down is no concern of this."""
    _replace_price(site, type='rate')
    conf = ini.load(site.folder / 'cloudkitty.conf', site.sections)

    with caplog.at_level(logging.WARNING):
        start.warn_of_prices(conf)
        conf.set_override('connection', f'mysql+pymysql://ck@{NOBODY}/ck', 'database')
        start.warn_of_prices(conf)

    (told,) = caplog.messages
    assert told.startswith('cpu costs 0: its rules are all of the type rate')
    assert told.endswith('create one of the type flat, in the same group')


def _run(site, *arguments):
    path = ini.write(site.folder / 'cloudkitty.conf', site.sections)
    ended = subprocess.run(
        [COMMAND, '--config-file', path, 'doctor', *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_the_command_says_that_nothing_is_wrong(site):
    """Status 0, and what it has looked at."""
    status, output, error = _run(site)

    assert (status, error) == (0, '')
    assert output.startswith('Nothing is wrong with configuration, web server, database, ')


def test_the_command_shows_a_table_or_json(site):
    """Errors first; the status is that of the gravest."""
    site.set('collect', wait_perids=1)
    site.set('storage', retention_period=200)
    site.enable('hashmap', False)

    status, output, error = _run(site)
    assert (status, error) == (2, '')
    rows = [line.split('|')[1:3] for line in output.splitlines() if line.startswith('|')]
    named = [(kind.strip(), about.strip()) for kind, about in rows if kind.strip()]
    assert named == [
        ('Error', 'prices'),
        ('Warning', 'configuration'),
        ('Warning', 'configuration'),
    ]

    site.enable('hashmap')
    status, output, _ = _run(site, '--json')
    told = json.loads(output)
    assert status == 1
    assert [one['severity'] for one in told['findings']] == ['warning', 'warning']
    assert told['findings'][0].keys() == {'severity', 'subject', 'what', 'remedy'}
    assert told['examined'][0] == 'configuration'


def test_a_configuration_that_cannot_be_read_has_another_status(site):
    site.set('collect', period='hour')

    status, output, error = _run(site)

    assert (status, output) == (255, '')
    assert "[collect]period: invalid literal for int() with base 10: 'hour'" in error
