"""Names of files, and their months."""

import hashlib
import urllib.parse
from collections.abc import Sequence
from datetime import datetime

from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period

# Bytes of a name on the usual file systems, without what follows the scope.
SCOPE_LENGTH_MAX = 180


def safe(identifier: str) -> str:
    """Return an id as a part of a path that cannot leave its folder.

    What is not a letter, digit or one of `_-~` is percent-encoded; a long id ends with its SHA-256.
    """
    encoded = urllib.parse.quote(identifier, safe='').replace('.', '%2E')
    if len(encoded) > SCOPE_LENGTH_MAX:
        digest = hashlib.sha256(identifier.encode()).hexdigest()
        encoded = f'{encoded[: SCOPE_LENGTH_MAX - len(digest) - 1]}~{digest}'
    return encoded


def file_name(scope_id: str, label: str, begin: datetime) -> str:
    """Return the name of a file with usage, without its extension."""
    middle = f'{label}-' if label else ''
    return f'{safe(scope_id)}-{middle}{begin:%Y-%m}'


def months(begin: datetime, end: datetime) -> Sequence[Period]:
    """Return the months, UTC, from the one of *begin* on; the last one ends at *end*."""
    found = []
    month = timeframe.month_at(begin)
    while month.begin < end:
        found.append(Period(month.begin, min(month.end, end)))
        month = timeframe.month_at(month.end)
    return found
