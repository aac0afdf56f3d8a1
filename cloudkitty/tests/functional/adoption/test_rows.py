"""What becomes of rows whose meaning changed, and the record of it."""

from datetime import datetime

import pytest
import sqlalchemy as sa

from cloudkitty.tests.functional.adoption.conftest import NOW, adopt, opened


def _rows(database, statement):
    with database.reader() as connection:
        return [tuple(row) for row in connection.execute(sa.text(statement))]


def _run(database, statement):
    with database.writer() as connection:
        connection.execute(sa.text(statement))


@pytest.mark.parametrize('name', ['22-mariadb', '13-mariadb-sqlv1', '21-postgresql-sqlv1'])
def test_rules_of_releases_without_times_apply_to_all_periods(name, conf):
    """So each old period keeps its price; names are unique, and the zone changes nothing."""
    with opened(name, conf) as database:
        adopt(database, 'Asia/Tokyo')

        rules = _rows(
            database, 'SELECT start, created_at, created_by, name, mapping_id FROM hashmap_mappings'
        )
        scripts = _rows(database, 'SELECT start, created_by FROM pyscripts_scripts')

    assert {rule[:3] for rule in rules} == {(datetime(1970, 1, 1), NOW, 'migration')}
    assert len({rule[3] for rule in rules}) == len(rules) > 2
    assert all(rule[3] == rule[4].replace('-', '') for rule in rules)
    assert set(scripts) == {(datetime(2014, 1, 1), 'migration')}


@pytest.mark.parametrize(
    'zone_name, start',
    [
        ('Asia/Tokyo', datetime(2026, 11, 2, 3)),
        ('America/Sao_Paulo', datetime(2026, 11, 2, 15)),
        ('UTC', datetime(2026, 11, 2, 12)),
    ],
)
def test_local_times_of_rules_become_utc(former_25, zone_name, start):
    """Scopes, tasks and rated data are UTC as they are; every change is recorded."""
    statement = 'SELECT id, start, deleted FROM hashmap_mappings ORDER BY id'
    tasks = 'SELECT start_reprocess_time FROM storage_scope_reprocessing_schedule ORDER BY id'
    before, untouched = _rows(former_25, statement), _rows(former_25, tasks)

    lines = adopt(former_25, zone_name)

    assert f'times of rules and scripts are read as local times of zone {zone_name}' in lines
    after = {row[0]: row[1] for row in _rows(former_25, statement)}
    assert [after[key] for key, local, _ in before if local == datetime(2026, 11, 2, 12)] == [start]
    assert _rows(former_25, tasks) == untouched
    recorded = _rows(
        former_25,
        "SELECT row_id, `before` FROM adoption WHERE table_name = 'hashmap_mappings' "
        "AND name = 'start' ORDER BY row_id",
    )
    expected = [(key, f'{local:%Y-%m-%d %H:%M:%S.%f}') for key, local, _ in before]
    assert recorded == (expected if zone_name != 'UTC' else [])


def test_a_time_that_came_twice_is_told(former_25):
    """It counts as the earlier one."""
    _run(former_25, "UPDATE hashmap_mappings SET start = '2026-10-25 02:30:00' WHERE id = 1")

    lines = adopt(former_25, 'Europe/Berlin')

    assert (
        'hashmap_mappings.start: 2026-10-25 02:30:00 is ambiguous in Europe/Berlin, where clocks '
        'were set back; the earlier is taken, 2026-10-25 00:30:00 UTC'
    ) in lines
    ((start,),) = _rows(former_25, 'SELECT start FROM hashmap_mappings WHERE id = 1')
    assert start == datetime(2026, 10, 25, 0, 30)


def test_a_row_that_is_the_same_scope_as_a_complete_one_goes(former_25):
    """The complete one stays with the later mark."""
    _run(
        former_25,
        'INSERT INTO cloudkitty_storage_states '
        '(identifier, last_processed_timestamp, active) '
        "VALUES ('p00002', '2026-11-04 05:00:00', 1)",
    )

    lines = adopt(former_25)

    mark = datetime(2026, 11, 4, 5)
    assert _rows(
        former_25,
        'SELECT id, last_processed_timestamp FROM cloudkitty_storage_states '
        "WHERE identifier = 'p00002'",
    ) == [(3, mark)]
    assert any(line.endswith(f'row 3 gets the latest mark, {mark}') for line in lines)
    ((before, after),) = _rows(
        former_25,
        "SELECT `before`, `after` FROM adoption WHERE name = 'last_processed_timestamp'",
    )
    assert (before, after) == ('2026-11-03 23:00:00', '2026-11-04 05:00:00')


def test_a_script_without_a_checksum_gets_it(former_25):
    """It is the one that the former API gave."""
    statement = 'SELECT id, checksum FROM pyscripts_scripts ORDER BY id'
    before = _rows(former_25, statement)
    _run(former_25, 'UPDATE pyscripts_scripts SET checksum = NULL WHERE id < 3')

    adopt(former_25)

    assert _rows(former_25, statement) == before
