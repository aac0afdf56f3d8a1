"""cloudkitty-dbsync release: the way back to the release that a database was adopted from."""

import subprocess
import sys
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import migration, tables
from cloudkitty.db.adoption import former, heads, release, scope_rows
from cloudkitty.tests.functional.adoption.conftest import adopt, opened

DBSYNC = [sys.executable, '-c', 'from cloudkitty.cli import dbsync; dbsync.main()']
# A zone whose offset changed within the times of the rules.
ZONE = 'America/Sao_Paulo'
HOUR = timedelta(hours=1)
ASKED = release.Request(HOUR)


def _release(database, is_dry_run=False, **asked):
    lines = []
    migration.release(database, ASKED._replace(**asked), lines.append, is_dry_run=is_dry_run)
    return lines


def _columns(database):
    with database.reader() as connection:
        inspector = sa.inspect(connection)
        names = {*former.TABLES, *heads.REVISIONS} & set(inspector.get_table_names())
        return {
            name: sorted(column['name'] for column in inspector.get_columns(name)) for name in names
        }


def _rows(database, columns):
    """Return the values in *columns*, which are those of the former tables."""
    with database.reader() as connection:
        return {
            name: sorted(
                map(
                    str,
                    connection.execute(sa.select(*map(sa.column, own)).select_from(sa.table(name))),
                )
            )
            for name, own in columns.items()
        }


def _everything(name, columns):
    return sa.select(*map(sa.column, columns)).select_from(sa.table(name))


def _plain(database, columns):
    """Return the values whose text does not depend on the digits that a column has."""
    kept = {name: own for name, own in columns.items() if not name.startswith('hashmap_t')}
    kept['hashmap_mappings'] = [name for name in kept['hashmap_mappings'] if name != 'cost']
    return _rows(database, kept)


def test_all_rows_are_those_of_before(former_25):
    """Local times, unfinished tasks, scopes that named nothing, and the one that was merged."""
    columns = _columns(former_25)
    before = _plain(former_25, columns)
    adopt(former_25, ZONE)
    assert _plain(former_25, columns) != before

    _release(former_25)

    assert _plain(former_25, columns) == before
    assert migration.version(former_25) is None
    with pytest.raises(errors.SchemaMismatch, match='is to be adopted'):
        migration.upgrade(former_25)


def test_it_is_adopted_again(former_25):
    """With our tables and their rows as they were; what the former service did is taken over."""
    adopt(former_25, ZONE)
    columns = _columns(former_25)
    first = _rows(former_25, columns)
    with former_25.writer() as connection:
        connection.execute(tables.rated_scopes.insert().values(scope_key='k', identifier='kept'))
    _release(former_25)
    with former_25.writer() as connection:
        connection.execute(sa.text("INSERT INTO hashmap_groups (group_id, name) VALUES ('n', 'n')"))

    adopt(former_25, ZONE)

    migration.check(former_25)
    second = _rows(former_25, columns)
    groups = second.pop('hashmap_groups')
    assert len(groups) == len(first.pop('hashmap_groups')) + 1
    assert second == first
    with former_25.reader() as connection:
        assert connection.scalar(sa.select(tables.rated_scopes.c.identifier)) == 'kept'
        assert release.released_revision(connection) is None
    _release(former_25)


def _add_mapping(database, **values):
    now = datetime(2026, 11, 5, 12)
    row = {
        'mapping_id': 'new',
        'value': 'v',
        'cost': 1,
        'map_type': 'flat',
        'service_id': 1,
        'name': 'new',
        'created_at': now,
        'start': now,
        'created_by': 'u',
        **values,
    }
    with database.writer() as connection:
        connection.execute(tables.hashmap_mappings.insert().values(row))


def test_new_rules_and_changed_ones(former_25):
    """Their times become local ones too."""
    adopt(former_25, ZONE)
    _add_mapping(former_25)
    rules = tables.hashmap_mappings
    with former_25.writer() as connection:
        connection.execute(
            sa.update(rules)
            .where(rules.c.id == 1)
            .values(start=datetime(2026, 11, 6, 14), end=datetime(2026, 11, 6, 15))
        )

    _release(former_25)

    with former_25.reader() as connection:
        new = connection.execute(sa.select(rules).where(rules.c.mapping_id == 'new')).one()
        changed = connection.execute(sa.select(rules).where(rules.c.id == 1)).one()
    assert (new.start, new.created_at) == (datetime(2026, 11, 5, 9), datetime(2026, 11, 5, 9))
    assert (changed.start, changed.end) == (
        datetime(2026, 11, 6, 11),
        datetime(2026, 11, 6, 12),
    )


def test_tasks(former_25):
    """New ones end with their last period; dry runs that are not finished go."""
    adopt(former_25)
    begin = datetime(2026, 11, 1)
    row = {'start_reprocess_time': begin, 'end_reprocess_time': begin + 3 * HOUR, 'reason': 'r'}
    with former_25.writer() as connection:
        for name, more in (('open', {}), ('dry', {'dry_run': True}), ('done', {})):
            connection.execute(tables.tasks.insert().values(identifier=name, **row, **more))
        connection.execute(
            sa.update(tables.tasks)
            .where(tables.tasks.c.identifier == 'done')
            .values(current_reprocess_time=begin + 3 * HOUR)
        )

    lines = _release(former_25)

    assert any(line.startswith('1 unfinished dry runs are deleted') for line in lines)
    with former_25.reader() as connection:
        found = dict(
            connection.execute(
                sa.select(tables.tasks.c.identifier, tables.tasks.c.end_reprocess_time)
            ).all()
        )
    assert (found['open'], found['done']) == (begin + 2 * HOUR, begin + 3 * HOUR)
    assert 'dry' not in found


@pytest.mark.parametrize('is_setting_back', [True, False])
def test_marks(former_25, is_setting_back):
    """They stay, or become those of the adoption, so that all is rated again."""
    scopes = tables.scopes
    adopt(former_25)
    key = scopes.c.identifier == 'p00003'
    with former_25.writer() as connection:
        (before,) = connection.scalars(sa.select(scopes.c.last_processed_timestamp).where(key))
        later = before + 5 * HOUR
        connection.execute(sa.update(scopes).where(key).values(last_processed_timestamp=later))

    with former_25.reader() as connection:
        assert scope_rows.rated_until(connection, 'p00003') == before

    _release(former_25, is_setting_back=is_setting_back)

    with former_25.reader() as connection:
        (found,) = connection.scalars(sa.select(scopes.c.last_processed_timestamp).where(key))
        last = scope_rows.rated_until(connection, 'p00003')
    assert found == (before if is_setting_back else later)
    # It is no adopted one now.
    assert last is None


@pytest.mark.parametrize(
    'values, told',
    [
        ({'created_by': 'x' * 40}, 'have a created_by that is too long'),
        ({'cost': '0.' + '0' * 30 + '1'}, 'have a cost with too many digits'),
        ({'cost': 10**13}, 'have a cost with too many digits'),
    ],
)
def test_rows_that_do_not_fit(former_25, values, told):
    """They are told, and nothing is changed unless it is forced."""
    adopt(former_25, ZONE)
    _add_mapping(former_25, **values)
    columns = _columns(former_25)
    before = _rows(former_25, columns)

    with pytest.raises(errors.SchemaMismatch, match=f'1 rows of hashmap_mappings {told}'):
        _release(former_25)

    assert _rows(former_25, columns) == before
    assert _release(former_25, is_forced=True)


@pytest.mark.parametrize('name', ['22-mariadb', '13-mariadb-sqlv1', '21-postgresql-sqlv1'])
def test_older_releases_have_no_way_back(name, conf):
    """They cannot use the columns that were added."""
    with opened(name, conf) as database:
        adopt(database)
        with pytest.raises(errors.SchemaMismatch, match='from a release before 23'):
            _release(database)


def test_a_database_that_was_not_adopted(database):
    """There is nothing to go back to."""
    with pytest.raises(errors.SchemaMismatch, match='was not adopted, so it cannot be returned'):
        _release(database)


def test_a_dry_run_writes_nothing(former_25):
    """It tells what would be done."""
    adopt(former_25, ZONE)
    columns = _columns(former_25)
    before = _rows(former_25, columns)

    rehearsed = _release(former_25, is_dry_run=True)

    assert _rows(former_25, columns) == before
    migration.check(former_25)
    assert _release(former_25) == rehearsed


def test_interrupted_before_the_version_is_dropped(former_25, monkeypatch):
    """Rows are not changed twice."""
    columns = _columns(former_25)
    before = _plain(former_25, columns)
    adopt(former_25, ZONE)

    def stop(connection):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(migration, '_drop_version', stop)
        with pytest.raises(KeyboardInterrupt):
            _release(former_25)
    assert _release(former_25) == ['the rows were returned already']

    assert _plain(former_25, columns) == before


def test_the_command(former_25, tmp_path):
    """It ends with what to do next; a second time there is nothing to give back."""
    adopt(former_25)
    file = tmp_path / 'cloudkitty.conf'
    file.write_text(
        f'[database]\nconnection = {former_25.url}\n'
        f'[orchestrator]\ncoordination_url = file://{tmp_path}/locks\n'
    )
    command = [*DBSYNC, '--config-file', file, 'release', '--set-marks-back']

    ended = [subprocess.run(command, capture_output=True, text=True) for _ in range(2)]

    assert [one.returncode for one in ended] == [0, 1], ended
    assert ended[0].stdout.splitlines()[-1] == 'start the former service on this database'
    assert 'holds the schema of an earlier CloudKitty' in ended[1].stderr
