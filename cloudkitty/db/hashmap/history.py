"""Rules that leave their tables for good are copied to hashmap_history first, as they were."""

from collections.abc import Callable
from datetime import datetime

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models

_mapping = models.hashmap_mappings.c
_threshold = models.hashmap_thresholds.c
_service = models.hashmap_services.c
_field = models.hashmap_fields.c
_group = models.hashmap_groups.c
_COLUMNS = [column for column in models.hashmap_history.c if column.name != 'id']


def named(table: sa.Table, columns: list) -> sa.Select:
    """Return a selection from a table of rules together with its services, fields and groups."""
    rules = table.c
    return (sa.select(*columns).select_from(table)
            .outerjoin(models.hashmap_fields, _field.id == rules.field_id)
            .join(models.hashmap_services,
                  _service.id == sa.func.coalesce(rules.service_id, _field.service_id))
            .outerjoin(models.hashmap_groups, _group.id == rules.group_id))


def archive(connection: sa.Connection,
            condition: Callable[[sa.ColumnCollection], sa.ColumnElement], *, now: datetime,
            author: str) -> None:
    """Copy the mappings and thresholds that were ever in force and meet *condition*.

    :param condition: made from the columns of a table of rules.
    """
    archive_mappings(connection, condition(_mapping), now=now, author=author)
    archive_thresholds(connection, condition(_threshold), now=now, author=author)


def archive_mappings(connection: sa.Connection, condition: sa.ColumnElement, *, now: datetime,
                     author: str) -> None:
    """Copy mappings; one that was deleted keeps the instant."""
    instant = sa.literal(timeframe.to_naive(now), _mapping.deleted.type)
    deleted = sa.func.coalesce(_mapping.deleted, instant)
    rows = named(models.hashmap_mappings, [
        _mapping.mapping_id, _service.name, _field.name, _group.name, _mapping.value, sa.null(),
        _mapping.cost, _mapping.map_type, _mapping.tenant_id, _mapping.start, _mapping.end, deleted,
        sa.func.coalesce(_mapping.deleted_by, author)])
    rows = rows.where(condition, _mapping.start < deleted)
    connection.execute(models.hashmap_history.insert().from_select(_COLUMNS, rows))


def archive_thresholds(connection: sa.Connection, condition: sa.ColumnElement, *, now: datetime,
                       author: str) -> None:
    """Copy thresholds; they had no begin."""
    instant = sa.literal(timeframe.to_naive(now), models.hashmap_history.c.deleted.type)
    rows = named(models.hashmap_thresholds, [
        _threshold.threshold_id, _service.name, _field.name, _group.name, sa.null(),
        _threshold.level, _threshold.cost, _threshold.map_type, _threshold.tenant_id, sa.null(),
        sa.null(), instant, sa.literal(author)])
    rows = rows.where(condition, _threshold.level.is_not(None))
    connection.execute(models.hashmap_history.insert().from_select(_COLUMNS, rows))
