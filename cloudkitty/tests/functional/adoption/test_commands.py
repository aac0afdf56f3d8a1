"""Adoption as an operator orders it, and the commands that the page about it shows."""

import argparse
import pathlib
import re
import subprocess
import sys

import pytest
import sqlalchemy as sa

from cloudkitty.cli import dbsync, status, storage
from cloudkitty.db import migration
from cloudkitty.tests import conftest, formers

BIN = pathlib.Path(sys.executable).parent
PAGE = pathlib.Path(__file__).parents[4] / 'doc' / 'source' / 'admin' / 'adopting.rst'


@pytest.fixture
def config_file(tmp_path):
    """Write a configuration file for a database, with other options; return its path."""

    def write(url, more=''):
        path = tmp_path / 'cloudkitty.conf'
        path.write_text(
            f'[database]\nconnection = {url}\n'
            f'[orchestrator]\ncoordination_url = file://{tmp_path}/locks\n'
            f'[collect]\ncollector = prometheus\n[fetcher]\nbackend = source\n{more}'
        )
        return path

    return write


def _run(path, command, *arguments):
    return subprocess.run(
        [BIN / command, '--config-file', path, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_commands_of_the_page(any_former, config_file):
    """They end with 0, one after another; the dry run writes nothing."""
    commands = re.findall(r'\$ (cloudkitty-(?:dbsync|storage-init).*)', PAGE.read_text())
    assert len(commands) == 6
    path = config_file(any_former.url)
    with any_former.reader() as connection:
        before = formers.contents(connection)
    for line in commands:
        if ' adopt ' in line or ' release ' in line:
            continue
        ended = _run(path, *line.split())

        assert ended.returncode == 0, (line, ended.stderr)
        assert ('step: widen table hashmap_mappings' in ended.stdout) is ('dbsync' in line)
        if '--dry-run' in line:
            with any_former.reader() as connection:
                assert formers.contents(connection) == before
    migration.check(any_former)


def test_the_commands_of_the_page_that_go_back(former_25, config_file):
    """They end with 0; of the first nothing is written."""
    rehearsal, done = re.findall(r'\$ (cloudkitty-dbsync release .*)', PAGE.read_text())
    path = config_file(former_25.url)
    assert _run(path, 'cloudkitty-dbsync', 'upgrade').returncode == 0

    first, second = _run(path, *rehearsal.split()), _run(path, *done.split())

    assert (first.returncode, second.returncode) == (0, 0), (first.stderr, second.stderr)
    assert second.stdout.endswith('\nstart the former service on this database\n')


def test_the_command_of_the_page_that_copies(any_former, config_file, tmp_path):
    """The URL comes from a file, since it holds a password; a second run changes nothing."""
    (line,) = re.findall(r'\$ (cloudkitty-dbsync adopt .*)', PAGE.read_text())
    secret = tmp_path / 'former-database'
    secret.write_text(f'{any_former.url}\n')
    with conftest.new_database('mariadb') as url:
        words = line.replace('/etc/cloudkitty/former-database', str(secret)).split()

        ended = _run(config_file(url), *words)
        again = _run(config_file(url), *words)

    assert ended.returncode == 0, ended.stderr
    assert 'copied hashmap_mappings: ' in ended.stdout
    assert again.returncode == 0, again.stderr
    assert 'copied hashmap_mappings again: 0 new, 0 changed, 0 deleted' in again.stdout


def test_where_rated_data_stays_is_told(former_25, config_file):
    """With the option to set."""
    path = config_file(former_25.url, '[storage]\nbackend = influxdb\n')

    ended = _run(path, 'cloudkitty-dbsync', 'upgrade')

    assert ended.returncode == 0, ended.stderr
    schema, hint, following = ended.stdout.splitlines()[-3:]
    assert schema == f'the schema is at {migration.head()}'
    assert hint == (
        "[storage]backend: 'influxdb' is only read, by `cloudkitty-storage import --from "
        'influxdb`; set backend = sql (or remove it)'
    )
    assert following == dbsync.ADOPTED
    # Of alembic's lines those that say what is done.
    assert 'Running upgrade  -> 0001' in ended.stdout
    assert 'Context impl' not in ended.stdout


def test_each_step_tells_the_next(any_former, config_file):
    """Of a database of either kind: what it is, what would be done, and what to do then."""
    path = config_file(any_former.url)

    versions = _run(path, 'cloudkitty-dbsync', 'version')
    rehearsed = _run(path, 'cloudkitty-dbsync', 'upgrade', '--dry-run')
    # Some installers run it first, so it adopts too.
    done = _run(path, 'cloudkitty-storage-init')
    migration.check(any_former)
    again = _run(path, 'cloudkitty-dbsync', 'upgrade', '--dry-run')

    assert versions.stdout == 'none\n'
    assert '`cloudkitty-dbsync upgrade --dry-run` tells how they are adopted' in versions.stderr
    assert rehearsed.stdout.splitlines()[-1] == dbsync.REHEARSED
    assert 'alembic.runtime' not in rehearsed.stdout + rehearsed.stderr
    assert 'adopting the former database: cloudkitty_alembic 385e33fef139' in done.stdout
    assert done.stdout.splitlines()[-1] == dbsync.ADOPTED
    migrate = '`cloudkitty-storage migrate` copies it to version 2'
    has_rated_data = 'postgresql' in any_former.url
    assert (migrate in rehearsed.stdout, migrate in done.stdout) == (has_rated_data,) * 2
    assert again.stdout.endswith(': there is nothing to adopt\n')


def test_a_former_database_is_not_stamped(former_25, config_file):
    """One line says what to run instead, and nothing is written."""
    with former_25.reader() as connection:
        before = formers.contents(connection)

    ended = _run(config_file(former_25.url), 'cloudkitty-dbsync', 'stamp')

    assert (ended.returncode, ended.stdout) == (1, '')
    assert ended.stderr.count('\n') == 1
    assert '`cloudkitty-dbsync upgrade' in ended.stderr
    with former_25.reader() as connection:
        assert formers.contents(connection) == before


def test_a_refusal_of_a_dry_run_is_status_1(former_25, config_file):
    """And one line on standard error."""
    path = config_file(former_25.url)

    ended = _run(path, 'cloudkitty-dbsync', 'upgrade', '--dry-run', '--timezone', 'Nowhere')

    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("cloudkitty-dbsync: --timezone: no zone is named 'Nowhere'")


@pytest.mark.parametrize('name', ['upgrade', 'storage-init'])
def test_a_retention_that_would_remove_points(former_25, config_file, name):
    """It had no effect before, so it must be meant."""
    path = config_file(former_25.url, '[storage]\nretention_period = 2400\n')
    command = (
        ('cloudkitty-storage-init',) if name == 'storage-init' else ('cloudkitty-dbsync', name)
    )

    ended = _run(path, *command)

    assert ended.returncode == 1
    assert '[storage]retention_period = 2400 removes rated points before 20' in ended.stderr
    assert _run(path, 'cloudkitty-dbsync', 'upgrade', '--dry-run').returncode == 1
    assert _run(path, 'cloudkitty-dbsync', 'upgrade', '--keep-retention').returncode == 0
    assert _run(path, *command).returncode == 0


def test_a_copy_is_rehearsed(former_25, config_file):
    """Nothing is written, and what is told is what an adoption tells."""
    with conftest.new_database('postgresql') as url:
        path = config_file(url)
        command = ('cloudkitty-dbsync', 'adopt', '--source', former_25.url)

        rehearsed = _run(path, *command, '--dry-run')

        engine = sa.create_engine(url)
        assert rehearsed.returncode == 0, rehearsed.stderr
        assert sa.inspect(engine).get_table_names() == []
        engine.dispose()
        done = _run(path, *command)
    assert done.returncode == 0, done.stderr
    *lines, following = rehearsed.stdout.splitlines()
    told = {line for line in lines if not re.match(r'step: |\d{4}-', line)}
    assert following == dbsync.COPY_REHEARSED
    assert told <= set(done.stdout.splitlines())
    assert done.stdout.splitlines()[-1] == dbsync.COPIED
    assert len(told) > 5


@pytest.mark.parametrize('module', [status, storage])
def test_the_other_commands_of_the_page_are_understood(module):
    """What they do is tested beside this."""
    program = f'cloudkitty-{module.__name__.rpartition(".")[2]}'
    lines = re.findall(rf'\$ {program} (.*)', PAGE.read_text())
    parser = argparse.ArgumentParser(exit_on_error=False)
    module._add_commands(parser.add_subparsers(required=True))

    assert lines
    for line in lines:
        assert parser.parse_args(line.split()), line
