"""A copy of a former database becomes what the former one would, on either kind of server."""

import pytest
import sqlalchemy as sa

from cloudkitty import db, errors
from cloudkitty.db import migration, tables
from cloudkitty.db.adoption import copy, former, options, zone
from cloudkitty.rating import module_state
from cloudkitty.tests import conftest, formers
from cloudkitty.tests.functional.adoption.conftest import IDENTITY, NOW, adopt, opened

ZONE = 'America/Sao_Paulo'


@pytest.fixture(params=['postgresql', 'mariadb'])
def empty(request, conf):
    """An empty database of each kind."""
    with conftest.new_database(request.param) as url:
        conf.set_override('connection', url, 'database')
        database = db.Database(conf)
        yield database
        database.close()


def _copy(database, source_url, zone_name=ZONE, **more):
    lines = []
    told = options.Options(
        zone=zone.named(zone_name), identity=IDENTITY, period_s=3600, now=NOW, **more
    )
    copier = copy.Copier(told, lines.append, source_url, module_state.bump_version)
    migration.copy(database, copier)
    return lines


def _rows(database):
    """Return the rows of our tables, as values of Python."""
    with database.reader() as connection:
        return {
            name: sorted(str(tuple(row)) for row in connection.execute(sa.select(table)))
            for name, table in tables.metadata.tables.items()
        }


def test_the_copy_is_what_the_former_one_becomes(any_former, empty):
    """Its rows are, and its schema is whole; the former database stays as it is."""
    with any_former.reader() as connection:
        before = formers.contents(connection)

    lines = _copy(empty, any_former.url)

    migration.check(empty)
    with any_former.reader() as connection:
        assert formers.contents(connection) == before
    found = _rows(empty)
    adopt(any_former, ZONE)
    assert found == _rows(any_former)
    assert sum(line.startswith('copied ') for line in lines) == len(former.TABLES)
    with empty.writer() as connection:
        # The next key is free.
        connection.execute(tables.hashmap_groups.insert().values(group_id='g', name='new'))


@pytest.mark.parametrize('name', ['13-mariadb-sqlv1', '22-mariadb'])
def test_copies_of_older_releases(name, conf):
    """Columns that they lack get the values that adoption in place gives them."""
    with opened(name, conf) as database, conftest.new_database('postgresql') as url:
        conf.set_override('connection', url, 'database')
        target = db.Database(conf)
        _copy(target, database.url)
        found = _rows(target)
        target.close()
        adopt(database, ZONE)

        assert found == _rows(database)


def test_a_database_that_is_in_use_is_no_place_for_a_copy(former_25, empty):
    """Whatever made its tables."""
    with empty.writer() as connection:
        connection.execute(sa.text('CREATE TABLE theirs (id integer)'))

    with pytest.raises(errors.SchemaMismatch, match='already has tables, such as theirs;'):
        _copy(empty, former_25.url)


@pytest.mark.parametrize(
    'source_url, told',
    [
        ('mysql+pymysql://root:secret@127.0.0.1:1/none', r'root:\*\*\*@127.0.0.1:1/none: '),
        ('nonsense', 'Could not parse'),
        ('tape://x', "Can't load plugin"),
    ],
)
def test_a_source_that_cannot_be_read(empty, source_url, told):
    """It is named, without its password."""
    with pytest.raises(errors.DatabaseUnavailable, match=told) as raised:
        _copy(empty, source_url)

    assert 'secret' not in str(raised.value)


def test_a_source_without_former_tables(empty):
    """It is not taken for an empty former database."""
    with conftest.new_database('mariadb') as url:
        with pytest.raises(
            errors.SchemaMismatch, match='is not the database of an earlier CloudKitty'
        ):
            _copy(empty, url)
