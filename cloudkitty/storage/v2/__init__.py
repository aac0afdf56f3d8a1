"""Storage drivers keep rated frames and answer questions about them. Contract of the family."""

import abc
import functools
from collections.abc import Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import dataframe, db
from cloudkitty.db import resets
from cloudkitty.storage import orders

NAMESPACE = 'cloudkitty.storage.v2.backends'


class ScopeBatch(NamedTuple):
    """Consecutive periods of one scope, to be stored together with its progress.

    :ivar state_id: primary key of the scope's row, see db.scopes.
    :ivar scope_id: the scope.
    :ivar mark: where the scope's mark must be for the commit to be valid, aware UTC.
    :ivar new_mark: where it is afterwards: begin of the last period, aware UTC.
    :ivar frames: rated frames, oldest first; a period without usage has none.
    :ivar note: what is missing in the source, to be noted of these periods; '': nothing. A store
        leaves that to orders.advance().
    """

    state_id: int
    scope_id: str
    mark: datetime
    new_mark: datetime
    frames: Sequence[dataframe.DataFrame]
    note: str = ''


class Replacement(NamedTuple):
    """Periods of one scope that were rated again, to be stored together with the task's progress.

    :ivar task_id: primary key of the task's row, see db.reprocess.
    :ivar current: how far the task must be for the replacement to be valid, aware UTC or None.
    :ivar new_current: how far it is afterwards.
    :ivar batch: the periods that begin after its mark, up to its new mark; a period without a frame
        keeps what is stored, one with an empty frame loses it.
    """

    task_id: int
    current: datetime | None
    new_current: datetime
    batch: ScopeBatch


class BaseStorage(abc.ABC):
    """A store of rated frames. Bounds are half open and choose frames by their begin.

    :cvar GROUP: section of the driver's options.
    :cvar OPTS: the driver's options; self.options reads them.
    """

    GROUP: str = ''
    OPTS: list[cfg.Opt] = []

    def __init__(self, conf: cfg.ConfigOpts):
        self.conf = conf
        if self.GROUP:
            self.options = configuration.register_driver(conf, self.GROUP, self.OPTS)

    @abc.abstractmethod
    def init(self) -> None:
        """Prepare the store; harmless when it is ready."""

    @abc.abstractmethod
    def push(self, dataframes: Iterable[dataframe.DataFrame], scope_id: str | None = None) -> None:
        """Store frames; pushing the same scope and period twice replaces the first.

        :param scope_id: owner of the frames; None: read from each point.
        """

    def commit(self, batch: Sequence[ScopeBatch]) -> list[ScopeBatch]:
        """Store points, roll-ups and marks, all or nothing for each scope.

        Here it is done in two transactions, and doing the first one again changes nothing.

        :returns: the members of *batch* whose mark was not where it must be; nothing of them is
            stored.
        """
        return orders.commit(self, batch)

    @functools.cached_property
    def database(self) -> db.Database:
        """The database that holds scopes and tasks."""
        return db.Database(self.conf)

    def reset(self, reset: resets.Reset) -> bool:
        """Carry out an order; say whether it still stood.

        What was rated of periods after the new mark goes, the mark is set, the order is taken away.
        Here it is done in two transactions, and doing the first one again changes nothing.
        """
        return orders.reset(self, reset)

    def replace(self, replacements: Sequence[Replacement]) -> list[Replacement]:
        """Store periods anew, and how far their tasks are, all or nothing for each task.

        Here it is done in two transactions, and doing the first one again changes nothing.

        :returns: the members whose task was not where it must be, or whose scope is not rated so
            far; nothing of them is stored.
        """
        return orders.replace(self, replacements)

    def expire(self, now: datetime) -> bool:
        """Remove a bounded part of what is older than [storage] allows; say whether more is.

        Here nothing is: a store outside the SQL database may have a retention of its own.

        :param now: aware UTC.
        """
        return False

    def rated_prices(self, scope_id: str, begin: datetime,
                     end: datetime) -> dict[tuple[datetime, str], Decimal]:
        """Return the price of each period of a scope by its begin and metric, as it was rated.

        Here with the points that were pushed, which a store may be able to tell apart.

        :param begin, end: the periods that begin in this span, aware UTC.
        """
        found = self.retrieve(begin, end, {self.conf.collect.scope_key: scope_id},
                              paginate=False)['dataframes']
        prices: dict[tuple[datetime, str], Decimal] = {}
        for frame in found:
            for metric, point in frame:
                before = prices.get((frame.start, metric), dataframe.ZERO)
                prices[frame.start, metric] = dataframe.SUM_CONTEXT.add(before, point.price)
        return prices

    @abc.abstractmethod
    def retrieve(self, begin=None, end=None, filters=None, metric_types=None, offset=0,
                 limit=1000, paginate=True) -> dict:
        """Return `{'total': number of points, 'dataframes': [DataFrame]}`, ordered by begin.

        :param begin, end: aware datetimes, or None for the current month (UTC).
        :param filters: mapping of attribute to a value or a list of values, ANDed.
        :param metric_types: a metric name or a list of them.
        :param offset, limit: count points; ignored unless *paginate*.
        """

    @abc.abstractmethod
    def total(self, groupby=None, begin=None, end=None, metric_types=None, filters=None,
              custom_fields=None, offset=0, limit=1000, paginate=True) -> dict:
        """Return `{'total': number of rows, 'results': [row]}`, ordered by the group values.

        A row is a mapping: begin, end, qty, rate (or the aliases of *custom_fields*), groups.

        :param groupby: attributes, `type`, `time` (one row a period), `time-d|w|m|y`.
        :param custom_fields: text of the grammar in contract rest-v2, 6.4; None or '': default.
        :raises InvalidInput: an unknown `time-x`, or *custom_fields* outside the grammar.
        """

    @abc.abstractmethod
    def delete(self, begin=None, end=None, filters=None) -> None:
        """Remove the frames that begin in [begin, end); None: no bound."""
