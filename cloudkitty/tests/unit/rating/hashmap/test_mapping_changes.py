"""Changing mappings, on every database."""

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import mappings
from cloudkitty.rating.hashmap.store.mapping_changes import update_mapping

NOW = datetime(2024, 5, 1, 12, 0, 7, 250, tzinfo=UTC)
SECOND = NOW.replace(microsecond=0)
HOUR = timedelta(hours=1)
RUNNING = (
    'You are allowed to update only the attribute [end] as this rule is already running as '
    'it started on [2024-05-01 12:00:07]'
)
PROCESSED = 'Cannot update a rule that was already processed and has a defined end date.'


def create(connection, world, **values):
    new = mappings.NewMapping(**{'cost': Decimal(1), 'field_id': world.f1, 'value': 'v', **values})
    return mappings.create(connection, new, now=NOW, author='me', force=True)


def update(connection, mapping, changes, now=NOW, author='you'):
    update_mapping(connection, mapping.mapping_id, changes, now=now, author=author)
    return mappings.get(connection, mapping.mapping_id)


def test_before_its_start_a_mapping_can_change_and_lose_its_end(any_world):
    with any_world.database.writer() as connection:
        mapping = create(
            connection, any_world, start=SECOND + HOUR, end=SECOND + 2 * HOUR, description='old'
        )
        changed = update(
            connection,
            mapping,
            {
                'cost': Decimal('2.5'),
                'value': 'ignored',
                'type': 'rate',
                'tenant_id': 't',
                'start': SECOND + 3 * HOUR,
            },
        )
        assert changed == dataclasses.replace(
            mapping,
            cost=Decimal('2.5'),
            start=SECOND + 3 * HOUR,
            end=None,
            description=None,
            updated_by='you',
        )


@pytest.mark.parametrize(
    'changes, text',
    [
        ({}, 'field/attribute cost'),
        (
            {'cost': Decimal(2), 'start': SECOND - HOUR},
            'Cannot create a rule with start in the past',
        ),
        ({'cost': Decimal(2), 'end': SECOND}, 'Cannot create a rule with start after end'),
        ({'cost': Decimal(2), 'description': 'x' * 65536}, 'maximum length of 65535'),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(world, changes, text):
    with world.database.writer() as connection:
        mapping = create(connection, world, start=SECOND + HOUR)
        with pytest.raises(errors.InvalidInput) as caught:
            update(connection, mapping, changes)
        assert text in str(caught.value)


def test_a_change_must_not_overlap(any_world):
    with any_world.database.writer() as connection:
        create(connection, any_world, start=SECOND, end=SECOND + HOUR)
        mapping = create(connection, any_world, start=SECOND + 2 * HOUR)
        update(connection, mapping, {'cost': Decimal(1), 'start': SECOND + HOUR})
        with pytest.raises(errors.Conflict, match="Mapping 'v' already exists for field"):
            update(connection, mapping, {'cost': Decimal(1), 'start': SECOND + HOUR / 2})


def test_a_running_mapping_gets_its_end_once_and_the_replay_does_nothing(any_world):
    """Clients read the whole mapping, put it back changed, and follow the redirect many times."""
    with any_world.database.writer() as connection:
        mapping = create(
            connection, any_world, group_id=any_world.g1, tenant_id='t', description='d'
        )
        body = {**dataclasses.asdict(mapping), 'end': SECOND + HOUR}
        changed = update(connection, mapping, body)
        version = module_state.versions(connection)
        assert (changed.end, changed.updated_by) == (SECOND + HOUR, 'you')
        assert update(connection, mapping, body, author='else') == changed
        assert update(connection, mapping, body, now=NOW + 9 * HOUR) == changed
        assert module_state.versions(connection) == version
        for late in ({**body, 'end': SECOND + 2 * HOUR}, {**body, 'cost': Decimal(3)}):
            with pytest.raises(errors.InvalidInput) as caught:
                update(connection, mapping, late)
            assert str(caught.value) == PROCESSED


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'cost': Decimal('1.00')},
        {'cost': None, 'value': '', 'name': '', 'description': None},
        {'start': SECOND + timedelta(microseconds=5)},
        {'end': None},
        {'field_id': 'UPPER'},
    ],
)
def test_a_running_mapping_ignores_what_is_no_change(world, changes):
    with world.database.writer() as connection:
        mapping = create(connection, world)
        if 'field_id' in changes:
            changes = {'field_id': world.f1.upper()}
        assert update(connection, mapping, changes) == mapping


@pytest.mark.parametrize(
    'changes',
    [
        {'value': 'w'},
        {'cost': Decimal(0)},
        {'type': 'rate'},
        {'tenant_id': 't'},
        {'name': 'n'},
        {'description': 'd'},
        {'start': SECOND + HOUR},
        {'group_id': 'g1'},
        {'service_id': 's1'},
        {'field_id': 'f2'},
        {'created_by': 'x'},
        {'deleted': NOW},
        {'created_at': NOW + HOUR},
        {'cost': Decimal(2), 'end': SECOND + HOUR},
    ],
)
def test_of_a_running_mapping_only_the_end_may_change(world, changes):
    with world.database.writer() as connection:
        mapping = create(connection, world)
        changes = {name: getattr(world, str(value), value) for name, value in changes.items()}
        with pytest.raises(errors.InvalidInput) as caught:
            update(connection, mapping, changes)
        assert str(caught.value) == RUNNING
        assert mappings.get(connection, mapping.mapping_id) == mapping


def test_a_running_mapping_ends_in_the_future(world):
    with world.database.writer() as connection:
        mapping = create(connection, world)
        with pytest.raises(errors.InvalidInput) as caught:
            update(connection, mapping, {'end': SECOND})
        assert str(caught.value) == (
            'End date must be in the future. end=[2024-05-01 12:00:07] '
            'current time=[2024-05-01 12:00:07]'
        )


def test_what_is_gone_cannot_be_changed(world):
    with world.database.writer() as connection:
        mapping = create(connection, world)
        mappings.delete(connection, mapping.mapping_id, now=NOW, author='me')
        with pytest.raises(errors.NotFound, match='No such mapping'):
            update(connection, mapping, {'end': NOW + HOUR})
