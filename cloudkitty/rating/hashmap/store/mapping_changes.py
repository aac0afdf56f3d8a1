"""Updates of mappings: unrestricted before the start; afterwards only the end can be set, once.

Source: doc/source/contributor/compatibility/rest-v1.rst, "Changing a mapping".
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.rating import module_state, validity
from cloudkitty.rating.hashmap.store import mappings, parents, values


def update_mapping(
    connection: sa.Connection,
    mapping_id: str,
    changes: Mapping[str, Any],
    *,
    now: datetime,
    author: str,
) -> None:
    """Update a mapping; idempotent.

    :param changes: fields of mappings.Mapping. For a mapping that has not started, absent `end` and
        `description` are cleared, and only cost, start, end and description are considered. For
        one that has started, absent and empty fields are left as they are.
    :raises NotFound: there is none, or it is deleted.
    :raises InvalidInput: a value is wrong, or the change is not allowed any more.
    :raises Conflict: another mapping has the same slot at the same time.
    """
    now = now.replace(microsecond=0)
    module_state.lock(connection, values.MODULE)
    row = mappings.live_row_of(connection, mapping_id)
    mapping = mappings.mapping_of(row)
    if mapping.start > now:
        changed = _changed_before_start(mapping, changes, now)
        if changed != mapping:
            place = parents.locate(connection, changed)
            mappings.check_slot(connection, changed, place, start=changed.start, except_key=row.id)
    else:
        changed = validity.changed_while_running(mapping, changes, now)
    if changed == mapping:
        return
    module_state.bump_version(connection, values.MODULE)
    table = tables.hashmap_mappings
    connection.execute(
        table.update()
        .where(table.c.id == row.id)
        .values(
            cost=changed.cost,
            start=timeframe.to_naive(changed.start),
            end=changed.end and timeframe.to_naive(changed.end),
            description=changed.description,
            updated_by=author,
        )
    )


def _changed_before_start(
    mapping: mappings.Mapping, changes: Mapping[str, Any], now: datetime
) -> mappings.Mapping:
    changed = dataclasses.replace(
        mapping,
        cost=changes.get('cost'),
        start=changes.get('start') or mapping.start,
        end=changes.get('end'),
        description=changes.get('description'),
    )
    validity.check_times(changed.start, changed.end, now)
    values.check_cost(changed.cost)
    validity.check_description(changed.description)
    return changed
