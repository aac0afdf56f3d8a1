"""Query execution: whole days from roll-ups, parts of days and single periods from points."""

import functools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty.core import timeframe
from cloudkitty.storage import query
from cloudkitty.storage.v2.series import retention_cutoff, series_ids
from cloudkitty.storage.v2.series.answers import (
    Fields,
    FrameReader,
    Groups,
    Slice,
    Sums,
    outputs_of,
    row_of,
)
from cloudkitty.storage.v2.series.stored_frames import StoredFrame
from cloudkitty.storage.v2.sql import folding, points, rollups

# How often whole days are read until no scope is folded meanwhile.
READS_MAX = 10
KEY = (points.FRAMES.c.begin, points.FRAMES.c.scope_id, points.FRAMES.c.origin)


class Edges(NamedTuple):
    """A window divided into whole days and the parts of days before and after them."""

    body: rollups.Span | None
    parts: list[timeframe.Period]


def split(begin: datetime, end: datetime) -> Edges:
    """Divide [begin, end), aware UTC, into whole days and the rest."""
    if begin >= end:
        return Edges(None, [])
    first = timeframe.midnight(begin.date())
    if first < begin:
        first += timedelta(days=1)
    last = timeframe.midnight(end.date())
    if first >= last:
        return Edges(None, [timeframe.Period(begin, end)])
    around = (timeframe.Period(begin, first), timeframe.Period(last, end))
    return Edges(
        rollups.Span(first.date(), last.date()), [part for part in around if part.begin < part.end]
    )


class Reader(FrameReader):
    """Executes queries on one connection."""

    @functools.cached_property
    def retention_cutoff(self) -> datetime:
        """The retention cut-off of points, aware UTC; roll-ups may be kept longer."""
        return retention_cutoff.read(self.connection).begin

    def total(
        self,
        window: query.Window,
        groups: tuple[str, ...],
        fields: tuple[query.Field, ...],
        wanted: Slice,
    ) -> query.Totals:
        """Implement BaseStorage.total()."""
        rolled_up = query.TIME not in groups and all(
            (f.function, f.field) in query.ROLLED_UP for f in fields
        )
        if not rolled_up:
            return self._from_frames(window, groups, fields, wanted)
        edges = split(window.begin, window.end)
        spec = self.spec(window, groups)
        if edges.body and not edges.parts and not self._unfolded(spec, edges.body):
            return self._from_rollups(spec, edges.body, fields, wanted)
        sums = self._whole_days(spec, edges.body) if edges.body else Sums()
        for part in edges.parts:
            self._add_points(sums, window._replace(begin=part.begin, end=part.end), groups)
        rows = [
            row_of(window, groups, key, outputs_of(fields, *total)) for key, total in sums.totals()
        ]
        return {'total': len(rows), 'results': wanted.of(rows)}

    def spec(self, window: query.Window, groups: tuple[str, ...]) -> rollups.QuerySpec:
        """Return the query for the roll-ups."""
        return rollups.QuerySpec(
            window, groups, self.id_cache.scope_key, self._has_own_calendar(window, groups)
        )

    def _has_own_calendar(self, window: query.Window, groups: Groups) -> bool:
        if not any(name in timeframe.CALENDAR_KEYS for name in (*groups, *window.filters)):
            return False
        return self.connection.execute(rollups.has_own_calendar()).first() is not None

    def _from_rollups(
        self, spec: rollups.QuerySpec, span: rollups.Span, fields: Fields, wanted: Slice
    ) -> query.Totals:
        page = None if wanted.limit is None else (wanted.offset, wanted.limit)
        found = self.connection.execute(*rollups.sums(spec, span, page)).all()
        window, groups = spec.window, spec.groups
        rows = [
            row_of(window, groups, key, outputs_of(fields, qty, price, points_))
            for qty, price, points_, _, *key in found
        ]
        total = found[0].total if found else 0
        if not found and wanted.offset:
            total = self.connection.execute(*rollups.count(spec, span)).scalar_one()
        return {'total': total, 'results': rows}

    def _unfolded(self, spec: rollups.QuerySpec, span: rollups.Span) -> dict[int, datetime]:
        """Return which scopes have frames that are missing in the roll-ups of a query."""
        if not rollups.needs_series(spec):
            return {}
        choice = series_ids.choose_owners(self.connection, spec.window, spec.scope_key)
        return folding.unfolded_from(self.connection, timeframe.midnight(span.end), choice)

    def _whole_days(self, spec: rollups.QuerySpec, span: rollups.Span) -> Sums:
        """Return the sums of whole days: those of the roll-ups and of unfolded frames."""
        for _ in range(READS_MAX):
            unfolded = self._unfolded(spec, span)
            sums = Sums()
            for row in self.connection.execute(*rollups.sums(spec, span)).mappings():
                key = tuple(row[f'g{n}'] for n in range(len(spec.groups)))
                sums.add(key, row['qty'], row['price'], row['points'])
            if unfolded:
                self._add_frames(sums, self.unfolded_frames(spec.window, span), spec.groups)
            # A transaction without a snapshot may see some of them folded in between.
            if unfolded == self._unfolded(spec, span):
                return sums
        raise db_exception.DBDeadlock('the sums by series change all the time')

    def unfolded_frames(self, window: query.Window, span: rollups.Span) -> Iterator[StoredFrame]:
        """Yield the matching points of *span* that are in no sums by series yet."""
        window = window._replace(
            begin=timeframe.midnight(span.first), end=timeframe.midnight(span.end)
        )
        choice = points.choose(self.connection, window, self.id_cache.scope_key)
        statement = points.frames(
            choice, window.begin, window.end, *KEY, points.FRAMES.c.end, points.FRAMES.c.block
        ).join(folding.UNFOLDED, folding.IS_UNFOLDED)
        return points.read(self.connection, self.id_cache, choice, statement, window)

    def _from_frames(
        self, window: query.Window, groups: Groups, fields: Fields, wanted: Slice
    ) -> query.Totals:
        """Answer a query that roll-ups cannot; sums by period do not decode points."""
        choice = points.choose(self.connection, window, self.id_cache.scope_key)
        is_rolled_up = all((field.function, field.field) in query.ROLLED_UP for field in fields)
        if groups != (query.TIME,) or not is_rolled_up or not points.is_whole(choice, window):
            return self._from_points(window, groups, fields, wanted)
        statement = points.sums(choice, max(window.begin, self.retention_cutoff), window.end)
        found = self.connection.execute(statement.offset(wanted.offset).limit(wanted.limit)).all()
        rows = []
        for row in found:
            period = timeframe.from_naive(row.begin), timeframe.from_naive(row.end)
            rows.append(row_of(window, groups, (period,), outputs_of(fields, *row[2:5])))
        total = found[0].total if found else 0
        if not found and wanted.offset:
            total = self.connection.execute(
                sa.select(sa.func.count()).select_from(statement.order_by(None).subquery())
            ).scalar_one()
        return {'total': total, 'results': rows}

    def _frames(self, window: query.Window) -> Iterator[StoredFrame]:
        window = window._replace(begin=max(window.begin, self.retention_cutoff))
        choice = points.choose(self.connection, window, self.id_cache.scope_key)
        statement = points.frames(
            choice, window.begin, window.end, *KEY, points.FRAMES.c.end, points.FRAMES.c.block
        )
        return points.read(self.connection, self.id_cache, choice, statement, window)
