"""Index of the usage in files, so that a file is read once and not for each query."""

import functools
import itertools
import logging
import sqlite3
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import orjson

from cloudkitty import errors
from cloudkitty.clients import files
from cloudkitty.core import bounds, decimals, timeframe

LOG = logging.getLogger(__name__)

TIMES = ('begin', 'end', 'timestamp')
NEEDED = ('metric', 'quantity')
# Most bad lines; a file with more is probably something else.
BAD_LINES_MAX = 1000
# Most digits after the point: sums are exact and must fit into memory.
FRACTION_DIGITS_MAX = 100
ROWS_AT_ONCE = 10_000
CACHE_SIZE_KIB = 16 * 1024
# Most paths in a log line.
NAMES_MAX = 3
MICROSECOND = timedelta(microseconds=1)


class Usage(NamedTuple):
    """A line of a file.

    :ivar begin, end: microseconds since the epoch; equal for an instant.
    :ivar attributes: JSON object of the other columns.
    """

    metric: str
    scope_id: str
    begin: int
    end: int
    quantity: str
    attributes: bytes
    line: int


class _Bad(NamedTuple):
    """A line that cannot be used; *begin* is None if not even its time is known."""

    path: str
    line: int
    begin: int | None
    reason: str


class _Table(NamedTuple):
    """An indexed file; *begin* and *end* are None if it is empty."""

    version: files.Version
    name: str
    begin: int | None
    end: int | None
    bad: list[_Bad]


class UsageIndex:
    """Index of the usage in *patterns*. Thread-safe, but not shared by processes.

    The index is a temporary SQLite database, which is deleted when the process ends. A file whose
    size or time changes is indexed again.

    :param patterns: see files.find().
    :param scope_key: column that names the scope.
    """

    def __init__(self, patterns: Sequence[str], scope_key: str):
        self._patterns = patterns
        self._scope_key = scope_key
        self._lock = threading.Lock()
        self._tables: dict[str, _Table] = {}
        self._numbers = itertools.count()
        # Opened on the first query, never before a fork.
        self._store: sqlite3.Connection | None = None

    def find(
        self, metric: str, scope_ids: Sequence[str], begin: datetime, end: datetime
    ) -> list[tuple[str, Usage]]:
        """Return (path, usage) of the usage that begins in [begin, end), by file and line.

        :raises BadLines: a line of this time cannot be used.
        :raises SourceError: the files cannot be read, or there is a bad line whose time is unknown.
        """
        begin_us, end_us = to_us(begin), to_us(end)
        LOG.debug(
            'Lines of metric %s that begin in [%s, %s) in %s',
            metric,
            begin,
            end,
            ', '.join(self._patterns),
        )
        with self._lock:
            self._synchronise()
            self._check(begin_us, end_us)
            return [
                (table.version.path, usage)
                for table in self._tables.values()
                if table.begin is not None
                and table.end is not None
                and table.begin < end_us
                and begin_us <= table.end
                for usage in self._rows(table, metric, scope_ids, begin_us, end_us)
            ]

    def begins(self, metric: str, begin: datetime, end: datetime, *, is_span: bool) -> list[float]:
        """Return when lines of *metric*, of any scope, begin in [begin, end); unix times.

        :param is_span: only lines that have a begin and an end; else instants, too.
        :raises SourceError: the files cannot be read.
        """
        kind = 'AND end > begin' if is_span else ''
        return [
            number / 1_000_000
            for (number,) in self._select(
                f'SELECT DISTINCT begin FROM {{}} WHERE metric = ? {kind} AND begin >= ? '
                'AND begin < ?',
                metric,
                begin,
                end,
            )
        ]

    def resources(self, metric: str, begin: datetime, end: datetime) -> set[tuple[str, str]]:
        """Return (scope id, attributes) of lines of *metric* that begin in [begin, end).

        :raises SourceError: the files cannot be read.
        """
        return {
            (scope_id, attributes.decode())
            for scope_id, attributes in self._select(
                'SELECT DISTINCT scope_id, attributes FROM {} WHERE metric = ? AND begin >= ? '
                'AND begin < ?',
                metric,
                begin,
                end,
            )
        }

    def _select(self, statement, metric, begin, end):
        values = (metric, to_us(begin), to_us(end))
        with self._lock:
            self._synchronise()
            return [
                row
                for table in self._tables.values()
                for row in self._store.execute(statement.format(table.name), values)
            ]

    def newest(self) -> datetime | None:
        """Return the latest end of any usage, aware UTC; None: there is none.

        :raises SourceError: the files cannot be read.
        """
        with self._lock:
            self._synchronise()
            ends = [table.end for table in self._tables.values() if table.end is not None]
        return timeframe.EPOCH + max(ends) * MICROSECOND if ends else None

    def _rows(self, table, metric, scope_ids, begin_us, end_us):
        for scope_id in scope_ids:
            yield from map(
                Usage._make,
                self._store.execute(
                    f'SELECT * FROM {table.name} WHERE metric = ? AND scope_id = ? AND begin >= ? '
                    'AND begin < ? ORDER BY line',
                    (metric, scope_id, begin_us, end_us),
                ),
            )

    def _check(self, begin_us, end_us):
        bad = [one for table in self._tables.values() for one in table.bad]
        unplaced = [one for one in bad if one.begin is None]
        if unplaced:
            raise errors.SourceError(reason=_tell(unplaced))
        placed = [one for one in bad if begin_us <= one.begin < end_us]
        if placed:
            raise errors.BadLines(reason=_tell(placed))

    def _synchronise(self):
        """Update the index to the current files."""
        if self._store is None:
            self._store = _open()
        try:
            versions = {version.path: version for version in files.find(self._patterns)}
            for path in [
                path for path, table in self._tables.items() if versions.get(path) != table.version
            ]:
                self._drop(self._tables.pop(path).name)
            new = [path for path in versions if path not in self._tables]
            for path in new:
                self._tables[path] = self._load(versions[path])
        except sqlite3.Error as exc:
            raise errors.SourceError(reason=f'the index of the usage files: {exc}') from exc
        if new:
            LOG.info(
                '%s of %s files with usage are read (%.200s)',
                len(new),
                len(versions),
                ', '.join(new[:NAMES_MAX]),
            )

    def _load(self, version):
        name = f'usage_{next(self._numbers)}'
        self._store.execute(
            f'CREATE TABLE {name} (metric TEXT, scope_id TEXT, begin INTEGER, end INTEGER, '
            'quantity TEXT, attributes BLOB, line INTEGER)'
        )
        bad: list[_Bad] = []
        try:
            self._store.execute('BEGIN')
            rows = self._parsed(version, bad)
            while chunk := list(itertools.islice(rows, ROWS_AT_ONCE)):
                self._store.executemany(f'INSERT INTO {name} VALUES (?, ?, ?, ?, ?, ?, ?)', chunk)
            self._store.execute(f'CREATE INDEX {name}_place ON {name} (metric, scope_id, begin)')
        except BaseException:
            self._drop(name)
            raise
        finally:
            self._store.execute('COMMIT')
        begin, end = self._store.execute(f'SELECT min(begin), max(end) FROM {name}').fetchone()
        return _Table(version, name, begin, end, bad)

    def _parsed(self, version, bad):
        for record in files.read(version):
            try:
                if record.problem:
                    raise errors.InvalidInput(reason=record.problem)
                yield parse(record, self._scope_key)
            except errors.InvalidInput as exc:
                bad.append(_Bad(version.path, record.line, _begin_of(record.fields), str(exc)))
                if len(bad) > BAD_LINES_MAX:
                    raise errors.SourceError(reason=_tell(bad)) from exc

    def _drop(self, name):
        self._store.execute(f'DROP TABLE {name}')


def parse(record: files.Record, scope_key: str) -> Usage:
    """Return the usage in a record.

    :raises InvalidInput: something is missing or wrong.
    """
    fields = record.fields
    for name in (*NEEDED, scope_key):
        if not fields.get(name):
            raise errors.InvalidInput(reason=f'{name} is missing')
    begin, end = _times(fields)
    attributes = {
        name: value
        for name, value in fields.items()
        if name not in TIMES and name not in NEEDED and name != scope_key
    }
    return Usage(
        fields['metric'],
        fields[scope_key],
        begin,
        end,
        _quantity(fields['quantity']),
        orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS),
        record.line,
    )


def to_us(instant: datetime) -> int:
    """Return *instant*, aware, as microseconds since the epoch."""
    return (instant - timeframe.EPOCH) // MICROSECOND


@functools.lru_cache(4096)
def _instant(name, text):
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return to_us(found)
    except (ValueError, OverflowError) as exc:
        raise errors.InvalidInput(reason=f'{name} {text!r} is not an ISO 8601 time') from exc
    raise errors.InvalidInput(
        reason=f'{name} {text!r} has no zone; allowed: a time with Z or an offset'
    )


def _times(fields):
    """Return begin and end."""
    given = {name: _instant(name, fields[name]) for name in TIMES if fields.get(name)}
    if given.keys() == {'timestamp'}:
        return given['timestamp'], given['timestamp']
    if given.keys() != {'begin', 'end'}:
        raise errors.InvalidInput(reason='there must be either begin and end, or timestamp')
    if given['begin'] >= given['end']:
        raise errors.InvalidInput(reason='end must be after begin')
    return given['begin'], given['end']


def _begin_of(fields: Mapping[str, str]):
    try:
        return _times(fields)[0]
    except errors.InvalidInput:
        return None


def _quantity(text):
    number = bounds.to_decimal(text)
    if (
        number.adjusted() >= decimals.INTEGER_DIGITS_MAX
        or number.as_tuple().exponent < -FRACTION_DIGITS_MAX
    ):
        raise errors.InvalidInput(
            reason=f'quantity {text[:50]!r} has more than {decimals.INTEGER_DIGITS_MAX} digits '
            f'before the point or {FRACTION_DIGITS_MAX} behind it'
        )
    return str(Decimal(number))


def _tell(bad):
    more = f' (and {len(bad) - 1} more bad lines)' if len(bad) > 1 else ''
    return f'{bad[0].path}:{bad[0].line}: {bad[0].reason}{more}'


def _open():
    # An empty name creates a private temporary file, which is deleted when it is closed.
    store = sqlite3.connect('', check_same_thread=False, isolation_level=None)
    for setting in ('journal_mode = OFF', 'synchronous = OFF', f'cache_size = -{CACHE_SIZE_KIB}'):
        store.execute(f'PRAGMA {setting}')
    return store
