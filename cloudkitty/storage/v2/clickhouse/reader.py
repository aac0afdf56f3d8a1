"""Query execution on ClickHouse: sums are made there, functions of single points here."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
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
from cloudkitty.storage.v2.clickhouse.literals import from_micros
from cloudkitty.storage.v2.series import retention_cutoff, series_ids
from cloudkitty.storage.v2.series.answers import (
    Fields,
    FrameReader,
    Groups,
    Slice,
    outputs_of,
    row_of,
)
from cloudkitty.storage.v2.series.frame_rows import RATED
from cloudkitty.storage.v2.series.stored_frames import Columns, Page, StoredFrame, matching

SERIES = tables.rated_series
POINTS_AT_ONCE = 200_000
_MICROS = 'toUnixTimestamp64Micro'
_POINTS = 'ids AS id, quantities AS qty, prices AS price'


class Key(NamedTuple):
    """Key of a frame, and the number of matching points before it."""

    begin: int
    scope: int
    origin: int
    before: int


class Reader(FrameReader):
    """Executes queries; all statements of one reader see the same revisions."""

    def __init__(self, connection: sa.Connection, id_cache: series_ids.IdCache, body: Body) -> None:
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
        statement = self._sums(window, groups)
        limit = '' if wanted.limit is None else f' LIMIT {int(wanted.limit)}'
        found = self.body.client.rows(f'{statement}{limit} OFFSET {int(wanted.offset)}')
        rows = []
        for qty, price, count, _, *key in found:
            values = [_value(name, one) for name, one in zip(groups, key, strict=True)]
            outputs = outputs_of(fields, Decimal(qty), Decimal(price), count)
            rows.append(row_of(window, groups, values, outputs))
        total = found[0][3] if found else 0
        if not found and wanted.offset:
            total = self.body.client.rows(f'SELECT count() FROM ({statement})')[0][0]
        return {'total': total, 'results': rows}

    def _sums(self, window: query.Window, groups: Groups) -> str:
        """Return the query for sums: quantity, price, points, number of rows, the groups."""
        keys = ['id']
        columns = 'end, ids, quantities, prices'
        if conditions.needs_day(groups, window):
            keys.append('toDate32(begin) AS day')
        if query.TIME in groups:
            keys += ['begin', 'end']
        names = ', '.join(key.rpartition(' AS ')[2] for key in keys)
        # First by series: most points are not joined with what their series is.
        where = self._where(window)
        view = folding.View(self.snapshot)
        if query.TIME not in groups:
            view = folding.view(self.connection, where.begin, where.end)
        changed = folding.is_of_days(view.changed)
        if view.folded:
            first, end = map(timeframe.midnight, view.folded)
            around = f'begin < {literals.instant(first)} OR begin >= {literals.instant(end)}'
            where = where._replace(chosen=f'{around} OR {changed}')
        source = (
            f'SELECT {", ".join(keys)}, sum(qty) AS qty_sum, sum(price) AS price_sum, '
            f'count() AS points FROM ({self.body.visible(view.snapshot, where, columns)}) '
            f'ARRAY JOIN {_POINTS} GROUP BY {names}'
        )
        if view.folded:
            others = f'NOT ({folding.is_of_days(view.changed, "day")})'
            days = self.body.visible_days(view.snapshot, view.folded, where.owners, others)
            source += (
                f' UNION ALL SELECT {names}, sum(qty), sum(price), sum(count) FROM ({days}) '
                f'ARRAY JOIN {_POINTS}, counts AS count GROUP BY {names}'
            )
        selected = [
            f'({_MICROS}(begin), {_MICROS}(end)) AS g{number}'
            if name == query.TIME
            else f'{conditions.group(name, self.id_cache.scope_key)} AS g{number}'
            for number, name in enumerate(groups)
        ]
        by = [f'g{number}' for number in range(len(groups))]
        return (
            'SELECT sum(qty_sum) AS qty_total, sum(price_sum) AS price_total, '
            f'sum(points) AS count_total, count() OVER () AS total{_listed(selected)} '
            f'FROM ({source}) AS sums {self._series_of(window, groups)} '
            f'WHERE {conditions.every(conditions.calendar_filters(window, self._key))} '
            + (f'GROUP BY {", ".join(by)} ' if by else '')
            + 'HAVING count_total > 0'
            + (f' ORDER BY {", ".join(by)}' if by else '')
        )

    @property
    def _key(self) -> str:
        return self.id_cache.scope_key

    def _series_of(self, window: query.Window, groups: Groups = ()) -> str:
        """Return the join with the matching series; '': nothing depends on them."""
        if not conditions.needs_series(groups, window):
            return ''
        chosen = conditions.every(self._chosen(window))
        columns = 'id, scope_key, identifier, metric, unit, groupby'
        series = f'SELECT {columns} FROM {self.body.series} WHERE {chosen}'
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

    def _visible(self, window: query.Window, columns: str) -> str:
        return self.body.visible(self.snapshot, self._where(window), columns)

    # Points.

    def retrieve(self, window: query.Window, wanted: Slice) -> query.Page:
        """Implement BaseStorage.retrieve()."""
        window = self._narrowed(window)
        counted = self._counted(window)
        chosen = 'points > 0'
        if wanted.limit is not None:
            end = int(wanted.offset) + int(wanted.limit)
            chosen = f'before < {end} AND before + points > {int(wanted.offset)}'
        rows = self.body.client.rows(
            f'SELECT {_MICROS}(begin), scope, origin, before, total FROM ({counted}) '
            f'WHERE {chosen} ORDER BY begin, scope, origin'
        )
        page = Page(wanted.offset, wanted.limit)
        if not rows:
            return {'total': self._count(counted), 'dataframes': []}
        keys = [Key(*row[:4]) for row in rows]
        page.count = keys[0].before
        for frame in self._frames_of(keys, window):
            page.add(frame)
        return {'total': rows[0][4], 'dataframes': page.frames()}

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

    def _count(self, counted: str) -> int:
        count: int = self.body.client.rows(f'SELECT sum(points) FROM ({counted})')[0][0]
        return count

    def _counted(self, window: query.Window) -> str:
        """Return the query for the frames, and how many matching points are in and before each."""
        source = self._visible(window, 'length(ids) AS points')
        if conditions.needs_series((), window):
            source = (
                'SELECT scope, begin, origin, count() AS points FROM (SELECT scope, begin, origin, '
                f'id, toDate32(begin) AS day FROM ({self._visible(window, "ids")}) '
                f'ARRAY JOIN ids AS id) AS found {self._series_of(window)} '
                f'WHERE {conditions.every(conditions.calendar_filters(window, self._key))} '
                'GROUP BY scope, begin, origin'
            )
        order = 'ORDER BY begin, scope, origin ROWS UNBOUNDED PRECEDING'
        return (
            f'SELECT scope, begin, origin, points, sum(points) OVER ({order}) - points AS before, '
            f'sum(points) OVER () AS total FROM ({source}) WHERE points > 0'
        )

    def _frames(self, window: query.Window) -> Iterator[StoredFrame]:
        rows = self.body.client.rows(
            f'SELECT {_MICROS}(begin), scope, origin, before FROM ({self._counted(window)}) '
            'ORDER BY begin, scope, origin'
        )
        for part in _parts([Key(*row) for row in rows]):
            yield from self._frames_of(part, window)

    def _frames_of(self, keys: Sequence[Key], window: query.Window) -> Iterator[StoredFrame]:
        """Yield the matching points of frames."""
        frames = list(self._read(keys))
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
            from_micros(keys[-1].begin) + timedelta(microseconds=1),
            {one.scope for one in keys},
        )
        return self.body.points(
            self.snapshot, where, f'({_MICROS}(begin), scope, origin) IN ({tuples})'
        )

    def _matching(self, ids: Collection[int], window: query.Window) -> frozenset[int]:
        chosen = [literals.is_in('id', ids), *self._chosen(window)]
        rows = self.body.client.rows(
            f'SELECT DISTINCT id FROM {self.body.series} WHERE {conditions.every(chosen)}'
        )
        return frozenset(row[0] for row in rows)

    def rated_prices(
        self, owners: Collection[int], span: Period
    ) -> dict[tuple[datetime, str], Decimal]:
        """Implement BaseStorage.rated_prices()."""
        frames = list(self.body.points(self.snapshot, Where(*span, owners, RATED)))
        wanted = {number for _, _, columns in frames for number in columns[0]}
        entries = self.id_cache.entries(self.connection, wanted)
        found: dict[tuple[datetime, str], Decimal] = {}
        for begin, _, (ids, _, prices) in frames:
            for number, price in zip(ids, prices, strict=True):
                place = (begin, entries[number].metric)
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


def _value(name: str, value: Any) -> Any:
    if name != query.TIME:
        return value
    begin, end = value
    return from_micros(begin), from_micros(end)


def _listed(columns: Iterable[str]) -> str:
    return ''.join(f', {column}' for column in columns)
