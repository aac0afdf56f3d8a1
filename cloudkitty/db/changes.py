"""What a change of rules touches, as it was and as it is: the matter of the audit trail."""

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, modules, pyscripts
from cloudkitty.db.hashmap import parents, values

# Identifiers in one statement.
CHUNK = 500
# What columns are called in answers of the API.
_NAMES = {'map_type': 'type'}
_service = models.hashmap_services.c
_field = models.hashmap_fields.c
_group = models.hashmap_groups.c


@dataclasses.dataclass(frozen=True, eq=False)
class Kind:
    """A kind of object whose changes are recorded.

    :ivar module: rating module whose rules they are; None: the object is a module itself.
    :ivar id_name: name of the identifier.
    :ivar select: all of them, each with the members that are recorded; None: see modules.
    :ivar column: what holds the identifier.
    """

    name: str
    module: str | None
    id_name: str
    select: sa.Select | None = None
    column: sa.Column | None = None


class Key(NamedTuple):
    """What names one object."""

    kind: Kind
    object_id: str


Forms = dict[Key, Mapping[str, Any]]

MODULE = Kind('module', None, 'module_id')
SERVICE = Kind('hashmap_service', values.MODULE, 'service_id',
               sa.select(_service.service_id, _service.name), _service.service_id)
FIELD = Kind('hashmap_field', values.MODULE, 'field_id',
             sa.select(_field.field_id, _field.name, _service.service_id).join_from(
                 models.hashmap_fields, models.hashmap_services), _field.field_id)
GROUP = Kind('hashmap_group', values.MODULE, 'group_id',
             sa.select(_group.group_id, _group.name), _group.group_id)
MAPPING = Kind('hashmap_mapping', values.MODULE, 'mapping_id',
               parents.select_rules(models.hashmap_mappings),
               models.hashmap_mappings.c.mapping_id)
THRESHOLD = Kind('hashmap_threshold', values.MODULE, 'threshold_id',
                 parents.select_rules(models.hashmap_thresholds),
                 models.hashmap_thresholds.c.threshold_id)
SCRIPT = Kind('pyscripts_script', pyscripts.MODULE, 'script_id',
              sa.select(models.pyscripts_scripts), models.pyscripts_scripts.c.script_id)
KINDS = (MODULE, SERVICE, FIELD, GROUP, MAPPING, THRESHOLD, SCRIPT)
_RULES = ((MAPPING, models.hashmap_mappings), (THRESHOLD, models.hashmap_thresholds))


def lock(connection: sa.Connection, kind: Kind, object_id: str | None) -> None:
    """Let nobody else change what is about to be read, until the end of the transaction."""
    modules.lock(connection, kind.module or object_id)


def touched_by(connection: sa.Connection, kind: Kind, object_id: str) -> Forms:
    """Return an object and all that hangs on it; nothing if there is none."""
    if kind is MODULE:
        return {Key(kind, object_id): modules.get(connection, object_id)._asdict()}
    found = _select(connection, kind, values.has_id(kind.column, object_id))
    for other, condition in _dependents(kind, object_id):
        found |= _select(connection, other, condition)
    return found


def read(connection: sa.Connection, keys: Iterable[Key]) -> Forms:
    """Return those of the objects that are there."""
    wanted: dict[Kind, list[str]] = {}
    for kind, object_id in keys:
        wanted.setdefault(kind, []).append(object_id)
    found: Forms = {}
    for kind, ids in wanted.items():
        if kind is MODULE:
            found |= {Key(kind, name): modules.get(connection, name)._asdict() for name in ids}
            continue
        for first in range(0, len(ids), CHUNK):
            found |= _select(connection, kind, kind.column.in_(ids[first:first + CHUNK]))
    return found


def _dependents(kind, object_id):
    """Yield what hangs on an object, as kinds with conditions."""
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


def _select(connection, kind, condition):
    rows = connection.execute(kind.select.where(condition))
    return {Key(kind, row._mapping[kind.id_name]): _form(row._mapping) for row in rows}


def _form(row):
    # Names of columns are text of a kind of its own.
    return {str(_NAMES.get(name, name)): _value(value)
            for name, value in row.items() if name != 'id'}


def _value(value):
    if isinstance(value, (bytes, memoryview)):       # the source of a script
        return pyscripts.text_of(value)
    return timeframe.from_naive(value) if isinstance(value, datetime) else value
