"""The audit trail: who changed which rule, written in the transaction of the change."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import dataframe, timeframe
from cloudkitty.db import changes, models

CREATE, UPDATE, DELETE = 'create', 'update', 'delete'
ACTIONS = (CREATE, UPDATE, DELETE)
ID_LENGTH_MAX = 255

_table = models.audit.c


class Actor(NamedTuple):
    """Who changes something, and in which request, as far as it is known."""

    user_id: str | None = None
    project_id: str | None = None
    request_id: str | None = None


class Entry(NamedTuple):
    """A change of one object.

    :ivar before, after: the object; None: it was not, or is not any more.
    """

    at: datetime
    user_id: str | None
    project_id: str | None
    request_id: str | None
    action: str
    kind: str
    object_id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


def record(connection: sa.Connection, actor: Actor, *, before: changes.Forms,
           after: changes.Forms, now: datetime) -> None:
    """Write what differs, one entry an object."""
    who = {name: value and value[:ID_LENGTH_MAX] for name, value in actor._asdict().items()}
    rows = []
    for key in {**before, **after}:
        was, is_now = _living(before.get(key)), _living(after.get(key))
        if was != is_now:
            rows.append({'at': timeframe.to_naive(now), **who, 'action': _action(was, is_now),
                         'kind': key.kind.name, 'object_id': key.object_id,
                         'before': _text(was), 'after': _text(is_now)})
    if rows:
        connection.execute(models.audit.insert(), rows)


def list_entries(connection: sa.Connection, *, begin: datetime | None = None,
                 end: datetime | None = None, offset: int = 0, limit: int = 100,
                 **wanted: Sequence[str] | None) -> tuple[int, list[Entry]]:
    """Return how many entries match, and those of a page, the latest first.

    :param begin, end: when, half open.
    :param wanted: allowed values of user_id, project_id, request_id, action, kind and object_id.
    """
    conditions = [_table[name].in_(allowed) for name, allowed in wanted.items()
                  if allowed is not None]
    if begin is not None:
        conditions.append(_table.at >= timeframe.to_naive(begin))
    if end is not None:
        conditions.append(_table.at < timeframe.to_naive(end))
    total = connection.scalar(
        sa.select(sa.func.count()).select_from(models.audit).where(*conditions))
    columns = [_table[name] for name in Entry._fields]
    rows = connection.execute(sa.select(*columns).where(*conditions).order_by(
        _table.id.desc()).offset(offset).limit(limit))
    return total, [_entry(row) for row in rows]


def _living(form):
    """Return an object unless it is kept only for what began before its deletion."""
    return None if form is None or form.get('deleted') else form


def _action(was, is_now):
    if was is None:
        return CREATE
    return DELETE if is_now is None else UPDATE


def _text(form):
    return None if form is None else dataframe.to_json(form).decode()


def _entry(row):
    forms = {name: row._mapping[name] and json.loads(row._mapping[name], parse_float=Decimal)
             for name in ('before', 'after')}
    return Entry(**{**row._mapping, **forms, 'at': timeframe.from_naive(row.at)})
