"""The plugin of devstack, phase by phase, with stand-ins for devstack's own functions."""

import configparser
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.doctor import options
from cloudkitty.tests import conftest, services
from cloudkitty.tests.systemd import Systemd

ROOT = Path(__file__).parents[3]
PLUGIN = ROOT / 'devstack'
STUBS = ROOT / 'cloudkitty' / 'tests' / 'devstack_stubs.sh'
BIN = Path(sys.executable).parent
SCRIPTS = (
    'plugin.sh',
    'settings',
    *(f'upgrade/{name}' for name in ('settings', 'resources.sh', 'shutdown.sh', 'upgrade.sh')),
)


class Devstack:
    """A devstack in a folder.

    :ivar variables: what stands in local.conf.
    """

    def __init__(self, folder, connection):
        self.folder = folder
        self.port = services.free_port()
        self.variables = {
            'ENABLED_SERVICES': 'ck-api,ck-proc,keystone,rabbit,horizon',
            'DATABASE_TYPE': 'mysql',
            'DEST': str(folder),
            'CLOUDKITTY_CONF_DIR': str(folder / 'etc'),
            'CLOUDKITTY_DATA_DIR': str(folder / 'lib'),
            'CLOUDKITTY_API_LOG_DIR': str(folder / 'log'),
            'CONNECTION': connection,
            'UWSGI_PORT': str(self.port),
            'BIN_DIR': str(BIN),
            'CALLS': str(folder / 'calls'),
        }
        (folder / 'cloudkitty').symlink_to(ROOT)
        panels = folder / 'cloudkitty-dashboard' / 'cloudkittydashboard' / 'enabled'
        panels.mkdir(parents=True)
        (panels / '_13000_rating.py').touch()
        self.horizon = folder / 'horizon' / 'openstack_dashboard' / 'enabled'
        self.horizon.mkdir(parents=True)

    def run(self, *phase, **variables):
        """Run a phase as devstack does; return what it called of devstack's functions."""
        (self.folder / 'calls').write_text('')
        ended = self.call(*phase, **variables)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return (self.folder / 'calls').read_text().splitlines()

    def call(self, *phase, **variables):
        sources = f'source {STUBS}; source {PLUGIN}/settings; source {PLUGIN}/plugin.sh'
        return subprocess.run(
            ['bash', '-c', f'set -o errexit; {sources} {shlex.join(phase)}'],
            env={
                **os.environ,
                'PATH': f'{BIN}:{os.environ["PATH"]}',
                **self.variables,
                **variables,
            },
            capture_output=True,
            text=True,
            timeout=120,
        )

    def read(self, name='cloudkitty.conf'):
        parser = configparser.RawConfigParser(default_section='')
        parser.read(self.folder / 'etc' / name)
        return parser


@pytest.fixture
def devstack(tmp_path):
    with conftest.new_database('mariadb') as url:
        yield Devstack(tmp_path, url)


@pytest.mark.parametrize('name', SCRIPTS)
def test_the_scripts_are_well_formed(name):
    for checker in (['bash', '-n'], [BIN / 'shellcheck', '-s', 'bash', '-e', 'SC1090,SC1091']):
        ended = subprocess.run([*checker, PLUGIN / name], capture_output=True, text=True)
        assert ended.returncode == 0, ended.stdout + ended.stderr


def test_what_is_installed(devstack):
    """The service with the drivers that it needs, the client, and the dashboard of horizon."""
    folder = devstack.folder
    assert devstack.run('stack', 'install')[1:] == [
        f'setup_develop {folder}/cloudkitty memcached,mysql,gnocchi',
        'pip_install_gr python-cloudkittyclient',
        'git_clone https://opendev.org/openstack/cloudkitty-dashboard.git '
        f'{folder}/cloudkitty-dashboard master',
        f'setup_develop {folder}/cloudkitty-dashboard',
    ]
    assert devstack.run(
        'stack',
        'install',
        ENABLED_SERVICES='ck-api',
        DATABASE_TYPE='postgresql',
        CLOUDKITTY_FETCHER='keystone',
        CLOUDKITTY_COLLECTOR='prometheus',
        LIBS_FROM_GIT='python-cloudkittyclient',
    )[1:] == [
        f'setup_develop {folder}/cloudkitty memcached,postgresql',
        'git_clone_by_name python-cloudkittyclient',
        'setup_dev_lib python-cloudkittyclient',
    ]
    assert devstack.run('stack', 'install', ENABLED_SERVICES='key')[1:] == []


def test_accounts_and_panels_are_made(devstack):
    calls = devstack.run('stack', 'post-config')

    assert [call for call in calls if 'create' in call or 'role' in call] == [
        'create_service_user cloudkitty admin',
        'get_or_create_service cloudkitty rating OpenStack Rating Service',
        'get_or_create_endpoint rating RegionOne http://127.0.0.1/rating',
        'get_or_create_role rating',
        'get_or_add_user_project_role rating cloudkitty demo',
    ]
    assert (devstack.horizon / '_13000_rating.py').is_symlink()
    assert f'iniset_rpc_backend cloudkitty {devstack.folder}/etc/cloudkitty.conf' in calls


def test_the_files_start_the_real_daemons(devstack, monkeypatch):
    """Schema, storage, processor and the API behind uWSGI, with the commands of the plugin."""
    devstack.run('stack', 'post-config')
    calls = devstack.run('stack', 'extra')

    commands = {
        call.split()[1]: call.split()[2:] for call in calls if call.startswith('run_process')
    }
    listener = Systemd(devstack.folder / 'notify')
    monkeypatch.setenv('NOTIFY_SOCKET', str(listener.path))
    with subprocess.Popen(commands['ck-proc'], stderr=subprocess.DEVNULL) as processor:
        listener.wait_for('READY=1')
        processor.terminate()
        assert processor.wait(timeout=90) == 0
    listener.close()
    monkeypatch.delenv('NOTIFY_SOCKET')
    program, *arguments = commands['ck-api']
    assert program == f'{BIN}/uwsgi'
    assert 'lazy-apps' not in devstack.read('cloudkitty-api-uwsgi.ini')['uwsgi']
    code = 'import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])'
    server = subprocess.Popen([sys.executable, '-c', code, *arguments], stderr=subprocess.DEVNULL)
    try:
        url = f'http://127.0.0.1:{devstack.port}'
        services.wait_until(
            lambda: _status(f'{url}/healthcheck') == 200, deadline_s=120, what='the API'
        )
        assert _status(f'{url}/v2/scope') == 401
    finally:
        server.terminate()
        server.wait(timeout=60)


def _status(url):
    try:
        return requests.get(url, timeout=20).status_code
    except (requests.ConnectionError, requests.Timeout):
        return None


def test_prometheus_and_the_development_server(devstack):
    """The options of the drivers that are chosen, and nothing of others."""
    devstack.variables |= {
        'CLOUDKITTY_USE_UWSGI': 'false',
        'CLOUDKITTY_FETCHER': 'prometheus',
        'CLOUDKITTY_COLLECTOR': 'prometheus',
    }
    calls = devstack.run('stack', 'post-config')

    read = devstack.read()
    assert dict(read['collect']) == {
        'collector': 'prometheus',
        'metrics_conf': f'{devstack.folder}/etc/metrics.yml',
        'wait_periods': '0',
        'scope_key': 'tenant_id',
    }
    assert dict(read['fetcher_prometheus']) == {
        'prometheus_url': 'http://localhost:9090/api/v1',
        'metric': 'openstack_identity_project_info',
        'scope_attribute': 'id',
    }
    assert dict(read['api']) == {'host': '127.0.0.1', 'port': '8889'}
    assert not read.has_section('fetcher_gnocchi')
    assert 'get_or_create_endpoint rating RegionOne http://127.0.0.1:8889' in calls
    assert not any(call.startswith('write_uwsgi_config') for call in calls)
    assert any('cloudkitty-api --config-file' in call for call in devstack.run('stack', 'extra'))


def test_embedded_metering(devstack):
    """Intake, agents, and the notifications of services; Gnocchi and Prometheus are not named."""
    nova = devstack.folder / 'nova.conf'
    nova.touch()
    agents = ('ck-agent-compute', 'ck-agent-central')
    devstack.variables |= {
        'CLOUDKITTY_FETCHER': 'metering',
        'CLOUDKITTY_COLLECTOR': 'metering',
        'NOVA_CONF': str(nova),
        'ENABLED_SERVICES': ','.join(('ck-api,ck-proc,rabbit', *agents)),
    }
    calls = devstack.run('stack', 'post-config', CLOUDKITTY_METERING_SECRET='a' * 16)

    assert 'enable_service ck-agent-compute ck-agent-central' in calls
    read = devstack.read()
    assert dict(read['metering']) == {'workers': '1', 'secrets': 'a' * 16}
    assert dict(read['agent']) == {
        'interval': '60',
        'spool_folder': f'{devstack.folder}/lib/spool',
    }
    assert dict(read['pollster_openstack']) == {
        'auth_section': 'authinfos',
        'region_name': 'RegionOne',
        'interface': 'public',
    }
    assert not read.has_section('listener')
    assert 'driver = messagingv2' in nova.read_text()
    definitions = (devstack.folder / 'etc' / 'metrics.yml').read_text()
    assert definitions == (ROOT / 'etc/cloudkitty/metering_metrics.yml').read_text()
    path = devstack.folder / 'etc' / 'cloudkitty.conf'
    conf = configuration.read([], files=[str(path)], conf=cfg.ConfigOpts())
    assert [str(one) for one in options.list_unread(conf)] == []
    assert devstack.run('unstack', '')[-2:] == [f'stop_process {name}' for name in agents]
    beside = devstack.variables['ENABLED_SERVICES'] + ',ceilometer-anotification'
    devstack.run('stack', 'post-config', ENABLED_SERVICES=beside)
    assert dict(devstack.read()['listener']) == {'pool': 'cloudkitty'}
    assert devstack.read()['metering']['secrets'] == 'cloudkitty-metering-secret'
    without = devstack.call('stack', 'post-config', ENABLED_SERVICES='ck-api,ck-proc')
    assert (without.returncode, 'enable_service rabbit' in without.stderr) == (1, True)


def test_a_store_of_an_earlier_release_is_refused(devstack):
    """In one line that says what to do."""
    ended = devstack.call('stack', 'post-config', CLOUDKITTY_STORAGE_BACKEND='influxdb')

    assert ended.returncode == 1
    assert 'CLOUDKITTY_STORAGE_BACKEND=influxdb: this release keeps rated data' in ended.stderr


def test_stop_and_removal(devstack):
    """Nothing of it is left."""
    devstack.run('stack', 'post-config')

    assert devstack.run('unstack', '')[1:] == ['stop_process ck-api', 'stop_process ck-proc']
    devstack.run('clean', '')

    assert not (devstack.folder / 'etc').exists()
    assert list(devstack.horizon.iterdir()) == []


def test_options_are_all_known(devstack):
    """Nothing that the plugin writes is without effect."""
    devstack.run('stack', 'post-config')
    path = devstack.folder / 'etc' / 'cloudkitty.conf'
    conf = configuration.read([], files=[str(path)], conf=cfg.ConfigOpts())

    assert [str(one) for one in options.list_unread(conf)] == []
