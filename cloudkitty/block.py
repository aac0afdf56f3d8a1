"""The points of one scope in one period as one block of bytes. Pure, and readable for ever.

Version 1 is the byte 0x01, then a zlib stream (RFC 1950) of three lines of ASCII text, each a
list joined by commas, all of one length:

1. series ids in ascending order, the first as it is, each other as the difference to the last;
2. quantities, as Decimal's text;
3. prices, the same.

Version 2 is the byte 0x02, then the same with other prices, as most are a quantity times a short
number. Each is one of these:

- Decimal's text of the price;
- ``*`` and Decimal's text of a rate: the price is the quantity times the rate;
- nothing: the price is the quantity times the rate that was given last.

Source: doc/source/contributor/storage.rst, "Blocks".
"""

import decimal
import operator
import zlib
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate

VERSION = 2
_HEAD = bytes([VERSION])
# What a price costs as text that is worth to look for a rate.
_LONG = 5
_RATES = decimal.Context(prec=12, traps=[])
# Whatever it does with a product, it does the same when the block is read.
_PRODUCTS = decimal.Context(prec=1000, Emin=decimal.MIN_EMIN, Emax=decimal.MAX_EMAX, traps=[])
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
    line = line_of_prices(list(map(Decimal, quantities)), list(map(Decimal, prices)), prices)
    return pack(line_of_ids(series_ids), ','.join(quantities), line)


def line_of_ids(series_ids: Sequence[int]) -> str:
    """Return the first line of a block: frames of one scope mostly share it."""
    return ','.join(map(str, map(operator.sub, series_ids, (0, *series_ids))))


def line_of_prices(quantities: Sequence[Decimal], prices: Sequence[Decimal],
                   texts: Sequence[str]) -> str:
    """Return the third line of a block.

    :param texts: those of *prices*.
    """
    rate, items = None, []
    for quantity, price, text in zip(quantities, prices, texts, strict=True):
        if len(text) < _LONG:
            items.append(text)
        elif rate is not None and str(_PRODUCTS.multiply(quantity, rate)) == text:
            items.append('')
        else:
            found = _RATES.divide(price, quantity)
            if str(_PRODUCTS.multiply(quantity, found)) == text:
                rate = found
                text = f'*{rate}'
            items.append(text)
    return ','.join(items)


def _prices(quantities, items):
    rate, prices = None, []
    for quantity, item in zip(quantities, items, strict=True):
        if item and item[0] != '*':
            prices.append(Decimal(item))
            continue
        if item:
            rate = Decimal(item[1:])
        elif rate is None:
            raise CorruptBlock('a price without a rate')
        prices.append(_PRODUCTS.multiply(quantity, rate))
    return prices


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
    version = block[:1]
    if version not in (b'\x01', _HEAD):
        raise CorruptBlock(f'unknown version {version!r}')
    try:
        lines = zlib.decompress(block[1:]).decode('ascii').split('\n')
        ids, quantities, prices = (line.split(',') if line else [] for line in lines)
        # One price that is nothing is an empty line.
        if quantities and not lines[2]:
            prices = ['']
        if not len(ids) == len(quantities) == len(prices):
            raise CorruptBlock('columns of different length')
        numbers = list(map(Decimal, quantities))
        return (list(accumulate(map(int, ids))), numbers,
                _prices(numbers, prices) if version == _HEAD else list(map(Decimal, prices)))
    except (zlib.error, ValueError, ArithmeticError) as exc:
        raise CorruptBlock(str(exc)) from exc
