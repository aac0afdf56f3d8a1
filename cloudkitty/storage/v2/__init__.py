"""Storage drivers store rated frames and answer queries about them. Contract of the family."""

import abc
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, errors
from cloudkitty.core import dataframe, decimals
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import resets
from cloudkitty.scopes.progress import Replacement, ScopeBatch
from cloudkitty.storage import query, two_phase

__all__ = ('NAMESPACE', 'BaseStorage', 'Replacement', 'ScopeBatch')

NAMESPACE = 'cloudkitty.storage.v2.backends'


class BaseStorage(abc.ABC):
    """A store of rated frames. Time spans are half open and select frames by their begin.

    :cvar GROUP: section of the driver's options.
    :cvar OPTS: the driver's options; self.options reads them.
    :cvar notes_changes: whether it records which scopes changed in past months, for billing;
        with other stores the last closed months are computed again.
    """

    GROUP: str = ''
    OPTS: list[cfg.Opt] = []
    notes_changes: bool = False

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        self.conf = conf
        if self.GROUP:
            self.options = configuration.register_driver(conf, self.GROUP, self.OPTS)

    @abc.abstractmethod
    def init(self) -> None:
        """Prepare the store; does nothing if it is ready."""

    @abc.abstractmethod
    def push(self, dataframes: Iterable[dataframe.DataFrame], scope_id: str | None = None) -> None:
        """Store frames; pushing the same scope and period twice replaces the first.

        :param scope_id: owner of the frames; None: read from each point.
        """

    def commit(self, batch: Sequence[ScopeBatch]) -> list[ScopeBatch]:
        """Store points, roll-ups and marks, atomically for each scope.

        By default this takes two transactions, of which the first is idempotent.

        :returns: the members of *batch* whose mark was not where it was read; nothing of them is
            stored.
        """
        return two_phase.commit(self, batch)

    @functools.cached_property
    def database(self) -> db.Database:
        """The database that holds scopes and tasks."""
        return db.Database(self.conf)

    def reset(self, reset: resets.Reset) -> bool:
        """Carry out an order; return False if it no longer existed.

        Rated data of periods after the new mark is removed, the mark is set, the order is deleted.
        By default this takes two transactions, of which the first is idempotent.
        """
        return two_phase.reset(self, reset)

    def replace(self, replacements: Sequence[Replacement]) -> list[Replacement]:
        """Replace stored periods and move their tasks on, atomically for each task.

        By default this takes two transactions, of which the first is idempotent.

        :returns: the members whose task was not where it was read, or whose scope is not rated that
            far; nothing of them is stored.
        """
        return two_phase.replace(self, replacements)

    def count_pushed(self, scope_ids: Collection[str], begin: datetime) -> int:
        """Return how many pushed points scopes have in periods that begin after *begin*.

        By default 0, because a store may be unable to distinguish them from rated ones.
        """
        return 0

    def remove_pushed(
        self,
        scope_ids: Collection[str],
        begin: datetime,
        end: datetime,
        note: Callable[[sa.Connection, Mapping[str, int]], None],
    ) -> dict[str, int]:
        """Remove the pushed points of scopes; return the number removed by scope.

        Rated points are kept. By default nothing can be removed, because a store may be unable to
        distinguish the two.

        :param begin, end: the periods that begin in this span, aware UTC.
        :param note: called with these numbers in the transaction, if there are any.
        :raises Conflict: the store cannot distinguish pushed points from rated ones.
        """
        raise errors.Conflict(reason='This storage cannot tell pushed points from rated ones.')

    def fold(self, now: datetime) -> bool:
        """Add pending points to the sums, of scopes that are no longer rated; return if more wait.

        Called regularly; does a bounded part. By default nothing is pending.

        :param now: aware UTC.
        """
        return False

    def expire(self, now: datetime) -> bool:
        """Remove a bounded part of the data past its retention; return whether there is more.

        By default nothing is removed: a store outside the SQL database may have its own retention.

        :param now: aware UTC.
        """
        return False

    def rated_prices(
        self, scope_id: str, begin: datetime, end: datetime
    ) -> dict[tuple[datetime, str], Decimal]:
        """Return the rated price of each period of a scope by begin and metric.

        By default pushed points are included; a store that can distinguish them leaves them out.

        :param begin, end: the periods that begin in this span, aware UTC.
        """
        found = self.retrieve(begin, end, {self.conf.collect.scope_key: scope_id}, paginate=False)[
            'dataframes'
        ]
        prices: dict[tuple[datetime, str], Decimal] = {}
        for frame in found:
            for metric, point in frame:
                before = prices.get((frame.start, metric), decimals.ZERO)
                prices[frame.start, metric] = decimals.SUM_CONTEXT.add(before, point.price)
        return prices

    @abc.abstractmethod
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
        """Return `{'total': number of points, 'dataframes': [DataFrame]}`, ordered by begin.

        :param begin, end: aware datetimes, or None for the current month (UTC).
        :param filters: mapping of attribute to a value or a list of values, ANDed.
        :param metric_types: a metric name or a list of them.
        :param offset, limit: count points; ignored unless *paginate*.
        """

    @abc.abstractmethod
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
        """Return `{'total': number of rows, 'results': [row]}`, ordered by the group values.

        A row is a mapping: begin, end, qty, rate (or the aliases of *custom_fields*), groups.

        :param groupby: attributes, `type`, `time` (one row a period), `time-d|w|m|y`.
        :param custom_fields: output columns as text; None or '': sums of quantity and price.
        :raises InvalidInput: an unknown `time-x`, or *custom_fields* outside the grammar.

        Source: doc/source/contributor/compatibility/rest-v2.rst, "Groups" and "Custom fields".
        """

    def sums(
        self,
        connection: sa.Connection,
        groupby: Sequence[str],
        span: Period,
        filters: query.Filters,
    ) -> Sequence[Mapping[str, Any]]:
        """Return the rows of total() as a transaction of the SQL database sees them.

        By default they are those of total(): another store has transactions of its own.
        """
        return self.total(groupby, *span, filters=filters, paginate=False)['results']

    @abc.abstractmethod
    def delete(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        filters: query.Filters | None = None,
    ) -> None:
        """Remove the frames that begin in [begin, end); None: no bound."""
