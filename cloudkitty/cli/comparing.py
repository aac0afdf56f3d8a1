"""What commands that compare two sides have in common."""

from decimal import Decimal, InvalidOperation

SAME, DIFFERENT, UNKNOWN = 0, 1, 255  # exit statuses


def ratio(text: str) -> Decimal:
    """Return a number from 0 to below 1.

    :raises ValueError: *text* is none.
    """
    try:
        found = Decimal(text)
    except InvalidOperation as exc:
        raise ValueError(text) from exc
    if not 0 <= found < 1:
        raise ValueError(text)
    return found
