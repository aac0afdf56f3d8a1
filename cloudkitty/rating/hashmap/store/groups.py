"""Groups: the highest flat and all rates of a group make one price; groups add up."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.pricing.rules import DEFAULT_GROUP
from cloudkitty.db import tables
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import history, values

_table = tables.hashmap_groups.c
_RULES = (tables.hashmap_mappings, tables.hashmap_thresholds)


class Group(NamedTuple):
    """A named group of rules."""

    group_id: str
    name: str


def list_all(connection: sa.Connection) -> list[Group]:
    """Return all groups, oldest first."""
    rows = connection.execute(sa.select(_table.group_id, _table.name).order_by(_table.id))
    return [Group(*row) for row in rows]


def get(connection: sa.Connection, group_id: str) -> Group:
    """Return one group.

    :raises NotFound: there is none.
    """
    row = _row(connection, group_id)
    if row is None:
        raise errors.NotFound(reason=_missing(group_id))
    return Group(row.group_id, row.name)


def of_rule(
    connection: sa.Connection, table: sa.Table, condition: sa.ColumnElement[bool], missing: str
) -> Group:
    """Return the group of the rule of *table* that matches *condition*.

    :param missing: text of the error.
    :raises NotFound: the rule has none, or there is no such rule.
    """
    row = connection.execute(
        sa.select(_table.group_id, _table.name)
        .join_from(table, tables.hashmap_groups)
        .where(condition)
    ).one_or_none()
    if row is None:
        raise errors.NotFound(reason=missing)
    return Group(*row)


def key_of(connection: sa.Connection, group_id: str | None) -> int | None:
    """Return the primary key of the group that a rule names; None if it names none.

    :raises InvalidInput: there is no such group.
    """
    if group_id is None:
        return None
    row = _row(connection, group_id)
    if row is None:
        raise errors.InvalidInput(reason=_missing(group_id))
    key: int = row.id
    return key


def create(connection: sa.Connection, name: str) -> Group:
    """Create a group.

    :raises InvalidInput: the name is invalid, or reserved for rules without group.
    :raises Conflict: the name is taken.
    """
    values.check_name(name)
    if name == DEFAULT_GROUP:
        raise values.invalid('name', name, 'This name is reserved for the rules without group')
    module_state.bump_version(connection, values.MODULE)
    taken = connection.scalar(sa.select(_table.group_id).where(_table.name == name))
    if taken:
        raise errors.Conflict(reason=f'Group {name} already exists (UUID: {taken})')
    group = Group(values.new_id(), name)
    connection.execute(tables.hashmap_groups.insert().values(group._asdict()))
    return group


def delete(
    connection: sa.Connection, group_id: str, *, recursive: bool, now: datetime, author: str
) -> None:
    """Delete a group, with its rules if *recursive*; otherwise they are kept without group.

    :raises NotFound: there is none.
    :raises Conflict: a rule that would be kept collides with one without group.
    """
    module_state.bump_version(connection, values.MODULE)
    row = _row(connection, group_id)
    if row is None:
        raise errors.NotFound(reason=_missing(group_id))
    if recursive:
        history.archive(connection, lambda rules: rules.group_id == row.id, now=now, author=author)
        for table in _RULES:
            connection.execute(table.delete().where(table.c.group_id == row.id))
    else:
        _check_members(connection, row)
        for table in _RULES:
            connection.execute(
                table.update().where(table.c.group_id == row.id).values(group_id=None)
            )
    connection.execute(tables.hashmap_groups.delete().where(_table.id == row.id))


def _check_members(connection: sa.Connection, group: tables.Row) -> None:
    for table, kind, collide in (
        (tables.hashmap_mappings, 'mapping', _mappings_collide),
        (tables.hashmap_thresholds, 'threshold', _thresholds_collide),
    ):
        member, other = table.alias(), table.alias()
        identifier = f'{kind}_id'
        pair = connection.execute(
            sa.select(member.c[identifier], other.c[identifier])
            .where(
                member.c.group_id == group.id,
                other.c.group_id.is_(None),
                *(
                    _same(member.c[name], other.c[name])
                    for name in ('service_id', 'field_id', 'tenant_id')
                ),
                *collide(member.c, other.c),
            )
            .limit(1)
        ).one_or_none()
        if pair is not None:
            raise errors.Conflict(
                reason=f'Group {group.name} (UUID: {group.group_id}) cannot be deleted without its '
                f"rules: {kind} '{pair[0]}' would collide with {kind} '{pair[1]}', which "
                'has no group'
            )


def _mappings_collide(
    member: tables.Columns, other: tables.Columns
) -> Sequence[sa.ColumnElement[bool]]:
    return (
        sa.func.coalesce(member.value, '') == sa.func.coalesce(other.value, ''),
        member.deleted.is_(None),
        other.deleted.is_(None),
        other.end.is_(None) | (member.start < other.end),
        member.end.is_(None) | (other.start < member.end),
    )


def _thresholds_collide(
    member: tables.Columns, other: tables.Columns
) -> Sequence[sa.ColumnElement[bool]]:
    return (_same(member.level, other.level),)


def _same(left: sa.ColumnElement[Any], right: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
    return (left == right) | (left.is_(None) & right.is_(None))


def _row(connection: sa.Connection, group_id: str) -> tables.Row | None:
    return connection.execute(
        sa.select(tables.hashmap_groups).where(values.has_id(_table.group_id, group_id))
    ).one_or_none()


def _missing(group_id: str) -> str:
    return f'No such group: None (UUID: {group_id})'
