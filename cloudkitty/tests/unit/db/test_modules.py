"""State, priority and rule version of rating modules, on every database."""

import pytest

from cloudkitty import errors
from cloudkitty.db import models, modules


def test_a_module_is_disabled_with_priority_one_until_set(any_database):
    with any_database.writer() as connection:
        assert modules.get(connection, 'hashmap') == (False, 1)
        assert modules.update(connection, 'hashmap', enabled=True)
        assert modules.update(connection, 'hashmap', priority=7)
        assert not modules.update(connection, 'hashmap', enabled=True, priority=7)
        assert modules.get(connection, 'hashmap') == (True, 7)
        assert modules.states(connection) == {'hashmap': (True, 7), 'noop': (True, 1)}


def test_noop_is_always_enabled(database):
    with database.writer() as connection:
        connection.execute(models.modules.insert().values(name='noop', state=False, priority=9))
        assert not modules.update(connection, 'noop', enabled=False, priority=5)
        assert modules.get(connection, 'noop') == (True, 1)
        assert modules.states(connection) == {'noop': (True, 1)}


@pytest.mark.parametrize('stored, read', [(None, 1), (0, 1), (-1, -1), (5, 5)])
def test_a_stored_priority_is_read_faithfully_save_zero(database, stored, read):
    with database.writer() as connection:
        connection.execute(models.modules.insert().values(name='x', state=True, priority=stored))
        assert modules.get(connection, 'x') == (True, read)
        assert modules.states(connection)['x'] == (True, read)


@pytest.mark.parametrize('priority', [0, -1, True, 1.5, '7', 2**31])
def test_a_priority_is_a_whole_number_from_one(database, priority):
    with database.writer() as connection, pytest.raises(errors.InvalidInput, match='priority'):
        modules.update(connection, 'noop', priority=priority)


def test_every_bump_is_a_new_version(any_database):
    with any_database.writer() as connection:
        assert modules.versions(connection) == {}
        modules.bump_version(connection, 'hashmap')
        modules.bump_version(connection, 'hashmap')
        modules.lock(connection, 'hashmap')
        modules.lock(connection, 'other')
        modules.update(connection, 'foreign', enabled=True)
        assert modules.versions(connection) == {'hashmap': 2, 'other': 0}
        assert modules.states_and_versions(connection) == {
            'foreign': ((True, 1), 0), 'hashmap': ((False, 1), 2), 'noop': ((True, 1), 0),
            'other': ((False, 1), 0)}
