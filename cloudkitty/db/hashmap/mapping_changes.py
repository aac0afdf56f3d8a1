"""Changing a mapping: free before it starts; once it runs, only its end can be set, once.

Source: contract rest-v1, section 8.5.
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cloudkitty import errors, timeframe
from cloudkitty.db import models, modules
from cloudkitty.db.hashmap import mappings, parents, values

# Whoever sends a whole mapping back sends what was there before his own change.
_IGNORED = ('updated_by', 'end')


def update_mapping(connection: sa.Connection, mapping_id: str, changes: Mapping[str, Any], *,
                   now: datetime, author: str) -> None:
    """Change a mapping; the same change again does nothing.

    :param changes: fields of mappings.Mapping. Of one that has not started, `end` and
        `description` are cleared when absent, and all but cost, start, end, description is
        ignored. Of a running one, what is absent or empty is no change.
    :raises NotFound: there is none, or it is deleted.
    :raises InvalidInput: a value is wrong, or the change is not allowed any more.
    :raises Conflict: another mapping has its place and value at the same time.
    """
    now = now.replace(microsecond=0)
    modules.lock(connection, values.MODULE)
    row = mappings.live_row_of(connection, mapping_id)
    mapping = mappings.mapping_of(row)
    if mapping.start > now:
        changed = _changed_before_start(mapping, changes, now)
        if changed != mapping:
            place = parents.locate(connection, changed)
            mappings.check_slot(connection, changed, place, except_key=row.id)
    else:
        changed = _changed_while_running(mapping, changes, now)
    if changed == mapping:
        return
    modules.bump_version(connection, values.MODULE)
    table = models.hashmap_mappings
    connection.execute(table.update().where(table.c.id == row.id).values(
        cost=changed.cost, start=timeframe.to_naive(changed.start),
        end=changed.end and timeframe.to_naive(changed.end), description=changed.description,
        updated_by=author))


def _changed_before_start(mapping, changes, now):
    changed = dataclasses.replace(
        mapping, cost=changes.get('cost'), start=changes.get('start') or mapping.start,
        end=changes.get('end'), description=changes.get('description'))
    mappings.check_times(changed.start, changed.end, now)
    values.check_cost(changed.cost)
    values.check_text('description', changed.description, mappings.DESCRIPTION_LENGTH_MAX)
    return changed


def _changed_while_running(mapping, changes, now):
    end = changes.get('end')
    if _same('end', end, mapping.end):
        end = None
    differs = any(not _same(name, value, getattr(mapping, name))
                  for name, value in changes.items() if name not in _IGNORED)
    if mapping.end is not None and (end is not None or differs):
        raise errors.InvalidInput(
            reason='Cannot update a rule that was already processed and has a defined end date.')
    if differs:
        raise errors.InvalidInput(
            reason='You are allowed to update only the attribute [end] as this rule is already '
                   f'running as it started on [{timeframe.to_naive(mapping.start)}]')
    if end is None:
        return mapping
    if end <= now:
        raise errors.InvalidInput(
            reason=f'End date must be in the future. end=[{timeframe.to_naive(end)}] '
                   f'current time=[{timeframe.to_naive(now)}]')
    return dataclasses.replace(mapping, end=end)


def _same(name, value, current):
    """Return whether *value* asks for no change of *current*."""
    if value is None or value == '' or value == current:
        return True
    if isinstance(value, datetime):
        return (current is not None
                and value.replace(microsecond=0) == current.replace(microsecond=0))
    return name.endswith('_id') and name != 'tenant_id' and values.uuid_of(value) == current
