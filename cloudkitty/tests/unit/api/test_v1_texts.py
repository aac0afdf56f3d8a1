"""What v1 writes and reads beyond the types of its arguments."""

import datetime
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.api import types
from cloudkitty.api.v1 import info, report
from cloudkitty.rating import quote

NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    'rate, text',
    [
        ('0', '0'),
        ('0E-28', '0'),
        ('81.648', '81.648'),
        ('8.022003999999999', '8.022'),
        ('0.000004', '0.0'),
        ('0.000005', '0.0'),
        ('0.000015', '0.00002'),
        ('8', '8.0'),
        ('-0.1', '-0.1'),
        ('1E+20', '100000000000000000000.0'),
    ],
)
def test_a_rate_has_five_digits_behind_the_point(rate, text):
    """Nothing is `0`, less than is shown is `0.0`."""
    assert report.render_rate(Decimal(rate)) == text


@pytest.mark.parametrize(
    'number, text',
    [
        ('0', '0'),
        ('0E-28', '0'),
        ('-0.0', '0'),
        ('1E+1', '10'),
        ('100', '100'),
        ('0.2500000000000000000000000000', '0.25'),
        ('1E-28', '0.0000000000000000000000000001'),
    ],
)
def test_a_number_has_all_its_digits_and_no_more(number, text):
    assert types.fixed_point(Decimal(number)) == text


@pytest.mark.parametrize(
    'content, shown',
    [
        (
            {'since': datetime.date(2024, 5, 1), 'at': NOON},
            {'since': '2024-05-01', 'at': '2024-05-01T12:00:00+00:00'},
        ),
        (
            {0.0: 1, True: 2, None: 3, datetime.date(2024, 5, 1): 4},
            {'0.0': 1, 'true': 2, 'null': 3, '2024-05-01': 4},
        ),
        (
            {'set': {1}, 'pairs': [('a', 1)], 'bytes': b'a\xff', 'large': 2**64},
            {'set': [1], 'pairs': [['a', 1]], 'bytes': 'a\\xff', 'large': '18446744073709551616'},
        ),
    ],
)
def test_all_that_yaml_can_hold_becomes_json(content, shown):
    assert info.to_json(content) == shown


@pytest.mark.parametrize(
    'desc, groupby, metadata',
    [
        ({}, {}, {}),
        ({'flavor': 'a', 'vcpus': 2}, {}, {'flavor': 'a', 'vcpus': 2}),
        ({'groupby': {'id': 'x'}, 'metadata': {'flavor': 'a'}}, {'id': 'x'}, {'flavor': 'a'}),
        (
            {'groupby': None, 'metadata': {'flavor': 'a'}, 'flavor': 'b', 'size': 1},
            {},
            {'flavor': 'a', 'size': 1},
        ),
    ],
)
def test_a_description_is_nested_or_flat(desc, groupby, metadata):
    """Flat attributes are metadata; nested ones win."""
    assert quote.attributes_of(desc) == (groupby, metadata)


@pytest.mark.parametrize('desc', [{'metadata': 'x'}, {'groupby': []}, {'groupby': 0}])
def test_a_part_of_a_description_must_be_an_object(desc):
    with pytest.raises(errors.InvalidInput, match='A JSON object is expected'):
        quote.attributes_of(desc)
