"""The lines of a statement: every sum of the month priced by exactly one item. Pure."""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from cloudkitty import errors
from cloudkitty.core.billing import money
from cloudkitty.core.billing.charges import ONE, ZERO, Charge, Step, charge, render
from cloudkitty.core.billing.conversion import DatedRate, mean_rate
from cloudkitty.core.billing.models.rated import Rated
from cloudkitty.core.billing.plan import SCOPE, STANDARD_TAX, Item, Plan
from cloudkitty.core.decimals import SUM_CONTEXT
from cloudkitty.core.decimals import ZERO as NOTHING

# Kinds of lines.
USAGE, FEE, MINIMUM, COUPON, SHARED = 'usage', 'fee', 'minimum', 'coupon', 'shared'
KINDS = (USAGE, FEE, MINIMUM, COUPON, SHARED)
# Items of the lines that no item of a plan makes.
LIST, STATEMENT = 'list', 'statement'

Attributes = tuple[tuple[str, str], ...]


class Usage(NamedTuple):
    """Sums of series over a month.

    :ivar attributes: (name, value) of those that the plan asks for, sorted.
    :ivar list_price: what the rating modules charged.
    :ivar day: UTC, where each day has a rate of its own; None: sums of the whole month.
    """

    scope_id: str
    metric: str
    attributes: Attributes
    quantity: Decimal
    list_price: Decimal
    day: date | None = None


class Line(NamedTuple):
    """A line of a statement.

    :ivar period: the month it is about, such as 2026-10.
    :ivar key: what distinguishes lines of an item: values of its attributes.
    :ivar scope_id: None: it is about the account as a whole.
    :ivar quantity: in units of the metric.
    :ivar list_price: what the rating modules charged, in the currency of the plan.
    :ivar exact: the amount before it was rounded.
    :ivar amount: what is owed, before tax, in minor units of the statement's currency.
    :ivar tax: tax category.
    :ivar is_correction: of a month that was closed before.
    :ivar rate: from the currency of the plan, if it is the line's own; None: that of the terms.
    """

    period: str
    kind: str
    item: str
    key: Attributes
    scope_id: str | None
    metric: str | None
    unit: str
    quantity: Decimal
    list_price: Decimal
    exact: Decimal
    amount: Decimal
    tax: str
    steps: tuple[Step, ...] = ()
    is_correction: bool = False
    rate: Fraction | None = None


class Terms(NamedTuple):
    """What the lines of a month depend on, apart from the plan and the usage.

    :ivar digits: after the point of amounts.
    :ivar rate: from the currency of the plan to that of the statement.
    :ivar daily: rates by which usage is converted day by day; empty: all has the one rate.
    :ivar share: part of the month in which the account is in force.
    """

    period: str
    digits: int = money.USUAL_DIGITS
    rate: Fraction = ONE
    share: Fraction = ONE
    daily: Sequence[DatedRate] = ()


class Bill(NamedTuple):
    """The lines of a month, and why it cannot be closed; empty: it can."""

    lines: list[Line]
    problems: list[str]


@dataclass
class _Pool:
    """Series that are priced together."""

    item: Item
    key: Attributes
    by_scope: dict[str, list[Decimal]] = field(default_factory=dict)
    by_day: dict[date, Decimal] = field(default_factory=dict)

    def add(self, usage: Usage) -> None:
        if usage.day is not None:
            known = self.by_day.get(usage.day, NOTHING)
            self.by_day[usage.day] = SUM_CONTEXT.add(known, usage.quantity)
        sums = self.by_scope.get(usage.scope_id)
        if sums is None:
            self.by_scope[usage.scope_id] = [usage.quantity, usage.list_price]
        else:
            sums[0] = SUM_CONTEXT.add(sums[0], usage.quantity)
            sums[1] = SUM_CONTEXT.add(sums[1], usage.list_price)

    def sums(self) -> tuple[Fraction, Fraction]:
        quantities, prices = (
            zip(*self.by_scope.values(), strict=True) if self.by_scope else ((), ())
        )
        return _total(quantities), _total(prices)

    def rate(self, terms: Terms) -> Fraction | None:
        """Return the mean of the days' rates; None: the pool has the rate of the terms.

        :raises InvalidInput: a day with usage has no rate.
        """
        # A mean with negative weights may lie outside of the rates.
        days = {day: Fraction(quantity) for day, quantity in self.by_day.items() if quantity > 0}
        return mean_rate(terms.daily, days) if terms.daily and days else None

    def weights(self) -> list[Fraction]:
        by_list = self.item.measures_list or isinstance(self.item.model, Rated)
        return [Fraction(self.by_scope[scope][by_list]) for scope in sorted(self.by_scope)]


def compute(plan: Plan, usages: Iterable[Usage], terms: Terms) -> Bill:
    """Return the lines of a month; the order of *usages* does not matter.

    The list prices of the lines add up to those of *usages*.
    """
    lines: list[Line] = []
    problems: list[str] = []
    for pool in _pools(plan, usages):
        quantity, list_price = pool.sums()
        found = charge(pool.item, quantity, list_price, share=terms.share, discount=plan.discount)
        rate = None
        try:
            rate = pool.rate(terms)
        except errors.InvalidInput as exc:
            problems.append(f'item {pool.item.name}: {exc}')
        lines += _pool_lines(pool, found, terms, rate)
        if found.shortfall:
            lines.append(_extra(MINIMUM, pool.item, pool.key, found.shortfall, terms))
        if found.problem:
            problems.append(found.problem)
    lines += _coupon_lines(plan, lines, terms)
    lines += _minimum_lines(plan, lines, terms)
    return Bill(lines, problems)


def _pools(plan: Plan, usages: Iterable[Usage]) -> list[_Pool]:
    """Return the pools in the order of the plan, and those at list price last."""
    unmatched = Item(LIST, Rated(), metric='', by=('metric',), pool=SCOPE)
    pools: dict[tuple[int, Attributes, str], _Pool] = {}
    for number, item in enumerate(plan.items):
        if item.metric is None or not item.by and item.pool != SCOPE:
            pools[number, (), ''] = _Pool(item, ())
    places: dict[tuple[str, Attributes], tuple[int, Item, Attributes]] = {}
    for usage in usages:
        series = usage.metric, usage.attributes
        place = places.get(series)
        if place is None:
            place = places[series] = _place(plan, usage, unmatched)
        item = place[1]
        own = place[0], place[2], usage.scope_id if item.pool == SCOPE else ''
        pool = pools.get(own)
        if pool is None:
            pool = pools[own] = _Pool(item, place[2])
        pool.add(usage)
    return [pools[own] for own in sorted(pools)]


def place(plan: Plan, usage: Usage) -> tuple[str, Attributes]:
    """Return the name of the item that takes a series, and the key of its line."""
    _, item, key = _place(plan, usage, Item(LIST, Rated()))
    return item.name, key


def _place(plan: Plan, usage: Usage, unmatched: Item) -> tuple[int, Item, Attributes]:
    """Return the number of the item that takes a series, the item, and its key."""
    values = dict(usage.attributes)
    for number, item in enumerate(plan.items):
        if item.fits(usage.metric, values):
            return number, item, tuple((name, values.get(name, '')) for name in item.by)
    return len(plan.items), unmatched, (('metric', usage.metric),)


def _pool_lines(pool: _Pool, found: Charge, terms: Terms, rate: Fraction | None) -> list[Line]:
    """Return the lines of a pool, one for each scope; rounded once, then divided."""
    item, exact = pool.item, found.amount * (terms.rate if rate is None else rate)
    steps = found.steps
    if rate is not None:
        steps = (*steps, Step('conversion', render(rate), money.to_exact(exact)))
    is_fee = item.metric is None
    if not pool.by_scope:
        line = _extra(FEE if is_fee else USAGE, item, pool.key, found.amount, terms)
        return [line._replace(steps=found.steps)] if found.amount or is_fee else []
    scopes, weights = sorted(pool.by_scope), pool.weights()
    parts = money.split(money.to_units(exact, terms.digits), weights)
    shares = money.split(money.to_units(exact, money.EXACT_DIGITS), weights)
    metric = dict(pool.key)['metric'] if item.name == LIST and not item.metric else item.metric
    return [
        Line(
            terms.period,
            USAGE,
            item.name,
            pool.key,
            scope,
            metric,
            item.unit,
            pool.by_scope[scope][0],
            pool.by_scope[scope][1],
            money.to_exact(Fraction(share, 10**money.EXACT_DIGITS)),
            money.of_units(units, terms.digits),
            item.tax,
            steps,
            rate=rate,
        )
        for scope, units, share in zip(scopes, parts, shares, strict=True)
    ]


def _extra(kind: str, item: Item, key: Attributes, amount: Fraction, terms: Terms) -> Line:
    """Return a line without usage."""
    exact = amount * terms.rate
    return Line(
        terms.period,
        kind,
        item.name,
        key,
        None,
        item.metric,
        item.unit,
        NOTHING,
        NOTHING,
        money.to_exact(exact),
        money.round_amount(exact, terms.digits),
        item.tax,
    )


def _coupon_lines(plan: Plan, lines: Sequence[Line], terms: Terms) -> list[Line]:
    """Return what the coupon takes off, a line for each tax category."""
    if not plan.coupon:
        return []
    sums = {tax: max(total, NOTHING) for tax, total in sums_by(lines, _tax_of).items()}
    order = sorted(sums)
    whole = _total(sums.values())
    off = min(
        money.to_units(plan.coupon * terms.rate, terms.digits), money.to_units(whole, terms.digits)
    )
    if not off:
        return []
    parts = money.split(off, [Fraction(sums[tax]) for tax in order])
    coupon = Item(COUPON, Rated())
    made = [
        _extra(COUPON, coupon, (), ZERO, terms)._replace(
            tax=tax,
            exact=money.of_units(-units, terms.digits),
            amount=money.of_units(-units, terms.digits),
        )
        for tax, units in zip(order, parts, strict=True)
    ]
    return [line for line in made if line.amount]


def _minimum_lines(plan: Plan, lines: Sequence[Line], terms: Terms) -> list[Line]:
    """Return the line that brings the statement to its minimum, if one is needed."""
    if plan.minimum is None:
        return []
    missing = plan.minimum * terms.share * terms.rate - _total(line.amount for line in lines)
    if missing <= 0:
        return []
    item = Item(STATEMENT, Rated(), tax=STANDARD_TAX)
    return [_extra(MINIMUM, item, (), missing / terms.rate, terms)]


def _tax_of(line: Line) -> str:
    return line.tax


def sums_by(lines: Iterable[Line], group: Callable[[Line], str]) -> dict[str, Decimal]:
    """Return the sums of the amounts by *group*."""
    sums: dict[str, Decimal] = {}
    for line in lines:
        sums[group(line)] = SUM_CONTEXT.add(sums.get(group(line), NOTHING), line.amount)
    return sums


def _total(numbers: Iterable[Decimal]) -> Fraction:
    whole = NOTHING
    for number in numbers:
        whole = SUM_CONTEXT.add(whole, number)
    return Fraction(whole)


class TaxRate(NamedTuple):
    """A tax code and its rate, such as 1/5."""

    code: str
    rate: Fraction


class TaxLine(NamedTuple):
    """The tax of a category at a rate.

    :ivar percent: the rate as text.
    :ivar base: what it is charged on.
    """

    category: str
    code: str
    percent: Decimal
    base: Decimal
    amount: Decimal


class Totals(NamedTuple):
    """The sums of a statement; each is the sum of what is printed.

    :ivar net: before tax.
    :ivar rounding: net without what it was before rounding.
    """

    list_price: Decimal
    net: Decimal
    rounding: Decimal
    taxes: list[TaxLine]
    tax: Decimal
    total: Decimal


# Month and tax category to what is charged; None: no tax.
TaxTable = Mapping[tuple[str, str], TaxRate | None]


def totals(lines: Sequence[Line], rates: TaxTable, digits: int) -> Totals:
    """Return the sums; tax is computed by category and rate on the sum of the rounded lines."""
    # With the digits of the currency, even if there is no line.
    nothing = money.of_units(0, digits)
    net = _sum((nothing, *(line.amount for line in lines)))
    groups: dict[tuple[str, TaxRate], Decimal] = {}
    for line in lines:
        found = rates.get((line.period, line.tax))
        if found is not None:
            group = line.tax, found
            groups[group] = SUM_CONTEXT.add(groups.get(group, NOTHING), line.amount)
    taxes = [
        TaxLine(
            category,
            found.code,
            money.to_exact(found.rate * 100),
            base,
            money.round_amount(Fraction(base) * found.rate, digits),
        )
        for (category, found), base in sorted(groups.items())
    ]
    tax = _sum((nothing, *(line.amount for line in taxes)))
    return Totals(
        _sum(line.list_price for line in lines),
        net,
        SUM_CONTEXT.subtract(net, _sum(line.exact for line in lines)),
        taxes,
        tax,
        SUM_CONTEXT.add(net, tax),
    )


def _sum(numbers: Iterable[Decimal]) -> Decimal:
    return next(iter([*itertools.accumulate(numbers, SUM_CONTEXT.add)][-1:]), NOTHING)
