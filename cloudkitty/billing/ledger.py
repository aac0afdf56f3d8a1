"""The closed statements: rows are only added, in the transaction that locks their account."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.billing import canonical
from cloudkitty.core.billing.statement import Line
from cloudkitty.db import billing_tables, tables, upsert

TABLE = billing_tables.statements
LINES = billing_tables.lines
ACCOUNTS = billing_tables.accounts
SERIES = billing_tables.series
DRAFT, CLOSED, VOID = 'draft', 'closed', 'void'

# Members of a closed statement that a draft does not have.
HEAD = (
    'state',
    'number',
    'revision',
    'sequence',
    'voids',
    'reason',
    'issuer',
    'closed_at',
    'previous',
)

_META = tuple(column for column in TABLE.c if column.name != 'document')
_LINE_COLUMNS = tuple(
    LINES.c[name] for name in Line._fields if name not in ('steps', 'is_correction', 'rate')
)

_ACCOUNT: sa.BindParameter[Any] = sa.bindparam('account')
# Built once: to build a statement takes longer than to execute it.
_ACCOUNTS: sa.BindParameter[Any] = sa.bindparam('accounts', expanding=True)
_NUMBERS: sa.BindParameter[Any] = sa.bindparam('numbers', expanding=True)
_NEWEST = (
    sa.select(ACCOUNTS.c.id, ACCOUNTS.c.newest)
    .where(ACCOUNTS.c.id.in_(_ACCOUNTS))
    .order_by(ACCOUNTS.c.id)
    .with_for_update()
)
_SET_NEWEST = (
    sa.update(ACCOUNTS)
    .where(ACCOUNTS.c.id.in_(_ACCOUNTS))
    .values(
        newest=sa.select(TABLE.c.number)
        .where(TABLE.c.account == ACCOUNTS.c.id, TABLE.c.number.in_(_NUMBERS))
        .scalar_subquery()
    )
)
_BY_NUMBER = sa.select(*_META).where(TABLE.c.number == sa.bindparam('number'))
_BY_NUMBERS = sa.select(*_META).where(TABLE.c.number.in_(_NUMBERS))
_OF_ACCOUNT = sa.select(*_META).where(TABLE.c.account == _ACCOUNT).order_by(TABLE.c.sequence)
_COUNTS = (
    sa.select(TABLE.c.account, sa.func.count().label('statements'))
    .where(TABLE.c.account.in_(_ACCOUNTS), TABLE.c.month == sa.bindparam('month'))
    .group_by(TABLE.c.account)
)
_VERSIONS = (
    sa.select(TABLE.c.month, TABLE.c.version)
    .where(TABLE.c.month.in_(sa.bindparam('months', expanding=True)))
    .distinct()
)
_BOOKED = (
    sa.select(*_LINE_COLUMNS)
    .where(LINES.c.account == _ACCOUNT, LINES.c.period == sa.bindparam('period'))
    .order_by(LINES.c.number, LINES.c.position)
)
_OF_SERIES = SERIES.c.name == sa.bindparam('series'), SERIES.c.year == sa.bindparam('of_year')
_NEXT = sa.select(SERIES.c.next_number).where(*_OF_SERIES).with_for_update()
_INSERT, _INSERT_LINES = TABLE.insert(), LINES.insert()
_TAKE = (
    sa.update(SERIES)
    .where(*_OF_SERIES)
    .values(next_number=SERIES.c.next_number + sa.bindparam('count'))
)


class Entry(NamedTuple):
    """A closed statement, without its content.

    :ivar revision: counts the statements of an account and month.
    :ivar sequence: counts the statements of an account.
    :ivar voids: number of the statement that it voids; None: it voids none.
    :ivar version: of the document of plans.
    :ivar previous: digest of the account's statement before it; None: it is the first.
    :ivar closed_at: aware UTC.
    """

    number: str
    account: str
    month: str
    revision: int
    sequence: int
    voids: str | None
    owner: str | None
    version: int
    currency: str
    list_price: Decimal
    net: Decimal
    tax: Decimal
    total: Decimal
    digest: str
    previous: str | None
    closed_at: datetime
    author: str | None


class Content(NamedTuple):
    """A closed statement with its content.

    :ivar form: as JSON.
    """

    entry: Entry
    form: Mapping[str, Any]
    lines: Sequence[Line]


def lock(connection: sa.Connection, account_id: str) -> Entry | None:
    """Lock an account until the transaction ends; return its newest statement."""
    return lock_all(connection, [account_id])[account_id]


def lock_all(connection: sa.Connection, account_ids: Collection[str]) -> dict[str, Entry | None]:
    """Lock accounts until the transaction ends; return the newest statement of each."""
    # In order of the key, so that two transactions never deadlock.
    chosen = sorted(set(account_ids))
    upsert.insert_missing(connection, ACCOUNTS, [{'id': one} for one in chosen])
    rows = connection.execute(_NEWEST, {'accounts': chosen}).all()
    numbers = [row.newest for row in rows if row.newest is not None]
    found: dict[str, Entry | None] = dict.fromkeys(chosen)
    if numbers:
        entries = map(_entry, connection.execute(_BY_NUMBERS, {'numbers': numbers}))
        found.update((entry.account, entry) for entry in entries)
    return found


def get(connection: sa.Connection, number: str) -> Entry:
    """Return a statement.

    :raises NotFound: there is none with this number.
    """
    row = connection.execute(_BY_NUMBER, {'number': number}).first()
    if row is None:
        raise errors.NotFound(reason='There is no such statement.')
    return _entry(row)


def document(connection: sa.Connection, number: str) -> dict[str, Any]:
    """Return the content of a statement."""
    return content(connection, number)[0]


def content(connection: sa.Connection, number: str) -> tuple[dict[str, Any], bytes]:
    """Return the content of a statement, and the bytes over which its digest is computed."""
    text = connection.execute(
        sa.select(TABLE.c.document).where(TABLE.c.number == number)
    ).scalar_one()
    form: dict[str, Any] = json.loads(text)
    return form, text.encode()


def of_month(connection: sa.Connection, month: str) -> list[Entry]:
    """Return the statements of a month, by account and in the order in which they were closed."""
    rows = connection.execute(
        sa.select(*_META).where(TABLE.c.month == month).order_by(TABLE.c.account, TABLE.c.sequence)
    )
    return [_entry(row) for row in rows]


class Selection(NamedTuple):
    """A selection of statements; None: all.

    :ivar seen_by: a project; only what it owns, or what has lines of its scope.
    """

    account_id: str | None = None
    scope_id: str | None = None
    month: str | None = None
    seen_by: str | None = None


def find(
    connection: sa.Connection, selection: Selection, offset: int, limit: int
) -> tuple[int, list[Entry]]:
    """Return how many statements match, and those of a page, the newest first."""
    conditions: list[sa.ColumnElement[bool]] = []
    if selection.account_id is not None:
        conditions.append(TABLE.c.account == selection.account_id)
    if selection.month is not None:
        conditions.append(TABLE.c.month == selection.month)
    if selection.scope_id is not None:
        conditions.append(_has_lines_of(selection.scope_id))
    if selection.seen_by is not None:
        conditions.append(
            sa.or_(TABLE.c.owner == selection.seen_by, _has_lines_of(selection.seen_by))
        )
    total = connection.execute(
        sa.select(sa.func.count()).select_from(TABLE).where(*conditions)
    ).scalar_one()
    rows = connection.execute(
        sa.select(*_META)
        .where(*conditions)
        .order_by(TABLE.c.closed_at.desc(), TABLE.c.number.desc())
        .offset(offset)
        .limit(limit)
    )
    return total, [_entry(row) for row in rows]


def _has_lines_of(scope_id: str) -> sa.ColumnElement[bool]:
    return sa.exists().where(LINES.c.number == TABLE.c.number, LINES.c.scope_id == scope_id)


def closed_months(connection: sa.Connection, account_id: str) -> dict[str, Entry]:
    """Return the valid statement of each closed month of an account."""
    rows = connection.execute(_OF_ACCOUNT, {'account': account_id})
    newest = {row.month: _entry(row) for row in rows}
    return {month: entry for month, entry in sorted(newest.items()) if entry.voids is None}


def closed_accounts(connection: sa.Connection, period: str) -> set[str]:
    """Return the ids of the accounts whose month is closed."""
    rows = connection.execute(
        sa.select(TABLE.c.account, TABLE.c.voids)
        .where(TABLE.c.month == period)
        .order_by(TABLE.c.revision)
    )
    newest = {row.account: row.voids for row in rows}
    return {account for account, voids in newest.items() if voids is None}


def booked(connection: sa.Connection, account_id: str, period: str) -> list[Line]:
    """Return the lines of all statements of an account that are about a month."""
    rows = connection.execute(_BOOKED, {'account': account_id, 'period': period})
    return [_line(row) for row in rows]


def lines_of(connection: sa.Connection, number: str) -> list[Line]:
    """Return the lines of a statement, without their steps."""
    rows = connection.execute(
        sa.select(*_LINE_COLUMNS, LINES.c.is_correction)
        .where(LINES.c.number == number)
        .order_by(LINES.c.position)
    )
    return [_line(row)._replace(is_correction=row.is_correction) for row in rows]


def next_numbers(connection: sa.Connection, series: str, year: int, count: int) -> list[str]:
    """Take the next *count* numbers of a series; call it last, since it blocks others."""
    key = {'series': series, 'of_year': year}
    number = connection.execute(_NEXT, key).scalar()
    if number is None:
        first = {'name': series, 'year': year, 'next_number': 1}
        upsert.insert_missing(connection, SERIES, [first])
        number = connection.execute(_NEXT, key).scalar_one()
    connection.execute(_TAKE, {**key, 'count': count})
    return [f'{series}-{year}-{number + place:06}' for place in range(count)]


def counts(connection: sa.Connection, account_ids: Collection[str], period: str) -> dict[str, int]:
    """Return how many statements of a month accounts have; those that have some."""
    values = {'accounts': list(account_ids), 'month': period}
    return {row.account: row.statements for row in connection.execute(_COUNTS, values)}


def add(connection: sa.Connection, found: Sequence[Content]) -> list[Entry]:
    """Store statements, each of another account; return them with their digests."""
    entries: list[Entry] = []
    rows, line_rows = [], []
    for entry, form, lines in found:
        text = canonical.encode(form)
        entries.append(entry._replace(digest=chained(entry.previous, text)))
        moment = timeframe.to_naive(entry.closed_at)
        rows.append(entries[-1]._asdict() | {'closed_at': moment, 'document': text.decode()})
        line_rows += [
            _line_row(line)
            | {'number': entry.number, 'account': entry.account, 'position': position}
            for position, line in enumerate(lines, 1)
        ]
    connection.execute(_INSERT, rows)
    if line_rows:
        connection.execute(_INSERT_LINES, line_rows)
    chosen = {
        'accounts': [entry.account for entry in entries],
        'numbers': [entry.number for entry in entries],
    }
    connection.execute(_SET_NEWEST, chosen)
    return entries


def chained(previous: str | None, text: bytes) -> str:
    """Return the digest of a statement, which depends on all earlier ones of the account."""
    return canonical.digest((previous or '').encode(), text)


def each(connection: sa.Connection, account_id: str) -> Iterator[tuple[Entry, str]]:
    """Yield the statements of an account in the order in which they were closed."""
    rows = connection.execute(
        sa.select(TABLE).where(TABLE.c.account == account_id).order_by(TABLE.c.sequence)
    )
    for row in rows:
        yield _entry(row), row.document


def account_ids(connection: sa.Connection) -> list[str]:
    """Return the ids of the accounts that have statements, sorted."""
    return list(connection.execute(sa.select(ACCOUNTS.c.id).order_by(ACCOUNTS.c.id)).scalars())


def versions(connection: sa.Connection, months: Collection[str]) -> list[tuple[str, int]]:
    """Return the months with statements among *months*, with the versions of their documents."""
    if not months:
        return []
    rows = connection.execute(_VERSIONS, {'months': sorted(months)})
    return sorted((row.month, row.version) for row in rows)


def versions_since(connection: sa.Connection, month: str) -> list[tuple[str, int]]:
    """Return the months with statements from *month* on, with the versions of their documents."""
    rows = connection.execute(
        sa.select(TABLE.c.month, TABLE.c.version).where(TABLE.c.month >= month).distinct()
    )
    return sorted((row.month, row.version) for row in rows)


def _entry(row: tables.Row) -> Entry:
    values = {name: row._mapping[name] for name in Entry._fields}
    return Entry(**values | {'closed_at': timeframe.from_naive(row.closed_at)})


def _line(row: tables.Row) -> Line:
    values = {column.name: row._mapping[column.name] for column in _LINE_COLUMNS}
    key = tuple((name, value) for name, value in json.loads(row.key))
    return Line(**values | {'key': key})


def _line_row(line: Line) -> dict[str, Any]:
    row = line._asdict()
    del row['steps'], row['rate']
    return row | {'key': canonical.encode(line.key).decode()}
