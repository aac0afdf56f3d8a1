"""Common parts of rules with validity times: checks, list filters, updates.

Source: doc/source/contributor/compatibility/rest-v1.rst, "Filters of rules", "Creating a mapping"
and "Changing a mapping".
"""

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Protocol, TypeVar

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.db.tables import Columns
from cloudkitty.rating.hashmap.store import values

# The capacity of a TEXT column in databases of earlier releases.
DESCRIPTION_LENGTH_MAX = 65535

# Fields that may be sent back with their old values by a client that sends the whole rule.
_IGNORED = ('updated_by', 'end')


class Rule(Protocol):
    """Protocol of a dataclass with validity times, aware UTC."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def start(self) -> datetime: ...

    @property
    def end(self) -> datetime | None: ...


RuleT = TypeVar('RuleT', bound=Rule)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """Filters of a list of rules. Without any, all that are not deleted.

    :ivar deleted: include deleted ones.
    :ivar is_active: only those in force now; takes precedence over *deleted*.
    """

    deleted: bool = False
    is_active: bool = False
    start: datetime | None = None
    end: datetime | None = None
    created_by: str | None = None
    updated_by: str | None = None
    deleted_by: str | None = None
    description: str | None = None


def conditions(table: Columns, wanted: Wanted, now: datetime) -> list[sa.ColumnElement[bool]]:
    """Return the conditions on rows of a table of rules.

    :raises InvalidInput: a filter is invalid.
    """
    found: list[sa.ColumnElement[bool]] = []
    if wanted.is_active:
        instant = timeframe.to_naive(now)
        found += [
            table.deleted.is_(None),
            table.start <= instant,
            table.end.is_(None) | (table.end > instant),
        ]
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
            f'start=[{timeframe.to_naive(start)}] current time=[{timeframe.to_naive(now)}].'
        )
    if end is not None and end < start:
        raise errors.InvalidInput(
            reason='Cannot create a rule with start after end. '
            f'start=[{timeframe.to_naive(start)}] end=[{timeframe.to_naive(end)}].'
        )


def changed_while_running(rule: RuleT, changes: Mapping[str, Any], now: datetime) -> RuleT:
    """Return an updated copy of a rule that has started: only its end can be set, once.

    :param changes: fields of the rule; absent and empty ones are left as they are.
    :raises InvalidInput: the change is no longer allowed.
    """
    end = changes.get('end')
    if _is_same('end', end, rule.end):
        end = None
    differs = any(
        not _is_same(name, value, getattr(rule, name))
        for name, value in changes.items()
        if name not in _IGNORED
    )
    if rule.end is not None and (end is not None or differs):
        raise errors.InvalidInput(
            reason='Cannot update a rule that was already processed and has a defined end date.'
        )
    if differs:
        raise errors.InvalidInput(
            reason='You are allowed to update only the attribute [end] as this rule is already '
            f'running as it started on [{timeframe.to_naive(rule.start)}]'
        )
    if end is None:
        return rule
    if end <= now:
        raise errors.InvalidInput(
            reason=f'End date must be in the future. end=[{timeframe.to_naive(end)}] '
            f'current time=[{timeframe.to_naive(now)}]'
        )
    return dataclasses.replace(rule, end=end)


def _is_same(name: str, value: Any, current: Any) -> bool:
    """Return whether *value* leaves *current* unchanged."""
    if value is None or value == '' or value == current:
        return True
    if isinstance(value, datetime):
        return current is not None and value.replace(microsecond=0) == current.replace(
            microsecond=0
        )
    return name.endswith('_id') and name != 'tenant_id' and values.uuid_of(value) == current
