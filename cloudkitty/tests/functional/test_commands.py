"""What an operator did wrong is one line on stderr and exit status 1, whatever the command."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from cloudkitty.db import migration
from cloudkitty.tests import conftest

BIN = pathlib.Path(sys.executable).parent
DBSYNC = ('cloudkitty-dbsync', 'upgrade')
COMMANDS = [DBSYNC, ('cloudkitty-storage-init',), ('cloudkitty-api',), ('cloudkitty-processor',)]
REFUSED = 'postgresql+psycopg2://rating:secret@127.0.0.1:1/rating'

# A configuration of which only the database is missing.
COMPLETE = """\
[collect]
collector = prometheus
metrics_conf = {folder}/metrics.yml
[collector_prometheus]
prometheus_url = http://127.0.0.1:1/api/v1
[fetcher]
backend = source
[orchestrator]
coordination_url = file://{folder}/locks
[database]
connection = """
METRICS = 'metrics: {up: {unit: piece}}'

# What stands in the file, and what the line says; {file} is the path of the file.
WRONG_VALUES = [
    (
        '[DEFAULT]\nauth_strategy = open',
        "{file}: [DEFAULT]auth_strategy: Valid values are [noauth, keystone], but found 'open'",
    ),
    (
        '[collect]\nperiod = hour',
        '{file}: [collect]period: invalid literal for int() with base 10: '
        "'hour'; allowed: a whole number",
    ),
    ('[collect]\nperiod = 0', '{file}: [collect]period: Should be greater than or equal to 1'),
    ('[database]\nmax_pool_size = many', '{file}: [database]max_pool_size: invalid literal'),
    ('[DEFAULT]\nlog_rotation_type = daily', '{file}: [DEFAULT]log_rotation_type: Valid values'),
    ('[collect\n', 'Failed to parse {file}: at {file}:1'),
    ('[DEFAULT]\nhost = \xff', '{file}: not UTF-8'),
    ('[database]\nconnection = nonsense', '[database]connection: Could not parse'),
    ('[database]\nconnection = oracle+none://x', '[database]connection: '),
    (
        '[database]\nconnection = sqlite:////proc/none/x.sqlite',
        '[database]connection: sqlite:////proc/none/x.sqlite: directory /proc/none cannot be made',
    ),
]
DATABASE_DOWN = [
    (REFUSED, 'postgresql+psycopg2://rating:***@127.0.0.1:1/rating does not answer: '),
    ('sqlite:////proc/x.sqlite', '[database]connection: sqlite:////proc/x.sqlite'),
]


def _run(*command, config=None, env=()):
    if config:
        command = (command[0], '--config-file', str(config), *command[1:])
    return subprocess.run(
        [BIN / command[0], *command[1:]],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **dict(env)},
    )


def _expect(ended, line):
    assert ended.returncode == 1, ended
    assert line in ended.stderr.splitlines()[-1], ended.stderr
    assert 'Traceback' not in ended.stderr + ended.stdout
    assert 'secret' not in ended.stderr + ended.stdout


@pytest.fixture
def config(tmp_path):
    """Writes a configuration file and returns its path."""

    def write(text):
        path = tmp_path / 'cloudkitty.conf'
        path.write_bytes(text.encode('latin-1'))
        return path

    return write


@pytest.fixture
def complete(config, tmp_path):
    """Writes a configuration in which nothing is wrong but perhaps the URL of the database."""

    def write(url):
        (tmp_path / 'metrics.yml').write_text(METRICS)
        return config(COMPLETE.format(folder=tmp_path) + url)

    return write


@pytest.mark.parametrize('text, line', WRONG_VALUES)
def test_wrong_value_is_named(config, text, line):
    """A wrong value is reported with its file, its option and what is allowed."""
    path = config(text)
    _expect(_run(*DBSYNC, config=path), line.format(file=path))


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_names_the_wrong_value(config, command):
    """No command starts with a wrong value."""
    path = config('[collect]\nwait_periods = -1')
    _expect(_run(*command, config=path), f'{command[0]}: {path}: [collect]wait_periods: Should be')


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize('url, line', DATABASE_DOWN)
def test_every_command_names_the_database_that_is_down(complete, command, url, line):
    """A database that cannot be reached is named, without its password."""
    _expect(_run(*command, config=complete(url)), line)


@pytest.mark.parametrize(
    'text, line',
    [
        ('[collect]\ncollector = tape', "[collect]collector: no driver is named 'tape'; allowed: "),
        ('[fetcher]\nbackend = tape', "[fetcher]backend: no driver is named 'tape'; allowed: "),
        (
            '[collector_prometheus]\ntimeout = soon',
            '[collector_prometheus]timeout: could not convert '
            "string to float: 'soon'; allowed: a number",
        ),
        ('[collect]\nmetrics_conf = /none.yml', '/none.yml: '),
        ('[orchestrator]\ncoordination_url = tape://', '[orchestrator]coordination_url: '),
    ],
)
def test_processor_names_what_is_wrong(complete, sqlite_template, tmp_path, text, line):
    """A processor does not start with a wrong driver, option of a driver, or metrics file."""
    # A copy: a processor writes what it works with into its database.
    database = shutil.copy(sqlite_template, tmp_path / 'one.sqlite')
    _expect(_run('cloudkitty-processor', config=complete(f'sqlite:///{database}\n{text}')), line)


@pytest.mark.parametrize('command', ['cloudkitty-api', 'cloudkitty-processor'])
def test_daemons_want_the_schema(complete, tmp_path, command):
    """A daemon does not start on a database without the schema; it says what to run."""
    _expect(
        _run(command, config=complete(f'sqlite:///{tmp_path}/none.sqlite')),
        'holds no schema; run `cloudkitty-dbsync upgrade`',
    )


def test_wrong_password_is_told(config):
    """A database that refuses the login is named, without the password."""
    path = config(
        '[database]\nconnection = '
        + conftest.SERVERS['mariadb'].replace('root', 'nobody:secret')
        + '/none'
    )
    _expect(_run(*DBSYNC, config=path), 'Access denied')


@pytest.mark.parametrize('path', ['missing.conf', '.'])
def test_unreadable_file_is_named(tmp_path, path):
    """A configuration file that is not there, or is a directory, is named."""
    _expect(_run(*DBSYNC, config=tmp_path / path), str(tmp_path / path).removesuffix('/.'))


def test_value_of_the_environment_is_named():
    """A wrong value in an environment variable is reported with the variable's name."""
    _expect(
        _run(*DBSYNC, env={'OS_COLLECT__PERIOD': 'hour'}), 'OS_COLLECT__PERIOD: [collect]period: '
    )


def test_unknown_storage_is_named(config, tmp_path):
    """An unknown driver is reported with those that are installed; nothing is made before."""
    path = config(f'[storage]\nbackend = tape\n[database]\nconnection = sqlite:///{tmp_path}/ck')
    _expect(
        _run('cloudkitty-storage-init', config=path),
        "[storage]backend: no driver is named 'tape'; allowed: clickhouse, sql",
    )
    assert not (tmp_path / 'ck').exists()


@pytest.mark.parametrize(
    'arguments, line',
    [
        (
            ('upgrade', '--module', 'tape'),
            "unknown module 'tape'; allowed: cloudkitty, hashmap, pyscripts",
        ),
        (
            ('upgrade', '--revision', 'ffff'),
            "no schema revision is named 'ffff'; allowed: base, head",
        ),
    ],
)
def test_dbsync_names_what_it_does_not_know(config, tmp_path, arguments, line):
    """An unknown module or revision is reported with those that exist."""
    path = config(f'[database]\nconnection = sqlite:///{tmp_path}/ck')
    _expect(_run('cloudkitty-dbsync', *arguments, config=path), line)


@pytest.mark.parametrize('arguments', [(), ('downgrade',), ('upgrade', '--none')])
def test_dbsync_explains_its_usage(arguments):
    """A wrong command line is exit status 2."""
    ended = _run('cloudkitty-dbsync', *arguments)
    assert ended.returncode == 2
    assert ended.stderr.startswith('usage: cloudkitty-dbsync')


def test_dbsync_makes_stamps_and_tells_the_revision(config, tmp_path):
    """The commands of operators' scripts work, with the module names of earlier releases."""
    path = config(f'[database]\nconnection = sqlite:///{tmp_path}/new/cloudkitty.sqlite')
    outputs = []
    for arguments in (
        ('version', '--module', 'cloudkitty'),
        ('upgrade', '--revision', 'head'),
        ('upgrade', '--module', 'hashmap'),
        ('upgrade', '--module', 'pyscripts'),
        ('version', '--module', 'hashmap'),
        ('upgrade', '--module', 'pyscripts'),
        ('stamp', '--revision', 'base', '--module', 'cloudkitty'),
        ('version',),
    ):
        ended = _run('cloudkitty-dbsync', *arguments, config=path)
        assert ended.returncode == 0, ended
        if arguments[0] == 'version':
            outputs.append(ended.stdout)
    assert outputs == ['none\n', f'{migration.head()}\n', 'none\n']
