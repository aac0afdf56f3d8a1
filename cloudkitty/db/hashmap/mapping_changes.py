"""Changing a mapping: free before it starts; once it runs, only its end can be set, once.

Source: contract rest-v1, section 8.5.
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, modules, validity
from cloudkitty.db.hashmap import mappings, parents, values


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
        changed = validity.changed_while_running(mapping, changes, now)
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
    validity.check_times(changed.start, changed.end, now)
    values.check_cost(changed.cost)
    validity.check_description(changed.description)
    return changed
