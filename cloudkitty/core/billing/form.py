"""A statement as JSON: what clients read and what is stored. Pure.

Every number is text, so that no digit is lost; times are UTC.
"""

import types
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from cloudkitty.core import decimals, timeframe
from cloudkitty.core.billing import charges, credits, money, month, statement
from cloudkitty.core.billing.canonical import render
from cloudkitty.core.billing.plan import MONTH_END, Account
from cloudkitty.core.billing.statement import Line, TaxRate, Totals
from cloudkitty.core.billing.terms import AccountTerms
from cloudkitty.core.decimals import SUM_CONTEXT, trim


class Statement(NamedTuple):
    """The statement of an account and a month.

    :ivar version: of the document that has its plan; 0: there was none.
    :ivar lines: those of the month, then corrections of older months.
    :ivar draws: what credits pay of the total.
    :ivar names: of scopes, by id, for people; those that are known.
    """

    account: Account
    period: str
    version: int
    terms: AccountTerms
    lines: list[Line]
    totals: Totals
    draws: tuple[credits.Draw, ...] = ()
    names: Mapping[str, str] = types.MappingProxyType({})

    @property
    def drawn(self) -> Decimal:
        """What credits pay, with the digits of the currency."""
        return money.round_amount(Fraction(credits.total(self.draws)), self.terms.terms.digits)


def make(
    account: Account,
    version: int,
    terms: AccountTerms,
    lines: list[Line],
    taxes: Mapping[tuple[str, str], TaxRate | None],
) -> Statement:
    """Return the statement with *lines*.

    :param taxes: by month and tax category.
    """
    sums = statement.totals(lines, taxes, terms.terms.digits)
    return Statement(account, terms.terms.period, version, terms, lines, sums)


def taxes_of(terms: AccountTerms) -> dict[tuple[str, str], TaxRate | None]:
    """Return the taxes of a month, by month and tax category."""
    return {(terms.terms.period, category): tax for category, tax in terms.taxes.items()}


def to_form(made: Statement) -> dict[str, Any]:
    """Return *made* as JSON."""
    account, terms, sums = made.account, made.terms, made.totals
    span = month.bounds(made.period, account.zone)
    at_list = _at_list(made)
    adjustment = Fraction(sums.net) - at_list
    return {
        'account': {'id': account.id, 'name': _account_name(made)},
        'names': _names(made),
        'month': made.period,
        'begin': timeframe.render(span.begin),
        'end': timeframe.render(span.end),
        'zone': account.zone.key,
        'language': account.language,
        'plan': terms.plan.name or None,
        'version': made.version,
        'currency': terms.currency,
        'price_currency': terms.price_currency,
        'conversion': account.conversion,
        'conversion_rate': charges.render(terms.terms.rate),
        'lines': [line_form(line) for line in made.lines],
        'list': number(sums.list_price),
        'adjustment': charges.render(adjustment),
        'net': render(sums.net),
        'rounding': number(sums.rounding),
        'taxes': [
            {
                'category': tax.category,
                'code': tax.code,
                'percent': number(tax.percent),
                'base': render(tax.base),
                'amount': render(tax.amount),
            }
            for tax in sums.taxes
        ],
        'tax': render(sums.tax),
        'total': render(sums.total),
        'credits': [
            {'id': one.credit_id, 'note': one.note, 'amount': number(one.amount)}
            for one in made.draws
        ],
        'drawn': render(made.drawn),
        'due': render(SUM_CONTEXT.subtract(sums.total, made.drawn)),
    }


def _account_name(made: Statement) -> str:
    """Return the name of the account; of a scope that is an account of its own, that of it."""
    account = made.account
    return account.name if account.name != account.id else made.names.get(account.id, account.id)


def _names(made: Statement) -> dict[str, str]:
    """Return the names of the scopes that lines are about."""
    scopes = {line.scope_id for line in made.lines if line.scope_id is not None}
    return {scope: made.names[scope] for scope in sorted(scopes & made.names.keys())}


def _at_list(made: Statement) -> Fraction:
    """Return the list price in the currency of the statement."""
    usual = made.terms.terms.rate
    whole = Fraction(made.totals.list_price) * usual
    for line in made.lines:
        if line.rate is not None:
            whole += Fraction(line.list_price) * (line.rate - usual)
    return whole


def line_form(line: Line) -> dict[str, Any]:
    """Return a line as JSON."""
    return {
        'month': line.period,
        'kind': line.kind,
        'item': line.item,
        'key': dict(line.key),
        'scope_id': line.scope_id,
        'metric': line.metric,
        'unit': line.unit,
        'quantity': number(line.quantity),
        'list': number(line.list_price),
        'exact': number(line.exact),
        'amount': render(line.amount),
        'tax': line.tax,
        'correction': line.is_correction,
        'steps': [
            {'name': step.name, 'operand': step.operand, 'result': number(step.result)}
            for step in line.steps
        ],
    }


def number(value: Decimal) -> str:
    """Return *value* in fixed-point notation without zeros at the end."""
    return render(trim(value))


def amount(value: Decimal, currency: str) -> str:
    """Return an amount with the digits of its currency, or more if it has more."""
    text = number(value)
    digits = money.minor_digits(currency, {})
    own = len(text.partition('.')[2])
    return render(money.round_amount(Fraction(text), max(digits, own)))


def completed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was closed, with members that statements of earlier releases do not have."""
    return {
        'conversion': MONTH_END,
        'names': {},
        'credits': [],
        'drawn': '0',
        'due': content['total'],
        **content,
    }


def share_of(form: Mapping[str, Any], scope_id: str) -> dict[str, Any]:
    """Return what a scope may see of a statement of its account: its own lines.

    Sums are those of its lines; taxes, and what is the account's as a whole, are left out.
    """
    lines: Sequence[Mapping[str, Any]] = [
        line for line in form['lines'] if line['scope_id'] == scope_id
    ]
    names = form['names']
    return {
        **form,
        'names': {scope_id: names[scope_id]} if lines and scope_id in names else {},
        'lines': lines,
        'list': _sum(lines, 'list'),
        'adjustment': None,
        'net': _sum(lines, 'amount'),
        'rounding': None,
        'taxes': [],
        'tax': None,
        'total': None,
        'credits': [],
        'drawn': None,
        'due': None,
    }


def _sum(lines: Sequence[Mapping[str, Any]], name: str) -> str:
    whole = decimals.ZERO
    for line in lines:
        whole = SUM_CONTEXT.add(whole, Decimal(line[name]))
    return render(whole)
