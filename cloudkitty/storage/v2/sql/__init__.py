"""Rated data in the SQL database: one row a scope and period, and roll-ups beside it."""

import contextlib
from collections.abc import Collection, Iterator
from datetime import UTC, datetime

import sqlalchemy as sa
from oslo_config import cfg
from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.db import migration, models, scopes
from cloudkitty.storage import orders, owners, v2
from cloudkitty.storage.v2.sql import horizon, query, rated, retention, rollups
from cloudkitty.storage.v2.sql.catalogue import Catalogue
from cloudkitty.storage.v2.sql.pages import Pages
from cloudkitty.storage.v2.sql.reader import Reader, Slice
from cloudkitty.storage.v2.sql.writer import PUSHED, RATED, Cell, Writer
from cloudkitty.timeframe import Period


def _from(begin, replacement):
    """Return *replacement* without the periods before *begin*, of which there are sums only."""
    frames = [frame for frame in replacement.batch.frames if frame.start >= begin]
    return replacement._replace(batch=replacement.batch._replace(frames=frames))


class SQLStorage(v2.BaseStorage):
    """The default store: exact, transactional, the same on SQLite, PostgreSQL and MariaDB."""

    def __init__(self, conf: cfg.ConfigOpts):
        super().__init__(conf)
        self.database = db.Database(conf)
        self.catalogue = Catalogue(conf.collect.scope_key)
        sa.event.listen(self.database.engine, 'handle_error', self._forget)

    def _forget(self, context):
        # A server that takes over from one that died may lack what was committed last.
        if context.is_disconnect:
            self.catalogue.forget()

    def init(self):
        migration.upgrade(self.database)

    def push(self, dataframes, scope_id=None):
        if scope_id is not None:
            cells = [Cell(scope_id, RATED, frame) for frame in dataframes]
        else:
            cells = [Cell(owner, PUSHED, frame)
                     for owner, frame in owners.split(dataframes, self.catalogue.scope_key)]
        numbers = self._number(cells)

        def change(connection):
            writer = Writer(connection, self.catalogue)
            # First of all, so that what is read afterwards is what whoever held it before left.
            writer.lock(numbers)
            writer.require_points(cell.frame for cell in cells)
            writer.store(cells if scope_id is not None else writer.merged(cells))
            return writer

        try:
            self._remember(self.database.write(change))
        except db_exception.DBDataError as exc:
            raise errors.InvalidInput(
                reason='A number, or a sum with what is stored already, is too large') from exc

    def _number(self, cells):
        """Return the numbers of the owners of *cells*."""
        names = {cell.owner for cell in cells}
        numbers = self.database.write(
            lambda connection: self.catalogue.scope_numbers(connection, names))
        self.catalogue.remember(numbers, {})
        return numbers.values()

    def commit(self, batch):
        def change(connection):
            moved = orders.find_moved(connection, batch)
            valid = [part for part in batch if part not in moved]
            writer = Writer(connection, self.catalogue)
            writer.store([Cell(part.scope_id, RATED, frame)
                          for part in valid for frame in part.frames])
            orders.advance(connection, valid, self.conf.collect.period)
            return writer, moved

        writer, moved = self.database.write(change)
        self._remember(writer)
        return moved

    def expire(self, now):
        return retention.step(self.database, self.catalogue, self.conf.storage, now)

    def reset(self, reset):
        with self.database.reader() as connection:
            kept_from = horizon.read(connection).begin

        def change(connection):
            mark = orders.take_order(connection, reset, self.conf.collect.period, kept_from)
            if mark is None:
                return False
            owner = self.catalogue.find_scopes(connection, [reset.scope_id]).values()
            Writer(connection, self.catalogue).remove(owner, mark + orders.NEXT, None,
                                                      origin=RATED)
            scopes.advance(connection, {reset.state_id: mark})
            return True

        return self.database.write(change)

    def replace(self, replacements):
        def change(connection):
            late = orders.find_late(connection, replacements)
            valid = [one for one in replacements if one not in late]
            writer = Writer(connection, self.catalogue)
            kept = self._count_kept(connection, valid, writer.horizon)
            valid = [_from(writer.horizon, one) for one in valid]
            writer.store([Cell(one.batch.scope_id, RATED, frame)
                          for one in valid for frame in one.batch.frames])
            orders.finish(connection, valid, kept)
            return writer, late

        writer, late = self.database.write(change)
        self._remember(writer)
        return late

    def rated_prices(self, scope_id, begin, end):
        with self.database.reader() as connection:
            return rated.prices(connection, self.catalogue, scope_id, Period(begin, end))

    def _count_kept(self, connection, replacements, kept_from):
        """Return how many stored periods each of *replacements* does not touch, by task.

        It touches none that begins before *kept_from*.
        """
        numbers = self.catalogue.find_scopes(connection, {one.batch.scope_id
                                                          for one in replacements})
        stored = Writer(connection, self.catalogue).rated_begins(
            numbers.values(), min((one.batch.mark for one in replacements), default=None),
            max((one.batch.new_mark for one in replacements), default=None))
        kept = {}
        for task_id, _, _, batch in replacements:
            begins = {begin for begin in stored.get(numbers.get(batch.scope_id), ())
                      if batch.mark < begin <= batch.new_mark}
            given = {frame.start for frame in batch.frames}
            kept[task_id] = len(begins - given) + sum(begin < kept_from for begin in given)
        return kept

    def _remember(self, writer):
        writer.numbering.remember()

    @contextlib.contextmanager
    def _reader(self, *names: Collection[str]) -> Iterator[Reader]:
        """Yield what reads for a question that names these attributes."""
        with self.database.replica() as connection:
            if sum(map(len, names)) > rollups.KEPT_NAMES_MAX:
                connection.execution_options(compiled_cache=None)
            yield Reader(connection, self.catalogue)

    def retrieve(self, begin=None, end=None, filters=None, metric_types=None, offset=0,
                 limit=1000, paginate=True):
        window = query.parse_window(begin, end, metric_types, filters, datetime.now(UTC))
        wanted = Slice(offset, limit) if paginate else Slice(0, None)
        with self._reader(window.filters) as reader:
            return Pages(reader).retrieve(window, wanted)

    def total(self, groupby=None, begin=None, end=None, metric_types=None, filters=None,
              custom_fields=None, offset=0, limit=1000, paginate=True):
        window = query.parse_window(begin, end, metric_types, filters, datetime.now(UTC))
        groups = query.parse_groupby(groupby)
        fields = query.parse_fields(custom_fields, groups)
        wanted = Slice(offset, limit) if paginate else Slice(0, None)
        with self._reader(window.filters, groups) as reader:
            return reader.total(window, groups, fields, wanted)

    def delete(self, begin=None, end=None, filters=None):
        scope_ids = (filters or {}).get(self.catalogue.scope_key)
        if filters and (scope_ids is None or len(filters) > 1):
            raise errors.InvalidInput(
                reason=f'rated data is deleted by {self.catalogue.scope_key} and time only')
        if isinstance(scope_ids, str):
            scope_ids = [scope_ids]

        with self.database.reader() as connection:
            if scope_ids is not None:
                chosen = self.catalogue.find_scopes(connection, scope_ids).values()
            else:
                chosen = connection.execute(sa.select(models.rated_scopes.c.id)).scalars().all()

        def change(connection):
            writer = Writer(connection, self.catalogue)
            # First of all, as in push().
            writer.lock(chosen)
            writer.remove(None if scope_ids is None else chosen, begin, end)

        self.database.write(change)
