"""Limits on the numbers and attributes that come from outside. Pure."""

import decimal
import re
from decimal import Decimal
from typing import Any

from cloudkitty import errors

# Written out, 1e999999999 fills the memory, and any tenant can use it as the name of a server. The
# exponent of a float is never beyond 324.
EXPONENT_MAX = 400
# Most characters of a number.
NUMBER_LENGTH_MAX = 500
# Most levels of objects and lists in a JSON body; libraries fail at 254.
DEPTH_MAX = 64
# Most bytes of the attributes of a point, as JSON.
ATTRIBUTES_SIZE_MAX = 65535
# Characters that end a line or control a terminal.
CONTROLS = re.compile('[\x00-\x1f\x7f-\x9f\u2028\u2029]')
# Characters without a shape that change the order of others: Unicode's Bidi_Control.
DIRECTIONS = re.compile('[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]')
# Most characters of a number in the text of an error.
ECHO_MAX = 50
# Python reads underscores and digits of any script, too: `1_000` and `٣` are texts, not numbers.
_NUMBER = re.compile(r'\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?\s*', re.ASCII | re.IGNORECASE)
_NOT_FINITE = re.compile(r'\s*[+-]?(?:s?nan\d*|inf(?:inity)?)\s*', re.ASCII | re.IGNORECASE)


def to_decimal(number: Any) -> Decimal:
    """Return *number* as an exact, finite decimal; a float is converted by its shortest text.

    :raises InvalidInput: not a number, NaN, infinite, or too long to be written out.
    """
    # Decimal would accept them, but they are always a mistake.
    if isinstance(number, (bool, list, tuple)):
        raise errors.InvalidInput(reason=f'{_short(number)} is not a number')
    if isinstance(number, str):
        _check_length(number)
    if isinstance(number, str) and not (_NUMBER.fullmatch(number) or _NOT_FINITE.fullmatch(number)):
        raise errors.InvalidInput(reason=f'{_short(number)} is not a number')
    try:
        exact = (
            number
            if isinstance(number, Decimal)
            else Decimal(repr(number) if isinstance(number, float) else number)
        )
    except (decimal.InvalidOperation, TypeError, ValueError) as exc:
        raise errors.InvalidInput(reason=f'{_short(number)} is not a number') from exc
    if not exact.is_finite():
        raise errors.InvalidInput(reason=f'{_short(number)} is not a finite number')
    if not is_bounded(exact):
        raise errors.InvalidInput(
            reason=f'{_short(str(exact))} has an exponent beyond {EXPONENT_MAX}'
        )
    return exact


def is_bounded(number: Decimal) -> bool:
    """Return whether *number* is finite and its exponent small enough to write it out."""
    return number.is_finite() and -EXPONENT_MAX <= number.adjusted() <= EXPONENT_MAX


def read_sample(text: str) -> Decimal:
    """Return the number that *text* of a source stands for.

    Beyond the limits of to_decimal() it becomes what a float would be: infinite, or zero.

    :raises InvalidInput: it is too long.
    :raises decimal.InvalidOperation: it is no number.
    """
    _check_length(text)
    number = Decimal(text)
    if not number.is_finite() or is_bounded(number):
        return number
    is_large = number and number.adjusted() > 0
    return Decimal('Infinity').copy_sign(number) if is_large else Decimal(0)


def read_integer(text: str) -> int:
    """Return the whole number that *text* of a source stands for.

    :raises InvalidInput: it is too long.
    :raises ValueError: it is no whole number.
    """
    _check_length(text)
    return int(text)


def _check_length(text: str) -> None:
    if len(text) > NUMBER_LENGTH_MAX:
        raise errors.InvalidInput(
            reason=f'{_short(text)} has more than {NUMBER_LENGTH_MAX} characters'
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= ECHO_MAX else f'{text[:ECHO_MAX]}...'


def quote_controls(text: str) -> str:
    """Return *text* with its control characters escaped, such as `\\n` for the end of a line."""
    return CONTROLS.sub(_escaped, text)


def quote_directions(text: str) -> str:
    """Return *text* with the characters escaped that change the order of others, as `\\u202e`."""
    return DIRECTIONS.sub(_escaped, text)


def quote_unseen(text: str) -> str:
    """Return *text* with all characters escaped that are not seen but change what is."""
    return quote_directions(quote_controls(text))


def _escaped(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def is_deeper(form: Any, levels: int) -> bool:
    """Return whether lists and mappings are nested deeper than *levels* levels."""
    parts = [form] if isinstance(form, (dict, list)) else []
    for _ in range(levels):
        parts = [
            child
            for part in parts
            for child in (part.values() if isinstance(part, dict) else part)
            if isinstance(child, (dict, list))
        ]
        if not parts:
            return False
    return bool(parts)


def check_attributes(series: Any) -> None:
    """Raise InvalidInput unless the attributes of a dataframe.Series can be stored.

    :raises InvalidInput: a whole number of more than 64 bits, too many levels, or too many bytes.
    """
    try:
        size = len(series.identity)
    except (TypeError, ValueError) as exc:
        raise errors.InvalidInput(reason=f'Attributes cannot be stored: {exc}') from exc
    if size > ATTRIBUTES_SIZE_MAX:
        raise errors.InvalidInput(
            reason=f'Attributes of a point have {size} bytes, more than {ATTRIBUTES_SIZE_MAX}'
        )
