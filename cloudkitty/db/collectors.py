"""What operators noted about collectors: which one serves a service, and which are switched on.

Nothing of this has an effect on rating; v1 of the API keeps it for those who still read it.
"""

from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import models, modules, upsert

NAME_LENGTH_MAX = 255
STATE_PREFIX = 'collector_'          # the states stand beside those of the rating modules

_TABLE = models.collector_mappings


class Mapping(NamedTuple):
    """The collector of a service."""

    service: str
    collector: str


def list_mappings(connection: sa.Connection, collector: str | None = None) -> list[Mapping]:
    """Return the mappings by service, only those of *collector* if it is given."""
    statement = sa.select(_TABLE).order_by(_TABLE.c.service)
    if collector is not None:
        statement = statement.where(_TABLE.c.collector == collector)
    return [Mapping(row.service, row.collector) for row in connection.execute(statement)]


def get_mapping(connection: sa.Connection, service: str) -> Mapping:
    """Return the mapping of one service.

    :raises NotFound: it has none.
    """
    row = connection.execute(sa.select(_TABLE).where(_TABLE.c.service == service)).one_or_none()
    if row is None:
        raise _no_mapping(service)
    return Mapping(row.service, row.collector)


def set_mapping(connection: sa.Connection, mapping: Mapping) -> None:
    """Store the mapping in place of the one that the service has."""
    upsert.put(connection, _TABLE, mapping._asdict(), {'collector': mapping.collector})


def delete_mapping(connection: sa.Connection, service: str) -> None:
    """Remove the mapping of one service.

    :raises NotFound: it has none.
    """
    if not connection.execute(_TABLE.delete().where(_TABLE.c.service == service)).rowcount:
        raise _no_mapping(service)


def _no_mapping(service):
    return errors.NotFound(reason=f'No mapping for service: {service}')


def is_enabled(connection: sa.Connection, name: str) -> bool:
    """Return the state of a collector; False if it was never set."""
    return modules.get(connection, STATE_PREFIX + name).enabled


def set_enabled(connection: sa.Connection, name: str, enabled: bool) -> None:
    """Store the state of a collector."""
    modules.update(connection, STATE_PREFIX + name, enabled=enabled)
