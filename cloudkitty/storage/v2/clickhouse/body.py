"""The tables in ClickHouse, and the statements that fill and read them.

No row is ever changed: what a key has is in its row with the highest revision that the snapshot
shows; a row without points says that there are none any more. A row may be there several times.

Source: doc/source/contributor/storage-clickhouse.rst, "Tables".
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.storage.v2.clickhouse import literals
from cloudkitty.storage.v2.clickhouse.client import Client
from cloudkitty.storage.v2.clickhouse.literals import MICROS
from cloudkitty.storage.v2.clickhouse.revisions import Snapshot, Ticket
from cloudkitty.storage.v2.series import series_ids
from cloudkitty.storage.v2.series.cells import FrameContent, FrameDigest
from cloudkitty.storage.v2.series.frame_rows import Frame

INSERT_SIZE = 1 << 24  # bytes
IDS_AT_ONCE = 50_000
# Those that say what a series is.
SERIES_COLUMNS = ('scope_key', 'identifier', 'metric', 'unit', 'groupby', 'metadata')
_TABLES = {
    'frames': (
        "scope UInt64 CODEC(Delta, ZSTD), begin DateTime64(6, 'UTC') CODEC(Delta, ZSTD), "
        'origin UInt8, revision UInt64 CODEC(Delta, ZSTD), '
        "end DateTime64(6, 'UTC') CODEC(Delta, ZSTD), "
        "until DateTime('UTC') CODEC(Delta, ZSTD), ids Array(UInt64) CODEC(Delta, ZSTD), "
        'quantities Array(Decimal(76, 38)) CODEC(ZSTD), prices Array(Decimal(76, 38)) CODEC(ZSTD), '
        # So that the revision can be forgotten later: a row that is late is refused.
        'CONSTRAINT in_time CHECK until > now()',
        # The revision is part of the key, so that a merge removes nothing but copies.
        'PARTITION BY toYYYYMM(begin) ORDER BY (scope, begin, origin, revision)',
    ),
    # The sums of a day of a scope by series.
    'days': (
        'scope UInt64 CODEC(Delta, ZSTD), day Date32 CODEC(Delta, ZSTD), '
        'revision UInt64 CODEC(Delta, ZSTD), '
        "until DateTime('UTC') CODEC(Delta, ZSTD), ids Array(UInt64) CODEC(Delta, ZSTD), "
        'quantities Array(Decimal(76, 38)) CODEC(ZSTD), '
        'prices Array(Decimal(76, 38)) CODEC(ZSTD), counts Array(UInt64) CODEC(ZSTD), '
        'CONSTRAINT in_time CHECK until > now()',
        'PARTITION BY toYYYYMM(day) ORDER BY (scope, day, revision)',
    ),
    'series': (
        'id UInt64, owner UInt64, scope_key LowCardinality(String), identifier String, '
        'metric LowCardinality(String), unit LowCardinality(String), groupby Map(String, String), '
        'metadata Map(String, String)',
        # The series of a scope are found without reading those of the others.
        'ORDER BY (owner, id)',
    ),
}


class Row(NamedTuple):
    """Key of a frame that exists.

    :ivar begin, end: aware UTC.
    :ivar points: number of its points.
    """

    scope: int
    begin: datetime
    origin: int
    end: datetime
    points: int


class Where(NamedTuple):
    """A selection of frames that begin in [begin, end), aware UTC.

    :ivar owners: numbers of scopes; None: all.
    :ivar origin: rated or pushed ones; None: both.
    :ivar chosen: another condition on scope, begin and origin.
    """

    begin: datetime
    end: datetime
    owners: Collection[int] | None = None
    origin: int | None = None
    chosen: str | None = None


class Body:
    """The tables of one shard, in one database of ClickHouse.

    :param options: section [storage_clickhouse].
    :ivar database: its name.
    """

    def __init__(self, client: Client, options: Any, database: str) -> None:
        self.client = client
        self._options = options
        self.database = database

    def create(self) -> None:
        """Make the database and the tables that are missing, on all servers."""
        self.client.execute_everywhere(f'CREATE DATABASE IF NOT EXISTS {self.database}')
        for name, (columns, order) in _TABLES.items():
            engine = 'ReplacingMergeTree'
            if self._options.replicated:
                path = f'/clickhouse/tables/{{shard}}/{self.database}/{name}'
                engine = f"Replicated{engine}('{path}', '{{replica}}')"
            self.client.execute_everywhere(
                f'CREATE TABLE IF NOT EXISTS {self.database}.{name} ({columns}) '
                f'ENGINE = {engine} {order}'
            )

    # Writing.

    def insert(self, frames: Iterable[tuple[Frame, Ticket]]) -> None:
        """Write frames with their tickets; they do not exist before these are closed.

        :raises InvalidInput: a period begins when ClickHouse has no times.
        """
        for data in _pieces(_frame_line(*one) for one in frames):
            self._insert('frames', 'TabSeparated', data)

    def insert_removal(self, ticket: Ticket, where: Where) -> None:
        """Write that the frames of *where* that the ticket's snapshot shows are gone."""
        visible = self.visible(ticket.snapshot, where, 'end, empty(ids) AS is_gone')
        self.client.execute(
            f'INSERT INTO {self.database}.frames '
            f'SELECT scope, begin, origin, {ticket.revision}, end, {_unix(ticket.until)}, '
            f'[], [], [] FROM ({visible}) WHERE NOT is_gone',
            **self._insert_settings(),
        )

    def insert_days(
        self, ticket: Ticket, where: Where, days: Collection[tuple[int, date]] = ()
    ) -> None:
        """Write the sums by day of the frames of *where* that the ticket's snapshot shows.

        :param days: days of scopes for which sums are written even if they have no points.
        """
        sources = [
            'SELECT scope, toDate32(begin) AS day, id, qty, price, 1 AS count '
            f'FROM ({self.visible(ticket.snapshot, where, "ids, quantities, prices")}) '
            'ARRAY JOIN ids AS id, quantities AS qty, prices AS price'
        ]
        if days:
            pairs = ', '.join(f'({scope}, {literals.day(one)})' for scope, one in days)
            sources.append(
                'SELECT pair.1, pair.2, 0, toDecimal256(0, 38), toDecimal256(0, 38), 0 '
                f'FROM (SELECT arrayJoin([{pairs}]) AS pair)'
            )
        self.client.execute(
            f'INSERT INTO {self.database}.days SELECT scope, day, {ticket.revision}, '
            f'{_unix(ticket.until)}, groupArray(id), groupArray(q), groupArray(p), groupArray(n) '
            'FROM (SELECT scope, day, id, sum(qty) AS q, sum(price) AS p, sum(count) AS n '
            f'FROM ({" UNION ALL ".join(sources)}) GROUP BY scope, day, id) GROUP BY scope, day',
            **self._insert_settings(),
        )

    def first_day(self, snapshot: Snapshot, begin: datetime = literals.EARLIEST) -> date | None:
        """Return the day of the first frame that begins then or later; None: there is none."""
        visible = self.visible(snapshot, Where(begin, literals.LATEST), 'ids')
        rows = self.client.rows(
            f'SELECT {MICROS}(min(begin)) FROM ({visible}) WHERE notEmpty(ids) HAVING count() > 0'
        )
        return literals.from_micros(rows[0][0]).date() if rows else None

    def insert_series(
        self,
        entries: Mapping[int, series_ids.Entry],
        scope_key: str,
        identifiers: Mapping[int, str],
    ) -> None:
        """Write those of the series, by id, that are missing.

        :param identifiers: ids of the scopes that their points name, by number.
        """
        known = self._known_series(entries)
        lines = (
            _series_line(number, entry, scope_key, identifiers[entry.scope])
            for number, entry in entries.items()
            if number not in known
        )
        for data in _pieces(lines):
            self._insert('series', 'JSONEachRow', data)

    def _known_series(self, entries: Mapping[int, series_ids.Entry]) -> set[int]:
        """Return which of the series, by id, are there."""
        found: set[int] = set()
        ids = sorted(entries)
        for start in range(0, len(ids), IDS_AT_ONCE):
            part = ids[start : start + IDS_AT_ONCE]
            owners = literals.is_in('owner', {entries[number].owner for number in part})
            rows = self.client.rows(
                f'SELECT DISTINCT id FROM {self.series} WHERE {owners} '
                f'AND {literals.is_in("id", part)}'
            )
            found.update(row[0] for row in rows)
        return found

    def _insert(self, table: str, form: str, data: bytes) -> None:
        statement = f'INSERT INTO {self.database}.{table} FORMAT {form}'
        self.client.execute(statement, data, **self._insert_settings())

    def _insert_settings(self) -> dict[str, Any]:
        quorum = self._options.insert_quorum if self._options.replicated else 0
        # A batch may have periods of any number of months.
        return {'max_partitions_per_insert_block': 0, 'insert_quorum': quorum}

    def remove_revisions(self, revisions: Collection[int]) -> None:
        """Remove the rows of revisions, and wait until they are gone."""
        chosen = literals.is_in('revision', revisions)
        for table in ('frames', 'days'):
            self.client.execute(
                f'ALTER TABLE {self.database}.{table} DELETE WHERE {chosen}', mutations_sync=2
            )

    def remove_months(self, month: date) -> None:
        """Remove all frames of the months before *month*."""
        rows = self.client.rows(
            'SELECT DISTINCT table, partition_id FROM system.parts WHERE active '
            "AND table IN ('frames', 'days') "
            f'AND database = {literals.text(self.database)} '
            f'AND partition_id < {literals.text(month.strftime("%Y%m"))}'
        )
        for table, partition in rows:
            self.client.execute(
                f'ALTER TABLE {self.database}.{table} DROP PARTITION ID {literals.text(partition)}'
            )

    # Reading.

    @property
    def series(self) -> str:
        """The name of the table of series; a series may be there several times."""
        return self.name_of('series')

    def name_of(self, table: str) -> str:
        """Return the name of a table, with that of the database."""
        return f'{self.database}.{table}'

    def visible(self, snapshot: Snapshot, where: Where, columns: str) -> str:
        """Return the query for the frames that *snapshot* shows; every read is made of it.

        Those without points are among them.

        :param columns: beside scope, begin and origin.
        """
        conditions = [*_chosen(where), *_shown(snapshot)]
        # In the order of the key: no sorting, and of copies only one is read.
        return (
            f'SELECT scope, begin, origin, {columns} FROM {self.database}.frames '
            f'WHERE {" AND ".join(conditions)} '
            'ORDER BY scope DESC, begin DESC, origin DESC, revision DESC '
            'LIMIT 1 BY scope, begin, origin'
        )

    def visible_days(
        self,
        snapshot: Snapshot,
        days: tuple[date, date],
        owners: Collection[int] | None,
        chosen: str,
    ) -> str:
        """Return the query for the sums of days, [first, end), that *snapshot* shows.

        :param chosen: another condition on scope and day.
        """
        conditions = [
            f'day >= {literals.day(days[0])}',
            f'day < {literals.day(days[1])}',
            *_shown(snapshot),
            f'({chosen})',
        ]
        if owners is not None:
            conditions.append(literals.is_in('scope', owners))
        return (
            f'SELECT scope, day, ids, quantities, prices, counts FROM {self.database}.days '
            f'WHERE {" AND ".join(conditions)} ORDER BY scope DESC, day DESC, revision DESC '
            'LIMIT 1 BY scope, day'
        )

    def days_of(self, snapshot: Snapshot, where: Where) -> list[tuple[int, date]]:
        """Return the scopes and days of frames."""
        rows = self.client.rows(
            'SELECT DISTINCT scope, toInt32(toDate32(begin)) '
            f'FROM ({self.visible(snapshot, where, "ids")}) WHERE notEmpty(ids)'
        )
        return [(scope, literals.from_day_number(day)) for scope, day in rows]

    def keys(
        self, snapshot: Snapshot, where: Where, ending_after: datetime = literals.EARLIEST
    ) -> list[Row]:
        """Return the keys of the frames that exist, in the order of pages."""
        end = literals.instant(ending_after)
        visible = self.visible(snapshot, where, 'end, length(ids) AS points')
        return [
            Row(scope, literals.from_micros(begin), origin, literals.from_micros(until), points)
            for scope, begin, origin, until, points in self.client.rows(
                f'SELECT scope, {MICROS}(begin), origin, {MICROS}(end), '
                f'points FROM ({visible}) WHERE points > 0 AND end > {end} '
                'ORDER BY begin, scope, origin'
            )
        ]

    def count(self, snapshot: Snapshot, where: Where) -> int:
        """Return how many frames have points."""
        visible = self.visible(snapshot, where, 'notEmpty(ids) AS is_there')
        count: int = self.client.rows(f'SELECT countIf(is_there) FROM ({visible})')[0][0]
        return count

    def points(self, snapshot: Snapshot, where: Where, chosen: str = '1') -> Iterator[FrameContent]:
        """Yield frames that have points, in the order of pages.

        :param chosen: a condition on scope, begin and origin.
        """
        visible = self.visible(snapshot, where, 'end, ids, quantities, prices')
        for scope, begin, origin, end, ids, quantities, prices in self.client.rows(
            f'SELECT scope, {MICROS}(begin), origin, {MICROS}(end), ids, quantities, prices '
            f'FROM ({visible}) WHERE {chosen} AND notEmpty(ids) ORDER BY begin, scope, origin'
        ):
            yield FrameContent(
                scope,
                literals.from_micros(begin),
                origin,
                literals.from_micros(end),
                (ids, list(map(Decimal, quantities)), list(map(Decimal, prices))),
            )

    def key_of_row(self, where: Where, number: int) -> tuple[int, datetime, int] | None:
        """Return the key of a row, counted from 1 in the order of keys; None: there are fewer.

        Rows that do not exist count, too: no snapshot is needed to read lists of a bounded length.
        """
        rows = self.client.rows(
            f'SELECT scope, {MICROS}(begin), origin FROM {self.database}.frames '
            f'WHERE {" AND ".join(_chosen(where))} '
            f'ORDER BY scope, begin, origin, revision LIMIT 1 OFFSET {number - 1}'
        )
        return (rows[0][0], literals.from_micros(rows[0][1]), rows[0][2]) if rows else None

    def digests(self, snapshot: Snapshot, where: Where) -> Iterator[FrameDigest]:
        """Yield the SHA-256 of the points of frames, in the order of pages."""
        visible = self.visible(snapshot, where, 'end, ids, quantities, prices')
        content = ', '.join(f'toString({name})' for name in ('ids', 'quantities', 'prices'))
        for begin, end, origin, digest in self.client.rows(
            f'SELECT {MICROS}(begin), {MICROS}(end), origin, hex(SHA256(concat({content}))) '
            f'FROM ({visible}) WHERE notEmpty(ids) ORDER BY begin, scope, origin'
        ):
            yield FrameDigest(
                literals.from_micros(begin),
                literals.from_micros(end),
                origin,
                bytes.fromhex(digest),
            )

    def series_of(self, snapshot: Snapshot, where: Where) -> list[tuple[datetime, Sequence[int]]]:
        """Return the begins, naive UTC, and the ids of the series of frames."""
        visible = self.visible(snapshot, where, 'ids')
        rows = self.client.rows(f'SELECT {MICROS}(begin), ids FROM ({visible})')
        return [(timeframe.to_naive(literals.from_micros(begin)), ids) for begin, ids in rows]


def _chosen(where: Where) -> Iterator[str]:
    """Yield the conditions for rows of *where*."""
    yield f'begin >= {literals.instant(where.begin)}'
    yield f'begin < {literals.instant(where.end)}'
    if where.owners is not None:
        yield literals.is_in('scope', where.owners)
    if where.origin is not None:
        yield f'origin = {int(where.origin)}'
    if where.chosen is not None:
        yield f'({where.chosen})'


def _shown(snapshot: Snapshot) -> Iterator[str]:
    """Yield the conditions for rows that *snapshot* shows."""
    yield f'revision <= {snapshot.last}'
    if snapshot.open:
        yield f'NOT ({literals.is_in("revision", snapshot.open)})'


def _pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield *lines* joined to pieces of a bounded size."""
    part: list[str] = []
    size = 0
    for line in lines:
        part.append(line)
        size += len(line)
        if size >= INSERT_SIZE:
            yield '\n'.join(part).encode()
            part, size = [], 0
    if part:
        yield '\n'.join(part).encode()


def _unix(at: datetime) -> int:
    return int(at.timestamp())


def _frame_line(frame: Frame, ticket: Ticket) -> str:
    begin, end = timeframe.from_naive(frame.begin), timeframe.from_naive(frame.end)
    if not literals.EARLIEST <= begin <= end <= literals.LATEST:
        raise errors.InvalidInput(
            reason=f'the period that begins at {timeframe.render(begin)} cannot be stored: '
            f'ClickHouse has times from {literals.EARLIEST.year} to {literals.LATEST.year}'
        )
    return '\t'.join(
        (
            str(frame.owner),
            str(frame.begin),
            str(frame.origin),
            str(ticket.revision),
            str(frame.end),
            str(_unix(ticket.until)),
            _array(frame.ids),
            _array(frame.quantities),
            _array(frame.prices),
        )
    )


def _array(numbers: Sequence[Any]) -> str:
    return f'[{",".join(map(str, numbers))}]'


def _series_line(number: int, entry: series_ids.Entry, scope_key: str, identifier: str) -> str:
    row = series_row(number, entry, scope_key, identifier)
    return orjson.dumps({'id': number, 'owner': entry.owner, **row}).decode()


def series_row(
    number: int, entry: series_ids.Entry, scope_key: str, identifier: str
) -> dict[str, Any]:
    """Return the values of SERIES_COLUMNS for a series."""
    attributes: dict[bool, dict[str, str]] = {True: {}, False: {}}
    for _, name, is_groupby, value in series_ids.attribute_rows(number, entry):
        attributes[is_groupby][name] = value
    unit = entry.series.unit
    values = (scope_key, identifier, entry.metric, unit, attributes[True], attributes[False])
    return dict(zip(SERIES_COLUMNS, values, strict=True))
