"""The sums of a month from the storage: the only place where billing reads usage."""

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal

import sqlalchemy as sa

from cloudkitty.core import decimals
from cloudkitty.core.billing.plan import Plan
from cloudkitty.core.billing.statement import Usage
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import query
from cloudkitty.storage.v2 import BaseStorage

DAY = 'time-d'
# Attribute that usually holds the id of a resource.
RESOURCE = 'id'


class Sums:
    """Reads one storage.

    :param scope_key: attribute that names the scope, see [collect]scope_key.
    """

    def __init__(self, storage: BaseStorage, scope_key: str) -> None:
        self.storage = storage
        self.scope_key = scope_key

    def read(
        self,
        connection: sa.Connection,
        scope_ids: Sequence[str],
        plan: Plan,
        span: Period,
        *,
        by_day: bool = False,
    ) -> list[Usage]:
        """Return the sums of the points in *span*, grouped as *plan* needs.

        Quantities and list prices add up to /v2/summary of the same scopes and time.

        :param connection: of the transaction that reads them.
        :param by_day: return sums of days, UTC.
        """
        if not scope_ids:
            return []
        names = plan.attributes
        groups = [self.scope_key, query.TYPE, *(name for name in names if name != self.scope_key)]
        groups += [DAY] if by_day else []
        days = {str(day.timetuple().tm_yday): day for day in _days(span)} if by_day else {}
        last = (span.end - timedelta.resolution).date()
        rows = self.storage.sums(connection, groups, span, {self.scope_key: list(scope_ids)})
        return [
            Usage(
                row[self.scope_key],
                row[query.TYPE],
                tuple((name, row[name]) for name in names),
                row['qty'],
                row['rate'],
                # A point may have a calendar of its own.
                days.get(row[query.TIME_GROUPS[DAY]], last) if by_day else None,
            )
            for row in rows
        ]

    def list_price(
        self, connection: sa.Connection, scope_ids: Sequence[str], span: Period
    ) -> Decimal:
        """Return the list price of the usage of scopes, as /v2/summary does."""
        if not scope_ids:
            return decimals.ZERO
        rows = self.storage.sums(connection, (), span, {self.scope_key: list(scope_ids)})
        return rows[0]['rate'] if rows else decimals.ZERO

    def resources(
        self,
        connection: sa.Connection,
        scope_ids: Sequence[str],
        plan: Plan,
        span: Period,
        metric: str,
    ) -> Iterator[tuple[Usage, str]]:
        """Yield the sums of the points of *metric*, with the attribute `id` of the resource."""
        if not scope_ids:
            return
        names = plan.attributes
        groups = list(dict.fromkeys([self.scope_key, *names, RESOURCE]))
        filters = {self.scope_key: list(scope_ids), query.TYPE: [metric]}
        for row in self.storage.sums(connection, groups, span, filters):
            attributes = tuple((name, row[name]) for name in names)
            usage = Usage(row[self.scope_key], metric, attributes, row['qty'], row['rate'])
            yield usage, row[RESOURCE]

    def weights(
        self,
        connection: sa.Connection,
        scope_ids: Sequence[str],
        span: Period,
        metric: str | None = None,
    ) -> dict[str, Decimal]:
        """Return the list price of each scope with usage, or its quantity of *metric*."""
        if not scope_ids:
            return {}
        filters = {self.scope_key: list(scope_ids)}
        if metric is not None:
            filters[query.TYPE] = [metric]
        rows = self.storage.sums(connection, [self.scope_key], span, filters)
        column = 'rate' if metric is None else 'qty'
        return {row[self.scope_key]: row[column] for row in rows}

    def scopes(self, span: Period) -> list[str]:
        """Return the ids of the scopes that have usage in *span*, sorted."""
        rows = self.storage.total([self.scope_key], *span, paginate=False)['results']
        return [row[self.scope_key] for row in rows if row[self.scope_key]]


def _days(span: Period) -> Iterator[date]:
    day = span.begin.date()
    while day <= span.end.date():
        yield day
        day += timedelta(days=1)
