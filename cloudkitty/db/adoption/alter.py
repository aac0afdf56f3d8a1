"""ALTER statements that convert former tables to our columns and keys. Idempotent.

MariaDB commits each statement at once, so there is one per table. PostgreSQL runs all of them in
the transaction of the whole adoption.
"""

from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.db.adoption import former, shape


class Alteration(NamedTuple):
    """A part of ALTER TABLE, or a statement of its own where that is needed.

    :ivar what: the column or key that changes, for the operator.
    """

    what: str
    clause: str


def alterations(
    connection: sa.Connection, table: sa.Table, *, is_lenient: bool
) -> list[Alteration]:
    """Return the alterations that *table* still needs; empty if there are none.

    :param is_lenient: leave columns in which rows have no value yet without NOT NULL, so that
        the rows can be filled.
    """
    found = _Table(connection, table, is_lenient)
    return [*found.columns(), *found.keys()]


def execute(connection: sa.Connection, table: sa.Table, changes: list[Alteration]) -> None:
    """Run *changes*, which are those of alterations()."""
    name = connection.dialect.identifier_preparer.quote(table.name)
    if shape.dialect_of(connection) == 'mysql':
        clauses = ['DEFAULT CHARACTER SET utf8mb4', *(change.clause for change in changes)]
        _run(connection, f'ALTER TABLE {name} {", ".join(clauses)}')
        return
    for change in changes:
        _run(connection, f'ALTER TABLE {name} {change.clause}')


def _run(connection, statement):
    # A percent sign in a default would be taken for a placeholder.
    connection.exec_driver_sql(statement.replace('%', '%%'))


class _Table:
    """An existing table together with its target."""

    def __init__(self, connection, table, is_lenient):
        self._connection = connection
        self._quote = connection.dialect.identifier_preparer.quote
        self._table = table
        self._existing = shape.existing_columns(connection, table.name)
        self._is_lenient = is_lenient
        self._is_mysql = shape.dialect_of(connection) == 'mysql'

    def columns(self):
        for column in self._table.columns:
            if not shape.is_generated(column):
                yield from self._column(column)

    def _column(self, column):
        before, renamed_from = self._before(column)
        wanted = shape.wanted_column(self._connection, column)
        if self._is_lenient and not wanted.is_nullable and self._lacks(column, before):
            wanted = wanted._replace(is_nullable=True, default=None)
        if before == wanted and not renamed_from:
            return
        changes = self._mysql if self._is_mysql else self._postgresql
        for clause in changes(column, before, wanted, renamed_from):
            yield Alteration(column.name, clause)

    def _before(self, column):
        """Return the existing column, None if it is missing, and its former name if it has one."""
        if column.name in self._existing:
            before = self._existing[column.name]
            wanted = shape.wanted_column(self._connection, column)
            # The default collation of the table may be any one of utf8mb4.
            is_open = wanted.collation is None and (before.collation or '').startswith('utf8mb4_')
            return (before._replace(collation=None) if is_open else before), None
        for table, old, new in former.RENAMED:
            if (table, new) == (self._table.name, column.name) and old in self._existing:
                return self._existing[old], old
        return None, None

    def _lacks(self, column, before):
        """Return whether rows lack a value in a mandatory column."""
        if before is None:
            return column.name in former.FILLED.get(self._table.name, {})
        if not before.is_nullable or column.name not in self._existing:
            return False
        return has_nulls(self._connection, self._table.name, column.name)

    def _mysql(self, column, before, wanted, renamed_from):
        told = [self._quote(column.name), column.type.compile(dialect=self._connection.dialect)]
        told.append('NULL' if wanted.is_nullable else 'NOT NULL')
        if wanted.default is not None:
            told.append(f'DEFAULT {shape.default_of(self._connection, column)}')
        elif wanted.is_nullable:
            told.append('DEFAULT NULL')
        if renamed_from:
            verb = f'CHANGE COLUMN {self._quote(renamed_from)}'
        else:
            verb = 'ADD COLUMN' if before is None else 'MODIFY COLUMN'
        return [f'{verb} {" ".join(told)}']

    def _postgresql(self, column, before, wanted, renamed_from):
        name = self._quote(column.name)
        told = column.type.compile(dialect=self._connection.dialect)
        default = shape.default_of(self._connection, column)
        if before is None:
            rest = '' if wanted.is_nullable else ' NOT NULL'
            rest += '' if wanted.default is None else f' DEFAULT {default}'
            return [f'ADD COLUMN {name} {told}{rest}']
        clauses = [f'RENAME COLUMN {self._quote(renamed_from)} TO {name}'] if renamed_from else []
        alter = f'ALTER COLUMN {name}'
        if before.default != wanted.default:
            clauses.append(f'{alter} DROP DEFAULT')
        if before[:2] != wanted[:2]:
            # The only cast from an enumeration to text.
            plain = told.partition(' COLLATE ')[0]
            clauses.append(f'{alter} TYPE {told} USING {name}::text::{plain}')
        if before.is_nullable != wanted.is_nullable:
            clauses.append(f'{alter} {"DROP" if wanted.is_nullable else "SET"} NOT NULL')
        if wanted.default is not None and before.default != wanted.default:
            clauses.append(f'{alter} SET DEFAULT {default}')
        return clauses

    def keys(self):
        """Yield the statements that drop former unique keys and create ours."""
        existing = shape.existing_keys(self._connection, self._table.name)
        wanted = shape.wanted_keys(self._connection, self._table)
        drop = 'DROP INDEX' if self._is_mysql else 'DROP CONSTRAINT'
        for name, columns in existing.items():
            if wanted.get(name) != columns:
                yield Alteration(f'key {name}', f'{drop} {self._quote(name)}')
        for name, columns in wanted.items():
            if existing.get(name) != columns:
                listed = ', '.join(map(self._quote, columns))
                yield Alteration(
                    f'key {name}', f'ADD CONSTRAINT {self._quote(name)} UNIQUE ({listed})'
                )


def has_nulls(connection: sa.Connection, table: str, column: str) -> bool:
    """Return whether a row of *table* has no value in *column*."""
    rows = sa.table(table, sa.column(column))
    found = sa.select(sa.literal(1)).select_from(rows).where(rows.c[column].is_(None)).limit(1)
    return connection.scalar(found) is not None
