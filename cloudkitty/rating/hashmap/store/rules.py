"""All present and former rules, in the form that the rating core takes."""

from typing import Any

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.core.pricing.rules import Rule
from cloudkitty.db import tables
from cloudkitty.rating.hashmap.store import history

_mapping = tables.hashmap_mappings.c
_threshold = tables.hashmap_thresholds.c
_past = tables.hashmap_history.c
_service = tables.hashmap_services.c
_field = tables.hashmap_fields.c
_group = tables.hashmap_groups.c


def load(connection: sa.Connection) -> list[Rule]:
    """Return every rule, including deleted ones, with one statement."""
    no_level = sa.cast(sa.null(), _threshold.level.type)
    parts = (
        history.named(
            tables.hashmap_mappings,
            _columns(
                _mapping,
                [_service.name, _field.name, _group.name, _mapping.value, no_level],
                [_mapping.start, _mapping.end, _mapping.deleted],
            ),
        ),
        history.named(
            tables.hashmap_thresholds,
            _columns(
                _threshold,
                [_service.name, _field.name, _group.name, sa.null(), _threshold.level],
                [sa.null(), sa.null(), sa.null()],
            ),
        ).where(_threshold.level.is_not(None)),
        sa.select(
            *_columns(
                _past,
                [_past.service, _past.field, _past.group_name, _past.value, _past.level],
                [_past.start, _past.end, _past.deleted],
            )
        ),
    )
    return [_rule(row) for row in connection.execute(sa.union_all(*parts))]


def _columns(
    table: tables.Columns,
    what: list[sa.ColumnElement[Any]],
    when: list[sa.ColumnElement[Any]],
) -> list[sa.ColumnElement[Any]]:
    names = ('service', 'field', 'group_name', 'value', 'level', 'start', 'end', 'deleted')
    described = [column.label(name) for name, column in zip(names, what + when, strict=True)]
    return [table.id, table.cost, table.map_type, table.tenant_id, *described]


def _rule(row: tables.Row) -> Rule:
    return Rule(
        service=row.service,
        cost=row.cost,
        type=row.map_type,
        field=row.field,
        group=row.group_name,
        value=row.value,
        level=row.level,
        scope=row.tenant_id,
        start=timeframe.from_naive(row.start),
        end=timeframe.from_naive(row.end),
        deleted=timeframe.from_naive(row.deleted),
        order=row.id,
    )
