"""The block codec."""

import zlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudkitty import block

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(st.integers(1, 2**63 - 1), DECIMALS, DECIMALS)))
def test_what_goes_in_comes_out_digit_for_digit(points):
    points.sort(key=lambda point: point[0])
    ids, quantities, prices = ([point[n] for point in points] for n in range(3))

    decoded = block.decode(block.encode(ids, list(map(str, quantities)), list(map(str, prices))))

    assert decoded[0] == ids
    assert list(map(str, decoded[1])) == list(map(str, quantities))
    assert list(map(str, decoded[2])) == list(map(str, prices))


def test_a_block_of_today_is_readable_for_ever():
    """These bytes are version 1 as it was released; decoding them must never change."""
    stored = bytes.fromhex(
        '01780133d43132d031e632d433d631d031e732d03330d4011246263a8600419404c0')

    assert block.decode(stored) == (
        [1, 21, 24], [Decimal('1.3'), Decimal(0), Decimal(7)],
        [Decimal('0.01'), Decimal('0.024'), Decimal(1)])


@pytest.mark.parametrize('damaged', [
    b'', b'\x02abc', b'\x01', b'\x01abc', b'\x01' + zlib.compress(b'1\n1'),
    b'\x01' + zlib.compress(b'1,1\n1\n1'), b'\x01' + zlib.compress(b'x\n1\n1'),
    b'\x01' + zlib.compress(b'1\nx\n1')])
def test_damage_is_noticed(damaged):
    with pytest.raises(block.CorruptBlock):
        block.decode(damaged)
