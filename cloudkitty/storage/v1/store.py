"""Table rated_data_frames as a storage of interface 2: one transaction a batch, marks included."""

import functools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.db import migration, tables, types
from cloudkitty.scopes import agreement, progress, resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import owners, query, v2
from cloudkitty.storage.v1 import adapter, sums, table
from cloudkitty.storage.v1.table import ROWS
from cloudkitty.storage.v2.series.cells import Cell
from cloudkitty.storage.v2.series.frame_rows import PUSHED, RATED
from cloudkitty.storage.v2.series.series_ids import IdCache, chunks
from cloudkitty.storage.v2.sql.writer import Writer

LOG = logging.getLogger(__name__)

EXPIRED_AT_ONCE = 1000


class TableStorage(v2.BaseStorage):
    """Reads and writes the table; a (scope, period, origin) is replaced as a whole."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._scope_key = conf.collect.scope_key
        self._terms = agreement.Terms.of(conf)
        self._id_cache = IdCache(self._scope_key)

    def init(self) -> None:
        migration.upgrade(self.database)
        self.database.write(lambda connection: ROWS.create(connection, checkfirst=True))
        LOG.info(
            'Table %s keeps %s of quantities and %s of prices',
            table.NAME,
            self.layout.qty,
            self.layout.rate,
        )

    @functools.cached_property
    def layout(self) -> table.Layout:
        """The layout of the table; what it cannot store is logged once per process."""
        with self.database.reader() as connection:
            found = table.describe(connection)
        if found.losses:
            LOG.warning(
                'Table %s was made by an earlier release: %s. `cloudkitty-storage '
                'migrate` takes its data to [storage]version 2, which keeps all',
                table.NAME,
                '; '.join(found.losses),
            )
        return found

    def push(self, dataframes: Iterable[DataFrame], scope_id: str | None = None) -> None:
        if scope_id is not None:
            cells = [Cell(scope_id, RATED, frame) for frame in dataframes]
        elif not self.layout.has_origin:
            raise errors.Conflict(
                reason=f'table {table.NAME} cannot tell pushed points from rated ones; add a '
                'column `origin SMALLINT NOT NULL DEFAULT 0` or use [storage]version 2'
            )
        else:
            cells = [
                Cell(owner, PUSHED, frame)
                for owner, frame in owners.split(dataframes, self._scope_key)
            ]
        names = {cell.owner for cell in cells}
        numbers = self.database.write(
            lambda connection: self._id_cache.scope_numbers(connection, names)
        )

        def change(connection: sa.Connection) -> None:
            # Locked first, so that the reads that follow see what the previous holder committed.
            Writer(connection, self._id_cache).lock(numbers.values())
            self._store(connection, cells)

        self.database.write(change)

    def commit(self, batch: Sequence[v2.ScopeBatch]) -> list[v2.ScopeBatch]:
        def change(connection: sa.Connection) -> list[v2.ScopeBatch]:
            moved = progress.find_moved(connection, batch, self._terms)
            valid = [part for part in batch if part not in moved]
            self._store(
                connection,
                [Cell(part.scope_id, RATED, frame) for part in valid for frame in part.frames],
            )
            progress.advance(connection, valid, self.conf.collect.period)
            return moved

        return self.database.write(change)

    def expire(self, now: datetime) -> bool:
        hours = self.conf.storage.retention_period
        if hours is None:
            return False
        midnight = datetime.combine((now - timedelta(hours=hours)).date(), time())
        oldest = (
            sa.select(ROWS.c.id)
            .where(ROWS.c.begin < midnight)
            .order_by(ROWS.c.begin)
            .limit(EXPIRED_AT_ONCE)
        )

        def change(connection: sa.Connection) -> int:
            doomed = connection.execute(oldest).scalars().all()
            for chunk in chunks(doomed):
                connection.execute(sa.delete(ROWS).where(ROWS.c.id.in_(chunk)))
            return len(doomed)

        return self.database.write(change) == EXPIRED_AT_ONCE

    def reset(self, reset: resets.Reset) -> bool:
        def change(connection: sa.Connection) -> bool:
            mark = progress.take_order(connection, reset, self._terms)
            if mark is None:
                return False
            self._remove(connection, [reset.scope_id], mark + progress.NEXT, None, origin=RATED)
            scope_state.advance(connection, {reset.state_id: mark})
            return True

        return self.database.write(change)

    def replace(self, replacements: Sequence[v2.Replacement]) -> list[v2.Replacement]:
        def change(connection: sa.Connection) -> list[v2.Replacement]:
            late = progress.find_late(connection, replacements, self._terms)
            valid = [one for one in replacements if one not in late]
            kept = {one.task_id: self._count_kept(connection, one.batch) for one in valid}
            self._store(
                connection,
                [
                    Cell(one.batch.scope_id, RATED, frame)
                    for one in valid
                    for frame in one.batch.frames
                ],
            )
            progress.finish(connection, valid, kept)
            return late

        return self.database.write(change)

    def _count_kept(self, connection: sa.Connection, batch: v2.ScopeBatch) -> int:
        """Return how many stored periods of a scope the batch leaves unchanged."""
        begins = connection.execute(
            sa.select(ROWS.c.begin)
            .distinct()
            .where(
                self.layout.among('tenant_id', [batch.scope_id]),
                self.layout.of_origin(RATED),
                ROWS.c.res_type != table.NO_DATA,
                ROWS.c.begin > timeframe.to_naive(batch.mark),
                ROWS.c.begin <= timeframe.to_naive(batch.new_mark),
            )
        ).scalars()
        return len({timeframe.from_naive(begin) for begin in begins} - set(batch.usage.begins))

    def _store(self, connection: sa.Connection, cells: Sequence[Cell]) -> None:
        """Replace the points of each rated cell; pushed cells keep points that are not named."""
        rows = [
            row for cell in cells for row in self.layout.encode(cell.owner, cell.origin, cell.frame)
        ]
        origins = {
            (cell.owner, timeframe.to_naive(cell.frame.start)): cell.origin for cell in cells
        }
        pushed = {(row['tenant_id'], row['begin'], row['res_type'], row['desc']) for row in rows}
        doomed = []
        for owner in sorted({cell.owner for cell in cells}):
            begins = [begin for name, begin in origins if name == owner]
            for row in self._existing(connection, owner, min(begins), max(begins)):
                origin = origins.get((owner, row.begin))
                if origin == row.origin == RATED:
                    doomed.append(row.id)
                elif origin == row.origin and (owner, row.begin, row.res_type, row.desc) in pushed:
                    doomed.append(row.id)
        for chunk in chunks(doomed):
            connection.execute(sa.delete(ROWS).where(ROWS.c.id.in_(chunk)))
        if rows:
            connection.execute(sa.insert(ROWS), rows)

    def _existing(
        self, connection: sa.Connection, owner: str, first: datetime, last: datetime
    ) -> Iterable[tables.Row]:
        origin = ROWS.c.origin if self.layout.has_origin else sa.literal(RATED).label('origin')
        return connection.execute(
            sa.select(ROWS.c.id, ROWS.c.begin, ROWS.c.res_type, ROWS.c.desc, origin).where(
                self.layout.among('tenant_id', [owner]), ROWS.c.begin.between(first, last)
            )
        )

    def _remove(
        self,
        connection: sa.Connection,
        scope_ids: Iterable[str] | None,
        begin: datetime | None,
        end: datetime | None,
        *,
        origin: int | None = None,
    ) -> None:
        conditions = [self.layout.of_origin(origin)]
        if scope_ids is not None:
            conditions.append(self.layout.among('tenant_id', scope_ids))
        if begin is not None:
            conditions.append(ROWS.c.begin >= timeframe.to_naive(begin))
        if end is not None:
            conditions.append(ROWS.c.begin < timeframe.to_naive(end))
        connection.execute(sa.delete(ROWS).where(*conditions))

    def delete(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        filters: query.Filters | None = None,
    ) -> None:
        scope_ids = (filters or {}).get(self._scope_key)
        if filters and (scope_ids is None or len(filters) > 1):
            raise errors.InvalidInput(
                reason=f'rated data is deleted by {self._scope_key} and time only'
            )
        if isinstance(scope_ids, str):
            scope_ids = [scope_ids]
        self.database.write(lambda connection: self._remove(connection, scope_ids, begin, end))

    def retrieve(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        filters: query.Filters | None = None,
        metric_types: query.Names | None = None,
        offset: int = 0,
        limit: int = 1000,
        paginate: bool = True,
    ) -> query.Page:
        window = query.parse_window(begin, end, metric_types, filters, datetime.now(UTC))
        offset, last = (offset, offset + limit) if paginate else (0, None)
        conditions = self._conditions(window)
        with self.database.reader() as connection:
            if window.filters.keys() <= {self._scope_key}:
                total = connection.execute(
                    sa.select(sa.func.count()).select_from(ROWS).where(*conditions)
                ).scalar_one()
                page = connection.execute(
                    self.layout.points(conditions)
                    .offset(offset)
                    .limit(None if last is None else last - offset)
                )
                rows = [table.decode(row) for row in page]
            else:
                total, rows = 0, []
                for row in self._stream(connection, window):
                    if sums.fits(row, window.filters, self._scope_key):
                        if offset <= total and (last is None or total < last):
                            rows.append(row)
                        total += 1
        return {'total': total, 'dataframes': adapter.to_frames(rows, self._scope_key)}

    def total(
        self,
        groupby: query.Names | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
        metric_types: query.Names | None = None,
        filters: query.Filters | None = None,
        custom_fields: str | None = None,
        offset: int = 0,
        limit: int = 1000,
        paginate: bool = True,
    ) -> query.Totals:
        window = query.parse_window(begin, end, metric_types, filters, datetime.now(UTC))
        groups = query.parse_groupby(groupby)
        spec = sums.QuerySpec(
            window, groups, query.parse_fields(custom_fields, groups), self._scope_key
        )
        with self.database.reader() as connection:
            rows = (
                self._summed(connection, spec)
                if spec.is_of_sums
                else self._stream(connection, window)
            )
            return sums.answer(rows, spec, offset if paginate else 0, limit if paginate else None)

    def _conditions(self, window: query.Window) -> list[sa.ColumnElement[bool]]:
        """Return the conditions that are evaluated in SQL: all but those on attributes."""
        layout = self.layout
        conditions: list[sa.ColumnElement[bool]] = [
            ROWS.c.begin >= timeframe.to_naive(window.begin),
            ROWS.c.begin < timeframe.to_naive(window.end),
            ROWS.c.res_type != table.NO_DATA,
        ]
        if window.metrics is not None:
            conditions.append(layout.among('res_type', window.metrics))
        if self._scope_key in window.filters:
            conditions.append(layout.among('tenant_id', window.filters[self._scope_key]))
        return conditions

    def _stream(self, connection: sa.Connection, window: query.Window) -> Iterator[sums.Row]:
        """Yield the points of *window* in the order of time, with a bounded number in memory."""
        statement = self.layout.points(self._conditions(window))
        part = connection.execute(statement.limit(table.ROWS_AT_ONCE)).all()
        while part:
            yield from map(table.decode, part)
            last = part[-1]
            part = connection.execute(
                statement.where(table.is_behind(last)).limit(table.ROWS_AT_ONCE)
            ).all()

    def _summed(self, connection: sa.Connection, spec: sums.QuerySpec) -> Iterable[sums.Row]:
        """Yield sums of points grouped by scope, metric, and whatever else the query needs."""
        names = {*spec.groups, *spec.window.filters}
        asked = {name: self.layout.text(name) for name in ('tenant_id', 'res_type')}
        if names - {query.TYPE, query.TIME, self._scope_key}:
            # The query may group or filter by calendar attributes.
            asked['desc'] = self.layout.text('desc')
        if query.UNIT in names:
            asked['unit'] = self.layout.text('unit')
        if query.TIME in names:
            asked |= {'begin': ROWS.c.begin, 'end': ROWS.c.end}
        elif names & set(timeframe.CALENDAR_KEYS):
            asked['day'] = sa.func.date(ROWS.c.begin, type_=sa.Date)
        found = connection.execute(
            sa.select(
                types.exact_sum(self.layout.number('qty')).label('qty'),
                types.exact_sum(self.layout.number('rate')).label('rate'),
                sa.func.count().label('points'),
                *(column.label(name) for name, column in asked.items()),
            )
            .where(*self._conditions(spec.window))
            .group_by(*asked.values())
        ).mappings()
        for row in found:
            yield _sum(row, spec.window)


def _sum(row: Mapping[Any, Any], window: query.Window) -> sums.Row:
    begin, end = window.begin, window.end
    if 'begin' in row:
        begin, end = timeframe.from_naive(row['begin']), timeframe.from_naive(row['end'])
    elif 'day' in row:
        begin = timeframe.midnight(row['day'])
    return sums.Row(
        begin,
        end,
        row['tenant_id'] or '',
        row['res_type'],
        table.attributes_of(row.get('desc', '')),
        row['qty'],
        row['rate'],
        row['points'],
        row.get('unit', ''),
    )
