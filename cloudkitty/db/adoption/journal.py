"""Table `adoption`: a journal of the changed rows, one row per change, to revert the adoption."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.db import tables, types

# It is not part of the schema: only an adopted database has it.
journal = sa.Table(
    'adoption',
    sa.MetaData(naming_convention=tables.NAMING),
    sa.Column('id', types.big_id(), primary_key=True),
    # Empty in the row that marks a step as finished.
    sa.Column('table_name', types.name(64), nullable=False),
    sa.Column('row_id', types.big_id()),
    # The column; `*` if the row was deleted, with the whole row in `before` as JSON.
    sa.Column('name', types.name(64), nullable=False),
    sa.Column('before', types.text()),
    sa.Column('after', types.text()),
    **tables.OPTIONS,
)


# MariaDB only casts to CHAR.
_TEXT = sa.Text().with_variant(sa.CHAR(), 'mysql', 'mariadb')


def make(connection: sa.Connection) -> None:
    """Create the table unless it exists."""
    journal.create(connection, checkfirst=True)


def is_over(connection: sa.Connection, step: str) -> bool:
    """Return whether *step* was finished by an earlier run."""
    if not sa.inspect(connection).has_table(journal.name):
        return False
    found = sa.select(journal.c.id).where(journal.c.table_name == '', journal.c.name == step)
    return connection.scalar(found) is not None


class Change(NamedTuple):
    """What a value was and became, as text; None: NULL."""

    before: str | None
    after: str | None


def note_of(connection: sa.Connection, step: str) -> str | None:
    """Return what was noted when *step* was finished; None: it was not."""
    if not sa.inspect(connection).has_table(journal.name):
        return None
    found = sa.select(journal.c.after).where(journal.c.table_name == '', journal.c.name == step)
    return connection.scalar(found)


def changes(
    connection: sa.Connection, table: str, column: str, row_ids: Sequence[int] | None
) -> dict[int, Change]:
    """Return the changes of a column by row; *row_ids* None: of all rows."""
    found = sa.select(journal.c.row_id, journal.c.before, journal.c.after).where(
        journal.c.table_name == table, journal.c.name == column
    )
    if row_ids is not None:
        found = found.where(journal.c.row_id.in_(row_ids))
    return {row.row_id: Change(row.before, row.after) for row in connection.execute(found)}


def clear(connection: sa.Connection, step: str | None = None) -> None:
    """Forget what was noted about *step*; None: everything."""
    chosen = [] if step is None else [journal.c.table_name == '', journal.c.name == step]
    connection.execute(sa.delete(journal).where(*chosen))


def finish(connection: sa.Connection, step: str, with_what: str) -> None:
    """Record that *step* is finished, in its transaction."""
    connection.execute(journal.insert().values(table_name='', name=step, after=with_what))


def record(
    connection: sa.Connection, table: str, column: str, changes: Iterable[Mapping[str, object]]
) -> None:
    """Record changes of rows: mappings with row_id, before and after."""
    rows = [{'table_name': table, 'name': column, **change} for change in changes]
    if rows:
        connection.execute(journal.insert(), rows)


def record_query(
    connection: sa.Connection,
    table: sa.Table,
    column: str,
    after: sa.ColumnElement,
    *where,
    name: str | None = None,
) -> None:
    """Record that *column* of all rows that match *where* becomes *after*.

    :param name: to record instead of that of the column.
    """
    connection.execute(
        journal.insert().from_select(
            ['table_name', 'row_id', 'name', 'before', 'after'],
            sa.select(
                sa.literal(table.name),
                table.c.id,
                sa.literal(name or column),
                sa.cast(table.c[column], _TEXT),
                sa.cast(after, _TEXT),
            ).where(*where),
        )
    )


def replace(
    connection: sa.Connection, table: str, column: str, changes: Sequence[Mapping[str, object]]
) -> None:
    """Record changes of rows as record() does, instead of those that are recorded of them."""
    row_ids = [change['row_id'] for change in changes]
    connection.execute(
        sa.delete(journal).where(
            journal.c.table_name == table, journal.c.name == column, journal.c.row_id.in_(row_ids)
        )
    )
    record(connection, table, column, changes)


def keys(connection: sa.Connection, table: str, column: str) -> dict[str, tuple[int | None, str]]:
    """Return (row id, note) of rows by the key that record_keys() recorded."""
    found = sa.select(journal.c.before, journal.c.row_id, journal.c.after).where(
        journal.c.table_name == table, journal.c.name == column
    )
    return {row.before: (row.row_id, row.after) for row in connection.execute(found)}


def record_keys(
    connection: sa.Connection,
    table: str,
    column: str,
    noted: Mapping[str, tuple[int | None, str]],
) -> None:
    """Record (row id, note) of rows by a key, instead of what is recorded for these keys."""
    forget_keys(connection, table, column, list(noted))
    record(
        connection,
        table,
        column,
        [{'row_id': row_id, 'before': key, 'after': note} for key, (row_id, note) in noted.items()],
    )


def forget_keys(connection: sa.Connection, table: str, column: str, chosen: Sequence[str]) -> None:
    """Forget what is recorded for these keys."""
    connection.execute(
        sa.delete(journal).where(
            journal.c.table_name == table, journal.c.name == column, journal.c.before.in_(chosen)
        )
    )
