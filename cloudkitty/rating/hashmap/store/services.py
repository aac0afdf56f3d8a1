"""Services: the metrics that have hashmap rules."""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import tables
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import history, values

_table = tables.hashmap_services.c


class Service(NamedTuple):
    """A service; its name is that of a metric."""

    service_id: str
    name: str


def list_all(connection: sa.Connection) -> list[Service]:
    """Return all services, oldest first."""
    rows = connection.execute(sa.select(_table.service_id, _table.name).order_by(_table.id))
    return [Service(*row) for row in rows]


def get(connection: sa.Connection, service_id: str) -> Service:
    """Return one service.

    :raises NotFound: there is none.
    """
    row = _row(connection, service_id)
    if row is None:
        raise errors.NotFound(reason=_missing(service_id))
    return Service(row.service_id, row.name)


def parent_key(connection: sa.Connection, service_id: str) -> int:
    """Return the primary key of the service that a new rule or field names.

    :raises InvalidInput: there is none.
    """
    row = _row(connection, service_id)
    if row is None:
        raise errors.InvalidInput(reason=_missing(service_id))
    key: int = row.id
    return key


def create(connection: sa.Connection, name: str) -> Service:
    """Create a service.

    :raises InvalidInput: the name is invalid.
    :raises Conflict: the name is taken.
    """
    values.check_name(name)
    module_state.bump_version(connection, values.MODULE)
    taken = connection.scalar(sa.select(_table.service_id).where(_table.name == name))
    if taken:
        raise errors.Conflict(reason=f'Service {name} already exists (UUID: {taken})')
    service = Service(values.new_id(), name)
    connection.execute(tables.hashmap_services.insert().values(service._asdict()))
    return service


def delete(connection: sa.Connection, service_id: str, *, now: datetime, author: str) -> None:
    """Delete a service with its fields and rules, which still apply to periods that began before.

    :raises NotFound: there is none.
    """
    module_state.bump_version(connection, values.MODULE)
    row = _row(connection, service_id)
    if row is None:
        raise errors.NotFound(reason=_missing(service_id))
    fields = tables.hashmap_fields.c
    own_fields = sa.select(fields.id).where(fields.service_id == row.id)
    history.archive(
        connection,
        lambda rules: (rules.service_id == row.id) | rules.field_id.in_(own_fields),
        now=now,
        author=author,
    )
    connection.execute(tables.hashmap_services.delete().where(_table.id == row.id))


def _row(connection: sa.Connection, service_id: str) -> tables.Row | None:
    return connection.execute(
        sa.select(tables.hashmap_services).where(values.has_id(_table.service_id, service_id))
    ).one_or_none()


def _missing(service_id: str) -> str:
    return f'No such service: None (UUID: {service_id})'
