"""What rules with a time of validity have in common: checks, filters of lists, later changes.

A rule is a frozen dataclass with start, end and deleted, among others.

Source: contract rest-v1, sections 8.3 to 8.5.
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cloudkitty import errors, timeframe
from cloudkitty.db.hashmap import values

DESCRIPTION_LENGTH_MAX = 256

# Whoever sends a whole rule back sends what was there before his own change.
_IGNORED = ('updated_by', 'end')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which rules to list. Without any, all live ones.

    :ivar deleted: the deleted ones too.
    :ivar is_active: only those in force now; wins over *deleted*.
    """

    deleted: bool = False
    is_active: bool = False
    start: datetime | None = None
    end: datetime | None = None
    created_by: str | None = None
    updated_by: str | None = None
    deleted_by: str | None = None
    description: str | None = None


def conditions(table: sa.ColumnCollection, wanted: Wanted,
               now: datetime) -> list[sa.ColumnElement]:
    """Return what rows of a table of rules must fulfil.

    :raises InvalidInput: a filter cannot be one.
    """
    found = []
    if wanted.is_active:
        instant = timeframe.to_naive(now)
        found += [table.deleted.is_(None), table.start <= instant,
                  table.end.is_(None) | (table.end > instant)]
    elif not wanted.deleted:
        found.append(table.deleted.is_(None))
    if wanted.start is not None:
        found.append(table.start >= timeframe.to_naive(wanted.start))
    if wanted.end is not None:
        found.append(table.end < timeframe.to_naive(wanted.end))
    for name in ('created_by', 'updated_by', 'deleted_by'):
        author = getattr(wanted, name)
        if author:
            values.check_text(name, author)
            found.append(table[name] == author)
    if wanted.description:
        check_description(wanted.description)
        found.append(table.description.icontains(wanted.description, autoescape=True))
    return found


def check_description(text: str | None) -> None:
    """Raise InvalidInput unless every database can store the description."""
    values.check_text('description', text, DESCRIPTION_LENGTH_MAX)


def check_times(start: datetime, end: datetime | None, now: datetime | None) -> None:
    """Raise InvalidInput if a rule starts after its end, or before *now* unless that is None."""
    if now is not None and start < now:
        raise errors.InvalidInput(
            reason='Cannot create a rule with start in the past. '
                   f'start=[{timeframe.to_naive(start)}] current time=[{timeframe.to_naive(now)}].')
    if end is not None and end < start:
        raise errors.InvalidInput(
            reason='Cannot create a rule with start after end. '
                   f'start=[{timeframe.to_naive(start)}] end=[{timeframe.to_naive(end)}].')


def changed_while_running(rule, changes: Mapping[str, Any], now: datetime):
    """Return a rule that has started as *changes* make it: only its end can be set, once.

    :param changes: fields of the rule; what is absent or empty is no change.
    :raises InvalidInput: the change is not allowed any more.
    """
    end = changes.get('end')
    if _is_same('end', end, rule.end):
        end = None
    differs = any(not _is_same(name, value, getattr(rule, name))
                  for name, value in changes.items() if name not in _IGNORED)
    if rule.end is not None and (end is not None or differs):
        raise errors.InvalidInput(
            reason='Cannot update a rule that was already processed and has a defined end date.')
    if differs:
        raise errors.InvalidInput(
            reason='You are allowed to update only the attribute [end] as this rule is already '
                   f'running as it started on [{timeframe.to_naive(rule.start)}]')
    if end is None:
        return rule
    if end <= now:
        raise errors.InvalidInput(
            reason=f'End date must be in the future. end=[{timeframe.to_naive(end)}] '
                   f'current time=[{timeframe.to_naive(now)}]')
    return dataclasses.replace(rule, end=end)


def _is_same(name, value, current):
    """Return whether *value* asks for no change of *current*."""
    if value is None or value == '' or value == current:
        return True
    if isinstance(value, datetime):
        return (current is not None
                and value.replace(microsecond=0) == current.replace(microsecond=0))
    return name.endswith('_id') and name != 'tenant_id' and values.uuid_of(value) == current
