"""What is taken from outside, and what is too long or too large."""

from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.core import bounds
from cloudkitty.core.dataframe import Series


@pytest.mark.parametrize(
    'number', ['1e400', '-1e-400', '0', '5e-324', '1.7e308', 10**399, '9' * 400, Decimal('1e-38')]
)
def test_what_can_be_written_out_is_a_number(number):
    assert bounds.to_decimal(number) == Decimal(number)


@pytest.mark.parametrize(
    'number',
    ['1e401', '1e999999999', '-1e-999999999', '0e999999999', '9' * 501, 10**450, Decimal('1e500')],
)
def test_what_would_fill_the_memory_is_no_number(number):
    """Neither does it fill the text of the error."""
    with pytest.raises(errors.InvalidInput) as caught:
        bounds.to_decimal(number)

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize('number', ['1_000', '٣', '', ' ', '0x10', '1e', 'e1', '.', '1 0', '½'])
def test_text_that_python_or_nobody_reads_as_a_number_is_none(number):
    with pytest.raises(errors.InvalidInput, match='is not a number'):
        bounds.to_decimal(number)


@pytest.mark.parametrize('number', [' 1.50\n', '+1.5', '.15e1', '15E-1', '1.5e+0'])
def test_a_number_has_several_notations(number):
    assert bounds.to_decimal(number) == Decimal('1.5')


@pytest.mark.parametrize('number', ['NaN', '-sNaN12', 'inf', '-Infinity'])
def test_what_is_not_finite_is_told(number):
    with pytest.raises(errors.InvalidInput, match='is not a finite number'):
        bounds.to_decimal(number)


@pytest.mark.parametrize(
    'text, number',
    [
        ('0e999999999', '0'),
        ('-0e999999999', '0'),
        ('1.50', '1.50'),
        ('1e999999999', 'Infinity'),
        ('-1e999999999', '-Infinity'),
        ('1e-999999999', '0'),
    ],
)
def test_a_sample_out_of_bounds_is_what_a_float_would_be(text, number):
    assert bounds.read_sample(text) == Decimal(number)


def test_a_sample_has_a_limited_length():
    with pytest.raises(errors.InvalidInput, match='more than 500 characters'):
        bounds.read_sample('1' * 501)


def test_levels_are_counted():
    """Lists and objects in any mixture."""
    form = {'a': [1, {'b': []}], 'c': {}}

    assert bounds.is_deeper(form, 3)
    assert not bounds.is_deeper(form, 4)


@pytest.mark.parametrize(
    'attributes, reason',
    [
        ({'a': 2**64}, 'cannot be stored'),
        ({'a': 'x' * bounds.ATTRIBUTES_SIZE_MAX}, 'more than 65535'),
    ],
)
def test_attributes_that_cannot_be_stored_are_refused(attributes, reason):
    with pytest.raises(errors.InvalidInput, match=reason):
        bounds.check_attributes(Series('unit', {}, attributes))


def test_attributes_of_64_bits_can_be_stored():
    bounds.check_attributes(Series('unit', {'a': 2**64 - 1}, {'b': [[1]]}))
