"""The audit trail: who changed which rule, written in the transaction of the change."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.audit import snapshots
from cloudkitty.core import dataframe, timeframe
from cloudkitty.db import tables

CREATE, UPDATE, DELETE = 'create', 'update', 'delete'
ACTIONS = (CREATE, UPDATE, DELETE)
ID_LENGTH_MAX = 255
# Kind of the entry for pushed points of a scope; the object id is that of the scope.
PUSHED_POINTS = 'pushed_points'
# Kind of the entry for a time without samples that was accepted; the object id is the metric.
SOURCE_GAP = 'source_gap'
# Kind of the entry for a withdrawn event; the object id is that of the event.
PUSHED_USAGE = 'pushed_usage'
# Kind of the entry for a change of the agreement of the processors of a database.
AGREEMENT = 'agreement'
# Kind of the entry for a version of the document of plans and accounts.
BILLING_DOCUMENT = 'billing_document'
# Kind of the entry for a credit that was granted to an account, or withdrawn.
BILLING_CREDIT = 'billing_credit'
KINDS = (
    *(kind.name for kind in snapshots.KINDS),
    PUSHED_POINTS,
    SOURCE_GAP,
    PUSHED_USAGE,
    AGREEMENT,
    BILLING_DOCUMENT,
    BILLING_CREDIT,
)

_table = tables.audit.c


class Actor(NamedTuple):
    """The author of a change, and its request, as far as known."""

    user_id: str | None = None
    project_id: str | None = None
    request_id: str | None = None


class Change(NamedTuple):
    """A change of one object to be recorded; None: it did not exist, or no longer exists."""

    kind: str
    object_id: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class Entry(NamedTuple):
    """A change of one object.

    :ivar before, after: the object; None: it did not exist, or no longer exists.
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


def record(
    connection: sa.Connection,
    actor: Actor,
    *,
    before: snapshots.Forms,
    after: snapshots.Forms,
    now: datetime,
) -> None:
    """Record the differences, one entry per object."""
    rows = []
    for key in {**before, **after}:
        was, is_now = _unless_deleted(before.get(key)), _unless_deleted(after.get(key))
        if was != is_now:
            rows.append(
                {
                    **_made_by(actor, now),
                    'action': _action(was, is_now),
                    'kind': key.kind.name,
                    'object_id': key.object_id,
                    'before': _text(was),
                    'after': _text(is_now),
                }
            )
    if rows:
        connection.execute(tables.audit.insert(), rows)


def record_change(
    connection: sa.Connection, actor: Actor, change: Change, *, now: datetime
) -> None:
    """Record one change, of whatever kind."""
    connection.execute(
        tables.audit.insert().values(
            **_made_by(actor, now),
            action=_action(change.before, change.after),
            kind=change.kind,
            object_id=change.object_id[:ID_LENGTH_MAX],
            before=_text(change.before),
            after=_text(change.after),
        )
    )


def record_removal(
    connection: sa.Connection,
    actor: Actor,
    *,
    removed: Mapping[str, Mapping[str, Any]],
    now: datetime,
    kind: str = PUSHED_POINTS,
) -> None:
    """Record that pushed points or usage were removed, one entry per object.

    :param removed: description of what was removed by scope id, or id of the event.
    :param kind: PUSHED_POINTS or PUSHED_USAGE.
    """
    rows = [
        {
            **_made_by(actor, now),
            'action': DELETE,
            'kind': kind,
            'object_id': scope_id[:ID_LENGTH_MAX],
            'before': _text(what),
            'after': None,
        }
        for scope_id, what in removed.items()
    ]
    connection.execute(tables.audit.insert(), rows)


def record_acceptance(
    connection: sa.Connection,
    actor: Actor,
    *,
    metric: str,
    before: Sequence[Mapping[str, Any]],
    after: Mapping[str, Any],
    now: datetime,
) -> None:
    """Record that a time without samples of *metric* was accepted.

    :param before: the gaps that were known of that time.
    """
    change = Change(SOURCE_GAP, metric, {'gaps': list(before)}, after)
    record_change(connection, actor, change, now=now)


def record_agreement(
    connection: sa.Connection,
    actor: Actor,
    *,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
    now: datetime,
) -> None:
    """Record that a change of the agreement was ordered, or such an order cancelled."""
    record_change(connection, actor, Change(AGREEMENT, AGREEMENT, before, after), now=now)


def _made_by(actor, now):
    who = {name: value and value[:ID_LENGTH_MAX] for name, value in actor._asdict().items()}
    return {'at': timeframe.to_naive(now), **who}


def list_entries(
    connection: sa.Connection,
    *,
    begin: datetime | None = None,
    end: datetime | None = None,
    offset: int = 0,
    limit: int = 100,
    **wanted: Sequence[str] | None,
) -> tuple[int, list[Entry]]:
    """Return the number of matching entries, and those of a page, the latest first.

    :param begin, end: when, half open.
    :param wanted: allowed values of user_id, project_id, request_id, action, kind and object_id.
    """
    conditions: list[sa.ColumnElement[bool]] = [
        _table[name].in_(allowed) for name, allowed in wanted.items() if allowed is not None
    ]
    if begin is not None:
        conditions.append(_table.at >= timeframe.to_naive(begin))
    if end is not None:
        conditions.append(_table.at < timeframe.to_naive(end))
    total = connection.execute(
        sa.select(sa.func.count()).select_from(tables.audit).where(*conditions)
    ).scalar_one()
    columns = [_table[name] for name in Entry._fields]
    rows = connection.execute(
        sa.select(*columns)
        .where(*conditions)
        .order_by(_table.id.desc())
        .offset(offset)
        .limit(limit)
    )
    return total, [_entry(row) for row in rows]


def _unless_deleted(form: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return an object unless it is deleted."""
    return None if form is None or form.get('deleted') else form


def _action(was: Mapping[str, Any] | None, is_now: Mapping[str, Any] | None) -> str:
    if was is None:
        return CREATE
    return DELETE if is_now is None else UPDATE


def _text(form: Mapping[str, Any] | None) -> str | None:
    return None if form is None else dataframe.to_json(form).decode()


def _entry(row: tables.Row) -> Entry:
    forms = {
        name: row._mapping[name] and json.loads(row._mapping[name], parse_float=Decimal)
        for name in ('before', 'after')
    }
    return Entry(**{**row._mapping, **forms, 'at': timeframe.from_naive(row.at)})
