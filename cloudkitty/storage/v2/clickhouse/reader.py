"""Query execution on ClickHouse: sums are made there, functions of single points here."""

import functools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.storage import query
from cloudkitty.storage.v2.clickhouse import conditions, folding, literals, revisions
from cloudkitty.storage.v2.clickhouse.body import Body, Where
from cloudkitty.storage.v2.clickhouse.client import Rows
from cloudkitty.storage.v2.clickhouse.literals import MICROS, MICROSECOND, from_micros
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.storage.v2.series import retention_cutoff, series_ids
from cloudkitty.storage.v2.series.answers import (
    Fields,
    FrameReader,
    Group,
    Groups,
    Slice,
    Sums,
    Total,
    outputs_of,
    row_of,
)
from cloudkitty.storage.v2.series.cells import FrameContent
from cloudkitty.storage.v2.series.frame_rows import RATED
from cloudkitty.storage.v2.series.stored_frames import Columns, Page, StoredFrame, matching

SERIES = tables.rated_series
POINTS_AT_ONCE = 200_000
# Periods with fewer points are read without asking first which of their frames a page has.
PAGE_POINTS = 2_000
_Sums = tuple[Group, Total]
_POINTS = 'ids AS id, quantities AS qty, prices AS price'


class Key(NamedTuple):
    """Key of a frame, and how many matching points there are before it and up to its end."""

    begin: int
    scope: int
    origin: int
    before: int
    after: int


class Reader(FrameReader):
    """Executes queries; all statements of one reader see the same revisions."""

    def __init__(
        self, connection: sa.Connection, id_cache: series_ids.IdCache, body: Shards
    ) -> None:
        super().__init__(connection, id_cache)
        self.body = body
        self.snapshot = revisions.snapshot(connection)
        self._cutoff = retention_cutoff.read(connection).begin
        # The scopes whose frames may have points of the named ones.
        self._owners: dict[tuple[str, ...] | None, Collection[int] | None] = {}

    def total(
        self, window: query.Window, groups: Groups, fields: Fields, wanted: Slice
    ) -> query.Totals:
        """Implement BaseStorage.total()."""
        if any((field.function, field.field) not in query.ROLLED_UP for field in fields):
            return self._from_points(window, groups, fields, wanted)
        statements = self._sums(window, groups)
        if len(statements) > 1:
            total, found = self._merged(statements, groups, wanted)
        else:
            total, found = self._page(statements[0], groups, wanted)
        rows = [row_of(window, groups, key, outputs_of(fields, *sums)) for key, sums in found]
        return {'total': total, 'results': rows}

    def _merged(
        self, statements: Sequence[tuple[Body, str]], groups: Groups, wanted: Slice
    ) -> tuple[int, list[_Sums]]:
        """Return the number of rows, and a page of them, of queries for sums to several shards."""
        sums = Sums()
        for rows in self.body.rows(statements):
            for key, total in _read_sums(rows, groups):
                sums.add(key, *total)
        found = list(sums.totals())
        return len(found), wanted.of(found)

    def _page(
        self, statement: tuple[Body, str], groups: Groups, wanted: Slice
    ) -> tuple[int, list[_Sums]]:
        """Return the number of rows, and a page of them, of a query for sums."""
        body, text = statement
        limit = '' if wanted.limit is None else f' LIMIT {int(wanted.limit)}'
        rows = body.client.rows(f'{text}{limit} OFFSET {int(wanted.offset)}')
        total = rows[0][3] if rows else 0
        if not rows and wanted.offset:
            total = body.client.rows(f'SELECT count() FROM ({text})')[0][0]
        return total, list(_read_sums(rows, groups))

    def _sums(self, window: query.Window, groups: Groups) -> list[tuple[Body, str]]:
        """Return the queries to shards for sums.

        Columns: quantity, price, points, number of rows, the groups.
        """
        view = folding.View(self.snapshot)
        where = self._where(window)
        if query.TIME not in groups:
            view = folding.view(self.connection, where.begin, where.end)
        return [(body, self._sums_of(body, window, groups, view)) for body in self._bodies(window)]

    def _bodies(self, window: query.Window) -> list[Body]:
        """Return the shards that may have points of *window*; at least one."""
        return self.body.of(self._where(window).owners) or self.body.all[:1]

    def _sums_of(self, body: Body, window: query.Window, groups: Groups, view: folding.View) -> str:
        """Return the query for sums of a shard."""
        keys = ['id']
        columns = 'end, ids, quantities, prices'
        if conditions.needs_day(groups, window):
            keys.append('toDate32(begin) AS day')
        if query.TIME in groups:
            keys += ['begin', 'end']
        names = ', '.join(key.rpartition(' AS ')[2] for key in keys)
        # First by series: most points are not joined with what their series is.
        where = self._where(window)
        changed = folding.is_of_days(view.changed)
        if view.folded:
            first, end = map(timeframe.midnight, view.folded)
            around = f'begin < {literals.instant(first)} OR begin >= {literals.instant(end)}'
            where = where._replace(chosen=f'{around} OR {changed}')
        source = (
            f'SELECT {", ".join(keys)}, sum(qty) AS qty_sum, sum(price) AS price_sum, '
            f'count() AS points FROM ({body.visible(view.snapshot, where, columns)}) '
            f'ARRAY JOIN {_POINTS} GROUP BY {names}'
        )
        if view.folded:
            others = f'NOT ({folding.is_of_days(view.changed, "day")})'
            days = body.visible_days(view.snapshot, view.folded, where.owners, others)
            source += (
                f' UNION ALL SELECT {names}, sum(qty), sum(price), sum(count) FROM ({days}) '
                f'ARRAY JOIN {_POINTS}, counts AS count GROUP BY {names}'
            )
        selected = [
            f'({MICROS}(begin), {MICROS}(end)) AS g{number}'
            if name == query.TIME
            else f'{conditions.group(name, self.id_cache.scope_key)} AS g{number}'
            for number, name in enumerate(groups)
        ]
        by = [f'g{number}' for number in range(len(groups))]
        return (
            'SELECT sum(qty_sum) AS qty_total, sum(price_sum) AS price_total, '
            f'sum(points) AS count_total, count() OVER () AS total{_listed(selected)} '
            f'FROM ({source}) AS sums {self._series_of(body, window, groups)} '
            f'WHERE {conditions.every(conditions.calendar_filters(window, self._key))} '
            + (f'GROUP BY {", ".join(by)} ' if by else '')
            + 'HAVING count_total > 0'
            + (f' ORDER BY {", ".join(by)}' if by else '')
        )

    @property
    def _key(self) -> str:
        return self.id_cache.scope_key

    def _series_of(self, body: Body, window: query.Window, groups: Groups = ()) -> str:
        """Return the join with the matching series; '': nothing depends on them."""
        if not conditions.needs_series(groups, window):
            return ''
        chosen = conditions.every(self._chosen(window))
        columns = 'id, scope_key, identifier, metric, unit, groupby'
        series = f'SELECT {columns} FROM {body.series} WHERE {chosen}'
        # SEMI: a series may be there several times.
        return f'SEMI LEFT JOIN ({series}) AS of USING id'

    def _chosen(self, window: query.Window) -> list[str]:
        """Return the conditions of *window* on series."""
        owners = self._where(window).owners
        of_owners = [] if owners is None else [literals.is_in('owner', owners)]
        return [*of_owners, *conditions.filters(window, self._key)]

    def _where(self, window: query.Window, origin: int | None = None) -> Where:
        named = window.filters.get(self._key)
        if named not in self._owners:
            self._owners[named] = series_ids.choose_owners(self.connection, window, self._key)
        return Where(max(window.begin, self._cutoff), window.end, self._owners[named], origin)

    # Points.

    def retrieve(self, window: query.Window, wanted: Slice) -> query.Page:
        """Implement BaseStorage.retrieve()."""
        window = self._narrowed(window)
        periods = self._periods(window)
        page = Page(wanted.offset, wanted.limit)
        end = math.inf if wanted.limit is None else wanted.offset + wanted.limit
        inside = [one for one in periods if one.before < end and one.after > wanted.offset]
        if inside and wanted.limit != 0:
            first, last = inside[0], inside[-1]
            part = window._replace(
                begin=from_micros(first.begin), end=from_micros(last.begin) + MICROSECOND
            )
            if last.after - first.before <= PAGE_POINTS and not conditions.needs_series((), window):
                page.count = first.before
                found = self.body.points(self.snapshot, self._where(part))
                frames = self._matched(map(_as_read, found), window)
            else:
                keys = [
                    key
                    for key in self._keys(part, first.before)
                    if key.before < end and key.after > wanted.offset
                ]
                page.count = keys[0].before
                frames = self._frames_of(keys, window)
            for frame in frames:
                page.add(frame)
        return {'total': periods[-1].after if periods else 0, 'dataframes': page.frames()}

    def _narrowed(self, window: query.Window) -> query.Window:
        """Return *window* without its scopes, if all points of their frames are of them.

        The frames are still chosen by the scopes; no series has to be looked up.
        """
        scopes = window.filters.get(self._key)
        if scopes is None or set(window.filters) != {self._key} or window.metrics is not None:
            return window
        owners = self._where(window).owners
        others = sa.select(SERIES.c.id).where(
            SERIES.c.owner_id.in_(owners or ()),
            SERIES.c.scope_id.not_in(series_ids.scope_numbers(self._key, scopes)),
        )
        if self.connection.execute(others.limit(1)).first() is not None:
            return window
        self._owners[None] = owners
        return window._replace(filters={})

    def _periods(self, window: query.Window) -> list[Key]:
        """Return the begins of frames that have matching points, and how many, of all scopes."""
        points: Counter[int] = Counter()
        for rows in self._ask(
            window, f'{MICROS}(begin) AS at, 0, 0, sum(points)', 'GROUP BY begin'
        ):
            for begin, _, _, count in rows:
                points[begin] += count
        return list(_running((begin, 0, 0, count) for begin, count in sorted(points.items())))

    def _keys(self, window: query.Window, before: int = 0) -> list[Key]:
        """Return the keys of frames that have matching points, in the order of pages.

        :param before: number of points before them.
        """
        found = self._ask(window, f'{MICROS}(begin), scope, origin, points', '')
        return list(_running(sorted(tuple(row) for rows in found for row in rows), before))

    def _ask(self, window: query.Window, columns: str, end: str) -> list[Rows]:
        """Return *columns* of the numbers of matching points, from each shard."""
        return self.body.rows(
            [
                (body, f'SELECT {columns} FROM ({self._counted(body, window)}) {end}')
                for body in self._bodies(window)
            ]
        )

    def _counted(self, body: Body, window: query.Window) -> str:
        """Return the query for the frames of a shard, and how many matching points each has."""
        visible = functools.partial(body.visible, self.snapshot, self._where(window))
        if not conditions.needs_series((), window):
            return f'SELECT * FROM ({visible("length(ids) AS points")}) WHERE points > 0'
        return (
            'SELECT scope, begin, origin, count() AS points FROM (SELECT scope, begin, origin, '
            f'id, toDate32(begin) AS day FROM ({visible("ids")}) '
            f'ARRAY JOIN ids AS id) AS found {self._series_of(body, window)} '
            f'WHERE {conditions.every(conditions.calendar_filters(window, self._key))} '
            'GROUP BY scope, begin, origin'
        )

    def _frames(self, window: query.Window) -> Iterator[StoredFrame]:
        for part in _parts(self._keys(window)):
            yield from self._frames_of(part, window)

    def _frames_of(self, keys: Sequence[Key], window: query.Window) -> Iterator[StoredFrame]:
        """Yield the matching points of frames."""
        return self._matched(self._read(keys), window)

    def _matched(
        self, found: Iterable[tuple[datetime, datetime, Columns]], window: query.Window
    ) -> Iterator[StoredFrame]:
        """Yield the matching points of what was read."""
        frames = list(found)
        series = None
        if conditions.needs_series((), window):
            series = self._matching(
                {number for _, _, columns in frames for number in columns[0]}, window
            )
        yield from matching(self.connection, self.id_cache, frames, window, series)

    def _read(self, keys: Sequence[Key]) -> Iterator[tuple[datetime, datetime, Columns]]:
        """Yield begin, end and points of frames in the order of their keys, aware UTC."""
        tuples = ', '.join(f'({one.begin}, {one.scope}, {one.origin})' for one in keys)
        where = Where(
            from_micros(keys[0].begin),
            from_micros(keys[-1].begin) + MICROSECOND,
            {one.scope for one in keys},
        )
        chosen = f'({MICROS}(begin), scope, origin) IN ({tuples})'
        return map(_as_read, self.body.points(self.snapshot, where, chosen))

    def _matching(self, ids: Collection[int], window: query.Window) -> frozenset[int]:
        chosen = [literals.is_in('id', ids), *self._chosen(window)]
        asked = [
            (body, f'SELECT DISTINCT id FROM {body.series} WHERE {conditions.every(chosen)}')
            for body in self._bodies(window)
        ]
        return frozenset(number for rows in self.body.rows(asked) for (number,) in rows)

    def rated_prices(
        self, owners: Collection[int], span: Period
    ) -> dict[tuple[datetime, str], Decimal]:
        """Implement BaseStorage.rated_prices()."""
        frames = list(self.body.points(self.snapshot, Where(*span, owners, RATED)))
        wanted = {number for one in frames for number in one.columns[0]}
        entries = self.id_cache.entries(self.connection, wanted)
        found: dict[tuple[datetime, str], Decimal] = {}
        for frame in frames:
            ids, _, prices = frame.columns
            for number, price in zip(ids, prices, strict=True):
                place = (frame.begin, entries[number].metric)
                found[place] = SUM_CONTEXT.add(found.get(place, ZERO), price)
        return found


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Yield *keys* in lists with a bounded number of points."""
    start = 0
    for place, key in enumerate(keys):
        if key.before - keys[start].before >= POINTS_AT_ONCE:
            yield keys[start:place]
            start = place
    if keys[start:]:
        yield keys[start:]


def _as_read(one: FrameContent) -> tuple[datetime, datetime, Columns]:
    return one.begin, one.end, one.columns


def _running(counted: Iterable[Sequence[int]], before: int = 0) -> Iterator[Key]:
    """Yield keys with the sums of their points."""
    for begin, scope, origin, points in counted:
        yield Key(begin, scope, origin, before, before + points)
        before += points


def _read_sums(rows: Rows, groups: Groups) -> Iterator[_Sums]:
    """Yield the groups and the sums of rows of a query for sums."""
    for qty, price, count, _, *key in rows:
        values = tuple(_value(name, one) for name, one in zip(groups, key, strict=True))
        yield values, [Decimal(qty), Decimal(price), count]


def _value(name: str, value: Any) -> Any:
    if name != query.TIME:
        return value
    begin, end = value
    return from_micros(begin), from_micros(end)


def _listed(columns: Iterable[str]) -> str:
    return ''.join(f', {column}' for column in columns)
