"""Parents of mappings and thresholds: one service or one field, a group, a scope."""

from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import tables
from cloudkitty.rating.hashmap.store import fields, groups, services, values


class Parents(Protocol):
    """The parents that a rule or a filter names: identifiers as clients write them."""

    @property
    def service_id(self) -> str | None: ...

    @property
    def field_id(self) -> str | None: ...

    @property
    def group_id(self) -> str | None: ...

    @property
    def tenant_id(self) -> str | None: ...


class Wanted(Parents, Protocol):
    """Filters of a list of rules; service_id overrides field_id, group_id overrides no_group."""

    @property
    def no_group(self) -> bool: ...

    @property
    def filter_tenant(self) -> bool: ...


class Place(NamedTuple):
    """The parents of a rule as primary keys: columns of its table."""

    service_id: int | None
    field_id: int | None
    group_id: int | None
    tenant_id: str | None

    def condition(self, table: tables.Columns) -> sa.ColumnElement[bool]:
        """Return the condition for rules of *table* with these parents; None equals None."""
        return sa.and_(
            *(values.equals(table[name], value) for name, value in self._asdict().items())
        )


def check_one_parent(service_id: str | None, field_id: str | None) -> None:
    """Raise InvalidInput unless exactly one parent is named."""
    if service_id and field_id:
        raise errors.InvalidInput(reason='You can only specify one parent.')
    if not service_id and not field_id:
        raise errors.InvalidInput(reason='You must specify one parent.')


def locate(connection: sa.Connection, rule: Parents) -> Place:
    """Return the parents of a rule to be created, as primary keys.

    :raises InvalidInput: the parent or the group does not exist.
    """
    return Place(
        services.parent_key(connection, rule.service_id) if rule.service_id else None,
        fields.parent_key(connection, rule.field_id) if rule.field_id else None,
        groups.key_of(connection, rule.group_id or None),
        rule.tenant_id or None,
    )


def clash(
    connection: sa.Connection, what: str, shown: object, rule: Parents, existing: str
) -> errors.Conflict:
    """Return the error that a rule with the same parents exists.

    The sentence that clients look for comes first; what the rule is, with names, follows.

    :param what: 'Mapping' or 'Threshold'.
    :param shown: its value or level, for the text of the error.
    :param existing: the end of "all scopes pay ..." about the rule that exists.
    """
    kind, parent = ('service', rule.service_id) if rule.service_id else ('field', rule.field_id)
    payer = f'scope {rule.tenant_id} pays' if rule.tenant_id else 'all scopes pay'
    return errors.Conflict(
        reason=f"{what} '{shown}' already exists for {kind} '{parent}', "
        f"tenant: '{rule.tenant_id or None}': for {_names(connection, rule)} {payer} {existing}"
    )


def _names(connection: sa.Connection, rule: Parents) -> str:
    """Return the service of a rule by its name, `cpu`, or its field, `cpu by flavor_name`."""
    if rule.service_id:
        return services.get(connection, rule.service_id).name
    field = fields.get(connection, rule.field_id or '')
    return f'{services.get(connection, field.service_id).name} by {field.name}'


def select_rules(table: sa.Table) -> sa.Select[Any]:
    """Return the select of rules with the identifiers of their parents."""
    own = [
        column for column in table.c if column.name not in ('service_id', 'field_id', 'group_id')
    ]
    return (
        sa.select(
            *own,
            tables.hashmap_services.c.service_id,
            tables.hashmap_fields.c.field_id,
            tables.hashmap_groups.c.group_id,
        )
        .select_from(table)
        .outerjoin(tables.hashmap_services, tables.hashmap_services.c.id == table.c.service_id)
        .outerjoin(tables.hashmap_fields, tables.hashmap_fields.c.id == table.c.field_id)
        .outerjoin(tables.hashmap_groups, tables.hashmap_groups.c.id == table.c.group_id)
        .order_by(table.c.id)
    )


def conditions(table: sa.Table, wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of *wanted* on rules of *table*."""
    found: list[sa.ColumnElement[bool]] = []
    if wanted.service_id:
        found.append(values.has_id(tables.hashmap_services.c.service_id, wanted.service_id))
    elif wanted.field_id:
        found.append(values.has_id(tables.hashmap_fields.c.field_id, wanted.field_id))
    if wanted.group_id:
        found.append(values.has_id(tables.hashmap_groups.c.group_id, wanted.group_id))
    elif wanted.no_group:
        found.append(table.c.group_id.is_(None))
    if wanted.filter_tenant:
        values.check_text('tenant_id', wanted.tenant_id)
        found.append(values.equals(table.c.tenant_id, wanted.tenant_id or None))
    return found


def check_parent_named(wanted: Parents) -> None:
    """Raise InvalidInput unless a list names a service, a field or a group."""
    if not (wanted.service_id or wanted.field_id or wanted.group_id):
        raise errors.InvalidInput(
            reason='You must specify either service_uuid, field_uuid or group_uuid.'
        )
