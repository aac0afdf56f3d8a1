"""A former database that cannot be adopted is refused in one line, and nothing is changed."""

import subprocess
import sys

import pytest
import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, errors, locks
from cloudkitty.cli import adopting
from cloudkitty.tests import formers
from cloudkitty.tests.functional.adoption.conftest import IDENTITY, adopt, opened

DBSYNC = [sys.executable, '-c', 'from cloudkitty.cli import dbsync; dbsync.main()']


def _run(database, *statements):
    with database.writer() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))


def _contents(database):
    with database.reader() as connection:
        return formers.contents(connection)


@pytest.mark.parametrize('is_dry_run', [True, False])
@pytest.mark.parametrize(
    'statement, told',
    [
        (
            "UPDATE hashmap_alembic SET version_num = '4da82e1c11c8'",
            'table hashmap_alembic is at revision 4da82e1c11c8, which is not the last one of any',
        ),
        (
            "UPDATE storage_states_alembic SET version_num = 'f00d'",
            'table storage_states_alembic is at revision f00d, ',
        ),
        ('DELETE FROM pyscripts_alembic', 'table pyscripts_alembic is at revision none, '),
        (
            'UPDATE hashmap_mappings SET cost = NULL WHERE id IN (2, 3)',
            '2 rows of hashmap_mappings have no cost (id 2, 3): correct or delete them first',
        ),
        (
            'UPDATE hashmap_thresholds SET service_id = NULL, field_id = NULL WHERE id = 1',
            '1 rows of hashmap_thresholds belong to no service and no field (id 1)',
        ),
    ],
)
def test_rows_and_revisions(any_former, statement, told, is_dry_run):
    """Revisions before release 9 and unknown ones, and rows that our tables cannot hold."""
    if 'cost = NULL' in statement and any_former.engine.dialect.name == 'postgresql':
        _run(any_former, 'ALTER TABLE hashmap_mappings ALTER COLUMN cost DROP NOT NULL')
    _run(any_former, statement)
    before = _contents(any_former)

    with pytest.raises(errors.SchemaMismatch) as raised:
        adopt(any_former, is_dry_run=is_dry_run)

    assert told in str(raised.value)
    assert '\n' not in str(raised.value)
    assert _contents(any_former) == before


def test_a_user_who_may_not_alter_tables(former_25, tmp_path):
    """The server's own words, before anything is changed."""
    user = former_25.engine.url.database
    _run(
        former_25,
        f"CREATE USER '{user}'@'%'",
        f'GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON {user}.* TO {user}@"%"',
    )
    before = _contents(former_25)
    file = tmp_path / 'cloudkitty.conf'
    url = former_25.engine.url.set(username=user).render_as_string(hide_password=False)
    file.write_text(f'[database]\nconnection = {url}\n')

    ended = subprocess.run(
        [*DBSYNC, '--config-file', str(file), 'upgrade', '--force'], capture_output=True, text=True
    )

    _run(former_25, f'DROP USER {user}@"%"')
    assert ended.returncode == 1, ended
    (line,) = ended.stderr.splitlines()
    assert 'ALTER command denied to user' in line
    assert _contents(former_25) == before


def test_an_unknown_zone(conf):
    """It is named, with what zones are called."""
    with pytest.raises(errors.InvalidInput, match="no zone is named 'Mars/Base'; allowed: names"):
        adopting.adopter(db.Database(conf), conf, zone_name='Mars/Base')


def test_a_database_on_sqlite(conf):
    """No release was deployed on it."""
    database = db.Database(conf)
    _run(
        database,
        'CREATE TABLE cloudkitty_alembic (version_num varchar(32))',
        "INSERT INTO cloudkitty_alembic VALUES ('385e33fef139')",
    )

    with pytest.raises(errors.SchemaMismatch, match='on MariaDB and PostgreSQL, not on SQLite'):
        adopt(database)
    database.close()


def test_a_processor_that_moves_marks(conf, any_former):
    """One that stands still is none: an adoption goes on."""
    adopting.refuse_running(any_former, conf, sleep=lambda seconds: None)

    def rate(seconds):
        _run(
            any_former,
            'UPDATE cloudkitty_storage_states '
            "SET last_processed_timestamp = '2026-11-05 07:00:00' WHERE id = 1",
        )

    with pytest.raises(errors.SchemaMismatch, match='marks of scopes are moving.: stop it first'):
        adopting.refuse_running(any_former, conf, sleep=rate)


def test_a_processor_that_holds_a_lock(conf, any_former):
    """The lock of a scope has the name that all releases give it."""
    scope_key, fetcher, collector = IDENTITY
    name = locks.name('p00003', scope_key=scope_key, fetcher=fetcher, collector=collector)
    other = locks.Locks(conf.orchestrator.coordination_url)
    with other.hold(name) as had:
        assert had
        with pytest.raises(errors.SchemaMismatch, match='it holds a lock.: stop it first'):
            adopting.refuse_running(any_former, conf, sleep=lambda seconds: None)
    other.close()


def test_a_lock_service_that_is_down_holds_no_lock(tmp_path, any_former):
    """Whether the former service runs is seen by its marks then."""
    down = configuration.load([], files=[], conf=cfg.ConfigOpts())
    down.set_override('coordination_url', 'redis://127.0.0.1:1', 'orchestrator')

    adopting.refuse_running(any_former, down, sleep=lambda seconds: None)


def test_a_user_who_does_not_own_the_tables(conf):
    """PostgreSQL lets only the owner of a table alter it."""
    with opened('21-postgresql-sqlv1', conf) as database:
        user = database.engine.url.database
        _run(
            database,
            f'CREATE ROLE {user} LOGIN',
            f'GRANT ALL ON ALL TABLES IN SCHEMA public TO {user}',
            f'GRANT CREATE ON SCHEMA public TO {user}',
        )
        before = _contents(database)
        url = database.engine.url.set(username=user).render_as_string(hide_password=False)
        conf.set_override('connection', url, 'database')
        other = db.Database(conf)

        with pytest.raises(errors.DatabaseUnavailable, match='must be owner of table') as raised:
            adopt(other)

        other.close()
        assert '\n' not in str(raised.value)
        assert _contents(database) == before
        _run(database, f'DROP OWNED BY {user}', f'DROP ROLE {user}')
