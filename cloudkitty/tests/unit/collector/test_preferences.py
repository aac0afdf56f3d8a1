"""Mappings and states of collectors, on every database."""

import pytest

from cloudkitty import errors
from cloudkitty.collector import preferences
from cloudkitty.rating import module_state


def test_a_service_has_one_collector(any_database):
    """Setting it again replaces it; letters and trailing blanks count."""
    for service, collector in (
        ('cpu', 'gnocchi'),
        ('CPU', 'gnocchi'),
        ('cpu ', 'prometheus'),
        ('cpu', 'prometheus'),
    ):
        mapping = preferences.Mapping(service, collector)
        any_database.write(
            lambda connection, mapping=mapping: preferences.set_mapping(connection, mapping)
        )

    with any_database.reader() as connection:
        assert preferences.list_mappings(connection) == [
            ('CPU', 'gnocchi'),
            ('cpu', 'prometheus'),
            ('cpu ', 'prometheus'),
        ]
        assert preferences.list_mappings(connection, 'gnocchi') == [('CPU', 'gnocchi')]
        assert preferences.get_mapping(connection, 'cpu').collector == 'prometheus'


def test_what_is_not_mapped_is_not_found(database):
    """Neither to be read nor to be removed, and the error names it."""
    for change in (preferences.get_mapping, preferences.delete_mapping):
        with pytest.raises(errors.NotFound, match='No mapping for service: cpu'):
            database.write(lambda connection, change=change: change(connection, 'cpu'))


def test_a_state_stands_beside_those_of_the_modules(database):
    """A collector that is on is no rating module of its name."""
    database.write(lambda connection: preferences.set_enabled(connection, 'hashmap', True))

    with database.reader() as connection:
        assert preferences.is_enabled(connection, 'hashmap')
        assert not preferences.is_enabled(connection, 'other')
        assert not module_state.get(connection, 'hashmap').enabled


def test_only_what_was_switched_off_is_off(any_database):
    """Reading like never set is not enough."""
    for name, is_enabled in (('first', False), ('second', True), ('third', True), ('third', False)):
        any_database.write(
            lambda connection, name=name, is_enabled=is_enabled: preferences.set_enabled(
                connection, name, is_enabled
            )
        )
    any_database.write(lambda connection: module_state.update(connection, 'hashmap', enabled=False))
    any_database.write(
        lambda connection: preferences.set_mapping(connection, preferences.Mapping('cpu', 'second'))
    )

    with any_database.reader() as connection:
        assert preferences.get_preferences(connection) == ({'cpu': 'second'}, {'first', 'third'})
