"""The one place for rounding, adding and rendering of numbers. Pure.

Quantities, prices and rates are decimals all the way from the source to the database and the
client.
"""

import decimal
from decimal import Decimal

from cloudkitty import errors

# Every product, quotient and sum that makes a quantity or a price is rounded to 28 significant
# digits, half to even. Sums of what was rated are never rounded (SUM_CONTEXT).
# Source: doc/source/contributor/compatibility/rating.rst, "The price of a point".
CONTEXT = decimal.Context(
    prec=28,
    rounding=decimal.ROUND_HALF_EVEN,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)
SUM_CONTEXT = decimal.Context(
    prec=decimal.MAX_PREC,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    traps=[decimal.InvalidOperation, decimal.Inexact],
)
# For conversions that must round somewhere, but far behind the 28th digit.
WIDE_CONTEXT = decimal.Context(prec=1000, rounding=decimal.ROUND_HALF_EVEN)
# Blocks store a price as quantity times rate if a short rate gives exactly the price. The second
# context rounds a product in the same way when the block is written and when it is read.
RATE_CONTEXT = decimal.Context(prec=12, traps=[])
PRODUCT_CONTEXT = decimal.Context(prec=1000, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[])
ZERO = Decimal(0)
# Digits before the point of a quantity or price: the sum of 10 million still fits into a column.
INTEGER_DIGITS_MAX = 20
# Digits of stored numbers before and after the point: MariaDB's widest exact number has 65.
SUM_DIGITS_MAX = 27
SCALE_MAX = 38


def render_decimal(number: Decimal) -> str:
    """Return *number* in fixed-point notation with all its digits, at least one after the point."""
    text = format(number, 'f')
    if '.' not in text:
        return text + '.0'
    text = text.rstrip('0')
    return text + '0' if text.endswith('.') else text


def round_to(number: Decimal, scale: int) -> Decimal:
    """Return *number* with *scale* digits after the point, rounded half to even."""
    return number.quantize(Decimal(1).scaleb(-scale), context=WIDE_CONTEXT)


def trim(number: Decimal) -> Decimal:
    """Return *number* without trailing zeros after the point."""
    whole = number.to_integral_value()
    # The context keeps every digit that a column can hold.
    return whole if whole == number else number.normalize(WIDE_CONTEXT)


def _scale(number: Decimal) -> int:
    """Return the number of digits after the point; negative for an integer such as 1E+3."""
    return len(number.as_tuple().digits) - number.adjusted() - 1


def on_grid(number: Decimal, digits_max: int = INTEGER_DIGITS_MAX) -> Decimal:
    """Return *number* rounded to what every database stores exactly: 38 digits after the point.

    A quantity or price must leave room for sums: on an overflow each database behaves differently.
    So numbers that are too large are refused here, before they are written.

    :raises InvalidInput: more than *digits_max* digits before the point.
    """
    if not number:
        return ZERO
    if number.adjusted() < digits_max and _scale(number) > SCALE_MAX:
        number = round_to(number, SCALE_MAX)
    if number.adjusted() >= digits_max:
        raise errors.InvalidInput(
            reason=f'{number} has more than {digits_max} digits before the point'
        )
    return number
