"""What holds where an operator says nothing, and how a command ends."""

import logging

import pytest
from oslo_config import cfg
from oslo_middleware import sizelimit

from cloudkitty import conf as configuration
from cloudkitty import errors

DEFAULTS = {
    'DEFAULT': {'api_paste_config': 'api_paste.ini', 'auth_strategy': 'keystone'},
    'api': {
        'host': '127.0.0.1',
        'port': 8889,
        'threads': 8,
        'limit_max': 20_000,
        'metrics_folder': None,
    },
    'collect': {
        'collector': 'gnocchi',
        'period': 3600,
        'wait_periods': 2,
        'lag_max': 10800,
        'start_date': '',
        'metrics_conf': '/etc/cloudkitty/metrics.yml',
        'scope_key': 'project_id',
    },
    'fetcher': {'backend': 'keystone'},
    'rating': {'currency': ''},
    'ui': {'enabled': False, 'sso_protocols': []},
    'orchestrator': {
        'coordination_url': 'file:///var/lib/cloudkitty/locks',
        'max_threads': 16,
        'skip_datapoints_expression': 'False',
        'collector_request_timeout': 300,
        'clock_offset_max': 5,
        'shards': 16,
        'batch_scopes': 100,
        'batch_periods': 48,
        'batch_points': 20000,
        'metrics_port': None,
        'metrics_host': '127.0.0.1',
        'worker_silence_max': 900,
    },
    'storage': {
        'backend': 'sql',
        'version': 2,
        'retention_period': None,
        'rollup_retention_period': None,
        'fold_periods': 6,
    },
    'billing': {
        'enabled': False,
        'close': 'manual',
        'series': 'CK',
        'issuer': '',
        'notify': False,
        'webhook_networks': [],
        'webhook_cafile': None,
    },
    'output': {
        'backend': 'cloudkitty.backend.file.FileBackend',
        'basepath': '/var/lib/cloudkitty/states/',
        'fonts': [],
        'interval': 0,
        'keep_months': 0,
        'pipeline': ['osrf'],
        'templates': None,
    },
    'agent': {
        'interval': 600,
        'disabled': [],
        'hypervisor': 'libvirt',
        'threads': 4,
        'deadline': 120,
        'spool_folder': '/var/lib/cloudkitty/spool',
        'spool_max': 64,
    },
    'listener': {
        'disabled': [],
        'topics': ['notifications', 'versioned_notifications'],
        'pool': '',
        'republish': True,
    },
    'metering': {
        'workers': 0,
        'secrets': [],
        'unsigned': 'refuse',
        'exchanges': ['ceilometer'],
        'http_users_file': None,
        'keep_messages_days': 35,
        'pack_samples_days': 10,
        'keep_samples_days': 100,
        'keep_rejects_days': 35,
        'keep_requests_days': 2,
        'absence': 'presume',
        'settle': 120,
        'census_end_max': 20,
        'census_end_share': 5,
        'late_max': 35,
        'late_pause': 4,
        'own_series_max': 100_000,
        'own_attributes_max': 100_000,
        'attributes_ignored': ['updated_at', 'progress', 'task_state', 'path'],
    },
    'database': {'connection': 'sqlite:////var/lib/cloudkitty/cloudkitty.sqlite'},
    'oslo_middleware': {'max_request_body_size': 4 * 2**20},
}
# These depend on the machine.
OF_THE_MACHINE = {
    'DEFAULT': {'host'},
    'orchestrator': {'max_workers', 'max_workers_reprocessing'},
}
SECRET = 'of-nobody-but-the-operator'


def _loaded():
    return configuration.load([], files=[], conf=cfg.ConfigOpts())


def test_the_defaults_are_those_that_installations_run_with():
    loaded = _loaded()
    configuration.set_library_defaults()
    loaded.register_opts(sizelimit.OPTS, group='oslo_middleware')

    assert {
        section: {name: (loaded if section == 'DEFAULT' else loaded[section])[name] for name in own}
        for section, own in DEFAULTS.items()
    } == DEFAULTS


def test_every_option_has_a_default_that_is_tested():
    known = {
        section: set(own) | OF_THE_MACHINE.get(section, set()) for section, own in DEFAULTS.items()
    }

    for section, options in configuration.GROUPS.items():
        assert {option.name for option in options} == known[section or 'DEFAULT'], section


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.kept = []

    def emit(self, record):
        self.kept.append(record.getMessage())


def test_the_log_has_no_password():
    """Not when all options are logged either, as a library does at level debug."""
    loaded = _loaded()
    for name, section in (('connection', 'database'), ('coordination_url', 'orchestrator')):
        loaded.set_override(name, f'redis://:{SECRET}@10.0.0.7', section)
    lines = Lines()
    logger = logging.Logger('options', logging.DEBUG)
    logger.addHandler(lines)

    loaded.log_opt_values(logger, logging.DEBUG)

    told = '\n'.join(lines.kept)
    assert 'coordination_url' in told
    assert SECRET not in told


@pytest.mark.parametrize(
    'error, told',
    [
        (errors.InvalidInput(reason='a\nb'), 'cloudkitty: a b\n'),
        (RuntimeError('nobody foresaw it'), 'RuntimeError: nobody foresaw it\n'),
    ],
)
def test_a_command_that_fails_says_so_with_its_status(monkeypatch, capsys, error, told):
    """Whatever it was: a script must not take it for an answer."""

    def fail():
        raise error

    monkeypatch.setattr(configuration.sys, 'argv', ['/usr/bin/cloudkitty'])
    for failure in (1, 255):
        with pytest.raises(SystemExit) as ended:
            configuration.run(fail, failure=failure)
        assert ended.value.code == failure
    assert capsys.readouterr().err.endswith(told)


def test_a_command_that_ends_has_the_status_it_says():
    for status, expected in ((None, None), (0, 0), (1, 1)):
        with pytest.raises(SystemExit) as ended:
            configuration.run(lambda status=status: status, failure=255)
        assert ended.value.code == expected
