"""State of rating modules in the database: enabled or not, priority, version of the rules."""

from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import tables, upsert

PRIORITY_MAX = 2**31 - 1


_NAMES = sa.union(
    sa.select(tables.modules.c.name), sa.select(tables.module_versions.c.name)
).subquery()
# Built once: it runs before every batch of periods.
_STATES_AND_VERSIONS = (
    sa.select(
        _NAMES.c.name,
        tables.modules.c.state,
        tables.modules.c.priority,
        tables.module_versions.c.version,
    )
    .outerjoin_from(_NAMES, tables.modules, _NAMES.c.name == tables.modules.c.name)
    .outerjoin(tables.module_versions, _NAMES.c.name == tables.module_versions.c.name)
)


class State(NamedTuple):
    """Stored state of a module.

    :param priority: the higher, the earlier the module runs; 1 unless an operator set it.
    """

    enabled: bool = False
    priority: int = 1


# Always enabled, whatever is stored, so that a pipeline is never empty.
FIXED = {'noop': State(enabled=True)}


def states(connection: sa.Connection) -> dict[str, State]:
    """Return the stored states by module name."""
    return {name: state for name, (state, _) in states_and_versions(connection).items()}


def states_and_versions(connection: sa.Connection) -> dict[str, tuple[State, int]]:
    """Return state and version of the rules, by module name, in one statement.

    Version 0: no rule was ever changed.
    """
    found = {name: (State(), 0) for name in FIXED}
    rows = connection.execute(_STATES_AND_VERSIONS)
    found.update((row.name, (_state(row), row.version or 0)) for row in rows)
    found.update((name, (fixed, found[name][1])) for name, fixed in FIXED.items())
    return found


def list_enabled(connection: sa.Connection) -> set[str]:
    """Return the names of the enabled rating modules, including the fixed ones."""
    return {
        name
        for name, state in states(connection).items()
        if state.enabled and not is_collector(name)
    }


def is_collector(name: str) -> bool:
    """Return whether the row of this name is the state of a collector and not of a module."""
    return name.startswith('collector_')


def get(connection: sa.Connection, name: str) -> State:
    """Return the state of one module, with defaults for values that were never set."""
    if name in FIXED:
        return FIXED[name]
    row = connection.execute(
        sa.select(tables.modules.c.state, tables.modules.c.priority).where(
            tables.modules.c.name == name
        )
    ).one_or_none()
    return State() if row is None else _state(row)


def update(
    connection: sa.Connection,
    name: str,
    *,
    enabled: bool | None = None,
    priority: int | None = None,
) -> bool:
    """Set the values that are not None; return whether anything changed. Fixed modules never do.

    :raises InvalidInput: *priority* is not a whole number from 1.
    """
    if priority is not None:
        check_priority(priority)
    if name in FIXED:
        return False
    wanted: dict[str, Any] = {}
    if enabled is not None:
        wanted['state'] = enabled
    if priority is not None:
        wanted['priority'] = priority
    before = get(connection, name)
    after = State(wanted.get('state', before.enabled), wanted.get('priority', before.priority))
    if after == before:
        return False
    upsert.put(
        connection,
        tables.modules,
        {'name': name, 'state': after.enabled, 'priority': after.priority},
        wanted,
    )
    return True


def check_priority(priority: int) -> None:
    """Raise InvalidInput unless *priority* is a whole number from 1."""
    if (
        isinstance(priority, bool)
        or not isinstance(priority, int)
        or not (1 <= priority <= PRIORITY_MAX)
    ):
        raise errors.InvalidInput(
            reason=f"Invalid input for field/attribute priority. Value: '{priority}'. "
            f'Value should be a whole number from 1 to {PRIORITY_MAX}'
        )


def versions(connection: sa.Connection) -> dict[str, int]:
    """Return the version of each module's rules; a module without one never changed."""
    rows = connection.execute(sa.select(tables.module_versions))
    return {row.name: row.version for row in rows}


def bump_version(connection: sa.Connection, name: str) -> None:
    """Increment the version of the module's rules.

    At the beginning of a transaction this also serialises changes of the module's rules, because
    the row stays locked until the end.
    """
    table = tables.module_versions
    upsert.put(connection, table, {'name': name, 'version': 1}, {'version': table.c.version + 1})


def lock(connection: sa.Connection, name: str) -> None:
    """Lock the module's rules until the end of the transaction."""
    table = tables.module_versions
    upsert.put(connection, table, {'name': name, 'version': 0}, {'version': table.c.version})


def _state(row: tables.Row) -> State:
    # A stored 0 reads as 1, for compatibility.
    return State(bool(row.state), row.priority or 1)
