"""Prepaid credits of accounts, and the amounts that statements have drawn."""

import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.audit import trail
from cloudkitty.billing import ledger
from cloudkitty.core import timeframe
from cloudkitty.core.billing import money
from cloudkitty.core.billing.credits import Credit, Draw
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.db import billing_tables

TABLE = billing_tables.credits_
DRAWS = billing_tables.draws
# Credits of an account that are kept: each draft reads them.
CREDITS_MAX = 1000

_OF_ACCOUNT = (
    sa.select(TABLE, DRAWS.c.amount.label('drawn'))
    .outerjoin(DRAWS, DRAWS.c.credit == TABLE.c.id)
    .where(TABLE.c.account == sa.bindparam('account'))
    .order_by(TABLE.c.created_at, TABLE.c.id)
)


class Entry(NamedTuple):
    """A granted credit, and its balance.

    :ivar begin, end: days in force, half open; None: no bound.
    :ivar created_at: aware UTC.
    """

    id: str
    account: str
    amount: Decimal
    balance: Decimal
    currency: str
    priority: int
    begin: date | None
    end: date | None
    note: str
    created_at: datetime
    author: str | None


def find(connection: sa.Connection, account_id: str) -> list[Entry]:
    """Return the credits of an account, the oldest first."""
    rows = connection.execute(_OF_ACCOUNT, {'account': account_id})
    found: dict[str, Entry] = {}
    for row in rows:
        entry = found.get(row.id)
        if entry is None:
            values = {name: getattr(row, name) for name in Entry._fields if name != 'balance'}
            values['created_at'] = timeframe.from_naive(row.created_at)
            entry = Entry(**values, balance=row.amount)
        balance = SUM_CONTEXT.subtract(entry.balance, row.drawn or ZERO)
        found[row.id] = entry._replace(balance=balance)
    return list(found.values())


def usable(connection: sa.Connection, account_id: str) -> list[Credit]:
    """Return the balances of the credits of an account."""
    return [
        Credit(one.id, one.currency, one.balance, one.begin, one.end, one.priority, one.note)
        for one in find(connection, account_id)
    ]


def grant(
    connection: sa.Connection,
    account_id: str,
    form: Mapping[str, Any],
    *,
    digits: int,
    actor: trail.Actor,
    now: datetime,
) -> Entry:
    """Store a credit; return it.

    :param form: amount (more than 0), currency, priority, begin, end and note.
    :param digits: after the point of amounts in its currency.
    :raises InvalidInput: it ends before it begins, has no amount, or one with more digits.
    :raises Conflict: the account has too many.
    """
    if form['amount'] <= 0:
        raise errors.InvalidInput(reason='amount must be more than 0')
    if money.round_amount(Fraction(form['amount']), digits) != form['amount']:
        raise errors.InvalidInput(
            reason=f'amount must have {digits} digits after the point at most'
        )
    if form['begin'] and form['end'] and form['end'] <= form['begin']:
        raise errors.InvalidInput(reason='until must be after from')
    # The row is that of closing: a statement sees the credit, or is made before it.
    ledger.lock(connection, account_id)
    if len(find(connection, account_id)) >= CREDITS_MAX:
        raise errors.Conflict(reason=f'{account_id} has {CREDITS_MAX} credits already.')
    entry = Entry(
        id=uuid.uuid4().hex,
        account=account_id,
        balance=form['amount'],
        created_at=now,
        author=actor.user_id,
        **form,
    )
    row = entry._asdict() | {'created_at': timeframe.to_naive(now)}
    del row['balance']
    connection.execute(TABLE.insert().values(row))
    _record(connection, actor, None, entry, now)
    return entry


def withdraw(
    connection: sa.Connection, account_id: str, credit_id: str, *, actor: trail.Actor, now: datetime
) -> None:
    """Remove a credit that was never drawn.

    :raises NotFound: the account has no such credit.
    :raises Conflict: a statement has drawn of it.
    """
    ledger.lock(connection, account_id)
    for entry in find(connection, account_id):
        if entry.id == credit_id:
            break
    else:
        raise errors.NotFound(reason=f'{account_id} has no credit {credit_id}.')
    drawn = connection.execute(sa.select(DRAWS.c.number).where(DRAWS.c.credit == credit_id)).first()
    if drawn is not None:
        raise errors.Conflict(reason=f'{drawn.number} has drawn of credit {credit_id}.')
    connection.execute(sa.delete(TABLE).where(TABLE.c.id == credit_id))
    _record(connection, actor, entry, None, now)


def book(connection: sa.Connection, draws: Mapping[str, Sequence[Draw]]) -> None:
    """Store the amounts that statements draw, by number."""
    rows = [
        {'number': number, 'credit': one.credit_id, 'amount': one.amount}
        for number, found in draws.items()
        for one in found
    ]
    if rows:
        connection.execute(DRAWS.insert(), rows)


def drawn_by(connection: sa.Connection, number: str) -> list[Draw]:
    """Return the amounts that a statement has drawn, by the id of the credit."""
    rows = connection.execute(
        sa.select(DRAWS.c.credit, TABLE.c.note, DRAWS.c.amount)
        .outerjoin(TABLE, TABLE.c.id == DRAWS.c.credit)
        .where(DRAWS.c.number == number)
        .order_by(DRAWS.c.credit)
    )
    return [Draw(row.credit, row.note, row.amount) for row in rows]


def _record(
    connection: sa.Connection,
    actor: trail.Actor,
    before: Entry | None,
    after: Entry | None,
    now: datetime,
) -> None:
    one = after or before
    change = trail.Change(
        trail.BILLING_CREDIT,
        '' if one is None else one.id,
        None if before is None else _told(before),
        None if after is None else _told(after),
    )
    trail.record_change(connection, actor, change, now=now)


def _told(entry: Entry) -> dict[str, Any]:
    return {
        'account': entry.account,
        'amount': entry.amount,
        'currency': entry.currency,
        'priority': entry.priority,
        'from': None if entry.begin is None else entry.begin.isoformat(),
        'until': None if entry.end is None else entry.end.isoformat(),
        'note': entry.note,
    }
