"""The points of one scope in one period as one block of bytes. Pure, and readable for ever.

Version 1 is the byte 0x01, then a zlib stream (RFC 1950) of three lines of ASCII text, each a
list joined by commas, all of one length:

1. series ids in ascending order, the first as it is, each other as the difference to the last;
2. quantities, as Decimal's text;
3. prices, the same.

Source: doc/source/contributor/storage.rst, "Blocks".
"""

import operator
import zlib
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate

VERSION = 1
_HEAD = bytes([VERSION])
_LEVEL = 1                           # higher levels cost three times the time for 5 % of the size
# Window and memory (zlib's wbits and memLevel) for short text: the usual ones take ten times as
# long to prepare as the text of twenty points takes to compress.
_SHORT = 1 << 12
_SHORT_WINDOW = (12, 3)
_WINDOW = (15, 8)


class CorruptBlock(ValueError):
    """The bytes are not a block that this version can read."""


def encode(series_ids: Sequence[int], quantities: Sequence[str], prices: Sequence[str]) -> bytes:
    """Return the block of points given as columns.

    :param series_ids: ascending; one series may have several points.
    :param quantities, prices: text of finite decimals.
    """
    return pack(line_of_ids(series_ids), ','.join(quantities), ','.join(prices))


def line_of_ids(series_ids: Sequence[int]) -> str:
    """Return the first line of a block: frames of one scope mostly share it."""
    return ','.join(map(str, map(operator.sub, series_ids, (0, *series_ids))))


def pack(ids: str, quantities: str, prices: str) -> bytes:
    """Return the block of three lines that are made already."""
    text = f'{ids}\n{quantities}\n{prices}'.encode('ascii')
    window = _SHORT_WINDOW if len(text) <= _SHORT else _WINDOW
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, *window)
    return _HEAD + stream.compress(text) + stream.flush()


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
