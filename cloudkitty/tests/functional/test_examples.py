"""The packages of doc/examples: installed from their folders, found by name, and all at work."""

import importlib
import json
import os
import pathlib
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import mappings, services
from cloudkitty.tests import faults, ini
from cloudkitty.tests.conformance import storage as contract
from cloudkitty.tests.functional import worker_run

# They are installed once.
pytestmark = pytest.mark.xdist_group('examples')

ROOT = pathlib.Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / 'doc' / 'examples'
NAMES = ('fetcher', 'collector', 'rating-module', 'storage', 'pollster', 'listener')
# The first three hours of a month that begins on a Saturday are over.
NOW = datetime(2024, 6, 1, 3, tzinfo=UTC)
# Rates what is due with one worker, and prints what a report says then.
RUN = """
import sys
from datetime import UTC, datetime
from oslo_config import cfg
from cloudkitty import conf as configuration
from cloudkitty import storage
from cloudkitty.processor import service

conf = configuration.load(['--config-file', sys.argv[1]], conf=cfg.ConfigOpts())
now = datetime.fromisoformat(sys.argv[2])
storage.get_driver(conf).init()
service.build(conf, 0, clock=lambda: now).worker.turn()
found = storage.get_driver(conf).total(
    groupby=['customer', 'resource'], begin=now.replace(day=1, hour=0), end=now, paginate=False
)
for row in found['results']:
    print(row['customer'], row['resource'], row['qty'], row['rate'])
"""
# Loads the pollsters that work, and prints what those of other packages measure.
POLL = """
import sys
from oslo_config import cfg
from cloudkitty import conf as configuration
from cloudkitty import pollster

conf = configuration.load(['--config-file', sys.argv[1]], conf=cfg.ConfigOpts())
for name, one in pollster.load(conf, ['central']):
    for counter in one.poll(one.discover().resources, lambda: 1_700_000_000_000_000):
        print(name, counter.name, counter.scope_id, counter.resource_id, counter.volume)
"""
# Loads the listeners that work, and prints what they make of notifications, as messages do.
LISTEN = """
import json
import sys
from oslo_config import cfg
from cloudkitty import conf as configuration
from cloudkitty import errors, listener
from cloudkitty.core.metering import facts, message, notification

conf = configuration.load(['--config-file', sys.argv[1]], conf=cfg.ConfigOpts())
loaded = listener.load(conf)
print('designate' in loaded.exchanges)
for number, (event_type, payload) in enumerate(json.load(sys.stdin)):
    if not loaded.knows(event_type):
        print(number, 'ignored')
        continue
    at = f'2024-06-01T0{number}:00'
    told = notification.read(event_type, 'central', f'n{number}', at, payload)
    try:
        for counter in loaded.process(told):
            fact = message.fact_of(message.check(message.build(counter)))
            stage = facts.STAGE_NAMES[fact.stage]
            print(number, fact.meter, fact.scope_id, fact.resource_id, stage, fact.quantity)
    except errors.InvalidInput as exc:
        print(number, exc)
"""


@pytest.fixture(scope='module')
def packages(tmp_path_factory):
    """The folder into which all of them are installed."""
    folder = tmp_path_factory.mktemp('packages')
    subprocess.run(
        [
            *(sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation'),
            *('--no-index', '--disable-pip-version-check', '--target', str(folder)),
            *(str(_copied(name, tmp_path_factory)) for name in NAMES),
        ],
        check=True,
        timeout=300,
    )
    return folder


def _copied(name, factory):
    """Return a copy of a package: a build leaves files beside the source."""
    folder = factory.mktemp(name.replace('-', '_')) / name
    folder.mkdir()
    for path in EXAMPLES.joinpath(name).iterdir():
        if path.is_file():
            folder.joinpath(path.name).write_bytes(path.read_bytes())
    return folder


def answer_customers(handler, request):
    """Answer as the web service of the examples: two customers, one of whom has a disk."""
    if request.path == '/customers':
        content = {'customers': ['acme', 'zenith']}
    else:
        has_disk = request.parameters['scope'] == 'acme'
        content = {'usage': [{'resource': 'disk-1', 'quantity': '1.50'}] if has_disk else []}
    handler.send(200, json.dumps(content).encode())


def make_prices(connection):
    """A unit of `disk` costs 2; the module of the weekend comes after hashmap."""
    module_state.update(connection, 'hashmap', enabled=True, priority=2)
    module_state.update(connection, 'weekend', enabled=True, priority=1)
    disk = services.create(connection, 'disk')
    mappings.create(
        connection,
        mappings.NewMapping(
            cost=Decimal(2), service_id=disk.service_id, value=None, start=worker_run.LONG_AGO
        ),
        now=NOW,
        author='test',
        force=True,
    )


def test_all_examples_rate_together(packages, database, tmp_path):
    """Each hour of that Saturday costs half of 1.5 units at 2; who used nothing pays nothing."""
    database.write(make_prices)
    (tmp_path / 'metrics.yml').write_text('metrics: {disk: {unit: GiB, groupby: [resource]}}')
    with faults.FaultyServer(answer_customers) as server:
        path = ini.write(
            tmp_path / 'cloudkitty.conf',
            {
                'database': {'connection': f'sqlite:///{database.engine.url.database}'},
                'fetcher': {'backend': 'customers'},
                'fetcher_customers': {'url': f'http://{server.address}/customers'},
                'collect': {
                    'collector': 'usage',
                    'scope_key': 'customer',
                    'wait_periods': 1,
                    'metrics_conf': tmp_path / 'metrics.yml',
                },
                'collector_usage': {'url': f'http://{server.address}/usage'},
                'storage': {'backend': 'folder'},
                'storage_folder': {'path': tmp_path / 'rated'},
                'orchestrator': {'coordination_url': f'file://{tmp_path}/locks'},
            },
        )
        ended = subprocess.run(
            [sys.executable, '-c', RUN, str(path), NOW.isoformat()],
            env={**os.environ, 'PYTHONPATH': f'{packages}:{ROOT}'},
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines()[-1] == 'acme disk-1 4.50 4.500', ended.stdout


@pytest.mark.parametrize('disabled, expected', [('', 2), ('power', 0)])
def test_the_pollster_works_once_it_is_installed(packages, tmp_path, disabled, expected):
    """With an option of its own; it can be left out by its name."""
    sockets = {'sockets': [{'id': 's1', 'customer': 'acme', 'watt_hours': '1.5'}]}
    with faults.FaultyServer(faults.as_json(sockets)) as server:
        path = ini.write(
            tmp_path / 'cloudkitty.conf',
            {
                'agent': {'disabled': disabled},
                'pollster_power': {'url': f'http://{server.address}/'},
            },
        )
        ended = subprocess.run(
            [sys.executable, '-c', POLL, str(path)],
            env={**os.environ, 'PYTHONPATH': f'{packages}:{ROOT}'},
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert ended.returncode == 0, ended.stderr
    expected_lines = ['power power.energy acme s1 1.5', 'power power.socket acme s1 1']
    assert [line for line in ended.stdout.splitlines() if line.startswith('power')] == (
        expected_lines[:expected]
    )


def test_the_listener_works_once_it_is_installed(packages, tmp_path):
    """With an option of its own; it can be left out by its name, and its exchange with it."""
    zone = {
        'id': 'z1',
        'tenant_id': 'acme',
        'name': 'example.org.',
        'created_at': '2024-06-01T00:00:00',
    }
    record = {'zone_id': 'z1', 'tenant_id': 'acme', 'type': 'A'}
    told = [
        ('dns.zone.create', zone),
        ('dns.recordset.create', record),
        ('dns.zone.delete', zone),
        ('dns.zone.create', {**zone, 'tenant_id': 'zenith'}),
        ('dns.zone.create', {'id': 'z2'}),
        ('dns.tld.create', {}),
    ]

    def run(disabled):
        path = ini.write(
            tmp_path / 'cloudkitty.conf',
            {'listener': {'disabled': disabled}, 'listener_zones': {'free': 'zenith'}},
        )
        ended = subprocess.run(
            [sys.executable, '-c', LISTEN, str(path)],
            env={**os.environ, 'PYTHONPATH': f'{packages}:{ROOT}'},
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.splitlines()

    assert run('') == [
        'True',
        '0 dns.zone acme z1 begin 1',
        '1 dns.changes acme z1 sample 1',
        '2 dns.zone acme z1 end None',
        '4 project_id is no text',
        '5 ignored',
    ]
    assert run('zones') == ['False', *(f'{number} ignored' for number in range(6))]


class TestFolderStorage(
    contract.ReadingContract,
    contract.AttributesContract,
    contract.ExactnessContract,
    contract.MarksContract,
    contract.ReplacementContract,
):
    """The example of a storage driver keeps the contract but for pushed points."""

    @pytest.fixture
    def storage(self, conf, tmp_path, packages, monkeypatch):
        monkeypatch.syspath_prepend(str(packages))
        folder = importlib.import_module('ck_folder').FolderStorage
        conf.register_opts(folder.OPTS, group=folder.GROUP)
        conf.set_override('path', str(tmp_path / 'rated'), folder.GROUP)
        driver = folder(conf)
        driver.init()
        return driver
