"""Signatures of metering messages, the same that Ceilometer computes. Pure.

The algorithm has no separators, so different messages can have one signature: check the form of a
message (message.check) before its signature, and keep the message as it was received, since 1 and
1.0 are signed differently.

Source: doc/source/contributor/metering.rst, "Signatures".
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

KEY = 'message_signature'
SECRET_LENGTH_MIN = 16
# Ceilometer's default, which everybody knows.
KNOWN_SECRET = 'change this for valid signing'


def is_secret(secret: str) -> bool:
    """Return whether nobody can guess *secret*, as far as that can be seen."""
    return len(secret) >= SECRET_LENGTH_MIN and secret != KNOWN_SECRET


def sign(message: Mapping[str, Any], secret: str) -> str:
    """Return the signature of *message* as 64 hexadecimal digits; a signature in it is left out."""
    parts: list[str] = []
    for name in sorted(message):
        if name != KEY:
            _add(parts, name, message[name])
    # At once, which takes half as long as piece by piece.
    return hmac.digest(secret.encode(), ''.join(parts).encode(), 'sha256').hex()


def verify(message: Mapping[str, Any], secrets: Sequence[str]) -> int | None:
    """Return the index in *secrets* of the one that signed *message*; None: none of them did."""
    given = message.get(KEY)
    if not isinstance(given, str) or not given.isascii():
        return None
    try:
        for number, secret in enumerate(secrets):
            if hmac.compare_digest(sign(message, secret), given):
                return number
    # Half of a surrogate pair: nobody can have signed that.
    except UnicodeEncodeError:
        pass
    return None


def key_name(secret: str) -> str:
    """Return a short name of *secret*, from which the secret cannot be computed."""
    return hmac.new(secret.encode(), b'name of the key', hashlib.sha256).hexdigest()[:8]


def _add(parts: list[str], name: str, value: Any) -> None:
    """Add a name and its value; the names of nested mappings are joined with colons."""
    if isinstance(value, str):
        parts += (name, value)
    elif isinstance(value, dict):
        for below in sorted(value):
            _add(parts, f'{name}:{below}', value[below])
    else:
        parts += (name, str(_as_bytes(value) if isinstance(value, (list, tuple)) else value))


def _as_bytes(value: Any) -> Any:
    """Return *value* with its texts as bytes and its mappings sorted, as lists are signed."""
    if isinstance(value, dict):
        return {_as_bytes(key): _as_bytes(below) for key, below in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [_as_bytes(below) for below in value]
    return value.encode() if isinstance(value, str) else value
