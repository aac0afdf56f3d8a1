"""Rows of a former database elsewhere, converted to those of our tables."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cloudkitty.db import tables
from cloudkitty.db.adoption import former, rows, scope_rows, zone
from cloudkitty.db.adoption.options import Options

# Rows per batch.
CHUNK = 1000
MARK = tables.scopes.c.last_processed_timestamp.name


class Conversion:
    """Reads a former database and decides about its rows as adoption in place does.

    :param source: a connection with a consistent snapshot.
    """

    def __init__(self, source: sa.Connection, options: Options):
        self._source = source
        self._options = options
        self._columns = _existing(source)

    def has(self, table: sa.Table) -> bool:
        """Return whether the former database has *table*."""
        return table.name in self._columns

    def read_columns(self, table: sa.Table) -> list[str]:
        """Return the columns of *table* that are read; it gets values for the others once."""
        return [column.name for column in table.columns if self._former_name(table, column)]

    def _former_name(self, table, column):
        """Return the name of a column in the former database, None if it has none."""
        present = self._columns[table.name]
        for name, old, new in former.RENAMED:
            if (name, new) == (table.name, column.name) and old in present:
                return old
        return column.name if column.name in present else None

    def rows(self, table: sa.Table) -> Iterator[dict[str, Any]]:
        """Yield the rows of *table*, all columns that are read or filled, by key.

        Times are naive UTC; rows that are the same scope as another one are left out.
        """
        read = [
            sa.column(name, column.type).label(column.name)
            for column in table.columns
            if (name := self._former_name(table, column))
        ]
        # It may ask the source, too, which is not possible while rows are streamed.
        convert = self._converter(table)
        found = self._source.execution_options(stream_results=True).execute(
            sa.select(*read)
            .select_from(sa.table(table.name))
            .order_by(*(sa.column(column.name) for column in table.primary_key))
        )
        for chunk in found.mappings().partitions(CHUNK):
            for row in chunk:
                converted = convert(self._filled(table, row))
                if converted is not None:
                    yield converted

    def _filled(self, table, row):
        """Return a row with times in UTC and a value in each column that needs one."""
        values = {name: _plain(value) for name, value in row.items()}
        for name in former.LOCAL_TIMES.get(table.name, ()):
            if values.get(name) is not None:
                values[name] = zone.utc_of(self._options.zone, values[name])
        for name, value in former.FILLED.get(table.name, {}).items():
            if values.get(name) is None:
                values[name] = rows.filling(value, values, self._options.now)
        return values

    def _converter(self, table):
        if table is tables.scopes:
            return self._scope_converter()
        if table is tables.tasks:
            return self._task
        return _script if table is tables.pyscripts_scripts else dict

    def _scope_converter(self):
        identities = scope_rows.Identities(self._options)
        doubles = identities.doubles(self._source)
        marks = {kept.id: last for kept, last, _ in doubles}
        dropped = {row.id for _, _, others in doubles for row in others}

        def convert(row):
            if row['id'] in dropped:
                return None
            row[MARK] = marks.get(row['id'], row[MARK])
            return row | {
                part: value for part, value in identities.configured.items() if row[part] is None
            }

        return convert

    def _task(self, row):
        current, end = row['current_reprocess_time'], row['end_reprocess_time']
        if current is None or current < end:
            row['end_reprocess_time'] = end + timedelta(seconds=self._options.period_s)
        return row


def _existing(source):
    inspector = sa.inspect(source)
    present = set(inspector.get_table_names())
    return {
        name: {column['name'] for column in inspector.get_columns(name)}
        for name in former.TABLES
        if name in present
    }


def _plain(value):
    return bytes(value) if isinstance(value, memoryview) else value


def _script(row):
    if row['checksum'] is None:
        row['checksum'] = hashlib.sha512(rows.source_of(row['id'], row['data'])).hexdigest()
    return row


def digest(row: Mapping[str, Any], columns: list[str]) -> str:
    """Return a digest of *columns* of *row*, the same for equal values of any server."""
    made = hashlib.sha256()
    for name in columns:
        text = _told(row[name])
        made.update(b'-' if text is None else b'%d:' % len(text) + text)
    return made.hexdigest()


def _told(value):
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b'%d' % value
    if isinstance(value, Decimal):
        return format(value, 'f').encode()
    if isinstance(value, datetime):
        return value.isoformat().encode()
    return str(value).encode()
