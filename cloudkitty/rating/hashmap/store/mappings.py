"""Mappings: an amount or a factor for a service, or for a value of a field, with validity times."""

import dataclasses
import uuid
from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import decimals, timeframe
from cloudkitty.core.pricing import rules
from cloudkitty.db import tables
from cloudkitty.rating import module_state, validity
from cloudkitty.rating.hashmap.store import groups, parents, values

NAME_LENGTH_MAX = 32

_table = tables.hashmap_mappings.c


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewMapping:
    """The fields of a mapping to be created. Times are aware UTC."""

    cost: Decimal | None
    type: str | None = rules.FLAT
    value: str | None = ''
    service_id: str | None = None
    field_id: str | None = None
    group_id: str | None = None
    tenant_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    name: str | None = None
    description: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mapping(NewMapping):
    """A mapping as it is stored. Times are aware UTC."""

    mapping_id: str
    start: datetime
    created_at: datetime
    created_by: str
    updated_by: str | None
    deleted: datetime | None
    deleted_by: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted(validity.Wanted):
    """Filters of a list of mappings, see parents.conditions. Default: all that are not deleted."""

    service_id: str | None = None
    field_id: str | None = None
    group_id: str | None = None
    no_group: bool = False
    tenant_id: str | None = None
    filter_tenant: bool = False
    all: bool = True


def list_of(connection: sa.Connection, wanted: Wanted, *, now: datetime) -> list[Mapping]:
    """Return the mappings that match *wanted*, oldest first, with one statement.

    :raises InvalidInput: a filter is invalid, or `all` is false and no parent is named.
    """
    if not wanted.all:
        parents.check_parent_named(wanted)
    statement = parents.select_rules(tables.hashmap_mappings).where(
        *parents.conditions(tables.hashmap_mappings, wanted),
        *validity.conditions(_table, wanted, now),
    )
    return [mapping_of(row) for row in connection.execute(statement)]


def get(connection: sa.Connection, mapping_id: str) -> Mapping:
    """Return one mapping, even if it is deleted.

    :raises NotFound: there is none.
    """
    return mapping_of(row_of(connection, mapping_id))


def group_of(connection: sa.Connection, mapping_id: str) -> groups.Group:
    """Return the group of a mapping.

    :raises NotFound: it has none, or there is no such mapping.
    """
    return groups.of_rule(
        connection,
        tables.hashmap_mappings,
        values.has_id(_table.mapping_id, mapping_id),
        f'Mapping has no group (UUID: {mapping_id})',
    )


def create(
    connection: sa.Connection, new: NewMapping, *, now: datetime, author: str, force: bool = False
) -> Mapping:
    """Create a mapping.

    :param force: whether it may start in the past.
    :raises InvalidInput: a field is missing or wrong.
    :raises Conflict: a mapping that is not deleted has its name, or the same slot at the same time.

    Source: doc/source/contributor/compatibility/rest-v1.rst, "Creating a mapping".
    """
    now = now.replace(microsecond=0)
    start = new.start or now
    validity.check_times(start, new.end, None if force else now)
    _check(new)
    module_state.bump_version(connection, values.MODULE)
    place = parents.locate(connection, new)
    name = new.name or uuid.uuid4().hex
    taken = connection.scalar(
        sa.select(_table.mapping_id).where(_table.name == name, _table.deleted.is_(None)).limit(1)
    )
    if taken is not None:
        raise errors.Conflict(reason=f"A mapping named '{name}' already exists (UUID: {taken})")
    check_slot(connection, new, place, start=start)
    mapping_id = values.new_id()
    connection.execute(
        tables.hashmap_mappings.insert().values(
            mapping_id=mapping_id,
            value=new.value,
            cost=new.cost,
            map_type=new.type,
            name=name,
            start=timeframe.to_naive(start),
            end=new.end and timeframe.to_naive(new.end),
            description=new.description,
            created_at=timeframe.to_naive(now),
            created_by=author,
            **place._asdict(),
        )
    )
    return get(connection, mapping_id)


def delete(connection: sa.Connection, mapping_id: str, *, now: datetime, author: str) -> None:
    """Mark a mapping as deleted; it still applies to periods that began before.

    :raises NotFound: there is none, or it is deleted already.
    """
    module_state.bump_version(connection, values.MODULE)
    row = live_row_of(connection, mapping_id)
    connection.execute(
        tables.hashmap_mappings.update()
        .where(_table.id == row.id)
        .values(deleted=timeframe.to_naive(now), deleted_by=author)
    )


def check_slot(
    connection: sa.Connection,
    mapping: NewMapping,
    place: parents.Place,
    *,
    start: datetime,
    except_key: int | None = None,
) -> None:
    """Raise Conflict if a mapping that is not deleted has the slot of *mapping* at the same time.

    Times are half open: one may end at the instant at which the next one starts.

    :param start: when *mapping* starts, aware UTC.
    """
    conditions = [
        place.condition(_table),
        sa.func.coalesce(_table.value, '') == (mapping.value or ''),
        _table.deleted.is_(None),
        _table.end.is_(None) | (_table.end > timeframe.to_naive(start)),
        _table.id != (except_key or 0),
    ]
    if mapping.end is not None:
        conditions.append(_table.start < timeframe.to_naive(mapping.end))
    row = connection.execute(
        parents.select_rules(tables.hashmap_mappings).where(*conditions).limit(1)
    ).one_or_none()
    if row is not None:
        existing = _describe(mapping_of(row))
        raise parents.clash(connection, 'Mapping', mapping.value, mapping, existing)


def _describe(mapping: Mapping) -> str:
    """Return what a mapping in the way charges and since when, and what to do about it."""
    cost = decimals.render_decimal(mapping.cost or decimals.ZERO).removesuffix('.0')
    until = f' until {timeframe.render(mapping.end)}' if mapping.end else ''
    return (
        f'{mapping.type} {cost} since {timeframe.render(mapping.start)}{until} '
        f'(UUID: {mapping.mapping_id}); end or delete that mapping first'
    )


def _check(new: NewMapping) -> None:
    parents.check_one_parent(new.service_id, new.field_id)
    if new.service_id and new.value:
        raise errors.InvalidInput(reason="You can't specify a value and a service_id.")
    if new.field_id and not new.value:
        raise errors.InvalidInput(reason='You must specify a value for a field mapping.')
    values.check_cost(new.cost)
    values.check_type(new.type)
    values.check_text('value', new.value)
    values.check_text('tenant_id', new.tenant_id)
    values.check_text('name', new.name, NAME_LENGTH_MAX)
    validity.check_description(new.description)


def live_row_of(connection: sa.Connection, mapping_id: str) -> tables.Row:
    """Return the row of a mapping that is not deleted.

    :raises NotFound: there is none.
    """
    row = row_of(connection, mapping_id)
    if row.deleted is not None:
        raise errors.NotFound(reason=f'No such mapping: {mapping_id}')
    return row


def row_of(connection: sa.Connection, mapping_id: str) -> tables.Row:
    """Return the row of a mapping.

    :raises NotFound: there is none.
    """
    row = connection.execute(
        parents.select_rules(tables.hashmap_mappings).where(
            values.has_id(_table.mapping_id, mapping_id)
        )
    ).one_or_none()
    if row is None:
        raise errors.NotFound(reason=f'No such mapping: {mapping_id}')
    return row


def mapping_of(row: tables.Row) -> Mapping:
    """Return the mapping of a row."""
    times = {
        name: timeframe.from_naive(row._mapping[name])
        for name in ('created_at', 'start', 'end', 'deleted')
    }
    plain = {
        name: row._mapping[name]
        for name in (
            'mapping_id',
            'value',
            'cost',
            'service_id',
            'field_id',
            'group_id',
            'tenant_id',
            'name',
            'description',
            'created_by',
            'updated_by',
            'deleted_by',
        )
    }
    return Mapping(type=row.map_type, **times, **plain)
