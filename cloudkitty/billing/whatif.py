"""Simulation of months under other plans or other rules; nothing is stored.

Other plans are applied to the sums of the storage. Other rules price each stored point again, as
the rating modules would have: pushed points keep the prices they were pushed with.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing import accounts, members
from cloudkitty.billing.statements import Statements
from cloudkitty.billing.sums import Sums
from cloudkitty.core import dataframe, timeframe
from cloudkitty.core.billing import month
from cloudkitty.core.billing.plan import Account, Document, Plan
from cloudkitty.core.billing.statement import Usage
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.core.pricing.rules import Rule
from cloudkitty.core.timeframe import Period
from cloudkitty.rating import repricing
from cloudkitty.report import price_preview
from cloudkitty.storage.v2.series.cells import Extent


class Scenario(NamedTuple):
    """The month, plans and rules of a simulation.

    :ivar document: None: the one that is applied.
    :ivar rules: of hashmap, in place of those that are stored; None: prices as they are stored.
    """

    month: str
    document: Document | None = None
    rules: Sequence[Rule] | None = None


class Side(NamedTuple):
    """The amounts of an account before tax, and at list price, in *currency*."""

    list_price: Decimal
    net: Decimal
    currency: str
    problems: list[str]


class Outcome(NamedTuple):
    """The result for an account.

    :ivar before, after: None: there is no such account then.
    :ivar is_exact: False: not all of its usage is stored as points that could be priced again.
    """

    account_id: str
    before: Side | None
    after: Side | None
    is_exact: bool

    @property
    def deltas(self) -> tuple[Decimal, Decimal] | None:
        """Differences of (list price, net); None: the sides cannot be compared."""
        was, is_now = self.before, self.after
        if was is None or is_now is None or was.currency != is_now.currency:
            return None
        return (
            SUM_CONTEXT.subtract(is_now.list_price, was.list_price),
            SUM_CONTEXT.subtract(is_now.net, was.net),
        )


class Limits:
    """Ends a computation that takes too long.

    :param points_max, seconds: None: there is no limit.
    """

    def __init__(
        self,
        points_max: int | None = None,
        seconds: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.points_max = points_max
        self.seconds = seconds
        self._clock = clock
        self._begin = clock()
        self._points = 0

    def count(self, points: int = 0) -> None:
        """Count computed points.

        :raises Conflict: there were too many.
        """
        self._points += points
        if self.points_max is not None and self._points > self.points_max:
            raise errors.Conflict(
                reason=f'More than {self.points_max} points would be priced again: ask about fewer '
                'accounts, or use `cloudkitty-billing whatif`.'
            )
        if self.seconds is not None and self._clock() - self._begin > self.seconds:
            raise errors.Conflict(
                reason=f'It takes more than {self.seconds} seconds: ask about fewer accounts, or '
                'use `cloudkitty-billing whatif`.'
            )


class Whatif:
    """Simulates months of one database and storage."""

    def __init__(self, statements: Statements) -> None:
        self.statements = statements

    def account_ids(self, scenario: Scenario) -> list[str]:
        """Return the accounts of the month, now and as they would be, sorted."""
        service = self.statements
        with service.database.reader() as connection:
            current = self._current(connection, scenario.month)
            changed = self._changed(connection, scenario, current)
        scopes = service.sums.scopes(month.bounds(scenario.month, changed.defaults.zone))
        return sorted({*accounts.all_of(current, scopes), *accounts.all_of(changed, scopes)})

    def answer(
        self, scenario: Scenario, account_ids: Sequence[str], limits: Limits
    ) -> Iterator[Outcome]:
        """Yield what each account would owe.

        :raises NotFound: there is no such account, neither now nor then.
        :raises Conflict: it takes too long, or there is nothing to price points again with.
        """
        other, repriced = self._other(scenario, limits)
        for account_id in account_ids:
            limits.count()
            # One transaction each: none is open for long.
            with self.statements.database.reader() as connection:
                current = self._current(connection, scenario.month)
                before = self._side(self.statements, connection, current, account_id, scenario)
                changed = self._changed(connection, scenario, current)
                after = self._side(other, connection, changed, account_id, scenario)
                if before is None and after is None:
                    raise errors.NotFound(reason=f'There is no account {account_id}.')
                is_exact = repriced is None or repriced.is_exact
            yield Outcome(account_id, before, after, is_exact)

    def _current(self, connection: sa.Connection, period: str) -> Document:
        documents = self.statements.documents
        return documents.get(connection, documents.version_of(connection, period), period)

    def _changed(
        self, connection: sa.Connection, scenario: Scenario, current: Document
    ) -> Document:
        if scenario.document is None:
            return current
        return members.join(connection, scenario.document, scenario.month)

    def _other(
        self, scenario: Scenario, limits: Limits
    ) -> tuple[Statements, 'RepricedSums | None']:
        if scenario.rules is None:
            return self.statements, None
        other = copy.copy(self.statements)
        other.sums = repriced = RepricedSums(self.statements, scenario.rules, limits)
        return other, repriced

    @staticmethod
    def _side(
        service: Statements,
        connection: sa.Connection,
        document: Document,
        account_id: str,
        scenario: Scenario,
    ) -> Side | None:
        try:
            account: Account = accounts.find(document, account_id)
        except errors.NotFound:
            return None
        resolved, lines, problems = service.compute(connection, document, account, scenario.month)
        listed = net = ZERO
        for line in lines:
            listed = SUM_CONTEXT.add(listed, line.list_price)
            net = SUM_CONTEXT.add(net, line.amount)
        return Side(listed, net, resolved.currency, problems)


class RepricedSums(Sums):
    """The sums of stored points, priced again by other rules.

    :ivar is_exact: whether the points that were read so far add up to the sums of the storage.
    """

    def __init__(self, statements: Statements, rules: Sequence[Rule], limits: Limits) -> None:
        storage = statements.sums.storage
        super().__init__(storage, statements.sums.scope_key)
        self._store = price_preview.require_points(storage)
        self._limits = limits
        self._modules = repricing.modules_with(
            statements.conf, statements.database, lambda connection: rules
        )
        self._stored = ZERO
        self.is_exact = True

    def read(
        self,
        connection: sa.Connection,
        scope_ids: Sequence[str],
        plan: Plan,
        span: Period,
        *,
        by_day: bool = False,
    ) -> list[Usage]:
        sums: dict[tuple[Any, ...], list[Decimal]] = {}
        self._stored = ZERO
        for frame, metric, point in self._points(scope_ids, span):
            attributes = {**timeframe.calendar_of(frame.start), **point.groupby}
            key = (
                str(attributes.get(self.scope_key, '')),
                metric,
                tuple((name, _text(attributes.get(name))) for name in plan.attributes),
                frame.start.date() if by_day else None,
            )
            known = sums.setdefault(key, [ZERO, ZERO])
            known[0] = SUM_CONTEXT.add(known[0], point.qty)
            known[1] = SUM_CONTEXT.add(known[1], point.price)
        if self._stored != self.list_price(connection, scope_ids, span):
            self.is_exact = False
        return [
            Usage(scope, metric, attributes, quantity, price, day)
            for (scope, metric, attributes, day), (quantity, price) in sums.items()
            if scope in scope_ids
        ]

    def weights(
        self,
        connection: sa.Connection,
        scope_ids: Sequence[str],
        span: Period,
        metric: str | None = None,
    ) -> dict[str, Decimal]:
        found: dict[str, Decimal] = {}
        for usage in self.read(connection, scope_ids, Plan(''), span):
            if metric in (None, usage.metric):
                part = usage.list_price if metric is None else usage.quantity
                found[usage.scope_id] = SUM_CONTEXT.add(found.get(usage.scope_id, ZERO), part)
        return found

    def _points(
        self, scope_ids: Sequence[str], span: Period
    ) -> Iterator[tuple[dataframe.DataFrame, str, dataframe.DataPoint]]:
        """Yield the frame, the metric, and the point priced again; add up the stored prices."""
        if not scope_ids:
            return
        extent = Extent(span.begin, span.end, scope_ids)
        for cell in self._store.cells.read(extent):
            frame = cell.frame
            self._limits.count(sum(len(points) for _, points in frame.itertypes()))
            for _, point in frame:
                self._stored = SUM_CONTEXT.add(self._stored, point.price)
            for metric, point in price_preview.price_again(self._modules, cell):
                yield frame, metric, point


def _text(value: Any) -> str:
    return '' if value is None else str(value)
