"""The revisions make the tables of models, once, whoever asks."""

import concurrent.futures
import datetime
import subprocess
import sys
from decimal import Decimal

import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.runtime import migration as alembic_migration
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, errors
from cloudkitty.db import migration
from cloudkitty.db import tables as models

COLUMNS = {
    'sqlite': 'SELECT m.name, c.name, c.type, c."notnull", c.dflt_value, c.pk '
    "FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'",
    'postgresql': 'SELECT table_name, column_name, data_type, character_maximum_length, '
    'numeric_precision, numeric_scale, is_nullable, column_default '
    'FROM information_schema.columns WHERE table_schema = current_schema()',
    'mysql': 'SELECT table_name, column_name, column_type, collation_name, is_nullable, '
    'column_default, extra FROM information_schema.columns '
    'WHERE table_schema = database()',
}
UPGRADE = [sys.executable, '-c', 'from cloudkitty.cli import dbsync; dbsync.main()']


@pytest.fixture
def empty_database(any_conf):
    """A database without tables, once of each kind."""
    opened = db.Database(any_conf)
    yield opened
    opened.engine.dispose()


def test_schema_is_that_of_the_models(empty_database):
    """A database made by the revisions differs in nothing from what the models say."""
    migration.upgrade(empty_database)

    with empty_database.reader() as connection:
        context = alembic_migration.MigrationContext.configure(
            connection, opts=migration.OPTIONS | {'compare_server_default': False}
        )
        assert autogenerate.compare_metadata(context, models.metadata) == []


def test_every_table_has_a_primary_key(any_database):
    """A Galera cluster, and replication by rows, cannot do without."""
    with any_database.reader() as connection:
        inspector = sa.inspect(connection)
        tables = inspector.get_table_names()
        assert set(models.metadata.tables) < set(tables)
        assert [
            name for name in tables if not inspector.get_pk_constraint(name)['constrained_columns']
        ] == []


def test_columns_are_those_of_the_models(empty_database):
    """Every column has the type, length, collation and default that the models give it."""
    models.metadata.create_all(empty_database.engine)
    expected = columns_of(empty_database)
    models.metadata.drop_all(empty_database.engine)

    migration.upgrade(empty_database)

    assert columns_of(empty_database) == expected
    assert len(expected) > 100


def columns_of(database):
    """Return the columns of our tables, in words of the server."""
    with database.reader() as connection:
        rows = connection.execute(sa.text(COLUMNS[connection.dialect.name]))
        return {tuple(row) for row in rows if row[0] in models.metadata.tables}


def test_upgrade_again_changes_nothing(empty_database):
    """An upgrade of a database that is up to date is harmless."""
    migration.upgrade(empty_database)
    migration.upgrade(empty_database)

    assert migration.version(empty_database) == migration.head()
    migration.check(empty_database)


def test_interrupted_upgrade_is_finished(empty_database):
    """What an upgrade that died has left is completed (MariaDB keeps each statement)."""
    migration.upgrade(empty_database)
    with empty_database.writer() as connection:
        for table in (migration.VERSION_TABLE, 'rated_calendar', 'rated_months'):
            connection.execute(sa.text(f'DROP TABLE {table}'))
        for view in ('rated_days_v', 'rated_totals_v'):
            connection.execute(sa.text(f'DROP VIEW {view}'))
        on_table = ' ON rated_frames' if connection.dialect.name == 'mysql' else ''
        connection.execute(sa.text(f'DROP INDEX ix_rated_frames_begin{on_table}'))

    migration.upgrade(empty_database)

    migration.check(empty_database)
    with empty_database.reader() as connection:
        indexes = sa.inspect(connection).get_indexes('rated_frames')
        assert [index['name'] for index in indexes] == ['ix_rated_frames_begin']


def test_processes_upgrade_at_once(any_conf, tmp_path):
    """Of several processes that upgrade at the same time each succeeds."""
    file = tmp_path / 'cloudkitty.conf'
    file.write_text(f'[database]\nconnection = {any_conf.database.connection}\n')
    command = [*UPGRADE, '--config-file', str(file), 'upgrade']

    with concurrent.futures.ThreadPoolExecutor() as pool:
        ended = list(
            pool.map(lambda _: subprocess.run(command, capture_output=True, text=True), range(3))
        )

    assert [process.returncode for process in ended] == [0, 0, 0], ended
    migration.check(db.Database(any_conf))


@pytest.mark.parametrize(
    'recorded, expected',
    [
        (None, 'holds no schema; run `cloudkitty-dbsync upgrade`'),
        ('0000', 'holds schema 0000, which this version does not know: a newer version made it'),
    ],
)
def test_check_says_what_to_run(database, recorded, expected):
    """A schema that is not the one needed is refused with the way out."""
    if recorded:
        _record(database, recorded)
    else:
        migration.stamp(database, 'base')

    with pytest.raises(errors.SchemaMismatch, match=expected):
        migration.check(database)


def test_older_schema_is_to_be_upgraded(database, monkeypatch):
    """A schema of an older revision is refused with the way out."""
    current = migration.version(database)
    monkeypatch.setattr(migration, 'head', lambda: '9999')

    expected = f'holds schema {current} and 9999 is needed; run'
    with pytest.raises(errors.SchemaMismatch, match=expected):
        migration.check(database)


def test_newer_schema_is_not_upgraded(database):
    """An upgrade leaves alone what a newer version made."""
    _record(database, '0000')

    with pytest.raises(errors.SchemaMismatch, match='holds schema 0000'):
        migration.upgrade(database)


def _record(database, revision):
    with database.writer() as connection:
        connection.execute(
            sa.text(f'UPDATE {migration.VERSION_TABLE} SET version_num = :revision'),
            {'revision': revision},
        )


@pytest.mark.parametrize('change', [migration.upgrade, migration.stamp])
def test_former_schema_is_refused(empty_database, change):
    """What does not adopt a former database refuses it, and writes nothing."""
    with empty_database.writer() as connection:
        connection.execute(sa.text('CREATE TABLE cloudkitty_alembic (version_num varchar(32))'))

    with pytest.raises(
        errors.SchemaMismatch, match='of an earlier CloudKitty, which is to be adopted'
    ):
        change(empty_database)

    with empty_database.reader() as connection:
        assert sa.inspect(connection).get_table_names() == ['cloudkitty_alembic']


def test_unknown_revision_is_named(database):
    """A revision that does not exist is an error that lists those that do."""
    with pytest.raises(errors.InvalidInput, match="'nothing'; allowed: base, head, 0001"):
        migration.upgrade(database, 'nothing')


def test_check_makes_no_file(tmp_path):
    """Asking about a SQLite file that is not there does not make it; upgrading makes its path."""
    path = tmp_path / 'a' / 'b' / 'cloudkitty.sqlite'
    loaded = configuration.load([], files=[], conf=cfg.ConfigOpts())
    loaded.set_override('connection', f'sqlite:///{path}', 'database')
    database = db.Database(loaded)

    with pytest.raises(errors.SchemaMismatch, match='holds no schema'):
        migration.check(database)
    assert not path.parent.exists()

    migration.upgrade(database)
    migration.check(database)
    assert path.exists()


def test_views_give_readable_names(any_database):
    """Who reads the database directly finds scope, metric and attributes by name."""
    _store_a_day(any_database)

    with any_database.reader() as connection:
        day = connection.execute(sa.text('SELECT * FROM rated_days_v')).one()._mapping
        total = connection.execute(sa.text('SELECT * FROM rated_totals_v')).one()._mapping

    for row in (day, total):
        assert (row['scope'], row['scope_key'], row['metric']) == ('alpha', 'project_id', 'cpu')
        assert (Decimal(row['qty']), Decimal(row['price']), row['points']) == (3, Decimal('1.5'), 2)
    assert day['attributes'] in ('{"flavor": "tiny"}', {'flavor': 'tiny'})


def _store_a_day(database):
    sums = {
        'day': datetime.date(2024, 5, 1),
        'qty': Decimal(3),
        'price': Decimal('1.5'),
        'points': 2,
    }
    with database.writer() as connection:
        for table, row in (
            (models.rated_scopes, {'id': 1, 'scope_key': 'project_id', 'identifier': 'alpha'}),
            (
                models.rated_series,
                {
                    'id': 1,
                    'digest': bytes(16),
                    'owner_id': 1,
                    'scope_id': 1,
                    'metric': 'cpu',
                    'unit': 'h',
                    'groupby': '{"flavor": "tiny"}',
                    'metadata': '{}',
                },
            ),
            (models.rated_days, {'series_id': 1} | sums),
            (models.rated_totals, {'scope_id': 1, 'metric': 'cpu'} | sums),
        ):
            connection.execute(table.insert(), row)
