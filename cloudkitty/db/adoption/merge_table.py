"""Merge of one former table, row by row.

A row is updated from the former database until it is changed here for the first time. To detect
that, the journal has the key and a digest of each row as it was copied.
"""

import itertools
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.db import tables
from cloudkitty.db.adoption import convert, journal, scope_rows, shape

# The columns that identify a row in both databases. Tasks have nothing but their id.
KEYS = {
    tables.modules.name: ('name',),
    tables.hashmap_services.name: ('service_id',),
    tables.hashmap_fields.name: ('field_id',),
    tables.hashmap_groups.name: ('group_id',),
    tables.hashmap_mappings.name: ('mapping_id',),
    tables.hashmap_thresholds.name: ('threshold_id',),
    tables.pyscripts_scripts.name: ('script_id',),
    tables.collector_mappings.name: ('service',),
    tables.scopes.name: ('identifier', *scope_rows.PARTS),
}
# Name of copied rows in the journal.
COPIED = 'copied'


class Row(NamedTuple):
    """A row in our database: its present state, or that when it was copied.

    :ivar own: its primary key here.
    :ivar digest: of the columns that are copied.
    """

    own: int | str
    digest: str


class TableMerge:
    """The changes of one table.

    :ivar ids: our id of each former row that is here, by its former id.
    :ivar inserted: new rows.
    :ivar updated: pairs of a primary key here and new values.
    :ivar kept: keys of rows that were changed in both databases.
    :ivar deleted_here: keys of rows that were deleted here, and are not copied again.
    :ivar orphans: keys of new rows whose parent was deleted here.
    :ivar rated_here: number of scopes whose mark was moved here.
    """

    def __init__(
        self,
        connection: sa.Connection,
        table: sa.Table,
        conversion: convert.Conversion,
        *,
        is_empty: bool,
    ):
        self.table = table
        (self.primary,) = table.primary_key
        self._connection = connection
        self._is_scopes = table is tables.scopes
        copied = conversion.read_columns(table)
        # Marks move in both databases, so they are compared separately.
        self._columns = [name for name in copied if name not in ('id', convert.MARK)]
        self.ids: dict[int, int | str] = {}
        self.inserted: list[dict[str, Any]] = []
        self.updated: list[tuple[int | str, dict[str, Any]]] = []
        self.kept: list[str] = []
        self.deleted_here: list[str] = []
        self.orphans: list[str] = []
        self.rated_here = 0
        self._noted: dict[str, Row] = {}
        self._seen: set[str] = set()
        self._known = {} if is_empty else self._read_known()
        self._marks: dict[int | str, datetime] = {}
        self._here = {} if is_empty else self._read_here()
        self._noted_marks = self._read_marks() if self._is_scopes and not is_empty else {}
        self._taken = {row.own for row in self._here.values()}
        self._free_ids = itertools.count(
            max((own for own in self._taken if isinstance(own, int)), default=0) + 1
        )

    @property
    def is_first(self) -> bool:
        """Whether nothing was copied before."""
        return not self._known

    @property
    def has_changes(self) -> bool:
        """Whether a row is new, changed or deleted."""
        return bool(self.inserted or self.updated or self.gone)

    @property
    def gone(self) -> dict[str, int | str]:
        """Our primary keys, by key, of rows that were deleted there and are unchanged here."""
        return {
            key: row.own
            for key, row in self._known.items()
            if key not in self._seen and self._here.get(key) == row
        }

    def key(self, row: Mapping[str, Any]) -> str:
        """Return what identifies a former row."""
        return json.dumps([row[name] for name in KEYS.get(self.table.name, ('id',))])

    def _read_known(self):
        noted = journal.keys(self._connection, self.table.name, COPIED)
        return {
            key: Row(json.loads(key)[0] if own is None else own, made)
            for key, (own, made) in noted.items()
        }

    def _read_here(self):
        """Return the rows that are here by key; those without a common key by one of their own."""
        keys = {row.own: key for key, row in self._known.items()}
        found = {}
        for row in self._connection.execute(sa.select(self.table)).mappings():
            own = row[self.primary.name]
            is_keyed = self.table.name in KEYS
            key = self.key(row) if is_keyed else keys.get(own, f'made here: {own}')
            found[key] = Row(own, convert.digest(row, self._columns))
            if self._is_scopes:
                self._marks[own] = row[convert.MARK]
        return found

    def _read_marks(self):
        noted = journal.changes(self._connection, self.table.name, scope_rows.MARK, None)
        return {own: datetime.fromisoformat(str(one.before)) for own, one in noted.items()}

    def take(self, former_id: int | None, key: str, row: dict[str, Any] | None) -> None:
        """Decide what to do with a former row.

        :param row: None if its parent was deleted here.
        """
        self._seen.add(key)
        here, before = self._here.get(key), self._known.get(key)
        if row is None or here is None:
            self._take_missing(former_id, key, row, before)
            return
        self.ids[former_id or 0] = here.own
        made = convert.digest(row, self._columns)
        if here == before:
            self._noted[key] = Row(here.own, made)
            self._update(here, made, row)
        elif before is not None and made not in (before.digest, here.digest):
            self.kept.append(key)

    def _take_missing(self, former_id, key, row, before):
        if row is None:
            self.orphans.append(key)
        elif before is not None:
            self.deleted_here.append(key)
        else:
            self._insert(former_id, key, row)

    def _insert(self, former_id, key, row):
        if former_id is not None:
            own = former_id
            while own in self._taken:
                own = next(self._free_ids)
            self._taken.add(own)
            self.ids[former_id] = own
            row = row | {'id': own}
        self.inserted.append({name: row[name] for name in row if name in self.table.c})
        self._noted[key] = Row(row[self.primary.name], convert.digest(row, self._columns))

    def _update(self, here, made, row):
        values = {name: row[name] for name in self._columns} if made != here.digest else {}
        if self._is_scopes:
            mark = self._marks[here.own]
            if mark != self._noted_marks.get(here.own):
                self.rated_here += 1
            elif mark != row[convert.MARK]:
                values[convert.MARK] = row[convert.MARK]
        if values:
            self.updated.append((here.own, values))

    def write(self) -> None:
        """Write new and changed rows, and what was copied to the journal."""
        for chunk in _chunks(self.inserted):
            self._connection.execute(self.table.insert(), chunk)
        for own, values in self.updated:
            self._connection.execute(
                sa.update(self.table).where(self.primary == own).values(values)
            )
        if self.inserted and shape.is_generated(self.primary):
            self._set_sequence()
        self._note(self._noted)
        if self._is_scopes:
            self._note_marks()

    def _set_sequence(self):
        if shape.dialect_of(self._connection) == 'postgresql':
            name = sa.func.pg_get_serial_sequence(self.table.name, self.primary.name)
            self._connection.execute(
                sa.select(sa.func.setval(name, sa.func.max(self.primary))).select_from(self.table)
            )

    def _note(self, noted):
        known = {
            key: (row.own if isinstance(row.own, int) else None, row.digest)
            for key, row in noted.items()
            if self._known.get(key) != row
        }
        for chunk in _chunks(list(known.items())):
            journal.record_keys(self._connection, self.table.name, COPIED, dict(chunk))

    def _note_marks(self):
        marks = {row['id']: row[convert.MARK] for row in self.inserted}
        marks |= {own: row[convert.MARK] for own, row in self.updated if convert.MARK in row}
        for chunk in _chunks(list(marks.items())):
            journal.replace(
                self._connection,
                self.table.name,
                scope_rows.MARK,
                [{'row_id': own, 'before': str(mark), 'after': str(mark)} for own, mark in chunk],
            )

    def delete(self, keys: list[str]) -> None:
        """Delete rows of `gone`."""
        for chunk in _chunks(keys):
            owned = [self._known[key].own for key in chunk]
            self._connection.execute(sa.delete(self.table).where(self.primary.in_(owned)))
            journal.forget_keys(self._connection, self.table.name, COPIED, chunk)


def _chunks(rows: list) -> Iterator[list]:
    return (rows[first : first + convert.CHUNK] for first in range(0, len(rows), convert.CHUNK))
