"""What commands that compare two sides have in common."""

import argparse
from decimal import Decimal, InvalidOperation

SAME, DIFFERENT, UNKNOWN = 0, 1, 255  # exit statuses


def ratio(text: str) -> Decimal:
    """Return a number from 0 to below 1.

    :raises ArgumentTypeError: *text* is none.
    """
    try:
        found = Decimal(text)
        is_ratio = 0 <= found < 1
    # No number, or a NaN, which cannot be compared.
    except InvalidOperation:
        is_ratio = False
    if not is_ratio:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 0 to below 1')
    return found
