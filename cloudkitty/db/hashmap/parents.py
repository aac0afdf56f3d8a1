"""What mappings and thresholds hang on: one service or one field, a group, a scope."""

from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import models
from cloudkitty.db.hashmap import fields, groups, services, values


class Place(NamedTuple):
    """Where a rule hangs, in internal keys, as columns of its table."""

    service_id: int | None
    field_id: int | None
    group_id: int | None
    tenant_id: str | None

    def condition(self, table: sa.ColumnCollection) -> sa.ColumnElement:
        """Return the condition that a rule of *table* hangs in this place; None equals None."""
        return sa.and_(*(values.equals(table[name], value)
                         for name, value in self._asdict().items()))


def check_one_parent(service_id: str | None, field_id: str | None) -> None:
    """Raise InvalidInput unless exactly one parent is named."""
    if service_id and field_id:
        raise errors.InvalidInput(reason='You can only specify one parent.')
    if not service_id and not field_id:
        raise errors.InvalidInput(reason='You must specify one parent.')


def locate(connection: sa.Connection, rule) -> Place:
    """Return the place that a rule to be created names.

    :param rule: has service_id, field_id, group_id and tenant_id.
    :raises InvalidInput: the parent or the group does not exist.
    """
    return Place(
        services.parent_key(connection, rule.service_id) if rule.service_id else None,
        fields.parent_key(connection, rule.field_id) if rule.field_id else None,
        groups.key_of(connection, rule.group_id or None),
        rule.tenant_id or None)


def clash(what: str, shown, rule) -> errors.Conflict:
    """Return the error that a rule of the same place exists.

    :param what: 'Mapping' or 'Threshold'.
    :param shown: its value or level.
    :param rule: has service_id, field_id and tenant_id.
    """
    kind, parent = ('service', rule.service_id) if rule.service_id else ('field', rule.field_id)
    return errors.Conflict(reason=f"{what} '{shown}' already exists for {kind} '{parent}', "
                                  f"tenant: '{rule.tenant_id or None}'")


def select_rules(table: sa.Table) -> sa.Select:
    """Return the selection of rules with the identifiers of what they hang on."""
    own = [column for column in table.c
           if column.name not in ('service_id', 'field_id', 'group_id')]
    return (sa.select(*own, models.hashmap_services.c.service_id, models.hashmap_fields.c.field_id,
                      models.hashmap_groups.c.group_id)
            .select_from(table)
            .outerjoin(models.hashmap_services, models.hashmap_services.c.id == table.c.service_id)
            .outerjoin(models.hashmap_fields, models.hashmap_fields.c.id == table.c.field_id)
            .outerjoin(models.hashmap_groups, models.hashmap_groups.c.id == table.c.group_id)
            .order_by(table.c.id))


def conditions(table: sa.Table, wanted) -> list[sa.ColumnElement]:
    """Return the conditions of a list of rules of *table*.

    :param wanted: has service_id (which wins over field_id), field_id, group_id, no_group,
        tenant_id and filter_tenant.
    """
    found = []
    if wanted.service_id:
        found.append(values.has_id(models.hashmap_services.c.service_id, wanted.service_id))
    elif wanted.field_id:
        found.append(values.has_id(models.hashmap_fields.c.field_id, wanted.field_id))
    if wanted.group_id:
        found.append(values.has_id(models.hashmap_groups.c.group_id, wanted.group_id))
    elif wanted.no_group:
        found.append(table.c.group_id.is_(None))
    if wanted.filter_tenant:
        values.check_text('tenant_id', wanted.tenant_id)
        found.append(values.equals(table.c.tenant_id, wanted.tenant_id or None))
    return found


def check_parent_named(wanted) -> None:
    """Raise InvalidInput unless a list names a service, a field or a group."""
    if not (wanted.service_id or wanted.field_id or wanted.group_id):
        raise errors.InvalidInput(
            reason='You must specify either service_uuid, field_uuid or group_uuid.')
