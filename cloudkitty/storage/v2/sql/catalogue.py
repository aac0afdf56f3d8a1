"""Scopes and series of rated data, each written once and known by a number from then on."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import orjson
import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.dataframe import FrozenDict, Series
from cloudkitty.db import models, upsert

KNOWN_MAX = 30_000                   # entries kept in memory; about 1 KiB each
IDS_PER_STATEMENT = 500
LAYOUTS_MAX = 30_000                 # series of the layouts kept in memory
_NO_LAYOUT = (None, None)


class Entry(NamedTuple):
    """What a series id stands for.

    :ivar owner: number of the scope whose frames hold its points.
    :ivar scope: number of the scope that its points name.
    """

    owner: int
    scope: int
    metric: str
    series: Series


class Catalogue:
    """Numbers of scopes and series, cached: what has a number never changes.

    A number made in a transaction is known to others only when remember() is called after the
    commit, so that a rolled back number is never used.
    """

    def __init__(self, scope_key: str):
        self.scope_key = scope_key
        self._scopes = {}
        self._identifiers = {}
        self._series = {}
        self._entries = {}
        self._layouts = {}
        self._layouts_size = 0

    def scope_numbers(self, connection: sa.Connection,
                      identifiers: Iterable[str]) -> dict[str, int]:
        """Return the numbers of scopes; those that have none get one."""
        found = self.find_scopes(connection, identifiers)
        missing = sorted(set(identifiers) - found.keys())
        if missing:
            upsert.insert_missing(connection, models.rated_scopes, [
                {'scope_key': self.scope_key, 'identifier': identifier} for identifier in missing])
            found.update(self._read_scopes(connection, missing, is_new=True))
        return found

    def find_scopes(self, connection: sa.Connection, identifiers: Iterable[str]) -> dict[str, int]:
        """Return the numbers of those scopes that have one."""
        wanted = set(identifiers)
        found = {name: self._scopes[name] for name in wanted if name in self._scopes}
        found.update(self._read_scopes(connection, sorted(wanted - found.keys())))
        return found

    def _read_scopes(self, connection, identifiers, is_new=False):
        table = models.rated_scopes
        found = {}
        for chunk in chunks(identifiers):
            rows = connection.execute(_latest(
                sa.select(table.c.identifier, table.c.id)
                .where(table.c.scope_key == self.scope_key, table.c.identifier.in_(chunk)),
                is_new))
            found.update((row.identifier, row.id) for row in rows)
        return found

    def identifier(self, connection: sa.Connection, number: int) -> str:
        """Return the scope id of a number; '' if it was given under another scope key."""
        known = self._identifiers
        if number not in known:
            table = models.rated_scopes
            row = connection.execute(sa.select(table).where(table.c.id == number)).one()
            known[number] = row.identifier if row.scope_key == self.scope_key else ''
        return known[number]

    def known(self, owner: int, metric: str) -> dict[Series, int]:
        """Return the series ids of a scope and metric that are known by now; not to be changed."""
        return self._series.get((owner, metric), {})

    def series_ids(self, connection: sa.Connection, wanted: Iterable[Entry]) -> dict[Entry, int]:
        """Return the id of each of *wanted*; those that have none get one."""
        digests = {entry: digest(self.scope_key, entry) for entry in wanted}
        ids = self._read_series(connection, sorted(digests.values()))
        # In one order, so that two writers never wait for each other in a circle, and in this one,
        # so that series that share a block have numbers beside each other.
        missing = sorted(((entry, known) for entry, known in digests.items() if known not in ids),
                         key=lambda item: (item[0].owner, item[0].metric, item[1]))
        # Not all at once: the rows need more memory than the series.
        for part in chunks(missing):
            upsert.insert_missing(connection, models.rated_series, [
                _series_row(entry, known) for entry, known in part])
            ids.update(self._read_series(
                connection, sorted(known for _, known in part), is_new=True))
            upsert.insert_missing(connection, models.rated_attributes, [
                row for entry, known in part for row in attribute_rows(ids[known], entry)])
        return {entry: ids[known] for entry, known in digests.items()}

    @staticmethod
    def _read_series(connection, digests, is_new=False):
        table = models.rated_series
        found = {}
        for chunk in chunks(digests):
            rows = connection.execute(_latest(
                sa.select(table.c.digest, table.c.id).where(table.c.digest.in_(chunk)), is_new))
            found.update((bytes(row.digest), row.id) for row in rows)
        return found

    def layout(self, owner: int) -> tuple:
        """Return what keep_layouts() was told last of a scope: (series objects, layout)."""
        return self._layouts.get(owner, _NO_LAYOUT)

    def keep_layouts(self, layouts: dict[int, tuple]) -> None:
        """Keep how the last frames of scopes were laid out; their transaction is committed."""
        size = sum(len(shape) for shape, _ in layouts.values())
        if self._layouts_size + size > LAYOUTS_MAX:
            self._layouts.clear()
            self._layouts_size = 0
        self._layouts.update(layouts)
        self._layouts_size += size

    def remember(self, scopes: dict[str, int], series: dict[Entry, int]) -> None:
        """Keep numbers whose transaction is committed."""
        if len(self._scopes) + len(scopes) > KNOWN_MAX:
            self._scopes.clear()
        if sum(map(len, self._series.values())) + len(series) > KNOWN_MAX:
            self._series.clear()
            self._entries.clear()
        self._scopes.update(scopes)
        for entry, series_id in series.items():
            self._series.setdefault((entry.owner, entry.metric), {})[entry.series] = series_id
            self._entries[series_id] = entry

    def forget(self) -> None:
        """Forget all numbers; whoever looks at them meanwhile goes on with what there was."""
        self._scopes, self._identifiers, self._series = {}, {}, {}
        self._entries, self._layouts, self._layouts_size = {}, {}, 0

    def entries(self, connection: sa.Connection, ids: Iterable[int]) -> dict[int, Entry]:
        """Return what series ids stand for."""
        wanted, known = set(ids), self._entries
        missing = sorted(wanted - known.keys())
        if missing and len(known) + len(missing) > KNOWN_MAX:
            known.clear()
            missing = sorted(wanted)
        table = models.rated_series
        for chunk in chunks(missing):
            for row in connection.execute(sa.select(table).where(table.c.id.in_(chunk))):
                known[row.id] = entry_of(row)
        return {series_id: known[series_id] for series_id in wanted}


def has_calendar(series: Series) -> bool:
    """Say whether *series* itself carries calendar attributes."""
    return not series.groupby.keys().isdisjoint(timeframe.CALENDAR_KEYS)


def without_calendar(series: Series, begin) -> Series:
    """Return *series* without the calendar attributes that say what *begin* says anyway.

    One that says something else (a source with a zone of its own) stays.
    """
    if not has_calendar(series):
        return series
    calendar = timeframe.calendar_of(begin)
    groupby = {name: value for name, value in series.groupby.items()
               if name not in calendar or value != calendar[name]}
    return Series(series.unit, groupby, series.metadata, series.description)


def chunks(items: list) -> Iterable[list]:
    """Yield *items* in lists short enough for one statement."""
    for start in range(0, len(items), IDS_PER_STATEMENT):
        yield items[start:start + IDS_PER_STATEMENT]


def _latest(statement, is_new):
    """Return *statement*; if its rows may be new, as one that sees what others made meanwhile.

    MariaDB shows the rows of the transaction's begin to a statement that locks nothing.
    """
    return statement.with_for_update(read=True, key_share=True) if is_new else statement


def entry_of(row: sa.Row) -> Entry:
    """Return what a row of rated_series says."""
    return Entry(row.owner_id, row.scope_id, row.metric, Series(
        row.unit, FrozenDict(orjson.loads(row.groupby)), FrozenDict(orjson.loads(row.metadata)),
        row.description))


def digest(scope_key: str, entry: Entry) -> bytes:
    """Return what tells a series from all others."""
    content = orjson.dumps([scope_key, entry.owner, entry.scope, entry.metric])
    return hashlib.blake2b(content + entry.series.identity, digest_size=16).digest()


def _series_row(entry, known_by):
    series = entry.series
    return {'digest': known_by, 'owner_id': entry.owner, 'scope_id': entry.scope,
            'metric': entry.metric, 'unit': series.unit, 'description': series.description,
            'groupby': _json(series.groupby), 'metadata': _json(series.metadata)}


def attribute_rows(series_id: int, entry: Entry) -> Iterator[dict]:
    """Yield the rows of rated_attributes of a series."""
    for is_groupby, attributes in ((True, entry.series.groupby), (False, entry.series.metadata)):
        for name, value in attributes.items():
            yield {'series_id': series_id, 'name': str(name), 'is_groupby': is_groupby,
                   'value': str(value).replace('\x00', '\ufffd')}  # PostgreSQL has no NUL


def _json(attributes):
    return orjson.dumps(attributes, default=str,
                        option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()
