"""The steps that change rows; they run between those that change tables."""

import abc
import hashlib
import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db.adoption import alter, former, journal, zone
from cloudkitty.db.adoption.options import Options, Tell

_TASKS = former.TASKS
_SCRIPTS = former.SCRIPTS
# Batch size for the checksums of scripts, each of which may have many MiB.
_CHUNK = 100


class RowStep(abc.ABC):
    """A step that changes rows, in a transaction of its own.

    :cvar title: what it does, for the operator; also its name in the journal.
    """

    title = ''

    def __init__(self, options: Options):
        self.options = options

    @abc.abstractmethod
    def is_done(self, connection: sa.Connection) -> bool:
        """Return whether nothing is left to do."""

    def is_expected(self, connection: sa.Connection) -> bool:
        """Return whether something is left to do once the steps before are done."""
        return not self.is_done(connection)

    def explain(self, connection: sa.Connection, tell: Tell) -> None:
        """Report each decision, before any table or row is changed."""

    @abc.abstractmethod
    def run(self, connection: sa.Connection) -> None:
        """Change the rows."""


class LocalTimes(RowStep):
    """Convert local times of the former host to UTC."""

    title = 'turn local times of rules and scripts into UTC'

    def is_done(self, connection):
        # Recorded even if there is nothing to change, because later steps add times in UTC.
        return zone.is_utc(self.options.zone) or journal.is_over(connection, self.title)

    def explain(self, connection, tell):
        if self.is_done(connection):
            return
        for table in _local_tables(connection):
            for column, known in self._spans(connection, table):
                self._tell_ambiguous(connection, tell, column, known)

    def _tell_ambiguous(self, connection, tell, column, known):
        twice = [sa.and_(column >= begin, column < end) for begin, end in zone.ambiguous(known)]
        if not twice:
            return
        for local in connection.scalars(
            sa.select(column).where(sa.or_(*twice)).distinct().order_by(column)
        ):
            tell(
                f'{column.table.name}.{column.name}: {local} is ambiguous in '
                f'{self.options.zone.key}, where clocks were set back; the earlier is taken, '
                f'{zone.utc_of(self.options.zone, local)} UTC'
            )

    def _spans(self, connection, table):
        """Yield each column of *table* that has times, with their UTC offsets."""
        columns = [column for column in table.c if column.name != 'id']
        ends = [end(column) for column in columns for end in (sa.func.min, sa.func.max)]
        found = connection.execute(sa.select(*ends)).one()
        for column, first, last in zip(columns, found[::2], found[1::2], strict=True):
            if first is not None:
                yield column, zone.spans(self.options.zone, first, last)

    def run(self, connection):
        for table in _local_tables(connection):
            changed = {}
            for column, known in self._spans(connection, table):
                changed[column.name] = zone.to_utc(connection, column, known)
                journal.record_query(
                    connection, table, column.name, changed[column.name], column.is_not(None)
                )
            if changed:
                connection.execute(sa.update(table).values(changed))
        journal.finish(connection, self.title, self.options.zone.key)


def _local_tables(connection):
    """Yield the tables with local times: their keys, and those of these columns that exist."""
    inspector = sa.inspect(connection)
    for name, columns in former.LOCAL_TIMES.items():
        present = {column['name'] for column in inspector.get_columns(name)}
        times = [sa.column(column, sa.DateTime()) for column in columns if column in present]
        if times:
            yield sa.table(name, sa.column('id'), *times)


class Fill(RowStep):
    """Fill columns that older releases did not have."""

    def __init__(self, options: Options, table: sa.Table):
        super().__init__(options)
        self.table = table
        self.columns = former.FILLED[table.name]
        self.title = f'complete rows of {table.name}'

    def is_done(self, connection):
        present = {column['name'] for column in sa.inspect(connection).get_columns(self.table.name)}
        return all(
            name in present and not alter.has_nulls(connection, self.table.name, name)
            for name in self.columns
        )

    def explain(self, connection, tell):
        if self.is_done(connection):
            return
        values = ', '.join(f'{name} = {self._told(value)}' for name, value in self.columns.items())
        tell(f'{self.table.name}: columns that the old release lacks get {values}')

    def _told(self, value):
        if value is former.NOW:
            return 'now'
        return f'hexadecimal digits of {value[1:-1]}' if _is_column(value) else value

    def run(self, connection):
        values = {
            name: sa.func.coalesce(self.table.c[name], self._value(value))
            for name, value in self.columns.items()
        }
        missing = sa.or_(*(self.table.c[name].is_(None) for name in values))
        connection.execute(sa.update(self.table).where(missing).values(values))

    def _value(self, value):
        if value is former.NOW:
            return self.options.now
        return sa.func.replace(self.table.c[value[1:-1]], '-', '') if _is_column(value) else value


def filling(value: Any, row: Mapping[str, Any], now: datetime) -> object:
    """Return what *value* of former.FILLED stands for in *row*."""
    if value is former.NOW:
        return now
    return row[value[1:-1]].replace('-', '') if _is_column(value) else value


def _is_column(value):
    return isinstance(value, str) and value.startswith('{')


class Checksums(RowStep):
    """Compute missing checksums of scripts."""

    title = 'give scripts their checksum'

    def is_done(self, connection):
        return not alter.has_nulls(connection, _SCRIPTS.name, 'checksum')

    def run(self, connection):
        missing = sa.select(_SCRIPTS.c.id, _SCRIPTS.c.data).where(_SCRIPTS.c.checksum.is_(None))
        while found := connection.execute(missing.limit(_CHUNK)).all():
            changes = []
            for key, data in found:
                checksum = hashlib.sha512(source_of(key, data)).hexdigest()
                changes.append({'row_id': key, 'before': None, 'after': checksum})
                connection.execute(
                    sa.update(_SCRIPTS).where(_SCRIPTS.c.id == key).values(checksum=checksum)
                )
            journal.record(connection, _SCRIPTS.name, 'checksum', changes)


def source_of(key: int, data: bytes) -> bytes:
    """Return the source of the script in row *key*.

    :raises SchemaMismatch: it cannot be read.
    """
    try:
        return zlib.decompress(bytes(data))
    except zlib.error as exc:
        raise errors.SchemaMismatch(
            reason=f'pyscripts_scripts: the source of row {key} cannot be read: {exc}'
        ) from exc


class TaskEnds(RowStep):
    """Convert inclusive ends of unfinished tasks to half-open ones."""

    title = 'let unfinished reprocessing tasks end after their last period'

    def is_done(self, connection):
        return journal.is_over(connection, self.title) or not self._unfinished(connection)

    def explain(self, connection, tell):
        if journal.is_over(connection, self.title):
            return
        for row in self._unfinished(connection):
            tell(
                f'{_TASKS.name}: task {row.id} of scope {row.identifier} is unfinished; its last '
                f'period begins at {row.end}, so its end becomes {row.end + self._period}'
            )

    @property
    def _period(self):
        return timedelta(seconds=self.options.period_s)

    def _unfinished(self, connection):
        if not sa.inspect(connection).has_table(_TASKS.name):
            return []
        current, end = _TASKS.c.current_reprocess_time, _TASKS.c.end_reprocess_time
        return connection.execute(
            sa.select(_TASKS.c.id, _TASKS.c.identifier, end.label('end'))
            .where(sa.or_(current.is_(None), current < end))
            .order_by(_TASKS.c.id)
        ).all()

    def run(self, connection):
        changes = []
        for row in self._unfinished(connection):
            after = row.end + self._period
            changes.append({'row_id': row.id, 'before': str(row.end), 'after': str(after)})
            connection.execute(
                sa.update(_TASKS).where(_TASKS.c.id == row.id).values(end_reprocess_time=after)
            )
        journal.record(connection, _TASKS.name, 'end_reprocess_time', changes)
        journal.finish(connection, self.title, str(self.options.period_s))
