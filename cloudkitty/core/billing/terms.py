"""What the statement of an account and a month depends on, apart from its usage. Pure."""

from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction
from typing import NamedTuple

from cloudkitty.core.billing import money, month
from cloudkitty.core.billing.conversion import DatedRate, rate_at
from cloudkitty.core.billing.plan import DAILY, STANDARD_TAX, Account, Document, Plan
from cloudkitty.core.billing.statement import TaxRate, Terms

# The plan of an account that has none: everything at list price.
AT_LIST = Plan('')
NO_CURRENCY = (
    'no currency is set: give the plan one, or set it in the account or in defaults of the document'
)


class AccountTerms(NamedTuple):
    """The plan, currency, rates and taxes of an account in a month.

    :ivar currency: of the statement.
    :ivar price_currency: of the plan, which list prices have too.
    :ivar taxes: tax category to what is charged; None: no tax.
    :ivar problems: why nothing can be closed; empty: it can.
    :ivar rate_is_missing: amounts are in the currency of the plan, for want of a rate.
    """

    plan: Plan
    terms: Terms
    currency: str
    price_currency: str
    taxes: dict[str, TaxRate | None]
    problems: list[str]
    rate_is_missing: bool = False


def resolve(document: Document, account: Account, period: str) -> AccountTerms:
    """Return the terms of *account* in the month *period*."""
    problems: list[str] = []
    plan = AT_LIST if account.plan is None else document.plans[account.plan]
    prices = plan.currency or document.defaults.currency or account.currency or money.NO_CURRENCY
    if not account.scopes and account.plan is None:
        # There is neither usage nor a fee to convert, only corrections.
        prices = account.currency or prices
    currency = account.currency or prices
    if currency == money.NO_CURRENCY:
        problems.append(NO_CURRENCY)
    rate: Fraction | None = Fraction(1)
    dated: Sequence[DatedRate] = ()
    if currency != prices:
        dated = document.rates.get((prices, currency), ())
        rate = month_end(dated, account, period)
    if rate is None:
        problems.append(f'no rate {prices}/{currency} is in force at the end of {period}')
    share = month.share(period, account.zone, account.begin, account.end)
    daily = dated if account.conversion == DAILY else ()
    terms = Terms(period, document.digits(currency), rate or Fraction(1), share, daily)
    taxes = _taxes(document, account, plan, period, problems)
    return AccountTerms(plan, terms, currency, prices, taxes, problems, rate is None)


def month_end(dated: Sequence[DatedRate], account: Account, period: str) -> Fraction | None:
    """Return the rate in force on the last day of a month of an account; None: there is none."""
    last = month.bounds(period, account.zone).end.astimezone(account.zone).date()
    return rate_at(dated, last - timedelta(days=1))


def _taxes(
    document: Document, account: Account, plan: Plan, period: str, problems: list[str]
) -> dict[str, TaxRate | None]:
    """Return the tax of each category of *plan* and of shared costs.

    An account without tax codes owes none.
    """
    found: dict[str, TaxRate | None] = {}
    shared = {one.tax for one in document.shares if account.id in one.targets}
    for category in sorted({STANDARD_TAX, *(item.tax for item in plan.items), *shared}):
        code = account.tax.get(category)
        rate = None if code is None else month_end(document.taxes[code], account, period)
        found[category] = None if code is None or rate is None else TaxRate(code, rate)
        if account.tax and code is None:
            problems.append(f'the account has no tax code for category {category}')
        elif code is not None and rate is None:
            problems.append(f'no rate of tax {code} is in force at the end of {period}')
    return found
