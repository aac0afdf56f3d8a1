"""What drivers share whose points refer to series by ids, which the SQL database gives."""

import abc
import functools
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import db, errors
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import agreement
from cloudkitty.storage import query, v2
from cloudkitty.storage.v2.series import faults
from cloudkitty.storage.v2.series.answers import Fields, Groups, Slice
from cloudkitty.storage.v2.series.cells import CellStore
from cloudkitty.storage.v2.series.series_ids import IdCache


class Reader(Protocol):
    """Executes queries on one connection."""

    def total(
        self, window: query.Window, groups: Groups, fields: Fields, wanted: Slice
    ) -> query.Totals:
        """Implement BaseStorage.total()."""

    def retrieve(self, window: query.Window, wanted: Slice) -> query.Page:
        """Implement BaseStorage.retrieve()."""


class Repair(Protocol):
    """Corrects derived data of a scope, with the bounds of verify()."""

    def __call__(
        self, scope: faults.Scope, begin: datetime | None = None, end: datetime | None = None
    ) -> Iterator[faults.Outcome]: ...


class SeriesStorage(v2.BaseStorage):
    """A driver with the ids of series in the SQL database."""

    notes_changes = True

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self.database = db.Database(conf)
        self.id_cache = IdCache(conf.collect.scope_key)
        sa.event.listen(self.database.engine, 'handle_error', self._clear_cache)

    def _clear_cache(self, context: sa.engine.ExceptionContext) -> None:
        # After a failover the new server may lack the last commits.
        if context.is_disconnect:
            self.id_cache.clear()

    @property
    @abc.abstractmethod
    def cells(self) -> CellStore:
        """The stored frames, for who reads or writes many of them."""

    @abc.abstractmethod
    def verify(
        self, scope: faults.Scope, begin: datetime | None = None, end: datetime | None = None
    ) -> Iterator[faults.Fault]:
        """Yield all faults of a scope, as it is at one instant.

        :param begin, end: bounds, aware UTC; the months they are in are checked as a whole.
        """

    @property
    @abc.abstractmethod
    def repairs(self) -> Sequence[Repair]:
        """What corrects derived data of a scope: each is done for all scopes before the next."""

    @functools.cached_property
    def terms(self) -> agreement.Terms:
        """The terms by which this process rates."""
        return agreement.Terms.of(self.conf)

    @abc.abstractmethod
    def _reader(self, *names: Collection[str]) -> AbstractContextManager[Reader]:
        """Return a context with a reader, on a snapshot, for a query of these attributes."""

    @abc.abstractmethod
    def _reader_on(self, connection: sa.Connection) -> Reader:
        """Return a reader on *connection*."""

    def _numbers(self, names: Collection[str]) -> dict[str, int]:
        """Return the numbers by which the tables refer to scopes; unknown scopes are added."""
        numbers = self.database.write(
            lambda connection: self.id_cache.scope_numbers(connection, names)
        )
        self.id_cache.add(numbers, {})
        return numbers

    def _list_numbers(self) -> list[int]:
        """Return the numbers of all scopes that have data."""
        with self.database.reader() as connection:
            return list(connection.execute(sa.select(tables.rated_scopes.c.id)).scalars())

    def _find_deleted(self, filters: query.Filters | None) -> list[int] | None:
        """Return the numbers of the scopes that delete() is to delete; None: of all.

        :raises InvalidInput: other filters than the scope.
        """
        if not filters:
            return None
        scope_ids = filters.get(self.id_cache.scope_key)
        if scope_ids is None or len(filters) > 1:
            raise errors.InvalidInput(
                reason=f'rated data is deleted by {self.id_cache.scope_key} and time only'
            )
        names = [scope_ids] if isinstance(scope_ids, str) else scope_ids
        with self.database.reader() as connection:
            return list(self.id_cache.find_scopes(connection, names).values())

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
        wanted = Slice(offset, limit) if paginate else Slice(0, None)
        with self._reader(window.filters) as reader:
            return reader.retrieve(window, wanted)

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
        fields = query.parse_fields(custom_fields, groups)
        wanted = Slice(offset, limit) if paginate else Slice(0, None)
        with self._reader(window.filters, groups) as reader:
            return reader.total(window, groups, fields, wanted)

    def sums(
        self,
        connection: sa.Connection,
        groupby: Sequence[str],
        span: Period,
        filters: query.Filters,
    ) -> Sequence[Mapping[str, Any]]:
        window = query.parse_window(*span, None, filters, span.begin)
        groups = query.parse_groupby(groupby)
        reader = self._reader_on(connection)
        return reader.total(window, groups, query.DEFAULT_FIELDS, Slice(0, None))['results']
