"""The points of one scope in one period as one block of bytes. Pure, and readable for ever.

Version 1 is the byte 0x01, then a zlib stream (RFC 1950) of three lines of ASCII text, each a
list joined by commas, all of one length:

1. series ids in ascending order, the first as it is, each other as the difference to the last;
2. quantities, as Decimal's text;
3. prices, the same.

Source: doc/source/contributor/storage.rst, "Blocks".
"""

import zlib
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate

VERSION = 1
_HEAD = bytes([VERSION])
_LEVEL = 1                           # higher levels cost three times the time for 5 % of the size


class CorruptBlock(ValueError):
    """The bytes are not a block that this version can read."""


def encode(series_ids: Sequence[int], quantities: Sequence[str], prices: Sequence[str]) -> bytes:
    """Return the block of points given as columns.

    :param series_ids: ascending; one series may have several points.
    :param quantities, prices: text of finite decimals.
    """
    previous = 0
    deltas = []
    for series_id in series_ids:
        deltas.append(str(series_id - previous))
        previous = series_id
    text = '\n'.join((','.join(deltas), ','.join(quantities), ','.join(prices)))
    return _HEAD + zlib.compress(text.encode('ascii'), _LEVEL)


def decode(block: bytes) -> tuple[list[int], list[Decimal], list[Decimal]]:
    """Return series ids, quantities and prices of the points in *block*.

    :raises CorruptBlock: not a whole block of a version known here.
    """
    if block[:1] != _HEAD:
        raise CorruptBlock(f'unknown version {block[:1]!r}')
    try:
        lines = zlib.decompress(block[1:]).decode('ascii').split('\n')
        ids, quantities, prices = (line.split(',') if line else [] for line in lines)
        columns = (list(accumulate(map(int, ids))), list(map(Decimal, quantities)),
                   list(map(Decimal, prices)))
    except (zlib.error, ValueError, ArithmeticError) as exc:
        raise CorruptBlock(str(exc)) from exc
    if not len(columns[0]) == len(columns[1]) == len(columns[2]):
        raise CorruptBlock('columns of different length')
    return columns
