"""An adopted database is one that our revisions made, with the former rows."""

import re

import pytest
import sqlalchemy as sa
from alembic import autogenerate
from alembic.runtime import migration as alembic_migration

from cloudkitty import db
from cloudkitty.db import migration, tables
from cloudkitty.db.adoption import heads, journal
from cloudkitty.tests import conftest, formers
from cloudkitty.tests.functional.adoption.conftest import adopt
from cloudkitty.tests.unit.db import test_migration

# Reports of the former API, which nothing reads; rated data of storage v1.
KEPT = {*heads.REVISIONS, 'states', 'rated_data_frames', journal.journal.name}


@pytest.fixture(scope='module')
def fresh_columns():
    """Return the columns of a new database, by kind of server; made once."""
    known = {}

    def columns(kind, conf):
        if kind not in known:
            with conftest.new_database(kind) as url:
                conf.set_override('connection', url, 'database')
                database = db.Database(conf)
                migration.upgrade(database)
                known[kind] = test_migration.columns_of(database)
                database.close()
        return known[kind]

    return columns


def test_the_schema_is_that_of_a_new_database(former, conf, fresh_columns):
    """Columns, keys and indexes are; the former tables that are not ours stay."""
    before = _names(former)

    adopt(former)

    migration.check(former)
    assert before <= _names(former)
    with former.reader() as connection:
        context = alembic_migration.MigrationContext.configure(
            connection, opts=migration.OPTIONS | {'compare_server_default': False}
        )
        differences = autogenerate.compare_metadata(context, tables.metadata)
    assert [found for found in differences if not _is_kept(found)] == []
    expected = fresh_columns(formers.kind_of(former.name), conf)
    assert _plain(test_migration.columns_of(former)) == _plain(expected)


def _plain(columns):
    """Return columns without the names of the sequences that count generated keys."""
    return {
        tuple(re.sub("'.*'", '', part) if _counts(part) else part for part in row)
        for row in columns
    }


def _counts(part):
    return isinstance(part, str) and part.startswith('nextval')


def _names(database):
    with database.reader() as connection:
        return set(sa.inspect(connection).get_table_names())


def _is_kept(difference):
    return difference[0] in ('remove_table', 'remove_index') and _table_of(difference) in KEPT


def _table_of(difference):
    return getattr(difference[1], 'table', difference[1]).name


def test_a_second_upgrade_changes_nothing(any_former):
    """It says nothing, and no statement but reading ones is sent."""
    adopt(any_former)
    statements = []
    sa.event.listen(
        any_former.engine,
        'before_cursor_execute',
        lambda connection, cursor, statement, *rest: statements.append(statement.split()[0]),
    )

    assert adopt(any_former) == []

    assert statements
    assert set(statements) <= {'SELECT', 'SHOW', 'DESCRIBE', 'select'}


def test_rated_data_of_storage_v1_stays_as_it_is(conf, former_v1):
    """Neither a column nor a row of it changes."""
    with former_v1.reader() as connection:
        before = formers.contents(connection)['rated_data_frames']
    assert len(before[1]) > 9000

    adopt(former_v1)

    with former_v1.reader() as connection:
        assert formers.contents(connection)['rated_data_frames'] == before
