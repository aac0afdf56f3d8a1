"""The parts of a line that have one price each: its allowance and its tiers. Pure.

They are read from the steps that are stored with the line, so that a statement can be divided for
as long as it is kept.
"""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from cloudkitty.core import decimals
from cloudkitty.core.billing import money

ALLOWANCE = 'allowance'
# Digits after the point of the amounts of parts, which add up to that of the line.
AMOUNT_DIGITS = 10
_PRICED = re.compile('rated|unit|package|flat|tier-[0-9]+')
_ZERO = Fraction(0)


class Part(NamedTuple):
    """A part of a line; the parts of a line add up to it, number by number.

    :ivar quantity: units of the metric.
    :ivar units: units of the price.
    :ivar list_price: in the currency of the plan.
    :ivar exact: before it was rounded, in the currency of the statement.
    :ivar amount: rounded as part of the line, with AMOUNT_DIGITS.
    """

    name: str
    quantity: Decimal
    units: Decimal
    list_price: Decimal
    exact: Decimal
    amount: Decimal


class _Step(NamedTuple):
    """What a step says of a part.

    :ivar units: its units, as far as they are a measure for dividing.
    :ivar price: its price before discounts.
    """

    name: str
    units: Fraction
    price: Fraction


def divide(line: Mapping[str, Any]) -> list[Part]:
    """Return the parts of a line of a statement (JSON); one without steps is a single part."""
    quantity = Fraction(line['quantity'])
    found = _steps(line['steps'])
    if not found:
        found = [_Step(line['kind'], Fraction(1), Fraction(1))]
    units, prices = [step.units for step in found], [step.price for step in found]
    if not sum(prices, _ZERO):
        prices = units
    columns = [
        _split(quantity, units, money.EXACT_DIGITS),
        _split(quantity / per(line), units, money.EXACT_DIGITS),
        _split(Fraction(line['list']), units, money.EXACT_DIGITS),
        _split(Fraction(line['exact']), prices, money.EXACT_DIGITS),
        _split(Fraction(line['amount']), prices, AMOUNT_DIGITS),
    ]
    return [Part(step.name, *numbers) for step, *numbers in zip(found, *columns, strict=True)]


def rate_of(line: Mapping[str, Any], usual: str) -> Fraction:
    """Return the rate with which a line was converted.

    :param usual: that of the statement.
    """
    own = [step['operand'] for step in line['steps'] if step['name'] == 'conversion']
    return Fraction(own[-1] if own else usual)


def _steps(steps: Sequence[Mapping[str, Any]]) -> list[_Step]:
    free, priced = None, []
    for step in steps:
        if step['name'] == 'free':
            free = Fraction(step['operand']), Fraction(step['result'])
        elif _PRICED.fullmatch(step['name']):
            units = Fraction(step['operand'].partition(' x ')[0])
            priced.append(_Step(step['name'], units, Fraction(step['result'])))
    if len(priced) == 1 and free is not None:
        # The units of a package are packages: what was left after the allowance is not.
        priced = [priced[0]._replace(units=free[1])]
    if free is not None and free[0]:
        priced.insert(0, _Step(ALLOWANCE, free[0], _ZERO))
    return priced


def per(line: Mapping[str, Any]) -> Fraction:
    """Return the units of the metric in one of the price of a line."""
    found = [step['operand'] for step in line['steps'] if step['name'] == 'per']
    return Fraction(found[0]) if found else Fraction(1)


def has_own_rate(line: Mapping[str, Any]) -> bool:
    """Return whether a line was converted with another rate than the statement's."""
    return any(step['name'] == 'conversion' for step in line['steps'])


def _split(number: Fraction, weights: Sequence[Fraction], digits: int) -> list[Decimal]:
    units = money.to_units(number, digits)
    return [decimals.trim(money.of_units(part, digits)) for part in money.split(units, weights)]
