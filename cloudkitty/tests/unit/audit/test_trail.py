"""The audit trail in the database: what a change leaves there, on every database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty.audit import snapshots, trail
from cloudkitty.rating import module_state as db_modules
from cloudkitty.rating.hashmap.store import fields, groups, mappings, services, thresholds
from cloudkitty.rating.pyscripts import store as script_store

NOW = datetime(2026, 5, 1, 12, 0, 0, 250, tzinfo=UTC)
ACTOR = trail.Actor('u1', 'p1', 'req-1')


def _change(database, kind, object_id, change, now=NOW):
    """Do a change and record it, as the API does."""
    with database.writer() as connection:
        snapshots.lock(connection, kind, object_id)
        before = (
            {} if object_id is None else snapshots.read_with_dependents(connection, kind, object_id)
        )
        result = change(connection)
        keys = [snapshots.Key(kind, getattr(result, kind.id_name))] if object_id is None else before
        trail.record(
            connection, ACTOR, before=before, after=snapshots.read(connection, keys), now=now
        )
        return result


def _entries(database, **wanted):
    with database.reader() as connection:
        return trail.list_entries(connection, **wanted)


@pytest.fixture
def rules(any_database):
    """A service with a field, a group, and a rule of each kind in the group."""
    with any_database.writer() as connection:
        service = services.create(connection, 'compute')
        field = fields.create(connection, 'flavor', service.service_id)
        group = groups.create(connection, 'g')
        mapping = mappings.create(
            connection,
            mappings.NewMapping(
                cost=Decimal('0.1'),
                value='m1',
                start=NOW,
                field_id=field.field_id,
                group_id=group.group_id,
            ),
            now=NOW,
            author='u',
        )
        threshold = thresholds.create(
            connection,
            thresholds.NewThreshold(
                level=Decimal(5),
                cost=Decimal('1e-28'),
                service_id=service.service_id,
                group_id=group.group_id,
            ),
        )
    return service, field, group, mapping, threshold


def test_a_deletion_records_all_that_goes_with_it(any_database, rules):
    """Of a service its fields and rules; each as it was, digit for digit."""
    service, field, _, mapping, threshold = rules

    _change(
        any_database,
        snapshots.SERVICE,
        service.service_id,
        lambda connection: services.delete(connection, service.service_id, now=NOW, author='u'),
    )

    total, entries = _entries(any_database)
    assert total == 4
    gone = {(entry.kind, entry.object_id): entry for entry in entries}
    assert set(gone) == {
        ('hashmap_service', service.service_id),
        ('hashmap_field', field.field_id),
        ('hashmap_mapping', mapping.mapping_id),
        ('hashmap_threshold', threshold.threshold_id),
    }
    assert {entry.action for entry in entries} == {'delete'}
    assert {entry.after for entry in entries} == {None}
    was = gone['hashmap_threshold', threshold.threshold_id].before
    assert (was['cost'], was['level'], was['type']) == (Decimal('1e-28'), 5, 'flat')
    assert gone['hashmap_mapping', mapping.mapping_id].before['field_id'] == field.field_id
    assert entries[0][:4] == (NOW, *ACTOR)


def test_what_stays_of_very_much_is_not_called_deleted(database, monkeypatch):
    """Objects are read in parts: those behind the first are there as well."""
    monkeypatch.setattr(snapshots, 'CHUNK', 2)
    with database.writer() as connection:
        group = groups.create(connection, 'g')
        service = services.create(connection, 'compute')
        for number in range(5):
            thresholds.create(
                connection,
                thresholds.NewThreshold(
                    level=Decimal(number),
                    cost=Decimal(1),
                    service_id=service.service_id,
                    group_id=group.group_id,
                ),
            )

    _change(
        database,
        snapshots.GROUP,
        group.group_id,
        lambda connection: groups.delete(
            connection, group.group_id, recursive=False, now=NOW, author='u'
        ),
    )

    _, entries = _entries(database)
    assert sorted((entry.kind, entry.action) for entry in entries) == [
        ('hashmap_group', 'delete'),
        *[('hashmap_threshold', 'update')] * 5,
    ]


def test_rules_that_leave_their_group_are_changed(any_database, rules):
    _, _, group, mapping, threshold = rules

    _change(
        any_database,
        snapshots.GROUP,
        group.group_id,
        lambda connection: groups.delete(
            connection, group.group_id, recursive=False, now=NOW, author='u'
        ),
    )

    _, entries = _entries(any_database)
    told = {
        entry.object_id: (
            entry.action,
            entry.before.get('group_id'),
            entry.after and entry.after['group_id'],
        )
        for entry in entries
    }
    assert told == {
        group.group_id: ('delete', group.group_id, None),
        mapping.mapping_id: ('update', group.group_id, None),
        threshold.threshold_id: ('update', group.group_id, None),
    }


def test_a_mapping_that_is_kept_for_the_past_is_deleted_once(any_database, rules):
    """Its deletion is recorded when it is asked for, not when its field goes later."""
    _, field, _, mapping, _ = rules

    _change(
        any_database,
        snapshots.MAPPING,
        mapping.mapping_id,
        lambda connection: mappings.delete(connection, mapping.mapping_id, now=NOW, author='u'),
    )
    _change(
        any_database,
        snapshots.FIELD,
        field.field_id,
        lambda connection: fields.delete(connection, field.field_id, now=NOW, author='u'),
    )

    _, entries = _entries(any_database)
    assert [(entry.action, entry.kind) for entry in entries] == [
        ('delete', 'hashmap_field'),
        ('delete', 'hashmap_mapping'),
    ]


def test_what_changes_nothing_leaves_nothing(any_database, rules):
    """The same value again, and a change that fails."""
    threshold = rules[-1]

    _change(
        any_database,
        snapshots.THRESHOLD,
        threshold.threshold_id,
        lambda connection: thresholds.update(
            connection, threshold.threshold_id, {'cost': Decimal('1e-28')}
        ),
    )
    with pytest.raises(ZeroDivisionError):
        _change(
            any_database,
            snapshots.MODULE,
            'hashmap',
            lambda connection: (db_modules.update(connection, 'hashmap', enabled=True), 1 / 0),
        )

    assert _entries(any_database) == (0, [])


def test_modules_and_creations(any_database):
    _change(
        any_database,
        snapshots.MODULE,
        'hashmap',
        lambda connection: db_modules.update(connection, 'hashmap', enabled=True, priority=7),
    )
    _change(
        any_database, snapshots.SERVICE, None, lambda connection: services.create(connection, 'ip')
    )

    _, (created, module) = _entries(any_database)
    assert (module.action, module.kind, module.object_id) == ('update', 'module', 'hashmap')
    assert module.before == {'enabled': False, 'priority': 1}
    assert module.after == {'enabled': True, 'priority': 7}
    assert (created.action, created.before) == ('create', None)
    assert created.after == {'service_id': created.object_id, 'name': 'ip'}


def test_a_script_is_recorded_with_its_source(any_database):
    source = "price = 'ü'\n"
    script = _change(
        any_database,
        snapshots.SCRIPT,
        None,
        lambda connection: script_store.create(
            connection, script_store.NewScript(name='s', data=source), now=NOW, author='u'
        ),
    )
    _change(
        any_database,
        snapshots.SCRIPT,
        script.script_id,
        lambda connection: script_store.delete(connection, script.script_id, now=NOW, author='u'),
    )

    _, (deleted, created) = _entries(any_database)
    assert (created.after['name'], created.after['data']) == ('s', source)
    assert (deleted.action, deleted.before, deleted.after) == ('delete', created.after, None)


@pytest.mark.parametrize(
    'wanted, names',
    [
        ({}, 'dcba'),
        ({'limit': 2, 'offset': 1}, 'cb'),
        ({'begin': NOW + timedelta(hours=1)}, 'dcb'),
        ({'begin': NOW + timedelta(hours=1), 'end': NOW + timedelta(hours=2)}, 'b'),
        ({'kind': ['hashmap_service', 'module']}, 'dcba'),
        ({'kind': ['module']}, ''),
        ({'action': ['create']}, 'dcba'),
        ({'user_id': ['u1']}, 'dcba'),
        ({'user_id': ["u1' OR '1'='1"]}, ''),
        ({'project_id': []}, ''),
        ({'request_id': ['req-1', 'x']}, 'dcba'),
        ({'object_id': ['x']}, ''),
    ],
)
def test_entries_are_chosen(database, wanted, names):
    for hour, name in enumerate('abcd'):
        _change(
            database,
            snapshots.SERVICE,
            None,
            lambda connection, name=name: services.create(connection, name),
            now=NOW + timedelta(hours=hour),
        )

    total, entries = _entries(database, **wanted)

    assert ''.join(entry.after['name'] for entry in entries) == names
    assert total == (len(names) if 'limit' not in wanted else 4)
