"""Block format: the points of one scope in one period as bytes. Pure; old versions stay readable.

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

import operator
import zlib
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate, repeat

from cloudkitty.core import repeated
from cloudkitty.core.decimals import PRODUCT_CONTEXT, RATE_CONTEXT

VERSION = 2
_HEAD = bytes([VERSION])
# Least length of a price's text for which it pays to look for a rate.
_LONG = 5
# Stands for items that are the texts of the prices; no item is equal to it.
_AS_TEXT = 'text'
_LEVEL = 1  # higher levels cost three times the time for 5 % of the size
# Window and memory (zlib's wbits and memLevel) for short text: the default ones take ten times as
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
    """Return the first line of a block, which the frames of one scope mostly share."""
    return ','.join(map(str, map(operator.sub, series_ids, (0, *series_ids))))


def line_of_prices(
    quantities: Sequence[Decimal], prices: Sequence[Decimal], texts: Sequence[str]
) -> str:
    """Return the third line of a block.

    :param texts: those of *prices*.
    """
    rate, items = None, []
    for quantity, price, text in zip(quantities, prices, texts, strict=True):
        item, rate = _item(rate, quantity, price, text)
        items.append(item)
    return ','.join(items)


def price_items(
    offsets: Sequence[Sequence[int]],
    quantities: Sequence[Sequence[Decimal]],
    prices: Sequence[Sequence[Decimal]],
    texts: Sequence[Sequence[str]],
) -> list[Sequence[str]]:
    """Return the items of the price lines of blocks that are encoded together, by series.

    All arguments have a list for each series, in the order of the blocks.

    :param offsets: indexes of the blocks that contain the series.
    :param texts: texts of *prices*.
    """
    rates = _Rates(len(set().union(*offsets)))
    return [rates.items(*one) for one in zip(offsets, quantities, prices, texts, strict=True)]


class _Rates:
    """The rate that was written last in each of *count* blocks."""

    def __init__(self, count: int) -> None:
        self._count = count
        # The rate of all blocks except those that have one of their own.
        self._common: Decimal | None = None
        self._own: dict[int, Decimal | None] = {}

    def items(
        self,
        offsets: Sequence[int],
        quantities: Sequence[Decimal],
        prices: Sequence[Decimal],
        texts: Sequence[str],
    ) -> Sequence[str]:
        """Return the items for the prices of a series; mostly they are the same in all blocks."""
        item = None if self._own else self._common_item(quantities, prices, texts)
        if item is not None:
            return texts if item == _AS_TEXT else [item] * len(texts)
        return self._one_by_one(offsets, quantities, prices, texts)

    def _common_item(
        self, quantities: Sequence[Decimal], prices: Sequence[Decimal], texts: Sequence[str]
    ) -> str | None:
        """Return the item that all blocks have, _AS_TEXT for the texts; None: they differ."""
        is_in_all = len(texts) == self._count
        if repeated.spread_of(quantities, prices, texts) is not None:
            quantities, prices = repeated.distinct_of(quantities), repeated.distinct_of(prices)
            texts = repeated.distinct_of(texts)
        if max(map(len, texts)) < _LONG:
            return _AS_TEXT
        if min(map(len, texts)) < _LONG:
            return None
        if self._common is not None and _reproduces(self._common, quantities, texts):
            return ''
        # Without quantities of 0 no block can keep another rate than this one.
        rate = RATE_CONTEXT.divide(prices[0], quantities[0])
        if (
            is_in_all
            and all(quantities)
            and str(rate) != str(self._common)
            and _reproduces(rate, quantities, texts)
        ):
            self._common = rate
            return f'*{rate}'
        return None

    def _one_by_one(
        self,
        offsets: Sequence[int],
        quantities: Sequence[Decimal],
        prices: Sequence[Decimal],
        texts: Sequence[str],
    ) -> list[str]:
        items: list[str] = []
        own = self._own
        for offset, quantity, price, text in zip(offsets, quantities, prices, texts, strict=True):
            rate = own.get(offset, self._common)
            item, own[offset] = _item(rate, quantity, price, text)
            items.append(item)
        if len(own) == self._count and len(set(map(str, own.values()))) == 1:
            self._common = own.popitem()[1]
            own.clear()
        return items


def _reproduces(rate: Decimal, quantities: Sequence[Decimal], texts: Sequence[str]) -> bool:
    """Return whether all quantities times the rate are the prices, to the last digit."""
    products = map(PRODUCT_CONTEXT.multiply, quantities, repeat(rate))
    # Mostly the first one decides.
    return str(next(products)) == texts[0] and list(map(str, products)) == list(texts[1:])


def _item(
    rate: Decimal | None, quantity: Decimal, price: Decimal, text: str
) -> tuple[str, Decimal | None]:
    """Return the item for a price, and the last written rate after it."""
    if len(text) < _LONG:
        return text, rate
    if rate is not None and str(PRODUCT_CONTEXT.multiply(quantity, rate)) == text:
        return '', rate
    found = RATE_CONTEXT.divide(price, quantity)
    if str(PRODUCT_CONTEXT.multiply(quantity, found)) == text:
        return f'*{found}', found
    return text, rate


def _prices(quantities: Sequence[Decimal], items: Sequence[str]) -> list[Decimal]:
    rate: Decimal | None = None
    prices: list[Decimal] = []
    for quantity, item in zip(quantities, items, strict=True):
        if item and item[0] != '*':
            prices.append(Decimal(item))
            continue
        if item:
            rate = Decimal(item[1:])
        elif rate is None:
            raise CorruptBlock('a price without a rate')
        prices.append(PRODUCT_CONTEXT.multiply(quantity, rate))
    return prices


def pack(ids: str, quantities: str, prices: str) -> bytes:
    """Return the block of three finished lines."""
    text = f'{ids}\n{quantities}\n{prices}'.encode('ascii')
    window = _SHORT_WINDOW if len(text) <= _SHORT else _WINDOW
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, *window)
    return _HEAD + stream.compress(text) + stream.flush()


def decode(block: bytes) -> tuple[list[int], list[Decimal], list[Decimal]]:
    """Return series ids, quantities and prices of the points in *block*.

    :raises CorruptBlock: not a complete block of a known version.
    """
    version = block[:1]
    if version not in (b'\x01', _HEAD):
        raise CorruptBlock(f'unknown version {version!r}')
    try:
        lines = zlib.decompress(block[1:]).decode('ascii').split('\n')
        ids, quantities, prices = (line.split(',') if line else [] for line in lines)
        # A single empty price makes an empty line.
        if quantities and not lines[2]:
            prices = ['']
        if not len(ids) == len(quantities) == len(prices):
            raise CorruptBlock('columns of different length')
        numbers = list(map(Decimal, quantities))
        return (
            list(accumulate(map(int, ids))),
            numbers,
            _prices(numbers, prices) if version == _HEAD else list(map(Decimal, prices)),
        )
    except (zlib.error, ValueError, ArithmeticError) as exc:
        raise CorruptBlock(str(exc)) from exc
