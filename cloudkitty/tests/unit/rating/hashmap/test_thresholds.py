"""Thresholds, on every database."""

import dataclasses
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import groups, thresholds
from cloudkitty.rating.hashmap.store.thresholds import NewThreshold, Wanted

NOW = datetime(2024, 5, 1, 12, 0, 7, 250, tzinfo=UTC)
NOBODY = '6f6e652d-0000-4000-8000-000000000000'


def create(connection, **values):
    return thresholds.create(
        connection, NewThreshold(**{'level': Decimal(5), 'cost': Decimal(1), **values})
    )


def test_a_threshold_is_stored_as_it_is_shown(any_world):
    with any_world.database.writer() as connection:
        threshold = create(
            connection,
            service_id=any_world.s1,
            level=Decimal('999999999999.12345678'),
            cost=Decimal('-0.5'),
            type='rate',
            group_id=any_world.g1,
            tenant_id='t',
        )
        assert threshold == thresholds.get(connection, threshold.threshold_id)
        assert threshold == thresholds.Threshold(
            threshold_id=threshold.threshold_id,
            level=Decimal('999999999999.12345678'),
            cost=Decimal('-0.5'),
            type='rate',
            service_id=any_world.s1,
            field_id=None,
            group_id=any_world.g1,
            tenant_id='t',
        )
        assert thresholds.group_of(connection, threshold.threshold_id) == groups.Group(
            any_world.g1, 'g1'
        )


@pytest.mark.parametrize(
    'values, text',
    [
        ({'field_id': NOBODY}, 'You can only specify one parent.'),
        ({'service_id': None}, 'You must specify one parent.'),
        ({'service_id': NOBODY}, f'No such service: None (UUID: {NOBODY})'),
        ({'service_id': None, 'field_id': NOBODY}, f'No such field: {NOBODY}'),
        ({'group_id': NOBODY}, f'No such group: None (UUID: {NOBODY})'),
        ({'level': None}, "field/attribute level. Value: 'None'. Mandatory field missing."),
        ({'level': Decimal('1E-9')}, 'field/attribute level'),
        ({'level': Decimal('1E12')}, 'field/attribute level'),
        ({'cost': None}, 'field/attribute cost'),
        ({'type': 'x'}, 'field/attribute type'),
    ],
)
def test_a_threshold_that_makes_no_sense_is_refused(world, values, text):
    with world.database.writer() as connection:
        with pytest.raises(errors.InvalidInput) as caught:
            create(connection, **{'service_id': world.s1, **values})
        assert text in str(caught.value)


def test_a_slot_is_level_parent_scope_and_group(any_world):
    with any_world.database.writer() as connection:
        first = create(connection, service_id=any_world.s1)
        for other in (
            {'level': Decimal('5.5')},
            {'service_id': any_world.s2},
            {'tenant_id': 't'},
            {'group_id': any_world.g1},
        ):
            create(connection, **{'service_id': any_world.s1, **other})
        with pytest.raises(errors.Conflict) as caught:
            create(connection, service_id=any_world.s1, level=Decimal('5.0'), type='rate')
        assert str(caught.value) == (
            f"Threshold '5' already exists for service '{any_world.s1}', tenant: 'None': for s1 "
            f'all scopes pay flat 1 from 5 on (UUID: {first.threshold_id}); '
            'change or delete that threshold'
        )


def test_a_change_keeps_what_it_does_not_name(any_world):
    with any_world.database.writer() as connection:
        threshold = create(
            connection, field_id=any_world.f1, type='rate', group_id=any_world.g1, tenant_id='t'
        )
        changes = {'level': Decimal(7), 'cost': Decimal(2), 'service_id': any_world.s1}
        thresholds.update(connection, threshold.threshold_id, changes)
        changed = dataclasses.replace(threshold, level=Decimal(7), cost=Decimal(2))
        assert thresholds.get(connection, threshold.threshold_id) == changed
        version = module_state.versions(connection)
        thresholds.update(connection, threshold.threshold_id, changes)
        assert module_state.versions(connection) == version
        thresholds.update(connection, threshold.threshold_id, {'group_id': None, 'tenant_id': None})
        assert thresholds.get(connection, threshold.threshold_id) == dataclasses.replace(
            changed, group_id=None, tenant_id=None
        )


@pytest.mark.parametrize(
    'changes, error',
    [
        ({'level': Decimal(6)}, errors.Conflict),
        ({'group_id': NOBODY}, errors.InvalidInput),
        ({'level': None}, errors.InvalidInput),
        ({'type': None}, errors.InvalidInput),
    ],
)
def test_a_change_is_checked_like_a_creation(world, changes, error):
    with world.database.writer() as connection:
        create(connection, service_id=world.s1, level=Decimal(6))
        threshold = create(connection, service_id=world.s1)
        with pytest.raises(error):
            thresholds.update(connection, threshold.threshold_id, changes)


def test_a_list_names_a_parent_or_a_group(any_world):
    with any_world.database.writer() as connection:
        found = {
            name: create(connection, **values)
            for name, values in {
                'service': {'service_id': any_world.s1},
                'own': {'service_id': any_world.s1, 'tenant_id': 't'},
                'grouped': {'service_id': any_world.s1, 'group_id': any_world.g1},
                'field': {'field_id': any_world.f1},
            }.items()
        }
        for wanted, expected in (
            ({'service_id': any_world.s1}, 'service own grouped'),
            ({'field_id': any_world.f1}, 'field'),
            ({'group_id': any_world.g1}, 'grouped'),
            ({'service_id': any_world.s1, 'no_group': True}, 'service own'),
            ({'service_id': any_world.s1, 'filter_tenant': True}, 'service grouped'),
            ({'service_id': any_world.s1, 'filter_tenant': True, 'tenant_id': 't'}, 'own'),
            ({'service_id': 'instance'}, ''),
        ):
            assert thresholds.list_of(connection, Wanted(**wanted)) == [
                found[name] for name in expected.split()
            ]
        with pytest.raises(errors.InvalidInput) as caught:
            thresholds.list_of(connection, Wanted())
        assert str(caught.value) == (
            'You must specify either service_uuid, field_uuid or group_uuid.'
        )


def test_a_deleted_threshold_is_gone(world):
    with world.database.writer() as connection:
        threshold = create(connection, service_id=world.s1)
        thresholds.delete(connection, threshold.threshold_id, now=NOW, author='me')
        for use in (
            lambda: thresholds.get(connection, threshold.threshold_id),
            lambda: thresholds.update(connection, threshold.threshold_id, {}),
            lambda: thresholds.delete(connection, threshold.threshold_id, now=NOW, author='me'),
        ):
            with pytest.raises(errors.NotFound) as caught:
                use()
            assert str(caught.value) == f'No such threshold: {threshold.threshold_id}'
        with pytest.raises(errors.NotFound, match='Threshold has no group'):
            thresholds.group_of(connection, threshold.threshold_id)
