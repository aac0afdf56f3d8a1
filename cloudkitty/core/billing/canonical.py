"""One sequence of bytes for a JSON value, whoever writes it, and its digest. Pure."""

import hashlib
from decimal import Decimal
from typing import Any

import orjson


def encode(form: Any) -> bytes:
    """Return *form* as JSON with sorted names; decimals are text in fixed-point notation."""
    return orjson.dumps(form, default=_text, option=orjson.OPT_SORT_KEYS)


def digest(*parts: bytes) -> str:
    """Return the SHA-256 of *parts*, one after the other, in hexadecimal digits."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def render(number: Decimal) -> str:
    """Return *number* in fixed-point notation, with no zeros but its own at the end."""
    return format(number, 'f')


def _text(value: Any) -> str:
    if not isinstance(value, Decimal):
        raise TypeError(f'{type(value).__name__} is not in a canonical form')
    return render(value)
