"""A second copy takes over what changed in the former database since the first."""

from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import db, errors
from cloudkitty.db import migration, tables
from cloudkitty.db.adoption import scope_rows
from cloudkitty.rating import module_state
from cloudkitty.tests import conftest, formers
from cloudkitty.tests.functional.adoption.conftest import adopt
from cloudkitty.tests.functional.adoption.test_copy import ZONE, _copy, _rows

SERVICES, MAPPINGS = tables.hashmap_services, tables.hashmap_mappings
GROUPS, SCOPES, TASKS = tables.hashmap_groups, tables.scopes, tables.tasks
HOUR = timedelta(hours=1)
# What the operators of the former service did meanwhile; its times are local ones.
CHANGES = (
    "INSERT INTO hashmap_services (id, service_id, name) VALUES (900, 'new-service', 'new')",
    'INSERT INTO hashmap_mappings (id, mapping_id, cost, map_type, service_id, name, created_at, '
    "start, created_by) VALUES (900, 'new-mapping', 0.5, 'flat', 900, 'new', "
    "'2026-11-20 10:00:00', '2026-11-21 00:00:00', 'joe')",
    "UPDATE hashmap_mappings SET cost = cost + 1, updated_by = 'joe' WHERE id = {mapping}",
    'DELETE FROM hashmap_thresholds',
    "UPDATE pyscripts_scripts SET description = 'changed'",
    'UPDATE modules_state SET priority = 77',
    "UPDATE cloudkitty_storage_states SET last_processed_timestamp = '2026-11-25 00:00:00' "
    'WHERE id = {scope}',
    'INSERT INTO cloudkitty_storage_states (id, identifier, scope_key, fetcher, collector, '
    "last_processed_timestamp, scope_activation_toggle_date, active) VALUES (900, 'later', "
    "'project_id', 'source', 'prometheus', '2026-11-25 00:00:00', '2026-11-25 00:00:00', {true})",
    'INSERT INTO storage_scope_reprocessing_schedule (id, identifier, start_reprocess_time, '
    "end_reprocess_time, reason) VALUES (900, 'later', '2026-11-20 00:00:00', "
    "'2026-11-20 05:00:00', 'new')",
    "INSERT INTO service_to_collector_mappings (service, collector) VALUES ('new', 'gnocchi')",
)


@pytest.fixture
def target(conf):
    """An empty database of our own."""
    with conftest.new_database('postgresql') as url:
        conf.set_override('connection', url, 'database')
        database = db.Database(conf)
        yield database
        database.close()


def _first_ids(connection):
    """Return the ids of a mapping and of a scope that names all of its parts."""
    mapping = connection.scalar(sa.text('SELECT min(id) FROM hashmap_mappings'))
    scope = connection.scalar(
        sa.text('SELECT min(id) FROM cloudkitty_storage_states WHERE fetcher IS NOT NULL')
    )
    return mapping, scope


def _run(database, *statements):
    with database.writer() as connection:
        mapping, scope = _first_ids(connection)
        for statement in statements:
            connection.exec_driver_sql(
                statement.format(mapping=mapping, scope=scope, true='TRUE').replace('%', '%%')
            )


def test_what_changed_there_is_taken_over(former_25, target):
    """New, changed and deleted rows of every table, as if all were copied at once."""
    _copy(target, former_25.url)
    _run(former_25, *CHANGES)

    lines = _copy(target, former_25.url)

    with target.reader() as connection:
        versions = module_state.versions(connection)
        last = scope_rows.rated_until(connection, 'later')
    found = _rows(target)
    assert versions == {'hashmap': 1, 'pyscripts': 1}
    assert last == datetime(2026, 11, 25)
    assert 'copied hashmap_mappings again: 1 new, 1 changed, 0 deleted' in lines
    adopt(former_25, ZONE)
    wanted = _rows(former_25)
    for rows in (found, wanted):
        rows.pop(tables.module_versions.name)
    assert found == wanted


def test_without_a_change_nothing_is_written(former_25, target):
    """Not even to the journal."""
    _copy(target, former_25.url)
    with target.reader() as connection:
        before = formers.contents(connection)

    lines = _copy(target, former_25.url)

    with target.reader() as connection:
        assert formers.contents(connection) == before
    assert sum(line.endswith(' 0 new, 0 changed, 0 deleted') for line in lines) == 10


def test_a_dry_run_tells_what_changed(former_25, target):
    """It writes nothing."""
    _copy(target, former_25.url)
    _run(former_25, *CHANGES)
    with target.reader() as connection:
        before = formers.contents(connection)

    told = _copy(target, former_25.url, is_dry_run=True)

    with target.reader() as connection:
        assert formers.contents(connection) == before
    assert told == _copy(target, former_25.url)


def test_what_was_changed_here_stays(former_25, target):
    """Each row until its first change here; what was made here stays, whatever its id."""
    _copy(target, former_25.url)
    with target.writer() as connection:
        mapping, scope = _first_ids(connection)
        connection.execute(
            sa.update(MAPPINGS).where(MAPPINGS.c.id == mapping).values(cost=Decimal('9.75'))
        )
        connection.execute(sa.delete(GROUPS))
        connection.execute(SERVICES.insert().values(id=900, service_id='own', name='own'))
        connection.execute(
            TASKS.insert().values(
                id=900,
                identifier='own',
                start_reprocess_time=datetime(2026, 11, 1),
                end_reprocess_time=datetime(2026, 11, 2),
                reason='own',
            )
        )
        mark = connection.scalar(
            sa.update(SCOPES)
            .where(SCOPES.c.id == scope)
            .values(last_processed_timestamp=SCOPES.c.last_processed_timestamp + HOUR)
            .returning(SCOPES.c.last_processed_timestamp)
        )
    _run(former_25, *CHANGES)

    lines = _copy(target, former_25.url)

    with target.reader() as connection:
        costs = dict(connection.execute(sa.select(MAPPINGS.c.id, MAPPINGS.c.cost)).all())
        services = dict(connection.execute(sa.select(SERVICES.c.name, SERVICES.c.id)).all())
        owner = connection.scalar(
            sa.select(MAPPINGS.c.service_id).where(MAPPINGS.c.mapping_id == 'new-mapping')
        )
        marks = connection.scalar(
            sa.select(SCOPES.c.last_processed_timestamp).where(SCOPES.c.id == scope)
        )
        reasons = dict(connection.execute(sa.select(TASKS.c.id, TASKS.c.reason)).all())
        assert connection.scalar(sa.select(sa.func.count()).select_from(GROUPS)) == 0
    assert costs[mapping] == Decimal('9.75')
    assert services['own'] == 900
    assert services['new'] == owner == 901
    assert reasons[900] == 'own'
    assert reasons[901] == 'new'
    assert marks == mark
    told = '\n'.join(lines)
    assert 'was changed in both databases: the row here is kept' in told
    assert 'was deleted here: not copied again' in told
    assert 'cloudkitty_storage_states: 1 scopes were rated here: their marks are kept' in told


def test_a_parent_that_is_gone_there_and_used_here_stays(former_25, target):
    """Its own rules would go with it, and what they price would be free."""
    _run(former_25, "INSERT INTO hashmap_services (id, service_id, name) VALUES (70, 's', 'used')")
    _copy(target, former_25.url)
    with target.writer() as connection:
        connection.execute(
            MAPPINGS.insert().values(
                mapping_id='own', cost=1, map_type='flat', service_id=70, name='x', created_by='me'
            )
        )
    _run(former_25, 'DELETE FROM hashmap_services WHERE id = 70')

    lines = _copy(target, former_25.url)

    (line,) = (line for line in lines if 'was deleted from the former database' in line)
    assert line.startswith('hashmap_services: ["s"] was deleted')
    with target.writer() as connection:
        assert connection.scalar(sa.select(SERVICES.c.name).where(SERVICES.c.id == 70)) == 'used'
        connection.execute(sa.delete(MAPPINGS).where(MAPPINGS.c.mapping_id == 'own'))
    _copy(target, former_25.url)
    with target.reader() as connection:
        assert connection.scalar(sa.select(SERVICES.c.name).where(SERVICES.c.id == 70)) is None


def test_a_rule_of_what_was_deleted_here_is_left_out(former_25, target):
    """It is named."""
    _run(former_25, "INSERT INTO hashmap_services (id, service_id, name) VALUES (70, 's', 'gone')")
    _copy(target, former_25.url)
    with target.writer() as connection:
        connection.execute(sa.delete(SERVICES).where(SERVICES.c.id == 70))
    _run(
        former_25,
        'INSERT INTO hashmap_fields (id, field_id, name, service_id) '
        "VALUES (70, 'f', 'flavor', 70)",
    )

    lines = _copy(target, former_25.url)

    assert 'hashmap_fields: ["f"] belongs to a row that was deleted here: not copied' in lines


def test_one_name_in_both_is_refused(former_25, target):
    """Nothing is changed: nobody knows which of the two is meant."""
    _copy(target, former_25.url)
    with target.writer() as connection:
        connection.execute(SERVICES.insert().values(service_id='own', name='new'))
    _run(former_25, *CHANGES)
    with target.reader() as connection:
        before = formers.contents(connection)

    with pytest.raises(errors.SchemaMismatch, match='hashmap_services: rows of the same name'):
        _copy(target, former_25.url)

    with target.reader() as connection:
        assert formers.contents(connection) == before


def test_another_zone_is_refused(former_25, target):
    """It would move the times of all rules."""
    _copy(target, former_25.url)

    with pytest.raises(errors.SchemaMismatch, match=f'use --timezone {ZONE}'):
        _copy(target, former_25.url, 'Asia/Tokyo')


def test_a_database_with_rules_of_its_own_is_refused(former_25, target):
    """One whose tables are empty is taken."""
    migration.upgrade(target)
    with target.writer() as connection:
        connection.execute(SERVICES.insert().values(service_id='own', name='new'))

    with pytest.raises(errors.SchemaMismatch, match='rules or scopes of its own .table hashmap_s'):
        _copy(target, former_25.url)

    with target.writer() as connection:
        connection.execute(sa.delete(SERVICES))
    assert _copy(target, former_25.url)
