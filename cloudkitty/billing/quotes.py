"""Quotes: what additional usage would add to the amounts of accounts in the current month."""

from collections.abc import Mapping
from decimal import Decimal

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing.statements import Statements
from cloudkitty.core.billing import month, statement, terms
from cloudkitty.core.billing.plan import Plan
from cloudkitty.core.billing.statement import Usage
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO


def price(statements: Statements, frames: Mapping[str, DataFrame]) -> Decimal:
    """Return what the points of *frames* add to what their accounts owe, before tax.

    It is the price of the month so far with them, less that without them, so that tiers,
    allowances and minimums count; not rounded. Shared costs are left out.

    :param frames: with list prices, by scope.
    :raises Conflict: the plan has no price for it, or accounts have different currencies.
    """
    now = statements.clock()
    whole, currency = ZERO, None
    with statements.database.reader() as connection:
        by_account: dict[str, dict[str, DataFrame]] = {}
        for scope_id, frame in frames.items():
            account_id = statements.account_of_scope(connection, scope_id, f'{now:%Y-%m}')
            by_account.setdefault(account_id, {})[scope_id] = frame
        for account_id, asked in by_account.items():
            resolved, added = _added(connection, statements, account_id, asked)
            if currency not in (None, resolved.currency):
                raise errors.Conflict(
                    reason=f'The accounts have different currencies: {currency} and '
                    f'{resolved.currency}.'
                )
            currency = resolved.currency
            whole = SUM_CONTEXT.add(whole, added)
    return whole


def _added(
    connection: sa.Connection,
    statements: Statements,
    account_id: str,
    asked: Mapping[str, DataFrame],
) -> tuple[terms.AccountTerms, Decimal]:
    """Return the terms of an account, and what *asked* adds."""
    first = statements.account(connection, account_id, f'{statements.clock():%Y-%m}')
    period = month.month_of(statements.clock(), first.zone)
    document = statements.documents.get(
        connection, statements.documents.version_of(connection, period), period
    )
    account = statements.account(connection, account_id, period)
    resolved = terms.resolve(document, account, period)
    is_daily = bool(resolved.terms.daily)
    usage = statements.sums.read(
        connection,
        account.scopes,
        resolved.plan,
        month.bounds(period, account.zone),
        by_day=is_daily,
    )
    more = [
        one
        for scope_id, frame in asked.items()
        for one in _usage(scope_id, frame, resolved.plan, is_daily=is_daily)
    ]
    before = statement.compute(resolved.plan, usage, resolved.terms)
    after = statement.compute(resolved.plan, [*usage, *more], resolved.terms)
    if after.problems or resolved.rate_is_missing:
        raise errors.Conflict(reason='; '.join([*resolved.problems, *after.problems]))
    return resolved, SUM_CONTEXT.subtract(_exact(after), _exact(before))


def _usage(scope_id: str, frame: DataFrame, plan: Plan, *, is_daily: bool) -> list[Usage]:
    """Return the points of a frame as a plan sees usage."""
    found = []
    for metric, point in frame:
        attributes = {**point.metadata, **point.groupby}
        values = tuple((name, str(attributes.get(name, ''))) for name in plan.attributes)
        day = frame.start.date() if is_daily else None
        found.append(Usage(scope_id, metric, values, point.qty, point.price, day))
    return found


def _exact(bill: statement.Bill) -> Decimal:
    whole = ZERO
    for line in bill.lines:
        whole = SUM_CONTEXT.add(whole, line.exact)
    return whole
