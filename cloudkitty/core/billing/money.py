"""Amounts of money: minor units, rounding, and splitting without a remainder. Pure.

Amounts are computed as fractions and rounded once, half away from zero.
"""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from cloudkitty.core import decimals

# Digits of the minor unit of currencies that do not have two. Source: ISO 4217, list one.
_NO_DIGITS = 'BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'
_THREE_DIGITS = 'BHD IQD JOD KWD LYD OMR TND'
_FOUR_DIGITS = 'CLF UYW'
MINOR_DIGITS = {
    **dict.fromkeys(_NO_DIGITS.split(), 0),
    **dict.fromkeys(_THREE_DIGITS.split(), 3),
    **dict.fromkeys(_FOUR_DIGITS.split(), 4),
}
USUAL_DIGITS = 2
DIGITS_MAX = 9
# ISO 4217 for "no currency": amounts before anybody said which one.
NO_CURRENCY = 'XXX'
# Digits after the point of an amount before it is rounded to minor units, as it is stored.
EXACT_DIGITS = 28


def minor_digits(currency: str, virtual: Mapping[str, int]) -> int:
    """Return the digits after the point of amounts in *currency*.

    :param virtual: digits of currencies that are not in ISO 4217, such as credits of a cloud.
    """
    return virtual.get(currency, MINOR_DIGITS.get(currency, USUAL_DIGITS))


def to_units(amount: Fraction, digits: int) -> int:
    """Return *amount* in units of the last digit, rounded half away from zero."""
    scale: int = 10**digits
    # Whole numbers: a statement rounds thousands of amounts, and fractions would be reduced.
    units = (2 * abs(amount.numerator) * scale + amount.denominator) // (2 * amount.denominator)
    return -units if amount.numerator < 0 else units


def of_units(units: int, digits: int) -> Decimal:
    """Return *units* of the last digit as an amount with that many digits after the point."""
    return Decimal(units).scaleb(-digits, decimals.SUM_CONTEXT)


def round_amount(amount: Fraction, digits: int) -> Decimal:
    """Return *amount* with *digits* after the point, rounded half away from zero."""
    return of_units(to_units(amount, digits), digits)


def to_exact(amount: Fraction) -> Decimal:
    """Return *amount* as a decimal; one without an end is cut to EXACT_DIGITS."""
    return decimals.trim(round_amount(amount, EXACT_DIGITS))


def split(units: int, weights: Sequence[Fraction]) -> list[int]:
    """Divide *units* in proportion to *weights*; the parts add up to *units*.

    What is left after rounding down goes to the largest remainders, of equal ones to the first.
    Weights that add up to zero count as equal.
    """
    if len(weights) == 1:
        return [units]
    # Whole numbers in the same proportion: fractions would be reduced after each operation.
    scale = math.lcm(*(weight.denominator for weight in weights))
    ratios = [weight.numerator * (scale // weight.denominator) for weight in weights]
    whole = sum(ratios)
    if not whole:
        ratios, whole = [1] * len(weights), len(weights)
    elif whole < 0:
        ratios, whole = [-ratio for ratio in ratios], -whole
    shares = [divmod(units * ratio, whole) for ratio in ratios]
    parts = [share for share, _ in shares]
    order = sorted(range(len(shares)), key=lambda n: (-shares[n][1], n))
    for n in order[: units - sum(parts)]:
        parts[n] += 1
    return parts
