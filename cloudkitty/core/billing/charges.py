"""What a quantity costs under an item of a plan, with each step of the computation. Pure."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from cloudkitty.core import decimals
from cloudkitty.core.billing import money, plan
from cloudkitty.core.billing.models import Part, rated

ONE, ZERO = Fraction(1), Fraction(0)


class Step(NamedTuple):
    """A step of a computation, for readers of the statement.

    :ivar name: what was done, such as `free` or `tier-2`.
    :ivar operand: with what, as text.
    :ivar result: the quantity or amount after it.
    """

    name: str
    operand: str
    result: Decimal


class Charge(NamedTuple):
    """The price of a quantity.

    :ivar amount: in the currency of the plan, not rounded.
    :ivar shortfall: what is missing to the minimum of the item.
    :ivar problem: why it cannot be billed; empty: it can.
    """

    amount: Fraction
    shortfall: Fraction
    parts: list[Part]
    steps: tuple[Step, ...]
    problem: str = ''


def charge(
    item: plan.Item,
    quantity: Fraction,
    list_price: Fraction,
    *,
    share: Fraction = ONE,
    discount: Fraction = ZERO,
) -> Charge:
    """Return what *quantity* costs.

    The order is: convert, whole units, allowance, price, discounts, maximum, minimum.

    :param share: part of the month in which the account is in force; it scales what is a month's.
    :param discount: that of the plan, on usage.
    """
    steps: list[Step] = []
    billable = _billable(item, list_price if item.measures_list else quantity, share, steps)
    problem = ''
    if billable < 0 and not item.model.takes_negative:
        problem = f'item {item.name}: {render(billable)} is negative, and has no {item.model.kind}'
        problem += ' price'
        billable = ZERO
    if isinstance(item.model, rated.Rated) and item.free and quantity:
        list_price = list_price * billable / quantity
    parts = item.model.parts(billable, list_price)
    amount = sum((part.amount for part in parts), ZERO)
    steps += [
        Step(part.name, _times(part, list_price), money.to_exact(part.amount)) for part in parts
    ]
    amount = _reduced(item, amount, share, discount, steps)
    return Charge(amount, _shortfall(item, amount, share), parts, tuple(steps), problem)


def _billable(item: plan.Item, quantity: Fraction, share: Fraction, steps: list[Step]) -> Fraction:
    """Return the units that are priced."""
    if item.per != 1:
        quantity /= item.per
        steps.append(Step('per', render(item.per), money.to_exact(quantity)))
    if item.whole:
        quantity = Fraction((math.ceil if item.whole == plan.UP else math.floor)(quantity))
        steps.append(Step('whole', item.whole, money.to_exact(quantity)))
    if item.free:
        free = min(max(quantity, ZERO), item.free * share)
        quantity -= free
        steps.append(Step('free', render(free), money.to_exact(quantity)))
    return quantity


def _reduced(
    item: plan.Item, amount: Fraction, share: Fraction, discount: Fraction, steps: list[Step]
) -> Fraction:
    """Return *amount* after discounts and maximum, of a fee its share of the month."""
    if item.model.kind == 'flat' and share != ONE:
        amount *= share
        steps.append(
            Step('share', f'{share.numerator}/{share.denominator}', money.to_exact(amount))
        )
    off = (item.discount, discount if item.metric is not None else ZERO)
    for part in filter(None, off):
        amount *= 1 - part
        steps.append(Step('discount', f'{render(part * 100)} %', money.to_exact(amount)))
    if item.maximum is not None and amount > item.maximum * share:
        amount = item.maximum * share
        steps.append(Step('maximum', render(item.maximum), money.to_exact(amount)))
    return amount


def _shortfall(item: plan.Item, amount: Fraction, share: Fraction) -> Fraction:
    return ZERO if item.minimum is None else max(item.minimum * share - amount, ZERO)


def _times(part: Part, list_price: Fraction) -> str:
    if part.price is not None:
        return f'{render(part.quantity)} x {render(part.price)}'
    return render(list_price if part.name == 'rated' else part.quantity)


def render(number: Fraction) -> str:
    """Return *number* as decimal text; one without an end is cut."""
    text = decimals.render_decimal(money.to_exact(number))
    return text.removesuffix('.0')
