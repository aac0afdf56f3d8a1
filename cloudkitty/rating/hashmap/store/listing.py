"""The rules that are valid now or later, with the names of what they belong to."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.rating.hashmap.store import history

_mapping = tables.hashmap_mappings.c
_threshold = tables.hashmap_thresholds.c
_service = tables.hashmap_services.c
_field = tables.hashmap_fields.c
_group = tables.hashmap_groups.c
MAPPING, THRESHOLD = 'mapping', 'threshold'


class NamedRule(NamedTuple):
    """A mapping or a threshold.

    :ivar kind: MAPPING or THRESHOLD.
    :ivar field: None: a rule of the service itself.
    :ivar value: of a mapping of a field, else None.
    :ivar level: of a threshold, else None.
    :ivar tenant_id: scope id; None: all scopes.
    :ivar start, end: aware UTC; None: no bound.
    """

    rule_id: str
    kind: str
    service: str
    field: str | None
    value: str | None
    level: Decimal | None
    group: str | None
    tenant_id: str | None
    type: str
    cost: Decimal
    start: datetime | None
    end: datetime | None


def find(
    connection: sa.Connection,
    *,
    now: datetime,
    offset: int,
    limit: int,
    scope: str | None = None,
) -> tuple[int, list[NamedRule]]:
    """Return how many rules there are, and a page of them by service, field and value.

    :param now: aware UTC; mappings that ended before are left out.
    :param scope: only the rules that apply to this scope: its own, and the general ones without
        those that an own one replaces all the time; None: all rules.
    """
    no_level = sa.cast(sa.null(), _threshold.level.type)
    mappings = history.named(
        tables.hashmap_mappings,
        _columns(_mapping, _mapping.mapping_id, MAPPING, [_mapping.value, no_level])
        + [_mapping.start.label('start'), _mapping.end.label('end')],
    ).where(
        _mapping.deleted.is_(None),
        _is_ahead(_mapping, now),
        *_applying(tables.hashmap_mappings, scope, now),
    )
    no_time = sa.cast(sa.null(), _mapping.start.type)
    thresholds = history.named(
        tables.hashmap_thresholds,
        _columns(_threshold, _threshold.threshold_id, THRESHOLD, [sa.null(), _threshold.level])
        + [no_time.label('start'), no_time.label('end')],
    ).where(_threshold.level.is_not(None), *_applying(tables.hashmap_thresholds, scope, now))
    both = sa.union_all(mappings, thresholds).subquery()
    count: int = connection.execute(sa.select(sa.func.count()).select_from(both)).scalar_one()
    columns = both.c
    page = (
        sa.select(both)
        .order_by(
            *(columns.service, columns.field, columns.group, columns.value, columns.level),
            *(columns.start, columns.rule_id),
        )
        .offset(offset)
        .limit(limit)
    )
    return count, [_rule(row) for row in connection.execute(page)]


def _is_ahead(mapping: tables.Columns, now: datetime) -> sa.ColumnElement[bool]:
    return sa.or_(mapping.end.is_(None), mapping.end > timeframe.to_naive(now))


def _applying(
    table: sa.Table, scope: str | None, now: datetime
) -> Iterator[sa.ColumnElement[bool]]:
    """Yield the conditions for rules that apply to *scope*, see core/pricing/book."""
    if scope is None:
        return
    rule, own = table.c, table.alias('own').c
    yield sa.or_(rule.tenant_id.is_(None), rule.tenant_id == scope)
    is_replaced = [
        own.tenant_id == scope,
        *(
            own[name].is_not_distinct_from(rule[name])
            for name in ('service_id', 'field_id', 'group_id')
        ),
    ]
    if table is tables.hashmap_thresholds:
        is_replaced.append(own.level == rule.level)
    else:
        is_replaced += [
            own.deleted.is_(None),
            # The value of a mapping of a service has no meaning.
            sa.or_(rule.field_id.is_(None), own.value.is_not_distinct_from(rule.value)),
            sa.or_(own.start <= rule.start, own.start <= timeframe.to_naive(now)),
            _is_ahead(own, now),
            sa.or_(own.end.is_(None), own.end >= rule.end),
        ]
    yield sa.or_(rule.tenant_id.is_not(None), ~sa.exists().where(*is_replaced))


def _columns(
    table: tables.Columns, key: sa.ColumnElement[str], kind: str, what: list[sa.ColumnElement[Any]]
) -> list[sa.ColumnElement[Any]]:
    value, level = what
    return [
        key.label('rule_id'),
        sa.literal(kind).label('kind'),
        _service.name.label('service'),
        _field.name.label('field'),
        value.label('value'),
        level.label('level'),
        _group.name.label('group'),
        table.tenant_id.label('tenant_id'),
        table.map_type.label('type'),
        table.cost.label('cost'),
    ]


def _rule(row: tables.Row) -> NamedRule:
    found = NamedRule(*row)
    return found._replace(
        value=found.value if found.field is not None else None,
        start=timeframe.from_naive(found.start),
        end=timeframe.from_naive(found.end),
    )
