"""Messages to be sent, written in the transaction of their cause, so that none is lost.

A message is delivered at least once; its id identifies duplicates.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.core.billing import canonical
from cloudkitty.db import billing_tables

TABLE = billing_tables.outbox
WEBHOOKS = billing_tables.webhooks
CROSSED = 'cloudkitty.budget.crossed'
CLOSED = 'cloudkitty.statement.closed'
VOIDED = 'cloudkitty.statement.voided'
# Time to the next attempt after each that failed; then it is given up.
# Source: https://www.standardwebhooks.com, "Deliverability and reliability".
SCHEDULE = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
)
FAILURE_LENGTH_MAX = 255

_ENABLED = sa.select(WEBHOOKS.c.account, WEBHOOKS.c.id).where(
    WEBHOOKS.c.account.in_(sa.bindparam('accounts', expanding=True)),
    WEBHOOKS.c.is_enabled.is_(True),
)


class Event(NamedTuple):
    """Something that happened to an account.

    :ivar name: such as CLOSED.
    :ivar data: what happened, as JSON; decimals become text.
    """

    account: str
    name: str
    data: Mapping[str, Any]


class Message(NamedTuple):
    """A message to one receiver.

    :ivar webhook: id; None: the message bus.
    :ivar message: id of the message, the same at each attempt.
    :ivar payload: JSON.
    :ivar attempts: how many failed.
    """

    id: int
    webhook: str | None
    event: str
    message: str
    payload: str
    attempts: int


def add(
    connection: sa.Connection, events: Sequence[Event], *, now: datetime, notifies_bus: bool
) -> None:
    """Store a message about each event to each webhook of its account, and one to the bus."""
    hooks: dict[str, list[str | None]] = {}
    accounts = sorted({event.account for event in events})
    for row in connection.execute(_ENABLED, {'accounts': accounts}):
        hooks.setdefault(row.account, []).append(row.id)
    rows = []
    for event in events:
        targets: list[str | None] = [None] if notifies_bus else []
        targets += hooks.get(event.account, [])
        form = {'type': event.name, 'timestamp': timeframe.render(now), 'data': dict(event.data)}
        message = f'msg_{uuid.uuid4().hex}'
        rows += [
            {
                'webhook': target,
                'event': event.name,
                'message': message,
                'payload': canonical.encode(form).decode(),
                'attempts': 0,
                'due_at': timeframe.to_naive(now),
            }
            for target in targets
        ]
    if rows:
        connection.execute(TABLE.insert(), rows)


def receivers(connection: sa.Connection, now: datetime, limit: int) -> list[str | None]:
    """Return the webhooks with messages that are to be sent now, those that wait longest first."""
    rows = connection.execute(
        sa.select(TABLE.c.webhook)
        .where(TABLE.c.due_at <= timeframe.to_naive(now))
        .group_by(TABLE.c.webhook)
        .order_by(sa.func.min(TABLE.c.due_at), sa.func.min(TABLE.c.id))
        .limit(limit)
    )
    return list(rows.scalars())


def due(connection: sa.Connection, webhook: str | None, now: datetime, limit: int) -> list[Message]:
    """Return messages to one receiver that are to be sent now, the oldest first."""
    rows = connection.execute(
        sa.select(*(TABLE.c[name] for name in Message._fields))
        .where(TABLE.c.webhook.is_not_distinct_from(webhook))
        .where(TABLE.c.due_at <= timeframe.to_naive(now))
        .order_by(TABLE.c.id)
        .limit(limit)
    )
    return [Message(*row) for row in rows]


def put_off(connection: sa.Connection, ids: Sequence[int], until: datetime) -> None:
    """Have messages sent at *until* at the earliest; this is no attempt."""
    connection.execute(
        sa.update(TABLE).where(TABLE.c.id.in_(ids)).values(due_at=timeframe.to_naive(until))
    )


def delivered(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Remove messages that were accepted."""
    connection.execute(sa.delete(TABLE).where(TABLE.c.id.in_(ids)))


def failed(connection: sa.Connection, message: Message, reason: str, now: datetime) -> bool:
    """Record that a message was not accepted; return False if it is removed, not sent again."""
    chosen = TABLE.c.id == message.id
    if message.attempts >= len(SCHEDULE):
        connection.execute(sa.delete(TABLE).where(chosen))
        return False
    connection.execute(
        sa.update(TABLE)
        .where(chosen)
        .values(
            attempts=message.attempts + 1,
            due_at=timeframe.to_naive(now + SCHEDULE[message.attempts]),
            failure=reason[:FAILURE_LENGTH_MAX],
        )
    )
    return True
