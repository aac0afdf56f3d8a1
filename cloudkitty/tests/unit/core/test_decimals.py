"""How numbers are rounded."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

import cloudkitty
from cloudkitty import errors
from cloudkitty.core import decimals

PRODUCT = Path(cloudkitty.__file__).parent


@pytest.mark.parametrize(
    'number, scale, expected',
    [('2.5', 0, '2'), ('3.5', 0, '4'), ('0.000005', 5, '0.00000'), ('0.0000150', 5, '0.00002')],
)
def test_a_half_goes_to_the_even_digit(number, scale, expected):
    assert str(decimals.round_to(Decimal(number), scale)) == expected


@pytest.mark.parametrize(
    'number, expected',
    [
        ('0E-50', '0'),
        ('-0.00', '0'),
        ('1.50', '1.50'),
        ('1E+3', '1E+3'),
        ('1.00000000000000000000000000000000000000500', '1.00000000000000000000000000000000000000'),
        ('9' * 20, '9' * 20),
    ],
)
def test_a_stored_number_has_38_digits_after_the_point(number, expected):
    assert str(decimals.on_grid(Decimal(number))) == expected


@pytest.mark.parametrize('number', ['1E+20', '9' * 20 + '.' + '9' * 39])
def test_a_number_without_room_for_sums_is_refused(number):
    with pytest.raises(errors.InvalidInput):
        decimals.on_grid(Decimal(number))

    assert decimals.on_grid(Decimal(number), decimals.SUM_DIGITS_MAX) == Decimal('1E+20')


def test_no_other_module_has_a_rule_for_rounding():
    own = re.compile(r'decimal\.Context\(|\.quantize\(|ROUND_HALF')
    found = [
        str(path.relative_to(PRODUCT))
        for path in PRODUCT.glob('**/*.py')
        if 'tests' not in path.relative_to(PRODUCT).parts and own.search(path.read_text())
    ]

    assert found == ['core/decimals.py']
