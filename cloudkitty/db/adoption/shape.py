"""Existing and wanted columns and unique keys of a table, in the server's terms."""

import re
from typing import NamedTuple

import sqlalchemy as sa

_MARIADB_COLUMNS = """
    SELECT column_name, column_type, collation_name, is_nullable = 'YES', column_default
    FROM information_schema.columns
    WHERE table_schema = DATABASE() AND table_name = :name
"""
_POSTGRESQL_COLUMNS = """
    SELECT a.attname, format_type(a.atttypid, a.atttypmod), o.collname, NOT a.attnotnull,
           pg_get_expr(d.adbin, d.adrelid)
    FROM pg_attribute a
    JOIN pg_class t ON t.oid = a.attrelid AND t.relname = :name
    JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = current_schema()
    LEFT JOIN pg_collation o ON o.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
"""
# SQLAlchemy's names of types, and those of the servers.
_WORDS = {
    'mysql': {'numeric': 'decimal', 'integer': 'int', 'bool': 'tinyint(1)', 'smallint': 'smallint'},
    'postgresql': {'varchar': 'character varying'},
}
_COLLATION = re.compile(r'(?: character set (\w+))?(?: collate "?(\w+)"?)?$', re.IGNORECASE)
_DEFAULTS = {'false': '0', 'true': '1'}


class Column(NamedTuple):
    """One column.

    :ivar collation: None for other types than text, and for the default of the table or database.
    :ivar default: `now`, or the text of a constant; None: there is none.
    """

    type: str
    collation: str | None
    is_nullable: bool
    default: str | None


def existing_columns(connection: sa.Connection, name: str) -> dict[str, Column]:
    """Return the columns of the table *name*; empty if there is no such table."""
    kind = dialect_of(connection)
    statement = _MARIADB_COLUMNS if kind == 'mysql' else _POSTGRESQL_COLUMNS
    return {
        row[0]: Column(
            _plain_type(kind, row[1]), _collation(row[2]), bool(row[3]), _default(row[4])
        )
        for row in connection.execute(sa.text(statement), {'name': name})
    }


def wanted_column(connection: sa.Connection, column: sa.Column) -> Column:
    """Return the definition that *column* has after creation on this database."""
    told = column.type.compile(dialect=connection.dialect)
    clause = _COLLATION.search(told)
    assert clause is not None  # the expression is found at the end of any text
    return Column(
        _plain_type(dialect_of(connection), told[: clause.start()]),
        clause[2],
        bool(column.nullable),
        _default(default_of(connection, column)),
    )


def default_of(connection: sa.Connection, column: sa.Column) -> str | None:
    """Return the expression of the column's default on the server, None: it has none."""
    dialect = connection.dialect
    # Its base class allows None, too: no statement is needed here.
    made = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]
    return made.get_column_default_string(column)


def is_generated(column: sa.Column) -> bool:
    """Return whether *column* is a generated key, which is the same in all releases."""
    return column.primary_key and isinstance(column.type, sa.Integer)


def dialect_of(connection: sa.Connection) -> str:
    """Return the name of the dialect, `mysql` for MariaDB under any name."""
    return 'mysql' if connection.dialect.name == 'mariadb' else connection.dialect.name


def existing_keys(connection: sa.Connection, name: str) -> dict[str, tuple[str, ...]]:
    """Return the columns of the unique keys of a table, by the name of the key."""
    inspector = sa.inspect(connection)
    return {
        key['name']: tuple(key['column_names'])
        for key in inspector.get_unique_constraints(name)
        if key['name'] is not None
    }


def wanted_keys(connection: sa.Connection, table: sa.Table) -> dict[str, tuple[str, ...]]:
    """Return the columns of the unique keys of *table*, by the name of the key."""
    preparer = connection.dialect.identifier_preparer
    return {
        (preparer.format_constraint(key) or '').strip('`"'): tuple(
            column.name for column in key.columns
        )
        for key in table.constraints
        if isinstance(key, sa.UniqueConstraint)
    }


def _plain_type(kind, told):
    """Return a type in the server's terms, without parts that do not affect its values."""
    word, _, rest = told.strip().lower().partition('(')
    text = _WORDS[kind].get(word, word) + (f'({rest}' if rest else '')
    text = text.replace(', ', ',')
    if kind == 'mysql' and not text.startswith('tinyint'):
        # Some versions include the display width of numbers.
        text = re.sub(r'int\(\d+\)', 'int', text)
    return text


def _collation(name):
    return None if name in (None, 'default') else name


def _default(expression):
    if expression is None or expression.upper() == 'NULL':
        return None
    text = expression.lower()
    if re.match(r'(now|current_timestamp)\b', text):
        return 'now'
    text = text.partition('::')[0].strip("'")
    return _DEFAULTS.get(text, text)
