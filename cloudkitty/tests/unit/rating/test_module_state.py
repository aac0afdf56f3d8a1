"""State, priority and rule version of rating modules, on every database."""

import pytest

from cloudkitty import errors
from cloudkitty.db import tables
from cloudkitty.rating import module_state


def test_a_module_is_disabled_with_priority_one_until_set(any_database):
    with any_database.writer() as connection:
        assert module_state.get(connection, 'hashmap') == (False, 1)
        assert module_state.update(connection, 'hashmap', enabled=True)
        assert module_state.update(connection, 'hashmap', priority=7)
        assert not module_state.update(connection, 'hashmap', enabled=True, priority=7)
        assert module_state.get(connection, 'hashmap') == (True, 7)
        assert module_state.states(connection) == {'hashmap': (True, 7), 'noop': (True, 1)}


def test_noop_is_always_enabled(database):
    with database.writer() as connection:
        connection.execute(tables.modules.insert().values(name='noop', state=False, priority=9))
        assert not module_state.update(connection, 'noop', enabled=False, priority=5)
        assert module_state.get(connection, 'noop') == (True, 1)
        assert module_state.states(connection) == {'noop': (True, 1)}


@pytest.mark.parametrize('stored, read', [(None, 1), (0, 1), (-1, -1), (5, 5)])
def test_a_stored_priority_is_read_faithfully_save_zero(database, stored, read):
    with database.writer() as connection:
        connection.execute(tables.modules.insert().values(name='x', state=True, priority=stored))
        assert module_state.get(connection, 'x') == (True, read)
        assert module_state.states(connection)['x'] == (True, read)


@pytest.mark.parametrize('priority', [0, -1, True, 1.5, '7', 2**31])
def test_a_priority_is_a_whole_number_from_one(database, priority):
    with database.writer() as connection, pytest.raises(errors.InvalidInput, match='priority'):
        module_state.update(connection, 'noop', priority=priority)


def test_every_bump_is_a_new_version(any_database):
    with any_database.writer() as connection:
        assert module_state.versions(connection) == {}
        module_state.bump_version(connection, 'hashmap')
        module_state.bump_version(connection, 'hashmap')
        module_state.lock(connection, 'hashmap')
        module_state.lock(connection, 'other')
        module_state.update(connection, 'foreign', enabled=True)
        assert module_state.versions(connection) == {'hashmap': 2, 'other': 0}
        assert module_state.states_and_versions(connection) == {
            'foreign': ((True, 1), 0),
            'hashmap': ((False, 1), 2),
            'noop': ((True, 1), 0),
            'other': ((False, 1), 0),
        }
