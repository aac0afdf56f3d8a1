"""Archive: rules are copied to hashmap_history before their rows are deleted."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables

_mapping = tables.hashmap_mappings.c
_threshold = tables.hashmap_thresholds.c
_service = tables.hashmap_services.c
_field = tables.hashmap_fields.c
_group = tables.hashmap_groups.c
_COLUMNS = [column for column in tables.hashmap_history.c if column.name != 'id']


def named(table: sa.Table, columns: Sequence[sa.ColumnElement[Any]]) -> sa.Select[Any]:
    """Return a select of a table of rules joined with services, fields and groups."""
    rules = table.c
    return (
        sa.select(*columns)
        .select_from(table)
        .outerjoin(tables.hashmap_fields, _field.id == rules.field_id)
        .join(
            tables.hashmap_services,
            _service.id == sa.func.coalesce(rules.service_id, _field.service_id),
        )
        .outerjoin(tables.hashmap_groups, _group.id == rules.group_id)
    )


def archive(
    connection: sa.Connection,
    condition: Callable[[tables.Columns], sa.ColumnElement[bool]],
    *,
    now: datetime,
    author: str,
) -> None:
    """Copy the mappings and thresholds that match *condition* and were ever in force.

    :param condition: a function of the columns of a table of rules.
    """
    archive_mappings(connection, condition(_mapping), now=now, author=author)
    archive_thresholds(connection, condition(_threshold), now=now, author=author)


def archive_mappings(
    connection: sa.Connection, condition: sa.ColumnElement[bool], *, now: datetime, author: str
) -> None:
    """Copy mappings; a deleted one keeps the time of its deletion."""
    instant = sa.literal(timeframe.to_naive(now), _mapping.deleted.type)
    deleted = sa.func.coalesce(_mapping.deleted, instant)
    rows = named(
        tables.hashmap_mappings,
        [
            _mapping.mapping_id,
            _service.name,
            _field.name,
            _group.name,
            _mapping.value,
            sa.null(),
            _mapping.cost,
            _mapping.map_type,
            _mapping.tenant_id,
            _mapping.start,
            _mapping.end,
            deleted,
            sa.func.coalesce(_mapping.deleted_by, author),
        ],
    )
    rows = rows.where(condition, _mapping.start < deleted)
    connection.execute(tables.hashmap_history.insert().from_select(_COLUMNS, rows))


def archive_thresholds(
    connection: sa.Connection, condition: sa.ColumnElement[bool], *, now: datetime, author: str
) -> None:
    """Copy thresholds, which have no start."""
    instant = sa.literal(timeframe.to_naive(now), tables.hashmap_history.c.deleted.type)
    rows = named(
        tables.hashmap_thresholds,
        [
            _threshold.threshold_id,
            _service.name,
            _field.name,
            _group.name,
            sa.null(),
            _threshold.level,
            _threshold.cost,
            _threshold.map_type,
            _threshold.tenant_id,
            sa.null(),
            sa.null(),
            instant,
            sa.literal(author),
        ],
    )
    rows = rows.where(condition, _threshold.level.is_not(None))
    connection.execute(tables.hashmap_history.insert().from_select(_COLUMNS, rows))
