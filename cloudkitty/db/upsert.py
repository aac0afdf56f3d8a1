"""Inserts that meet rows which are there already, in each database's bulk form."""

import functools
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from cloudkitty.db import types

ROWS_PER_STATEMENT = 1000


def insert_missing(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping]) -> None:
    """Insert *rows*; those that collide with a unique key are left out."""
    if connection.dialect.name in ('mysql', 'mariadb'):
        key = next(iter(table.primary_key.columns))
        # IGNORE would also hide truncated values and broken references.
        statement = mysql.insert(table).on_duplicate_key_update({key.name: key})
    else:
        statement = _insert(connection.dialect.name, table).on_conflict_do_nothing()
    _run(connection, statement, rows)


def add(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping],
        sums: Sequence[str]) -> None:
    """Insert *rows*; where the primary key is there, add the columns *sums* to what it holds."""
    _run(connection, _addition(connection.dialect.name, table, tuple(sums)), rows)


@functools.lru_cache(maxsize=64)
def _addition(dialect, table, sums):
    """Return the statement of add(): building it takes longer than running it."""
    if dialect in ('mysql', 'mariadb'):
        statement = mysql.insert(table)
        new = statement.inserted
    else:
        statement = _insert(dialect, table)
        new = statement.excluded
    changes = {name: _sum(table.c[name], new[name]) for name in sums}
    if dialect in ('mysql', 'mariadb'):
        return statement.on_duplicate_key_update(changes)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_=changes)


def put(connection: sa.Connection, table: sa.Table, row: Mapping, changes: Mapping) -> None:
    """Insert *row*; if its primary key is there, make *changes* to that row instead."""
    if connection.dialect.name in ('mysql', 'mariadb'):
        statement = mysql.insert(table).values(row).on_duplicate_key_update(dict(changes))
    else:
        statement = _insert(connection.dialect.name, table).values(row).on_conflict_do_update(
            index_elements=list(table.primary_key.columns), set_=dict(changes))
    connection.execute(statement)


def _sum(old, new):
    return types.exact_add(old, new) if isinstance(old.type, types.Exact) else old + new


def _insert(dialect, table):
    build = postgresql.insert if dialect == 'postgresql' else sqlite.insert
    return build(table)


def _run(connection, statement, rows):
    if connection.dialect.name == 'postgresql':
        # SQLAlchemy sends many rows of an upsert in one statement only if it gives something back.
        statement = statement.returning(next(iter(statement.table.primary_key.columns)))
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        connection.execute(statement, list(rows[start:start + ROWS_PER_STATEMENT]))
