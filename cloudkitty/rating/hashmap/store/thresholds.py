"""Thresholds: an amount or a factor from a level on. They have no validity times."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import decimals
from cloudkitty.core.pricing import rules
from cloudkitty.db import tables
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import groups, history, parents, values

_table = tables.hashmap_thresholds.c


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewThreshold:
    """The fields of a threshold to be created."""

    level: Decimal | None
    cost: Decimal | None
    type: str | None = rules.FLAT
    service_id: str | None = None
    field_id: str | None = None
    group_id: str | None = None
    tenant_id: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Threshold(NewThreshold):
    """A threshold as it is stored."""

    threshold_id: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Filters of a list of thresholds, see parents.conditions."""

    service_id: str | None = None
    field_id: str | None = None
    group_id: str | None = None
    no_group: bool = False
    tenant_id: str | None = None
    filter_tenant: bool = False


def list_of(connection: sa.Connection, wanted: Wanted) -> list[Threshold]:
    """Return the thresholds of a service, a field or a group, oldest first.

    :raises InvalidInput: none of the three is named.
    """
    parents.check_parent_named(wanted)
    statement = parents.select_rules(tables.hashmap_thresholds).where(
        *parents.conditions(tables.hashmap_thresholds, wanted)
    )
    return [_threshold(row) for row in connection.execute(statement)]


def get(connection: sa.Connection, threshold_id: str) -> Threshold:
    """Return one threshold.

    :raises NotFound: there is none.
    """
    return _threshold(_row(connection, threshold_id))


def group_of(connection: sa.Connection, threshold_id: str) -> groups.Group:
    """Return the group of a threshold.

    :raises NotFound: it has none, or there is no such threshold.
    """
    return groups.of_rule(
        connection,
        tables.hashmap_thresholds,
        values.has_id(_table.threshold_id, threshold_id),
        f'Threshold has no group (UUID: {threshold_id})',
    )


def create(connection: sa.Connection, new: NewThreshold) -> Threshold:
    """Create a threshold.

    :raises InvalidInput: a field is missing or wrong.
    :raises Conflict: there is one of the same level in the same place.
    """
    _check(new)
    new = dataclasses.replace(new, level=_canonical(new.level))
    parents.check_one_parent(new.service_id, new.field_id)
    module_state.bump_version(connection, values.MODULE)
    place = parents.locate(connection, new)
    _check_slot(connection, new, place)
    threshold_id = values.new_id()
    connection.execute(
        tables.hashmap_thresholds.insert().values(
            threshold_id=threshold_id,
            level=new.level,
            cost=new.cost,
            map_type=new.type,
            **place._asdict(),
        )
    )
    return get(connection, threshold_id)


def update(connection: sa.Connection, threshold_id: str, changes: Mapping[str, Any]) -> None:
    """Update a threshold; fields absent from *changes* are kept, None clears group or scope.

    The update also applies to past periods if they are rated again.

    :param changes: any of level, cost, type, group_id, tenant_id; others are ignored.
    :raises NotFound: there is none.
    :raises InvalidInput: a field is wrong.
    :raises Conflict: there is one of the same level in the same place.
    """
    module_state.lock(connection, values.MODULE)
    row = _row(connection, threshold_id)
    before = _threshold(row)
    known = ('level', 'cost', 'type', 'group_id', 'tenant_id')
    after = dataclasses.replace(
        before, **{name: changes[name] for name in known if name in changes}
    )
    _check(after)
    place = parents.locate(connection, after)
    after = dataclasses.replace(
        after,
        level=_canonical(after.level),
        tenant_id=place.tenant_id,
        group_id=values.uuid_of(after.group_id),
    )
    if after == before:
        return
    _check_slot(connection, after, place, except_key=row.id)
    module_state.bump_version(connection, values.MODULE)
    connection.execute(
        tables.hashmap_thresholds.update()
        .where(_table.id == row.id)
        .values(
            level=after.level,
            cost=after.cost,
            map_type=after.type,
            group_id=place.group_id,
            tenant_id=place.tenant_id,
        )
    )


def delete(connection: sa.Connection, threshold_id: str, *, now: datetime, author: str) -> None:
    """Delete a threshold, which still applies to periods that began before.

    :raises NotFound: there is none.
    """
    module_state.bump_version(connection, values.MODULE)
    row = _row(connection, threshold_id)
    history.archive_thresholds(connection, _table.id == row.id, now=now, author=author)
    connection.execute(tables.hashmap_thresholds.delete().where(_table.id == row.id))


def _check(threshold: NewThreshold) -> None:
    values.check_level(threshold.level)
    values.check_cost(threshold.cost)
    values.check_type(threshold.type)
    values.check_text('tenant_id', threshold.tenant_id)


def _canonical(level: Decimal | None) -> Decimal:
    """Return the canonical form of a level: SQLite compares decimals as text."""
    return decimals.trim(level) if level else decimals.ZERO


def _check_slot(
    connection: sa.Connection,
    threshold: NewThreshold,
    place: parents.Place,
    except_key: int | None = None,
) -> None:
    row = connection.execute(
        parents.select_rules(tables.hashmap_thresholds)
        .where(
            place.condition(_table), _table.level == threshold.level, _table.id != (except_key or 0)
        )
        .limit(1)
    ).one_or_none()
    if row is not None:
        shown = decimals.render_decimal(_canonical(threshold.level)).removesuffix('.0')
        cost = decimals.render_decimal(row.cost).removesuffix('.0')
        existing = (
            f'{row.map_type} {cost} from {shown} on (UUID: {row.threshold_id}); '
            'change or delete that threshold'
        )
        raise parents.clash(connection, 'Threshold', shown, threshold, existing)


def _row(connection: sa.Connection, threshold_id: str) -> tables.Row:
    row = connection.execute(
        parents.select_rules(tables.hashmap_thresholds).where(
            values.has_id(_table.threshold_id, threshold_id)
        )
    ).one_or_none()
    if row is None:
        raise errors.NotFound(reason=f'No such threshold: {threshold_id}')
    return row


def _threshold(row: tables.Row) -> Threshold:
    return Threshold(
        threshold_id=row.threshold_id,
        level=row.level,
        cost=row.cost,
        type=row.map_type,
        service_id=row.service_id,
        field_id=row.field_id,
        group_id=row.group_id,
        tenant_id=row.tenant_id,
    )
