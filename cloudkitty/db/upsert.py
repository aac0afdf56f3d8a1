"""Bulk inserts and upserts in the dialect of each database."""

import functools
import itertools
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite

from cloudkitty.db import types

ROWS_PER_STATEMENT = 1000
BYTES_PER_STATEMENT = 1 << 20  # MariaDB refuses statements of 16 MiB
# What to do with a row that collides with a unique key; None: it is an error.
ADD, SKIP = 'add', 'skip'
DIALECTS = {'sqlite': sqlite.dialect, 'postgresql': postgresql.dialect, 'mysql': mysql.dialect}
KINDS = {
    sa.Boolean: 'boolean',
    sa.Integer: 'bigint',
    sa.DateTime: 'timestamp',
    sa.Date: 'date',
    sa.LargeBinary: 'bytea',
    sa.String: 'text',
}


def insert_missing(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping]) -> None:
    """Insert *rows*; skip those that collide with a unique key."""
    if connection.dialect.name in ('mysql', 'mariadb'):
        key = next(iter(table.primary_key.columns))
        # INSERT IGNORE would also hide truncated values and broken references.
        statement = mysql.insert(table).on_duplicate_key_update({key.name: key})
    else:
        statement = _insert(connection, table).on_conflict_do_nothing()
    _run(connection, statement, rows)


def insert(
    connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: Sequence[tuple]
) -> None:
    """Insert many *rows* whose columns are *names*."""
    _run_bulk(connection, table, tuple(names), rows)


def insert_many_missing(
    connection: sa.Connection,
    table: sa.Table,
    names: Sequence[str],
    rows: Sequence[tuple],
    *,
    returning: Sequence[str] = (),
) -> list[sa.Row]:
    """Insert many *rows* whose columns are *names*; skip those that collide with a unique key.

    :param returning: columns to return of the rows that were inserted; only PostgreSQL does.
    """
    return _run_bulk(
        connection, table, tuple(names), rows, on_conflict=SKIP, returning=tuple(returning)
    )


def add(
    connection: sa.Connection, table: sa.Table, names: Sequence[str], rows: Sequence[tuple]
) -> None:
    """Insert many *rows*; if the primary key exists, add the other columns to the stored values.

    :param rows: their primary keys must be unique.
    """
    _run_bulk(connection, table, tuple(names), rows, on_conflict=ADD)


def replace(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping]) -> None:
    """Insert *rows*; if the primary key of one exists, the stored row gets its other columns.

    :param rows: their primary keys must be unique.
    """
    keys = table.primary_key.columns
    others = [column.name for column in table.columns if column.name not in keys]
    statement = _changing(connection, table, lambda given: {name: given[name] for name in others})
    _run(connection, statement, rows)


def put(connection: sa.Connection, table: sa.Table, row: Mapping, changes: Mapping) -> None:
    """Insert *row*; if its primary key exists, apply *changes* to the stored row instead."""
    statement = _changing(connection, table, lambda given: dict(changes))
    connection.execute(statement.values(row))


def _changing(connection, table, changes):
    """Return an INSERT that changes the rows whose primary keys exist.

    :param changes: returns the new values of columns by name, from those of the given row.
    """
    if connection.dialect.name in ('mysql', 'mariadb'):
        statement = mysql.insert(table)
        return statement.on_duplicate_key_update(changes(statement.inserted))
    statement = _insert(connection, table)
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_=changes(statement.excluded)
    )


def _insert(connection, table):
    build = postgresql.insert if connection.dialect.name == 'postgresql' else sqlite.insert
    return build(table)


def _run(connection, statement, rows):
    if connection.dialect.name == 'postgresql':
        # SQLAlchemy only batches the rows of an upsert in one statement if that has RETURNING.
        statement = statement.returning(next(iter(statement.table.primary_key.columns)))
    for start in range(0, len(rows), ROWS_PER_STATEMENT):
        connection.execute(statement, list(rows[start : start + ROWS_PER_STATEMENT]))


def _run_bulk(connection, table, names, rows, *, on_conflict=None, returning=()):
    kind = connection.dialect.name
    build, render = BULK[kind]
    head, tail = _around(kind, table, names, on_conflict)
    returns = returning and kind == 'postgresql'
    if returns:
        tail = f'{tail} RETURNING {", ".join(returning)}'
    returned = []
    kinds = [_kind_of(table.c[name]) for name in names]
    for part in _parts(rows, kinds):
        columns = [
            render(of, column) for of, column in zip(kinds, zip(*part, strict=True), strict=True)
        ]
        body, values = build(kinds, columns)
        result = connection.exec_driver_sql(f'{head} {body} {tail}', values)
        if returns:
            returned += result
    return returned


@functools.cache
def _around(kind, table, names, on_conflict):
    """Return the SQL before and after the rows."""
    quote = DIALECTS[kind]().identifier_preparer.quote
    head = f'INSERT INTO {table.name} ({", ".join(map(quote, names))})'
    if on_conflict is None:
        return head, ''
    keys = [column.name for column in table.primary_key.columns]
    if on_conflict == SKIP:
        # INSERT IGNORE would also hide truncated values and broken references.
        nothing = f'ON DUPLICATE KEY UPDATE {keys[0]} = {keys[0]}'
        return head, nothing if kind == 'mysql' else 'ON CONFLICT DO NOTHING'
    sums = [name for name in names if name not in keys]
    if kind == 'mysql':
        changes = ', '.join(f'{name} = {name} + VALUES({name})' for name in sums)
        return head, f'ON DUPLICATE KEY UPDATE {changes}'
    changes = ', '.join(
        f'{name} = exact_add({table.name}.{name}, excluded.{name})'
        if kind == 'sqlite' and _kind_of(table.c[name]) == 'numeric'
        else f'{name} = {table.name}.{name} + excluded.{name}'
        for name in sums
    )
    tail = f'ON CONFLICT ({", ".join(keys)}) DO UPDATE SET {changes}'
    return _around_update(table, names, keys, head, tail) if kind == 'postgresql' else (head, tail)


def _around_update(table, names, keys, head, tail):
    """Return the SQL around rows for PostgreSQL: those that exist are updated, others inserted.

    ON CONFLICT locks a row before it updates it, which is a second record in the write-ahead log.
    It remains for rows that others insert at the same time.
    """
    of_table, of_given = (
        ', '.join(f'{source}.{key}' for key in keys) for source in (table.name, 'given')
    )
    changes = ', '.join(
        f'{name} = {table.name}.{name} + given.{name}' for name in names if name not in keys
    )
    return f'WITH given ({", ".join(names)}) AS (', (
        f'), changed AS (UPDATE {table.name} SET {changes} FROM given '
        f'WHERE ({of_table}) = ({of_given}) RETURNING {of_table}) '
        f'{head} SELECT * FROM given WHERE NOT EXISTS '
        f'(SELECT * FROM changed WHERE ({", ".join(keys)}) = ({of_given})) {tail}'
    )


def _kind_of(column):
    """Return PostgreSQL's name of the widest type of that kind."""
    if isinstance(column.type, types.Exact):
        return 'numeric'
    return next(name for of, name in KINDS.items() if isinstance(column.type, of))


def _parts(rows, kinds):
    """Yield *rows* in lists of a bounded size."""
    blobs = [place for place, kind in enumerate(kinds) if kind == 'bytea']
    if not blobs:
        for start in range(0, len(rows), BYTES_PER_STATEMENT // 100):
            yield rows[start : start + BYTES_PER_STATEMENT // 100]
        return
    part, size = [], 0
    for row in rows:
        part.append(row)
        size += 100 + sum(len(row[place]) for place in blobs)
        if size > BYTES_PER_STATEMENT:
            yield part
            part, size = [], 0
    if part:
        yield part


def _sqlite_column(kind, column):
    if kind == 'numeric':
        return [None if number is None else format(number, 'f') for number in column]
    if kind == 'timestamp':
        return [when.isoformat(' ', 'microseconds') for when in column]
    return map(str, column) if kind == 'date' else column


def _sqlite_body(kinds, columns):
    return f'VALUES ({", ".join("?" * len(kinds))})', list(zip(*columns, strict=True))


def _postgresql_column(kind, column):
    """Return a bind value for a whole column: the literal of an array.

    As a list, each text would be a constant of its own in the statement.
    """
    if kind == 'text':
        return f'{{{",".join(map(_quoted, column))}}}'
    if kind == 'bytea':
        column = [f'"\\\\x{one.hex()}"' for one in column]
    # Neither numbers nor times nor hexadecimal digits have this text in them.
    return f'{{{",".join(map(str, column)).replace("None", "NULL")}}}'


def _quoted(text):
    """Return an element of an array literal."""
    if text is None:
        return 'NULL'
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def _or_null(value):
    return 'NULL' if value is None else str(value)


def _postgresql_body(kinds, columns):
    # In a SELECT, so that the planner does not see how long they are: it would read whole tables
    # instead of looking the keys up, and change the rows in another order than the given one.
    arrays = ', '.join(f'(SELECT %s::{kind}[])' for kind in kinds)
    return f'SELECT * FROM unnest({arrays})', tuple(columns)


def _mysql_column(kind, column):
    """Return literals of numbers and times; bytes and text of callers become parameters."""
    if kind in ('text', 'bytea'):
        return column
    if kind == 'numeric':
        return ['NULL' if number is None else format(number, 'f') for number in column]
    if kind == 'boolean':
        return ['1' if one else '0' for one in column]
    return map(_or_null, column) if kind == 'bigint' else [f"'{one}'" for one in column]


def _mysql_body(kinds, columns):
    # Binding each number would take longer than the statement itself.
    bound = [place for place, kind in enumerate(kinds) if kind in ('text', 'bytea')]
    values = (
        tuple(itertools.chain.from_iterable(zip(*(columns[place] for place in bound), strict=True)))
        if bound
        else ()
    )
    row = ','.join('%s' if place in bound else '{}' for place in range(len(kinds)))
    shown = [column for place, column in enumerate(columns) if place not in bound]
    return f'VALUES {",".join(map(f"({row})".format, *shown))}', values


BULK = {
    'sqlite': (_sqlite_body, _sqlite_column),
    'postgresql': (_postgresql_body, _postgresql_column),
    'mysql': (_mysql_body, _mysql_column),
}
