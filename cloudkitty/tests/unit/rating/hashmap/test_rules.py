"""What the rating core gets to see: rules that live, rules that are gone, one rule per slot."""

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.pricing.rules import Rule
from cloudkitty.db import tables
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import fields, groups, mappings, rules, services, thresholds
from cloudkitty.rating.hashmap.store.mapping_changes import update_mapping

NOW = datetime(2024, 5, 1, 12, 0, 7, 250, tzinfo=UTC)
START = NOW.replace(microsecond=0) - timedelta(days=1)
HOUR = timedelta(hours=1)
ONE = Decimal(1)


def add_mapping(connection, *, now=NOW, **values):
    new = mappings.NewMapping(**{'cost': ONE, 'start': START, **values})
    return mappings.create(connection, new, now=now, author='me', force=True).mapping_id


def add_threshold(connection, **values):
    new = thresholds.NewThreshold(**{'cost': ONE, 'level': ONE, **values})
    return thresholds.create(connection, new).threshold_id


def loaded(connection):
    return {rule._replace(order=0) for rule in rules.load(connection)}


@pytest.fixture
def filled(any_world):
    """One rule of each kind; two fields, two groups."""
    with any_world.database.writer() as connection:
        add_mapping(connection, service_id=any_world.s1, group_id=any_world.g1, tenant_id='t')
        add_mapping(connection, field_id=any_world.f1, value='v', type='rate', end=NOW + HOUR)
        add_threshold(connection, service_id=any_world.s1)
        add_threshold(connection, field_id=any_world.f2, group_id=any_world.g2)
    return any_world


RULES = {
    Rule('s1', ONE, group='g1', scope='t', value='', start=START),
    Rule('s1', ONE, 'rate', field='f1', value='v', start=START, end=NOW + HOUR),
    Rule('s1', ONE, level=ONE),
    Rule('s1', ONE, field='f2', group='g2', level=ONE),
}


def gone(chosen):
    return {rule._replace(deleted=NOW) if chosen(rule) else rule for rule in RULES}


def test_rules_carry_all_that_the_price_depends_on(filled):
    statements = []
    sa.event.listen(
        filled.database.engine,
        'before_cursor_execute',
        lambda *arguments: statements.append(arguments[2]),
    )
    with filled.database.reader() as connection:
        assert loaded(connection) == RULES
    assert len([text for text in statements if text.startswith('SELECT')]) == 1


def test_the_rules_of_a_deleted_service_stay_in_history(filled):
    with filled.database.writer() as connection:
        services.delete(connection, filled.s1, now=NOW, author='you')
        assert loaded(connection) == gone(lambda rule: True)
        assert set(connection.scalars(sa.select(tables.hashmap_history.c.deleted_by))) == {'you'}


def test_the_rules_of_a_deleted_field_stay_in_history(filled):
    with filled.database.writer() as connection:
        fields.delete(connection, filled.f1, now=NOW, author='you')
        assert loaded(connection) == gone(lambda rule: rule.field == 'f1')


def test_the_rules_of_a_deleted_group_stay_in_history(filled):
    with filled.database.writer() as connection:
        groups.delete(connection, filled.g1, recursive=True, now=NOW, author='you')
        groups.delete(connection, filled.g2, recursive=True, now=NOW, author='you')
        assert loaded(connection) == gone(lambda rule: rule.group is not None)


def test_without_recursion_the_rules_outlive_their_group(filled):
    with filled.database.writer() as connection:
        groups.delete(connection, filled.g1, recursive=False, now=NOW, author='you')
        groups.delete(connection, filled.g2, recursive=False, now=NOW, author='you')
        assert groups.list_all(connection) == []
        assert loaded(connection) == {rule._replace(group=None) for rule in RULES}


@pytest.mark.parametrize(
    'add, kind',
    [
        (lambda connection, **values: add_mapping(connection, value='v', **values), 'mapping'),
        (add_threshold, 'threshold'),
    ],
)
def test_a_group_is_not_deleted_when_its_rules_would_collide(any_world, add, kind):
    with any_world.database.writer() as connection:
        other = add(connection, field_id=any_world.f1)
        member = add(connection, field_id=any_world.f1, group_id=any_world.g1)
        with pytest.raises(errors.Conflict) as caught:
            groups.delete(connection, any_world.g1, recursive=False, now=NOW, author='you')
        assert f"{kind} '{member}' would collide with {kind} '{other}'" in str(caught.value)
        groups.delete(connection, any_world.g1, recursive=True, now=NOW, author='you')


def test_members_that_do_not_meet_in_time_do_not_collide(any_world):
    service = {'service_id': any_world.s1}
    member = {**service, 'group_id': any_world.g1}
    with any_world.database.writer() as connection:
        add_mapping(connection, end=NOW, **service)
        add_mapping(connection, start=NOW, value=None, **member)
        deleted = add_mapping(connection, tenant_id='t', **member)
        add_mapping(connection, tenant_id='t', **service)
        mappings.delete(connection, deleted, now=NOW, author='you')
        groups.delete(connection, any_world.g1, recursive=False, now=NOW, author='you')


def test_a_deleted_threshold_stays_in_history(filled):
    with filled.database.writer() as connection:
        wanted = thresholds.Wanted(service_id=filled.s1)
        threshold = thresholds.list_of(connection, wanted)[0]
        thresholds.delete(connection, threshold.threshold_id, now=NOW, author='you')
        assert loaded(connection) == gone(lambda rule: rule.level and rule.field is None)


def test_a_deletion_keeps_its_instant_when_the_parent_goes_later(any_world):
    with any_world.database.writer() as connection:
        mapping = add_mapping(connection, service_id=any_world.s1)
        mappings.delete(connection, mapping, now=NOW, author='first')
        assert loaded(connection) == {Rule('s1', ONE, value='', start=START, deleted=NOW)}
        services.delete(connection, any_world.s1, now=NOW + HOUR, author='second')
        assert loaded(connection) == {Rule('s1', ONE, value='', start=START, deleted=NOW)}
        assert connection.scalar(sa.select(tables.hashmap_history.c.deleted_by)) == 'first'


def test_a_mapping_that_never_applied_leaves_nothing(world):
    with world.database.writer() as connection:
        add_mapping(connection, service_id=world.s1, start=NOW + HOUR)
        services.delete(connection, world.s1, now=NOW, author='you')
        assert loaded(connection) == set()


def test_a_threshold_without_level_from_an_old_database_is_left_out(world):
    with world.database.writer() as connection:
        key = connection.scalar(sa.select(tables.hashmap_services.c.id).limit(1))
        connection.execute(
            tables.hashmap_thresholds.insert().values(
                threshold_id='x', cost=ONE, map_type='flat', service_id=key
            )
        )
        assert loaded(connection) == set()
        services.delete(connection, world.s1, now=NOW, author='you')


FUTURE = NOW.replace(microsecond=0) + HOUR
CHANGES = {
    'a service is created': lambda connection, world: services.create(connection, 'new'),
    'a service is deleted': lambda connection, world: services.delete(
        connection, world.s1, now=NOW, author='you'
    ),
    'a field is created': lambda connection, world: fields.create(connection, 'new', world.s1),
    'a field is deleted': lambda connection, world: fields.delete(
        connection, world.f1, now=NOW, author='you'
    ),
    'a group is created': lambda connection, world: groups.create(connection, 'new'),
    'a group is deleted': lambda connection, world: groups.delete(
        connection, world.g1, recursive=False, now=NOW, author='you'
    ),
    'a group is deleted with its rules': lambda connection, world: groups.delete(
        connection, world.g1, recursive=True, now=NOW, author='you'
    ),
    'a mapping is created': lambda connection, world: add_mapping(connection, service_id=world.s2),
    'a mapping is deleted': lambda connection, world: mappings.delete(
        connection, world.running, now=NOW, author='you'
    ),
    'the cost of a mapping changes': lambda connection, world: update_mapping(
        connection, world.future, {'cost': Decimal(2)}, now=NOW, author='you'
    ),
    'a mapping ends': lambda connection, world: update_mapping(
        connection, world.running, {'end': FUTURE}, now=NOW, author='you'
    ),
    'a threshold is created': lambda connection, world: add_threshold(
        connection, service_id=world.s2
    ),
    'a threshold changes': lambda connection, world: thresholds.update(
        connection, world.threshold, {'cost': Decimal(2)}
    ),
    'a threshold is deleted': lambda connection, world: thresholds.delete(
        connection, world.threshold, now=NOW, author='you'
    ),
}


@pytest.mark.parametrize('change', CHANGES)
def test_every_change_gives_the_rules_one_new_version(world, change):
    """By it running workers learn of the change; nothing else tells them."""
    with world.database.writer() as connection:
        world.running = add_mapping(connection, service_id=world.s1)
        world.future = add_mapping(connection, field_id=world.f2, value='v', start=FUTURE)
        world.threshold = add_threshold(connection, service_id=world.s1)
        before = module_state.versions(connection)['hashmap']

        CHANGES[change](connection, world)

        assert module_state.versions(connection) == {'hashmap': before + 1}


def test_rules_carry_the_order_of_their_creation(any_world):
    """It decides where an old database holds two rules in one slot."""
    with any_world.database.writer() as connection:
        for number in (3, 1, 2):
            add_mapping(connection, field_id=any_world.f1, value=str(number))

        found = sorted(rules.load(connection), key=lambda rule: rule.order)

    assert [rule.value for rule in found] == ['3', '1', '2']
    assert len({rule.order for rule in found}) == 3


@pytest.mark.parametrize(
    'add',
    [
        lambda connection, world: add_mapping(connection, service_id=world.s1),
        lambda connection, world: add_threshold(connection, service_id=world.s1),
        lambda connection, world: services.create(connection, 'same'),
        lambda connection, world: fields.create(connection, 'same', world.s1),
        lambda connection, world: groups.create(connection, 'same'),
    ],
)
def test_two_who_want_the_same_slot_at_once_do_not_both_get_it(any_world, add):
    barrier = threading.Barrier(4)
    outcomes = []

    def create():
        barrier.wait()
        try:
            any_world.database.write(lambda connection: add(connection, any_world))
            outcomes.append('created')
        except errors.Conflict:
            outcomes.append('refused')

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ['created', 'refused', 'refused', 'refused']
