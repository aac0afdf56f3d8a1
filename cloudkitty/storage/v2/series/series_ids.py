"""Scopes and series of rated data: each is stored once and has a surrogate id."""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import orjson
import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import FrozenDict, Series
from cloudkitty.db import tables, upsert
from cloudkitty.storage import query

KNOWN_MAX = 30_000  # entries kept in memory; about 1 KiB each
PLACES_MAX = 100_000  # places kept in memory; about 100 bytes each
IDS_PER_STATEMENT = 500
SERIES_COLUMNS = (
    'digest',
    'owner_id',
    'scope_id',
    'metric',
    'unit',
    'description',
    'groupby',
    'metadata',
)
ATTRIBUTE_COLUMNS = ('series_id', 'name', 'is_groupby', 'value')
LAYOUTS_MAX = 30_000  # series of the layouts kept in memory
_Item = TypeVar('_Item')
# The series of a frame, and their layout, see frame_rows.
KnownLayout = tuple[Any, Any]
_NO_LAYOUT: KnownLayout = (None, None)
# Allowed values of a column, or the name of their bind parameter.
Allowed = Sequence[str] | sa.BindParameter[Any]


class Entry(NamedTuple):
    """Row of rated_series: what a series id refers to.

    :ivar owner: number of the scope whose frames contain its points.
    :ivar scope: number of the scope that is named in its points.
    """

    owner: int
    scope: int
    metric: str
    series: Series


class Place(NamedTuple):
    """The part of an Entry that sums by scope and metric need.

    :ivar scope: number of the scope that is named in the points.
    """

    scope: int
    metric: str


class IdCache:
    """Cached ids of scopes and series; a row that has an id never changes.

    Ids assigned in a transaction enter the cache when add() is called after the commit, so
    that an id that was rolled back is never used.
    """

    def __init__(self, scope_key: str) -> None:
        self.scope_key = scope_key
        self._scopes: dict[str, int] = {}
        self._identifiers: dict[int, str] = {}
        self._series: dict[tuple[int, str], dict[Series, int]] = {}
        self._entries: dict[int, Entry] = {}
        self._places: dict[int, Place] = {}
        self._removals: dict[int, int] = {}
        self._layouts: dict[int, KnownLayout] = {}
        self._layouts_size = 0

    def scope_numbers(
        self, connection: sa.Connection, identifiers: Iterable[str]
    ) -> dict[str, int]:
        """Return the numbers of scopes; unknown scopes are added."""
        found = self.find_scopes(connection, identifiers)
        missing = sorted(set(identifiers) - found.keys())
        if missing:
            upsert.insert_missing(
                connection,
                tables.rated_scopes,
                [{'scope_key': self.scope_key, 'identifier': identifier} for identifier in missing],
            )
            found.update(self._read_scopes(connection, missing, is_new=True))
        return found

    def find_scopes(self, connection: sa.Connection, identifiers: Iterable[str]) -> dict[str, int]:
        """Return the numbers of the known ones among these scopes."""
        wanted = set(identifiers)
        found = {name: self._scopes[name] for name in wanted if name in self._scopes}
        found.update(self._read_scopes(connection, sorted(wanted - found.keys())))
        return found

    def _read_scopes(
        self, connection: sa.Connection, identifiers: Sequence[str], is_new: bool = False
    ) -> dict[str, int]:
        table = tables.rated_scopes
        found: dict[str, int] = {}
        for chunk in chunks(identifiers):
            rows = connection.execute(
                _latest(
                    sa.select(table.c.identifier, table.c.id).where(
                        table.c.scope_key == self.scope_key, table.c.identifier.in_(chunk)
                    ),
                    is_new,
                )
            )
            found.update((row.identifier, row.id) for row in rows)
        return found

    def identifier(self, connection: sa.Connection, number: int) -> str:
        """Return the scope id of a number; '' if it was given under another scope key."""
        known = self._identifiers
        if number not in known:
            table = tables.rated_scopes
            row = connection.execute(sa.select(table).where(table.c.id == number)).one()
            known[number] = row.identifier if row.scope_key == self.scope_key else ''
        return known[number]

    def known(self, owner: int, metric: str) -> dict[Series, int]:
        """Return the cached series ids of a scope and metric; the caller must not modify them."""
        return self._series.get((owner, metric), {})

    def series_ids(self, connection: sa.Connection, wanted: Iterable[Entry]) -> dict[Entry, int]:
        """Return the id of each of *wanted*; unknown series are added."""
        digests = {entry: digest(self.scope_key, entry) for entry in wanted}
        ids = _require_current(connection, self._read_series(connection, sorted(digests.values())))
        # In one order, so that two writers never deadlock, and in this one, so that series that
        # share a block have adjacent ids.
        missing = sorted(
            ((entry, known) for entry, known in digests.items() if known not in ids),
            key=lambda item: (item[0].owner, item[0].metric, item[1]),
        )
        # In chunks: the rows need more memory than the series.
        for part in chunks(missing):
            made = upsert.insert_many_missing(
                connection,
                tables.rated_series,
                SERIES_COLUMNS,
                [_series_row(entry, known) for entry, known in part],
                returning=('digest', 'id'),
            )
            ids.update((bytes(known), number) for known, number in made)
            # Those that others inserted, or the database does not tell.
            untold = sorted(known for _, known in part if known not in ids)
            ids.update(self._read_series(connection, untold, is_new=True))
            upsert.insert_many_missing(
                connection,
                tables.rated_attributes,
                ATTRIBUTE_COLUMNS,
                [row for entry, known in part for row in attribute_rows(ids[known], entry)],
            )
        return {entry: ids[known] for entry, known in digests.items()}

    @staticmethod
    def _read_series(
        connection: sa.Connection, digests: Sequence[bytes], is_new: bool = False
    ) -> dict[bytes, int]:
        table = tables.rated_series
        found: dict[bytes, int] = {}
        for chunk in chunks(digests):
            rows = connection.execute(
                _latest(
                    sa.select(table.c.digest, table.c.id).where(table.c.digest.in_(chunk)), is_new
                )
            )
            found.update((bytes(row.digest), row.id) for row in rows)
        return found

    def layout(self, owner: int) -> KnownLayout:
        """Return the last (series objects, layout) of a scope that add_layouts() cached."""
        return self._layouts.get(owner, _NO_LAYOUT)

    def forget_removed(self, removals: Mapping[int, int]) -> None:
        """Forget the ids of scopes of which series were removed since they were cached.

        Call it with the scopes locked: none of their series is removed until the end of the
        transaction.

        :param removals: how often series of these scopes were removed, by number of the scope.
        """
        for owner in self.find_removed(removals):
            for key in [key for key in list(self._series) if key[0] == owner]:
                self._series.pop(key, None)
            shape, _ = self._layouts.pop(owner, _NO_LAYOUT)
            self._layouts_size -= len(shape or ())
        self._removals.update(removals)

    def find_removed(self, removals: Mapping[int, int]) -> set[int]:
        """Return the scopes for which the cache knows another number than *removals*."""
        known = self._removals
        return {owner for owner, count in removals.items() if known.get(owner, count) != count}

    def add_layouts(self, layouts: dict[int, KnownLayout]) -> None:
        """Cache the layouts of the last frames of scopes; call it after the commit."""
        size = sum(len(shape) for shape, _ in layouts.values())
        if self._layouts_size + size > LAYOUTS_MAX:
            self._layouts.clear()
            self._layouts_size = 0
        self._layouts.update(layouts)
        self._layouts_size += size

    def add(self, scopes: dict[str, int], series: dict[Entry, int]) -> None:
        """Cache ids; call it after the commit."""
        if len(self._scopes) + len(scopes) > KNOWN_MAX:
            self._scopes.clear()
        if sum(map(len, self._series.values())) + len(series) > KNOWN_MAX:
            self._series.clear()
            self._entries.clear()
        self._scopes.update(scopes)
        self._add_places({series_id: place_of(entry) for entry, series_id in series.items()})
        # Entries are only cached as the database returns them: Decimal('1.50') becomes text there.
        for entry, series_id in series.items():
            self._series.setdefault((entry.owner, entry.metric), {})[entry.series] = series_id

    def clear(self) -> None:
        """Clear the cache; threads that read it meanwhile continue with the old content."""
        self._scopes, self._identifiers, self._series = {}, {}, {}
        self._entries, self._places = {}, {}
        self._layouts, self._layouts_size = {}, 0

    def entries(self, connection: sa.Connection, ids: Iterable[int]) -> dict[int, Entry]:
        """Return the entries of series ids."""
        wanted, known = set(ids), self._entries
        missing = sorted(wanted - known.keys())
        if missing and len(known) + len(missing) > KNOWN_MAX:
            known.clear()
            missing = sorted(wanted)
        table = tables.rated_series
        for chunk in chunks(missing):
            for row in connection.execute(sa.select(table).where(table.c.id.in_(chunk))):
                known[row.id] = entry_of(row)
        return {series_id: known[series_id] for series_id in wanted}

    def places(self, connection: sa.Connection, ids: Iterable[int]) -> dict[int, Place]:
        """Return the places of series ids."""
        known = self._places
        found = {number: known[number] for number in ids if number in known}
        missing = sorted(set(ids) - found.keys())
        table = tables.rated_series
        read: dict[int, Place] = {}
        for chunk in chunks(missing):
            rows = connection.execute(
                sa.select(table.c.id, table.c.scope_id, table.c.metric).where(table.c.id.in_(chunk))
            )
            read.update((row.id, Place(row.scope_id, row.metric)) for row in rows)
        self._add_places(read)
        return found | read

    def _add_places(self, places: dict[int, Place]) -> None:
        if len(self._places) + len(places) > PLACES_MAX:
            self._places = {}
        # Series share them, so each is kept once.
        shared: dict[Place, Place] = {}
        self._places.update(
            (number, shared.setdefault(place, place)) for number, place in places.items()
        )


def place_of(entry: Entry) -> Place:
    """Return the place of a series."""
    return Place(entry.scope, entry.metric)


def scope_numbers(scope_key: str, identifiers: Allowed) -> sa.Select[Any]:
    """Return the statement for the numbers of scopes."""
    table = tables.rated_scopes
    return sa.select(table.c.id).where(
        table.c.scope_key == scope_key, table.c.identifier.in_(identifiers)
    )


def choose_owners(
    connection: sa.Connection, window: query.Window, scope_key: str
) -> frozenset[int] | None:
    """Return the scopes whose frames may have points of the scopes that *window* names.

    None: it names none.
    """
    if scope_key not in window.filters:
        return None
    values = {'scopes': list(window.filters[scope_key])}
    return frozenset(connection.execute(_owners(scope_key), values).scalars())


@functools.cache
def _owners(scope_key: str) -> sa.Select[Any]:
    """Return the statement of choose_owners(): to build it takes longer than to execute it."""
    numbers = scope_numbers(scope_key, sa.bindparam('scopes', expanding=True))
    table = tables.rated_series
    return sa.select(table.c.owner_id).where(table.c.scope_id.in_(numbers)).distinct()


def has_calendar(series: Series) -> bool:
    """Return whether *series* itself has calendar attributes."""
    return not series.groupby.keys().isdisjoint(timeframe.CALENDAR_KEYS)


def without_calendar(series: Series, begin: datetime) -> Series:
    """Return *series* without the calendar attributes that follow from *begin*.

    An attribute with another value (of a source in another time zone) is kept.
    """
    if not has_calendar(series):
        return series
    calendar = timeframe.calendar_of(begin)
    groupby = {
        name: value
        for name, value in series.groupby.items()
        if name not in calendar or value != calendar[name]
    }
    return Series(series.unit, groupby, series.metadata, series.description)


def chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Yield *items* in lists short enough for one statement."""
    for start in range(0, len(items), IDS_PER_STATEMENT):
        yield items[start : start + IDS_PER_STATEMENT]


def _require_current(connection: sa.Connection, ids: dict[bytes, int]) -> dict[bytes, int]:
    """Return those of *ids* whose series were not removed since the transaction began.

    On MariaDB a read without locks still sees them. Only rows that are there are locked, so that
    two writers of new series never wait for each other.
    """
    if connection.dialect.name not in ('mysql', 'mariadb'):
        return ids
    table = tables.rated_series
    there: set[int] = set()
    for chunk in chunks(sorted(ids.values())):
        found = connection.execute(
            sa.select(table.c.id).where(table.c.id.in_(chunk)).with_for_update(read=True)
        )
        there.update(found.scalars())
    return {known: number for known, number in ids.items() if number in there}


def _latest(statement: sa.Select[Any], is_new: bool) -> sa.Select[Any]:
    """Return *statement*, as a locking read if its rows may be newer than the transaction.

    On MariaDB a read without locks only sees the snapshot of the transaction's begin.
    """
    return statement.with_for_update(read=True, key_share=True) if is_new else statement


def entry_of(row: tables.Row) -> Entry:
    """Return the entry for a row of rated_series."""
    return Entry(
        row.owner_id,
        row.scope_id,
        row.metric,
        Series(
            row.unit,
            FrozenDict(orjson.loads(row.groupby)),
            FrozenDict(orjson.loads(row.metadata)),
            row.description,
        ),
    )


def digest(scope_key: str, entry: Entry) -> bytes:
    """Return the hash that identifies a series."""
    content = orjson.dumps([scope_key, entry.owner, entry.scope, entry.metric])
    return hashlib.blake2b(content + entry.series.identity, digest_size=16).digest()


def _series_row(entry: Entry, known_by: bytes) -> tuple[Any, ...]:
    """Return the values of SERIES_COLUMNS."""
    series = entry.series
    return (
        known_by,
        entry.owner,
        entry.scope,
        entry.metric,
        series.unit,
        series.description,
        _json(series.groupby),
        _json(series.metadata),
    )


def attribute_rows(series_id: int, entry: Entry) -> Iterator[tuple[int, str, bool, str]]:
    """Yield the rows of rated_attributes of a series: the values of ATTRIBUTE_COLUMNS."""
    for is_groupby, attributes in ((True, entry.series.groupby), (False, entry.series.metadata)):
        for name, value in attributes.items():
            # PostgreSQL cannot store NUL.
            yield series_id, str(name), is_groupby, str(value).replace('\x00', '\ufffd')


def _json(attributes: Mapping[str, Any]) -> str:
    return orjson.dumps(
        attributes, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    ).decode()
