"""Mappings: creation, filters, deletion, on every database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import groups, mappings
from cloudkitty.rating.hashmap.store.mappings import NewMapping, Wanted

NOW = datetime(2024, 5, 1, 12, 0, 7, 250, tzinfo=UTC)
SECOND = NOW.replace(microsecond=0)
HOUR = timedelta(hours=1)
NOBODY = '6f6e652d-0000-4000-8000-000000000000'
COST = Decimal('123456789012.1234567890123456789012345678')


def create(connection, *, now=NOW, force=True, **values):
    new = NewMapping(**{'cost': Decimal(1), **values})
    return mappings.create(connection, new, now=now, author='me', force=force)


def test_a_mapping_is_stored_as_it_is_shown(any_world):
    with any_world.database.writer() as connection:
        mapping = create(
            connection,
            cost=COST,
            field_id=any_world.f1.upper(),
            value='Ä ',
            type='rate',
            group_id=any_world.g1,
            tenant_id='t1',
            start=NOW,
            end=NOW + HOUR,
            name='x' * 32,
            description='d' * 65535,
        )
        assert mapping == mappings.get(connection, mapping.mapping_id)
        assert mapping == mappings.Mapping(
            mapping_id=mapping.mapping_id,
            cost=COST,
            type='rate',
            value='Ä ',
            service_id=None,
            field_id=any_world.f1,
            group_id=any_world.g1,
            tenant_id='t1',
            start=NOW,
            end=NOW + HOUR,
            name='x' * 32,
            description='d' * 65535,
            created_at=SECOND,
            created_by='me',
            updated_by=None,
            deleted=None,
            deleted_by=None,
        )


def test_a_mapping_starts_now_and_gets_a_name(world):
    with world.database.writer() as connection:
        before = module_state.versions(connection)['hashmap']
        mapping = create(connection, service_id=world.s1, force=False, value=None)
        assert (mapping.start, mapping.end, mapping.value) == (SECOND, None, None)
        assert len(mapping.name) == 32 and int(mapping.name, 16)
        assert module_state.versions(connection)['hashmap'] == before + 1


PAST = (
    'Cannot create a rule with start in the past. start=[2024-05-01 11:00:07]'
    ' current time=[2024-05-01 12:00:07].'
)
BACKWARDS = (
    'Cannot create a rule with start after end. start=[2024-05-01 13:00:07]'
    ' end=[2024-05-01 12:00:07].'
)


@pytest.mark.parametrize(
    'values, text',
    [
        ({'start': SECOND - HOUR}, PAST),
        ({'start': SECOND + HOUR, 'end': SECOND}, BACKWARDS),
        ({'end': SECOND - HOUR}, 'start=[2024-05-01 12:00:07] end=[2024-05-01 11:00:07].'),
        ({'field_id': NOBODY}, 'You can only specify one parent.'),
        ({'service_id': None}, 'You must specify one parent.'),
        ({'value': 'v'}, "You can't specify a value and a service_id."),
        ({'service_id': None, 'field_id': NOBODY}, 'You must specify a value for a field mapping.'),
        ({'service_id': NOBODY}, f'No such service: None (UUID: {NOBODY})'),
        ({'service_id': None, 'field_id': NOBODY, 'value': 'v'}, f'No such field: {NOBODY}'),
        ({'group_id': NOBODY}, f'No such group: None (UUID: {NOBODY})'),
        (
            {'type': 'fail'},
            "field/attribute type. Value: 'fail'. Value should be one of: flat, rate",
        ),
        ({'type': None}, 'field/attribute type'),
        ({'cost': None}, "field/attribute cost. Value: 'None'. Mandatory field missing."),
        ({'cost': Decimal('1E+12')}, 'field/attribute cost'),
        ({'cost': Decimal('1E-29')}, 'field/attribute cost'),
        ({'name': 'x' * 33}, 'maximum length of 32'),
        ({'description': 'x' * 65536}, 'maximum length of 65535'),
        ({'tenant_id': 'x' * 256}, 'maximum length of 255'),
        ({'tenant_id': 'a\0'}, 'not text'),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(world, values, text):
    with world.database.writer() as connection:
        with pytest.raises(errors.InvalidInput) as caught:
            create(connection, force=False, **{'service_id': world.s1, **values})
        assert text in str(caught.value)


@pytest.mark.parametrize(
    'start, end, overlaps',
    [
        (0, 4, False),
        (0, None, True),
        (0, 5, True),
        (6, 7, True),
        (4, 9, True),
        (8, 9, False),
        (7, None, True),
        (8, None, False),
        (9, None, False),
    ],
)
def test_times_of_one_slot_may_touch_and_not_overlap(world, start, end, overlaps):
    """There is a mapping of [4, 8); times are half open."""
    with world.database.writer() as connection:
        create(
            connection,
            service_id=world.s1,
            value='',
            start=SECOND + 4 * HOUR,
            end=SECOND + 8 * HOUR,
        )
        values = {
            'service_id': world.s1,
            'value': None,
            'start': SECOND + start * HOUR,
            'end': end and SECOND + end * HOUR,
        }
        if not overlaps:
            create(connection, **values)
            return
        with pytest.raises(errors.Conflict) as caught:
            create(connection, **values)
        assert str(caught.value).startswith(
            f"Mapping 'None' already exists for service '{world.s1}', tenant: 'None': "
        )


@pytest.mark.parametrize('force', [False, True])
def test_a_mapping_ends_after_its_start_even_in_the_past(world, force):
    """One that could never hold is a slip, also where the past may be changed."""
    with world.database.writer() as connection:
        with pytest.raises(errors.InvalidInput, match='start after end'):
            create(
                connection,
                force=force,
                service_id=world.s1,
                start=SECOND + 2 * HOUR,
                end=SECOND + HOUR,
            )
        with pytest.raises(errors.InvalidInput, match='start after end|start in the past'):
            create(
                connection,
                force=force,
                service_id=world.s1,
                start=SECOND - HOUR,
                end=SECOND - 2 * HOUR,
            )


def test_another_place_is_another_slot(any_world):
    with any_world.database.writer() as connection:
        first = create(connection, field_id=any_world.f1, value='v', tenant_id='t')
        for other in (
            {'value': 'V'},
            {'tenant_id': None},
            {'tenant_id': 'T'},
            {'field_id': any_world.f2},
            {'group_id': any_world.g1},
        ):
            create(
                connection, **{'field_id': any_world.f1, 'value': 'v', 'tenant_id': 't', **other}
            )
        with pytest.raises(errors.Conflict) as caught:
            create(connection, field_id=any_world.f1, value='v', tenant_id='t', type='rate')
        assert str(caught.value) == (
            f"Mapping 'v' already exists for field '{any_world.f1}', tenant: 't': for s1 by "
            f'f1 scope t pays flat 1 since 2024-05-01T12:00:07+00:00 (UUID: {first.mapping_id}); '
            'end or delete that mapping first'
        )


def test_the_rule_in_the_way_is_named_with_its_end(any_world):
    """The oldest of several: who makes a price learns what to end, and when it ends anyway."""
    span = {'start': SECOND, 'end': SECOND + HOUR}
    with any_world.database.writer() as connection:
        first = create(connection, service_id=any_world.s1, cost=COST, type='rate', **span)
        create(connection, service_id=any_world.s1, start=SECOND + HOUR)
        with pytest.raises(errors.Conflict) as caught:
            create(connection, service_id=any_world.s1)
        assert str(caught.value).endswith(
            f"': for s1 all scopes pay rate {COST} since 2024-05-01T12:00:07+00:00 until "
            f'2024-05-01T13:00:07+00:00 (UUID: {first.mapping_id}); '
            'end or delete that mapping first'
        )


def test_a_name_is_taken_as_long_as_its_mapping_lives(any_world):
    with any_world.database.writer() as connection:
        first = create(connection, service_id=any_world.s1, name='n')
        with pytest.raises(errors.Conflict, match='named .n. already exists'):
            create(connection, service_id=any_world.s2, name='n')
        mappings.delete(connection, first.mapping_id, now=NOW, author='me')
        create(connection, service_id=any_world.s1, name='n')


def test_a_deleted_mapping_is_kept_and_shown(any_world):
    with any_world.database.writer() as connection:
        mapping = create(connection, service_id=any_world.s1)
        mappings.delete(connection, mapping.mapping_id, now=NOW, author='you')
        shown = mappings.get(connection, mapping.mapping_id)
        assert (shown.deleted, shown.deleted_by) == (NOW, 'you')
        with pytest.raises(errors.NotFound) as caught:
            mappings.delete(connection, mapping.mapping_id, now=NOW, author='you')
        assert str(caught.value) == f'No such mapping: {mapping.mapping_id}'


@pytest.mark.parametrize('identifier', [NOBODY, 'x', 'a\0'])
def test_an_unknown_mapping_is_named(world, identifier):
    with world.database.writer() as connection:
        with pytest.raises(errors.NotFound) as caught:
            mappings.get(connection, identifier)
        assert str(caught.value) == f'No such mapping: {identifier}'
        with pytest.raises(errors.NotFound) as caught:
            mappings.group_of(connection, identifier)
        assert str(caught.value) == f'Mapping has no group (UUID: {identifier})'


def test_the_group_of_a_mapping(any_world):
    with any_world.database.writer() as connection:
        mapping = create(connection, service_id=any_world.s1, group_id=any_world.g1)
        assert mappings.group_of(connection, mapping.mapping_id) == groups.Group(any_world.g1, 'g1')


LIVE = 'service grouped field own future over'
LISTS = [
    ({}, LIVE),
    ({'deleted': True}, LIVE + ' gone'),
    ({'service_id': 's1'}, 'service grouped own'),
    ({'service_id': 's1', 'field_id': 'f1'}, 'service grouped own'),
    ({'field_id': 'f1'}, 'field'),
    ({'group_id': 'g1'}, 'grouped'),
    ({'group_id': 'g1', 'no_group': True}, 'grouped'),
    ({'group_id': 'g2'}, ''),
    ({'service_id': 's1', 'no_group': True}, 'service own'),
    ({'tenant_id': 't'}, LIVE),
    ({'tenant_id': 't', 'filter_tenant': True}, 'own'),
    ({'service_id': 's1', 'filter_tenant': True}, 'service grouped'),
    ({'is_active': True}, 'service grouped field own'),
    ({'is_active': True, 'deleted': True}, 'service grouped field own'),
    ({'start': NOW + HOUR}, 'future'),
    ({'end': NOW}, 'over'),
    ({'created_by': 'me'}, LIVE),
    ({'created_by': 'you'}, ''),
    ({'updated_by': 'me'}, ''),
    ({'deleted_by': 'you'}, ''),
    ({'deleted_by': 'you', 'deleted': True}, 'gone'),
    ({'description': '0% oFF'}, 'grouped'),
    ({'description': 'f_n'}, 'grouped'),
    ({'description': 'OFF'}, 'grouped field'),
    ({'service_id': NOBODY}, ''),
    ({'field_id': 'instance'}, ''),
    ({'group_id': 'a\0'}, ''),
]


def test_a_list_holds_what_is_asked_for(any_world):
    kinds = {
        'service': {'service_id': any_world.s1},
        'grouped': {
            'service_id': any_world.s1,
            'group_id': any_world.g1,
            'description': '50% Off_now',
        },
        'field': {'field_id': any_world.f1, 'value': 'v', 'description': '500 off now'},
        'own': {'service_id': any_world.s1, 'tenant_id': 't', 'end': NOW + HOUR},
        'future': {'service_id': any_world.s2, 'start': NOW + HOUR, 'end': NOW + 2 * HOUR},
        'over': {'service_id': any_world.s2, 'start': NOW - 2 * HOUR, 'end': NOW - HOUR},
        'gone': {'service_id': any_world.s2, 'group_id': any_world.g2},
    }
    with any_world.database.writer() as connection:
        created = {create(connection, **values).mapping_id: kind for kind, values in kinds.items()}
        mappings.delete(connection, list(created)[-1], now=NOW, author='you')
        for wanted, expected in LISTS:
            filters = Wanted(
                **{name: getattr(any_world, str(value), value) for name, value in wanted.items()}
            )
            found = mappings.list_of(connection, filters, now=NOW)
            kinds_found = ' '.join(created[mapping.mapping_id] for mapping in found)
            assert kinds_found == expected, wanted


def test_the_list_of_those_in_force_is_half_open(world):
    """One that starts now is in force, one that ends now is not, and neither is what is deleted."""
    with world.database.writer() as connection:
        starting = create(connection, field_id=world.f1, value='v', start=SECOND)
        create(connection, field_id=world.f1, value='v', start=SECOND - HOUR, end=SECOND)
        gone = create(connection, field_id=world.f1, value='w', start=SECOND - HOUR)
        mappings.delete(connection, gone.mapping_id, now=NOW, author='me')
        ending = create(
            connection, field_id=world.f1, value='w', start=SECOND - HOUR, end=SECOND + HOUR
        )

        def active(now):
            return mappings.list_of(connection, Wanted(is_active=True), now=now)

        assert active(SECOND) == [starting, ending]
        assert active(SECOND + HOUR) == [starting]


def test_a_list_without_a_parent_may_be_refused(world):
    with world.database.reader() as connection:
        with pytest.raises(errors.InvalidInput, match='You must specify either service_uuid'):
            mappings.list_of(connection, Wanted(all=False), now=NOW)


def test_a_long_list_is_one_statement(world):
    with world.database.writer() as connection:
        for n in range(30):
            create(connection, field_id=world.f1, value=str(n), group_id=world.g1)
    statements = []
    sa.event.listen(
        world.database.engine,
        'before_cursor_execute',
        lambda *arguments: statements.append(arguments[2]),
    )
    with world.database.reader() as connection:
        assert len(mappings.list_of(connection, Wanted(), now=NOW)) == 30
    assert len([text for text in statements if text.startswith('SELECT')]) == 1
