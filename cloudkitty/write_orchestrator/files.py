"""Records of written files: table output_files."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import db, writer
from cloudkitty.core import timeframe
from cloudkitty.db import output_tables, tables, upsert

TABLE = output_tables.files
# Subjects of files.
USAGE, STATEMENT, STATEMENTS = writer.USAGE, writer.STATEMENT, writer.STATEMENTS
# Which of the files of a month with many statements.
CLOSED, DRAFT = 'closed', 'draft'


class Unit(NamedTuple):
    """A file to be written.

    :ivar subject: USAGE of a scope, a STATEMENT of an account, or all STATEMENTS of a month.
    :ivar subject_id: the scope, the account, or CLOSED or DRAFT.
    :ivar month: such as 2026-10.
    :ivar version: of the writer.
    """

    name: str
    writer: str
    subject: str
    subject_id: str
    month: str
    version: str

    @property
    def is_transient(self) -> bool:
        """Whether it is no closed statement, so that it may be removed one day."""
        return self.subject == USAGE or (self.subject, self.subject_id) == (STATEMENTS, DRAFT)


class Extent(NamedTuple):
    """The body of a file that periods can be appended to.

    :ivar until: where the next period begins, aware UTC.
    :ivar state: see writer.Body.
    """

    until: datetime
    size: int
    digest: str
    state: Mapping[str, Any]


class File(NamedTuple):
    """A file that was written, or could not be.

    :ivar source: digest of its input.
    :ivar body: None: nothing can be appended.
    :ivar digest: SHA-256, hexadecimal; empty: it was never written.
    :ivar failure: why it could not be written the last time; None: it could.
    """

    unit: Unit
    source: str
    body: Extent | None
    size: int
    digest: str
    written_at: datetime
    failure: str | None


def get(database: db.Database, name: str) -> File | None:
    """Return the record of a file; None: there is none."""
    with database.reader() as connection:
        row = connection.execute(sa.select(TABLE).where(TABLE.c.name == name)).first()
    return None if row is None else _file(row)


def of_month(database: db.Database, month: str) -> list[File]:
    """Return the files of a month, by their names."""
    with database.reader() as connection:
        rows = connection.execute(
            sa.select(TABLE).where(TABLE.c.month == month).order_by(TABLE.c.name)
        )
        return [_file(row) for row in rows]


def before(database: db.Database, month: str) -> list[File]:
    """Return the files of earlier months, by their names."""
    with database.reader() as connection:
        rows = connection.execute(
            sa.select(TABLE).where(TABLE.c.month < month).order_by(TABLE.c.name)
        )
        return [_file(row) for row in rows]


def put(database: db.Database, file: File) -> None:
    """Store the record of a file."""
    body = file.body
    values = {
        **file.unit._asdict(),
        'source': file.source,
        'until': None if body is None else timeframe.to_naive(body.until),
        'body_size': None if body is None else body.size,
        'body_digest': None if body is None else body.digest,
        'body_state': None if body is None else json.dumps(body.state),
        'size': file.size,
        'digest': file.digest,
        'written_at': timeframe.to_naive(file.written_at),
        'failure': file.failure,
    }
    database.write(lambda connection: upsert.put(connection, TABLE, values, values))


def delete(database: db.Database, name: str) -> None:
    """Delete the record of a file."""
    database.write(
        lambda connection: connection.execute(sa.delete(TABLE).where(TABLE.c.name == name))
    )


def _file(row: tables.Row) -> File:
    body = None
    if row.until is not None:
        body = Extent(
            timeframe.from_naive(row.until),
            row.body_size,
            row.body_digest,
            json.loads(row.body_state),
        )
    return File(
        Unit(*(row._mapping[name] for name in Unit._fields)),
        row.source,
        body,
        row.size,
        row.digest,
        timeframe.from_naive(row.written_at),
        row.failure,
    )
