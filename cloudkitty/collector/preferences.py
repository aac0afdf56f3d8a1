"""Preferences of operators: the collector of a service, and which collectors are enabled.

They only have an effect with several collectors, see collector/meta.py.
"""

from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import tables, upsert
from cloudkitty.rating import module_state

NAME_LENGTH_MAX = 255
STATE_PREFIX = 'collector_'  # the states are in the table of the rating modules' states

_TABLE = tables.collector_mappings


class Mapping(NamedTuple):
    """The collector of a service."""

    service: str
    collector: str


class Preferences(NamedTuple):
    """All stored preferences.

    :ivar collectors: the collector to try first, by service.
    :ivar switched_off: collectors that must not be used.
    """

    collectors: dict[str, str]
    switched_off: frozenset[str]


def get_preferences(connection: sa.Connection) -> Preferences:
    """Return all mappings and states; a collector whose state was never set is on."""
    return Preferences(
        {mapping.service: mapping.collector for mapping in list_mappings(connection)},
        frozenset(
            name.removeprefix(STATE_PREFIX)
            for name, state in module_state.states(connection).items()
            if name.startswith(STATE_PREFIX) and not state.enabled
        ),
    )


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
    """Store the mapping of a service, replacing an existing one."""
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
    return module_state.get(connection, STATE_PREFIX + name).enabled


def set_enabled(connection: sa.Connection, name: str, enabled: bool) -> None:
    """Store the state of a collector, even if it equals the default."""
    upsert.put(
        connection,
        tables.modules,
        {'name': STATE_PREFIX + name, 'state': enabled, 'priority': 1},
        {'state': enabled},
    )
