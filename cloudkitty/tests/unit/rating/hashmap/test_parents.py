"""Services, fields and groups, on every database."""

from datetime import UTC, datetime

import pytest

from cloudkitty import errors
from cloudkitty.db import tables
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import fields, groups, services

NOW = datetime(2024, 5, 1, 12, 0, 7, 250, tzinfo=UTC)
NOBODY = '6f6e652d-0000-4000-8000-000000000000'


def test_a_service_is_created_listed_and_deleted(any_database):
    with any_database.writer() as connection:
        first = services.create(connection, 'instance')
        second = services.create(connection, 'Instance')
        assert services.list_all(connection) == [first, second]
        assert services.get(connection, first.service_id.upper().replace('-', '')) == first
        services.delete(connection, first.service_id, now=NOW, author='me')
        assert services.list_all(connection) == [second]
        assert module_state.versions(connection) == {'hashmap': 3}


def test_names_are_unique_and_say_who_has_them(database):
    with database.writer() as connection:
        service = services.create(connection, 'a')
        other = services.create(connection, 'b')
        field = fields.create(connection, 'f', service.service_id)
        assert fields.create(connection, 'f', other.service_id).name == 'f'
        group = groups.create(connection, 'g')
        for create, text in (
            (
                lambda: services.create(connection, 'a'),
                f'Service a already exists (UUID: {service.service_id})',
            ),
            (
                lambda: fields.create(connection, 'f', service.service_id),
                f'Field f already exists (UUID: {field.field_id})',
            ),
            (
                lambda: groups.create(connection, 'g'),
                f'Group g already exists (UUID: {group.group_id})',
            ),
        ):
            with pytest.raises(errors.Conflict) as caught:
                create()
            assert str(caught.value) == text


@pytest.mark.parametrize(
    'name, text',
    [
        (None, "Invalid input for field/attribute name. Value: 'None'. Mandatory field missing."),
        (
            '',
            "Invalid input for field/attribute name. Value: ''. Value should have a minimum length",
        ),
        ('x' * 256, 'maximum length of 255'),
        ('a\0b', 'not text'),
        ('a\ud800', 'not text'),
    ],
)
def test_a_name_that_cannot_be_stored_is_refused(database, name, text):
    with database.writer() as connection:
        service_id = services.create(connection, 's').service_id
        for create in (
            lambda: services.create(connection, name),
            lambda: fields.create(connection, name, service_id),
            lambda: groups.create(connection, name),
        ):
            with pytest.raises(errors.InvalidInput) as caught:
                create()
            assert text in str(caught.value)


def test_the_name_of_the_default_group_is_reserved(database):
    with database.writer() as connection, pytest.raises(errors.InvalidInput, match='reserved'):
        groups.create(connection, '_DEFAULT_')


@pytest.mark.parametrize('identifier', [NOBODY, 'instance', '', 'a\0b', '\ud800'])
def test_what_is_not_there_is_named(database, identifier):
    texts = {
        services.get: f'No such service: None (UUID: {identifier})',
        fields.get: f'No such field: {identifier}',
        groups.get: f'No such group: None (UUID: {identifier})',
    }
    with database.writer() as connection:
        for get, text in texts.items():
            with pytest.raises(errors.NotFound) as caught:
                get(connection, identifier)
            assert str(caught.value) == text
        for delete in (services.delete, fields.delete):
            with pytest.raises(errors.NotFound):
                delete(connection, identifier, now=NOW, author='me')
        with pytest.raises(errors.NotFound):
            groups.delete(connection, identifier, recursive=True, now=NOW, author='me')


def test_a_field_needs_its_service(database):
    with database.writer() as connection:
        with pytest.raises(errors.InvalidInput) as caught:
            fields.create(connection, 'f', NOBODY)
        assert str(caught.value) == f'No such service: None (UUID: {NOBODY})'
        assert fields.list_of(connection, NOBODY) == []
        assert fields.list_of(connection, 'instance') == []


def test_fields_go_with_their_service(any_database):
    with any_database.writer() as connection:
        service = services.create(connection, 'instance')
        field = fields.create(connection, 'flavor', service.service_id)
        assert fields.list_of(connection, service.service_id) == [field]
        services.delete(connection, service.service_id, now=NOW, author='me')
        assert connection.execute(tables.hashmap_fields.select()).all() == []
