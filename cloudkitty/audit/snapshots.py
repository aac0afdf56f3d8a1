"""Snapshots of the objects that a change of rules affects, for the audit trail."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.rating import module_state
from cloudkitty.rating.hashmap.store import parents, values
from cloudkitty.rating.pyscripts import store as script_store

# Most identifiers in one statement.
CHUNK = 500
# Names of columns in answers of the API.
_NAMES = {'map_type': 'type'}
_service = tables.hashmap_services.c
_field = tables.hashmap_fields.c
_group = tables.hashmap_groups.c


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
    """A kind of object whose changes are recorded.

    :ivar id_name: name of the identifier.
    """

    name: str
    id_name: str


@dataclasses.dataclass(frozen=True, eq=False)
class RuleKind(Kind):
    """A kind of object with a table, among the rules of a rating module.

    :ivar select: select of all objects with the members that are recorded.
    :ivar column: column of the identifier.
    """

    module: str
    select: sa.Select[Any]
    column: sa.Column[Any]


class Key(NamedTuple):
    """Identifies one object."""

    kind: Kind
    object_id: str


Forms = dict[Key, Mapping[str, Any]]

MODULE = Kind('module', 'module_id')
SERVICE = RuleKind(
    'hashmap_service',
    'service_id',
    values.MODULE,
    sa.select(_service.service_id, _service.name),
    _service.service_id,
)
FIELD = RuleKind(
    'hashmap_field',
    'field_id',
    values.MODULE,
    sa.select(_field.field_id, _field.name, _service.service_id).join_from(
        tables.hashmap_fields, tables.hashmap_services
    ),
    _field.field_id,
)
GROUP = RuleKind(
    'hashmap_group',
    'group_id',
    values.MODULE,
    sa.select(_group.group_id, _group.name),
    _group.group_id,
)
MAPPING = RuleKind(
    'hashmap_mapping',
    'mapping_id',
    values.MODULE,
    parents.select_rules(tables.hashmap_mappings),
    tables.hashmap_mappings.c.mapping_id,
)
THRESHOLD = RuleKind(
    'hashmap_threshold',
    'threshold_id',
    values.MODULE,
    parents.select_rules(tables.hashmap_thresholds),
    tables.hashmap_thresholds.c.threshold_id,
)
SCRIPT = RuleKind(
    'pyscripts_script',
    'script_id',
    script_store.MODULE,
    sa.select(tables.pyscripts_scripts),
    tables.pyscripts_scripts.c.script_id,
)
KINDS = (MODULE, SERVICE, FIELD, GROUP, MAPPING, THRESHOLD, SCRIPT)
_RULES = ((MAPPING, tables.hashmap_mappings), (THRESHOLD, tables.hashmap_thresholds))


def lock(connection: sa.Connection, kind: Kind, object_id: str | None) -> None:
    """Lock the objects that are about to be read until the end of the transaction."""
    name = kind.module if isinstance(kind, RuleKind) else object_id
    assert name is not None  # no module is made
    module_state.lock(connection, name)


def read_with_dependents(connection: sa.Connection, kind: Kind, object_id: str) -> Forms:
    """Return an object and everything below it; nothing if it does not exist."""
    if not isinstance(kind, RuleKind):
        return {Key(kind, object_id): module_state.get(connection, object_id)._asdict()}
    found = _select(connection, kind, values.has_id(kind.column, object_id))
    for other, condition in _dependents(kind, object_id):
        found |= _select(connection, other, condition)
    return found


def read(connection: sa.Connection, keys: Iterable[Key]) -> Forms:
    """Return those of the objects that exist."""
    wanted: dict[Kind, list[str]] = {}
    for kind, object_id in keys:
        wanted.setdefault(kind, []).append(object_id)
    found: Forms = {}
    for kind, ids in wanted.items():
        if not isinstance(kind, RuleKind):
            found |= {Key(kind, name): module_state.get(connection, name)._asdict() for name in ids}
            continue
        for first in range(0, len(ids), CHUNK):
            found |= _select(connection, kind, kind.column.in_(ids[first : first + CHUNK]))
    return found


def _dependents(
    kind: RuleKind, object_id: str
) -> Iterator[tuple[RuleKind, sa.ColumnElement[bool]]]:
    """Yield kinds and conditions of the objects below an object."""
    identifier = values.uuid_of(object_id)
    if kind is GROUP:
        for other, _ in _RULES:
            yield other, _group.group_id == identifier
    elif kind is FIELD:
        for other, _ in _RULES:
            yield other, _field.field_id == identifier
    elif kind is SERVICE:
        key = sa.select(_service.id).where(_service.service_id == identifier).scalar_subquery()
        own_fields = sa.select(_field.id).where(_field.service_id == key)
        yield FIELD, _service.service_id == identifier
        for other, table in _RULES:
            yield other, (table.c.service_id == key) | table.c.field_id.in_(own_fields)


def _select(connection: sa.Connection, kind: RuleKind, condition: sa.ColumnElement[bool]) -> Forms:
    rows = connection.execute(kind.select.where(condition))
    return {Key(kind, row._mapping[kind.id_name]): _form(row._mapping) for row in rows}


def _form(row: Mapping[Any, Any]) -> dict[str, Any]:
    # Names of columns are a subclass of str.
    return {
        str(_NAMES.get(name, name)): _value(value) for name, value in row.items() if name != 'id'
    }


def _value(value: object) -> object:
    if isinstance(value, (bytes, memoryview)):  # the source of a script
        return script_store.text_of(value)
    return timeframe.from_naive(value) if isinstance(value, datetime) else value
