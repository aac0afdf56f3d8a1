"""The block codec."""

import zlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudkitty.core import block

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)


RATES = st.sampled_from([Decimal('0.0123'), Decimal('-3e-28'), Decimal(7), Decimal('1e-10')])
POINTS = st.tuples(st.integers(1, 2**63 - 1), DECIMALS, DECIMALS)
RATED = st.builds(
    lambda number, qty, rate: (number, qty, qty * rate),
    st.integers(1, 2**63 - 1),
    st.decimals('-1e15', '1e15', places=9),
    RATES,
)


@given(st.lists(POINTS | RATED))
def test_what_goes_in_comes_out_digit_for_digit(points):
    points.sort(key=lambda point: point[0])
    ids, quantities, prices = ([point[n] for point in points] for n in range(3))

    decoded = block.decode(block.encode(ids, list(map(str, quantities)), list(map(str, prices))))

    assert decoded[0] == ids
    assert list(map(str, decoded[1])) == list(map(str, quantities))
    assert list(map(str, decoded[2])) == list(map(str, prices))


@pytest.mark.parametrize(
    'quantity, price',
    [
        ('4.000', '10000'),
        ('4', '10000.000'),
        ('0.5', '1.00000'),
        ('3', '1.0000000000'),
        ('0', '0.00000'),
        ('7E+3', '14000.0'),
        ('-0.0', '-0.00000'),
    ],
)
def test_zeros_at_the_end_are_digits_too(quantity, price):
    """A rate is only stored where the product is written like the price."""
    points = [1, 2], [quantity] * 2, [price] * 2

    ids, quantities, prices = block.decode(block.encode(*points))

    assert (ids, list(map(str, quantities)), list(map(str, prices))) == points


def test_rates_are_stored_once():
    numbers = [Decimal(n).scaleb(-6) for n in range(10**10, 10**10 + 5)]
    prices = [number * Decimal('0.0123') for number in numbers]
    texts = ['0.1', *map(str, prices[:3]), '0.3333333333', str(prices[4])]
    columns = [[[one] for one in (Decimal(3), *numbers)], [[Decimal(text)] for text in texts]]

    items = block.price_items([[0]] * 6, *columns, [[text] for text in texts])

    assert items == [['0.1'], ['*0.0123'], [''], [''], ['0.3333333333'], ['']]


AMOUNTS = st.sampled_from(
    [Decimal(0), Decimal('0.000'), Decimal('1.25'), Decimal(3)]
) | st.decimals('-1e15', '1e15', places=9)
PRICED = st.tuples(AMOUNTS, RATES).map(lambda pair: (pair[0], pair[0] * pair[1]))
# Most series have one rate, and are in all blocks.
ALIKE = st.tuples(st.lists(AMOUNTS, min_size=3, max_size=3), RATES).map(
    lambda pair: [(0, 1, 2), [(qty, qty * pair[1]) for qty in pair[0]]]
)
PLACES = st.sampled_from([(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
ANY = PLACES.flatmap(
    lambda offsets: st.lists(
        PRICED | st.tuples(AMOUNTS, AMOUNTS), min_size=len(offsets), max_size=len(offsets)
    ).map(lambda points: [offsets, points])
)


@given(st.lists(ALIKE | ANY, max_size=8))
def test_blocks_that_are_made_together_are_those_made_alone(columns):
    offsets = [own for own, _ in columns]
    quantities = [[qty for qty, _ in points] for _, points in columns]
    prices = [[price for _, price in points] for _, points in columns]
    texts = [list(map(str, column)) for column in prices]

    items = block.price_items(offsets, quantities, prices, texts)

    for number in range(3):
        held = [(index, own.index(number)) for index, own in enumerate(offsets) if number in own]
        ids = [index + 1 for index, _ in held]
        quantity_texts = [str(quantities[index][at]) for index, at in held]
        assert block.pack(
            block.line_of_ids(ids),
            ','.join(quantity_texts),
            ','.join(items[index][at] for index, at in held),
        ) == block.encode(ids, quantity_texts, [texts[index][at] for index, at in held])


def test_a_block_of_version_2_is_readable_for_ever():
    """These bytes are version 2 as it was released; decoding them must never change."""
    stored = bytes.fromhex(
        '02480d33d43132d031e632343030d0333432363135030a00d966a626c646863a'
        'e65c5a067a0640091d1d4300ad2c07e2'
    )

    assert block.decode(stored) == (
        [1, 21, 24],
        [Decimal('1000.123456'), Decimal('2000.654321'), Decimal(7)],
        [Decimal('12.3015185088'), Decimal('24.6080481483'), Decimal(1)],
    )


def test_a_block_of_version_1_is_readable_for_ever():
    """These bytes are version 1 as it was released; decoding them must never change."""
    stored = bytes.fromhex('01780133d43132d031e632d433d631d031e732d03330d4011246263a8600419404c0')

    assert block.decode(stored) == (
        [1, 21, 24],
        [Decimal('1.3'), Decimal(0), Decimal(7)],
        [Decimal('0.01'), Decimal('0.024'), Decimal(1)],
    )


@pytest.mark.parametrize(
    'damaged',
    [
        b'',
        b'\x03abc',
        b'\x02abc',
        b'\x01',
        b'\x02' + zlib.compress(b'1\n1\n'),
        b'\x02' + zlib.compress(b'1\n1\n*x'),
        b'\x02' + zlib.compress(b'1,1\n1,1\n'),
        b'\x01abc',
        b'\x01' + zlib.compress(b'1\n1'),
        b'\x01' + zlib.compress(b'1,1\n1\n1'),
        b'\x01' + zlib.compress(b'x\n1\n1'),
        b'\x01' + zlib.compress(b'1\nx\n1'),
    ],
)
def test_damage_is_noticed(damaged):
    with pytest.raises(block.CorruptBlock):
        block.decode(damaged)
