"""Forecasts of the current month, and the error of those of earlier months."""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing.statements import Statements
from cloudkitty.core.billing import forecast, month, sharing, statement, terms
from cloudkitty.core.billing.plan import Account
from cloudkitty.core.billing.statement import Line, Usage


class Forecast(NamedTuple):
    """The forecast of a month, before tax and without corrections.

    :ivar until: up to when usage was read, aware UTC.
    :ivar lines: those of the whole month; None: too few days are over.
    :ivar so_far: the lines of the usage so far.
    :ivar miss: median relative error at the same time of the last months; None: there is no
        earlier month.
    """

    account: Account
    currency: str
    until: datetime
    lines: list[Line] | None
    so_far: list[Line]
    miss: Decimal | None


class Forecasts:
    """Forecasts of one database and storage."""

    def __init__(self, statements: Statements) -> None:
        self.statements = statements

    def make(self, connection: sa.Connection, account_id: str, period: str) -> Forecast:
        """Return the forecast of a month.

        :raises NotFound: there is no such account.
        :raises Conflict: the month is over, or has not begun.
        """
        service = self.statements
        account = service.account(connection, account_id, period)
        span = month.bounds(period, account.zone)
        until = service.clock()
        if not span.begin <= until < span.end:
            raise errors.Conflict(reason=f'{period} is over, or has not begun: it has no forecast.')
        known_until = service.rated_until(connection, account, period)
        until = until if known_until is None else min(until, known_until)
        resolved, usage = self._usage(connection, account, period)
        lines = _priced(resolved, forecast.project(usage, span, until))
        so_far = _priced(resolved, usage) or []
        miss = None if lines is None else self._miss(connection, account, period, until)
        return Forecast(account, resolved.currency, until, lines, so_far, miss)

    def _miss(
        self, connection: sa.Connection, account: Account, period: str, until: datetime
    ) -> Decimal | None:
        """Return the error of forecasts of earlier months, each with its own plan."""
        span = month.bounds(period, account.zone)
        pairs: list[tuple[Decimal, Decimal]] = []
        for back in range(1, forecast.MONTHS + 1):
            earlier = month.following(period, -back)
            try:
                old = self.statements.account(connection, account.id, earlier)
            except errors.NotFound:
                continue
            other = month.bounds(earlier, old.zone)
            resolved, usage = self._usage(connection, old, earlier)
            then = forecast.at_same_time(span, until, other)
            known = [one for one in usage if one.day is not None and one.day < then.date()]
            lines = _priced(resolved, forecast.project(known, other, then))
            if lines is not None and usage:
                pairs.append((sharing.total(lines), sharing.total(_priced(resolved, usage) or [])))
        return forecast.median_miss(pairs)

    def _usage(
        self, connection: sa.Connection, account: Account, period: str
    ) -> tuple[terms.AccountTerms, list[Usage]]:
        service = self.statements
        version = service.documents.version_of(connection, period)
        document = service.documents.get(connection, version, period)
        resolved = terms.resolve(document, account, period)
        span = month.bounds(period, account.zone)
        usage = service.sums.read(connection, account.scopes, resolved.plan, span, by_day=True)
        return resolved, usage


def _priced(resolved: terms.AccountTerms, usage: list[Usage] | None) -> list[Line] | None:
    if usage is None:
        return None
    # One rate for all: those of days to come are not known.
    flat = resolved.terms._replace(daily=())
    return statement.compute(resolved.plan, usage, flat).lines
