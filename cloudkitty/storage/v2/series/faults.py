"""Faults of stored data, and what drivers check alike: series, attributes and progress."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.storage.v2.series import series_ids

SERIES, ATTRIBUTES = tables.rated_series, tables.rated_attributes
SCOPES, STATES = tables.rated_scopes, tables.scopes
ROWS_AT_ONCE = 500
# Columns by primary key.
Rows = Mapping[tuple[Any, ...], Mapping[str, Any]]


class Scope(NamedTuple):
    """A row of rated_scopes."""

    id: int
    scope_key: str
    identifier: str


class Month(NamedTuple):
    """A calendar month, [first, end)."""

    first: date
    end: date


class Fault(NamedTuple):
    """A row that is wrong, missing or superfluous.

    :ivar key: its primary key.
    :ivar right: its right content; None: there must be no such row.
    :ivar found: its content; None: the row is missing.
    :ivar reason: what is wrong with a row that cannot be derived from others; '': rebuild
        corrects it.
    """

    table: str
    key: Mapping[str, Any]
    right: Mapping[str, Any] | None = None
    found: Mapping[str, Any] | None = None
    reason: str = ''

    def __str__(self) -> str:
        where = ', '.join(f'{name} {value}' for name, value in self.key.items())
        if self.reason:
            return f'{self.table}: {where}: {self.reason}'
        if self.found is None:
            return f'{self.table}: {where}: missing; must be {_text(self.right)}'
        if self.right is None:
            return f'{self.table}: {where}: {_text(self.found)}; must not be there'
        return f'{self.table}: {where}: {_text(self.found)}; must be {_text(self.right)}'


class Outcome(NamedTuple):
    """Result of one transaction of a repair.

    :ivar corrected: number of rows that were corrected.
    :ivar left: faults that cannot be corrected, because no other data has the right content.
    """

    corrected: int
    left: list[Fault]


def list_scopes(connection: sa.Connection, scope_ids: Sequence[str] | None) -> list[Scope]:
    """Return the scopes that have data, or the named ones among them."""
    statement = sa.select(SCOPES.c.id, SCOPES.c.scope_key, SCOPES.c.identifier)
    if scope_ids:
        statement = statement.where(SCOPES.c.identifier.in_(scope_ids))
    return [Scope(*row) for row in connection.execute(statement.order_by(SCOPES.c.id))]


@contextlib.contextmanager
def snapshot(database: db.Database) -> Iterator[sa.Connection]:
    """Yield a connection with a consistent snapshot, whatever is stored meanwhile."""
    with database.reader() as connection:
        db.hold_snapshot(connection)
        yield connection


def months_between(
    first: date, last: date, begin: datetime | None, end: datetime | None
) -> list[Month]:
    """Return the months of the days from *first* to *last* that [begin, end) overlaps."""
    if begin is not None:
        first = max(first, timeframe.to_utc(begin).date())
    if end is not None:
        last = min(last, (timeframe.to_utc(end) - timedelta(microseconds=1)).date())
    months, month = [], month_of(first)
    while month.first <= last:
        months.append(month)
        month = month_of(month.end)
    return months


def month_of(day: date) -> Month:
    """Return the month of a day."""
    first = day.replace(day=1)
    return Month(first, (first + timedelta(days=31)).replace(day=1))


def series_faults(connection: sa.Connection, scope: Scope) -> Iterator[Fault]:
    """Yield the series of a scope that are not what was stored, and wrong rows of attributes."""
    last = 0
    while rows := connection.execute(
        sa.select(SERIES)
        .where(SERIES.c.owner_id == scope.id, SERIES.c.id > last)
        .order_by(SERIES.c.id)
        .limit(ROWS_AT_ONCE)
    ).all():
        last = rows[-1].id
        right: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in rows:
            entry: series_ids.Entry | None
            try:
                entry = series_ids.entry_of(row)
            except ValueError:
                entry = None
            if entry is None or series_ids.digest(scope.scope_key, entry) != bytes(row.digest):
                yield Fault(
                    SERIES.name, {'id': row.id}, reason='its content is not what was stored'
                )
                continue
            right.update(_attributes(series_ids.attribute_rows(row.id, entry)))
        # The attributes of a faulty series cannot be derived.
        columns = (ATTRIBUTES.c[name] for name in series_ids.ATTRIBUTE_COLUMNS)
        found = _attributes(
            connection.execute(
                sa.select(*columns).where(ATTRIBUTES.c.series_id.in_({key[0] for key in right}))
            )
        )
        yield from differences(ATTRIBUTES.name, ('series_id', 'name', 'is_groupby'), found, right)


def _attributes(rows: Iterable[Iterable[Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    return {
        (series_id, name, bool(is_groupby)): {'value': value}
        for series_id, name, is_groupby, value in rows
    }


def read_mark(connection: sa.Connection, scope: Scope) -> datetime | None:
    """Return the progress of a scope, naive UTC; None: it has none."""
    mark: datetime | None = connection.execute(
        sa.select(sa.func.max(STATES.c.last_processed_timestamp)).where(
            STATES.c.identifier == scope.identifier,
            sa.or_(STATES.c.scope_key == scope.scope_key, STATES.c.scope_key.is_(None)),
        )
    ).scalar()
    return mark


def overlap(end: datetime, following: datetime) -> str:
    """Return the reason for a period that ends after the next one begins, naive UTC."""
    return f'ends at {end}, after the next one begins at {following}: a time is rated twice'


def unexpected(scope: Scope, mark: datetime, count: int, first: datetime) -> Fault:
    """Return the fault of rated periods that begin after the progress of a scope, naive UTC."""
    return Fault(
        STATES.name,
        {'identifier': scope.identifier},
        reason=f'the scope is rated up to {mark}, and {count} rated periods begin '
        f'after that, the first at {first}',
    )


def correct(connection: sa.Connection, faults: Iterable[Fault]) -> Outcome:
    """Correct derived rows of the SQL database."""
    corrected = 0
    left: list[Fault] = []
    for fault in faults:
        if fault.reason:
            left.append(fault)
            continue
        corrected += 1
        table = tables.metadata.tables[fault.table]
        chosen = [table.c[name] == value for name, value in fault.key.items()]
        if fault.right is None:
            connection.execute(sa.delete(table).where(*chosen))
        elif fault.found is None:
            connection.execute(sa.insert(table).values(**fault.key, **fault.right))
        else:
            connection.execute(sa.update(table).where(*chosen).values(**fault.right))
    return Outcome(corrected, left)


def differences(table: str, names: Sequence[str], found: Rows, right: Rows) -> Iterator[Fault]:
    """Yield a fault for each row of *table* that differs.

    :param names: of the columns of the primary key.
    """
    for key in sorted(found.keys() | right.keys()):
        if found.get(key) != right.get(key):
            yield Fault(table, dict(zip(names, key, strict=True)), right.get(key), found.get(key))


def _text(values: Mapping[str, Any] | None) -> str:
    return ', '.join(f'{name} {value}' for name, value in (values or {}).items())
