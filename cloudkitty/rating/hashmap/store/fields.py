"""Fields: the attributes of a service's points that rules refer to."""

import uuid
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import tables
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import history, services, values

_table = tables.hashmap_fields.c
_service = tables.hashmap_services.c
_select = sa.select(_table.id, _table.field_id, _table.name, _service.service_id).join_from(
    tables.hashmap_fields, tables.hashmap_services
)


class Field(NamedTuple):
    """A field of a service; its name is that of an attribute."""

    field_id: str
    name: str
    service_id: str


def list_of(connection: sa.Connection, service_id: str) -> list[Field]:
    """Return the fields of a service, oldest first; none if there is no such service."""
    rows = connection.execute(
        _select.where(values.has_id(_service.service_id, service_id)).order_by(_table.id)
    )
    return [_field(row) for row in rows]


def get(connection: sa.Connection, field_id: str) -> Field:
    """Return one field.

    :raises NotFound: there is none.
    """
    row = _row(connection, field_id)
    if row is None:
        raise errors.NotFound(reason=_missing(field_id))
    return _field(row)


def parent_key(connection: sa.Connection, field_id: str) -> int:
    """Return the primary key of the field that a new rule names.

    :raises InvalidInput: there is none.
    """
    row = _row(connection, field_id)
    if row is None:
        raise errors.InvalidInput(reason=_missing(field_id))
    key: int = row.id
    return key


def create(connection: sa.Connection, name: str, service_id: str) -> Field:
    """Create a field of a service.

    :raises InvalidInput: the name is invalid, or there is no such service.
    :raises Conflict: the service has a field of this name.
    """
    values.check_name(name)
    module_state.bump_version(connection, values.MODULE)
    service_key = services.parent_key(connection, service_id)
    taken = connection.scalar(
        sa.select(_table.field_id).where(_table.name == name, _table.service_id == service_key)
    )
    if taken:
        raise errors.Conflict(reason=f'Field {name} already exists (UUID: {taken})')
    field = Field(values.new_id(), name, str(uuid.UUID(service_id)))
    connection.execute(
        tables.hashmap_fields.insert().values(
            field_id=field.field_id, name=name, service_id=service_key
        )
    )
    return field


def delete(connection: sa.Connection, field_id: str, *, now: datetime, author: str) -> None:
    """Delete a field with its rules, which still apply to periods that began before.

    :raises NotFound: there is none.
    """
    module_state.bump_version(connection, values.MODULE)
    row = _row(connection, field_id)
    if row is None:
        raise errors.NotFound(reason=_missing(field_id))
    history.archive(connection, lambda rules: rules.field_id == row.id, now=now, author=author)
    connection.execute(tables.hashmap_fields.delete().where(_table.id == row.id))


def _row(connection: sa.Connection, field_id: str) -> tables.Row | None:
    return connection.execute(_select.where(values.has_id(_table.field_id, field_id))).one_or_none()


def _field(row: tables.Row) -> Field:
    return Field(row.field_id, row.name, row.service_id)


def _missing(field_id: str) -> str:
    return f'No such field: {field_id}'
