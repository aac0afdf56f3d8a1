"""Worked examples of prices, and what surrounds them.

Sources: doc/source/user/rating/hashmap.rst, "Examples", and
doc/source/contributor/compatibility/rating.rst, "Worked examples".
"""

from datetime import timedelta
from decimal import Decimal

import pytest

from cloudkitty.core import dataframe, timeframe
from cloudkitty.core.pricing import book
from cloudkitty.core.pricing.rules import DEFAULT_GROUP, number_of
from cloudkitty.tests.unit.core.pricing.tariffs import HOUR, NOON, flat, level, price, rate


@pytest.mark.parametrize(
    'qty, incoming, service, expected',
    [
        ('10', 0, 'volume.size', '2.5'),
        ('0.5', 0, 'volume.size', '0.125'),
        ('10', 3, 'volume.size', '5.5'),
        ('10', 0, 'other', '0'),
    ],
)
def test_a_flat_mapping_of_the_service_prices_every_unit(qty, incoming, service, expected):
    rules = [flat('0.25', service='volume.size')]
    assert price(rules, qty, service=service, incoming=incoming) == Decimal(expected)


ONE_GROUP = [
    flat('1.25'),
    flat('0.5', field='flavor', value='m1.tiny'),
    flat('2', field='image', value='img1'),
    rate('1.5', field='vcpus', value='2'),
]
ALL = {'flavor': 'm1.tiny', 'image': 'img1', 'vcpus': 2}


@pytest.mark.parametrize(
    'attributes, qty, expected',
    [
        (ALL, 1, '3'),
        (ALL, 4, '12'),
        ({'flavor': 'm1.tiny'}, 1, '1.25'),
        ({'flavor': 'm1.tiny', 'vcpus': 2}, 1, '1.875'),
    ],
)
def test_in_one_group_the_dearest_flat_counts_times_all_rates(attributes, qty, expected):
    assert price(ONE_GROUP, qty, attributes) == Decimal(expected)


@pytest.mark.parametrize(
    'rules, expected',
    [
        (
            [
                flat('0.5', field='flavor', value='m1.tiny', group='A'),
                rate('1.5', field='vcpus', value='2', group='A'),
                flat('2', field='image', value='img1', group='B'),
                flat('0.1'),
            ],
            '8.55',
        ),
        (
            [
                flat('0.5', field='flavor', value='m1.tiny', group='A'),
                rate('1.5', field='vcpus', value='2', group='B'),
            ],
            '1.5',
        ),
        (
            [
                rate('2', field='flavor', value='m1.tiny'),
                rate('1.5', field='vcpus', value='2'),
                flat('0.5'),
            ],
            '4.5',
        ),
    ],
)
def test_groups_are_priced_apart_and_added(rules, expected):
    assert price(rules, 3, ALL) == Decimal(expected)


@pytest.mark.parametrize(
    'qty, others, own',
    [
        ('20', '0.02', '0.02'),
        ('49.999', '0.049999', '0.049999'),
        ('50', '0.049', '0.0485'),
        ('80', '0.0784', '0.0776'),
        ('200', '0.19', '0.19'),
        ('250', '0.2375', '0.2375'),
    ],
)
def test_a_scope_replaces_one_level_only(qty, others, own):
    service = {'service': 'volume.size', 'group': 'vt'}
    rules = [
        flat('0.001', **service),
        rate('0.98', level=level(50), **service),
        rate('0.95', level=level(200), **service),
        rate('0.97', level=level(50), scope='t1', **service),
    ]
    assert price(rules, qty, service='volume.size') == Decimal(others)
    assert price(rules, qty, service='volume.size', scope='t1') == Decimal(own)


FEES = [flat('0.5'), flat('3', level=level(5)), flat('4.5', level=level(8))]
FEES_APART = [
    flat('0.5'),
    flat('3', level=level(5), group='g'),
    rate('0.5', level=level(7), group='g'),
]


@pytest.mark.parametrize(
    'rules, qty, expected',
    [
        (FEES, 4, '2'),
        (FEES, 5, '5.5'),
        (FEES, 10, '9.5'),
        (FEES_APART, 5, '5.5'),
        (FEES_APART, 10, '5'),
        (FEES_APART, 1, '0.5'),
    ],
)
def test_only_the_highest_threshold_reached_applies(rules, qty, expected):
    assert price(rules, qty) == Decimal(expected)


@pytest.mark.parametrize(
    'ram, expected',
    [
        (512, '1'),
        (1024, '2.5'),
        ('2048', '2.5'),
        (4096, '3'),
    ],
)
def test_thresholds_of_a_field_compare_its_number(ram, expected):
    rules = [
        flat('0.5'),
        flat('0.75', field='ram', level=level(1024)),
        rate('3', field='ram', level=level(4096)),
    ]
    assert price(rules, 2, {'ram': ram}) == Decimal(expected)


@pytest.mark.parametrize(
    'service_level, field_level, attributes, expected',
    [
        (1, 1024, {'ram': 512}, '12'),
        (1, 1024, {'ram': 2048}, '3'),
        (1, 1024, {}, '12'),
        (2, 2, {'ram': 512}, '12'),
    ],
)
def test_thresholds_of_service_and_field_compete(service_level, field_level, attributes, expected):
    rules = [
        flat('1'),
        flat('10', level=level(service_level)),
        flat('0.5', field='ram', level=level(field_level)),
    ]
    assert price(rules, 2, attributes) == Decimal(expected)


LAYERS = [
    flat('1'),
    flat('0.25', scope='t1'),
    flat('2', field='flavor', value='m1'),
    flat('0.5', field='flavor', value='m1', scope='t1'),
    flat('3', field='flavor', value='m2'),
    flat('7', field='flavor', value='m3', scope='t1'),
]


@pytest.mark.parametrize(
    'flavor, others, own',
    [
        ('m1', '2', '0.5'),
        ('m2', '3', '3'),
        ('m3', '1', '7'),
        ('other', '1', '0.25'),
    ],
)
def test_rules_of_a_scope_lie_over_general_ones(flavor, others, own):
    assert price(LAYERS, 1, {'flavor': flavor}) == Decimal(others)
    assert price(LAYERS, 1, {'flavor': flavor}, scope='t1') == Decimal(own)
    assert price(LAYERS, 1, {'flavor': flavor}, scope=None) == Decimal(others)


def test_a_rate_of_the_scope_replaces_a_general_flat():
    rules = [flat('1'), rate('3', scope='t1')]
    assert price(rules, 1) == 1
    assert price(rules, 1, scope='t1') == 0


def test_a_rule_of_the_scope_in_another_group_adds():
    rules = [flat('1'), flat('2', scope='t1', group='g')]
    assert price(rules, 1, scope='t1') == 3


@pytest.mark.parametrize('qty, others, own', [(3, '2.4', '2.4'), (5, '4', '2.5')])
def test_general_levels_stay_beside_those_of_the_scope(qty, others, own):
    rules = [flat('1'), rate('0.8', level=level(3)), rate('0.5', level=level(5), scope='t1')]
    assert price(rules, qty) == Decimal(others)
    assert price(rules, qty, scope='t1') == Decimal(own)


@pytest.mark.parametrize(
    'begin, expected',
    [
        ('2023-12-31T23:00:00', 0),
        ('2024-01-01T00:00:00', 1),
        ('2024-01-31T23:00:00', 1),
        ('2024-01-31T23:59:59', 0),
        ('2024-02-01T00:00:00', 2),
    ],
)
def test_start_counts_and_end_does_not(begin, expected):
    rules = [
        flat('1', start=timeframe.parse('2024-01-01'), end=timeframe.parse('2024-01-31T23:59:59')),
        flat('2', start=timeframe.parse('2024-02-01')),
    ]
    assert price(rules, 1, instant=timeframe.parse(begin)) == expected


THIRD = [flat('0.3333333333333333')]


@pytest.mark.parametrize(
    'rules, attributes, qty, expected',
    [
        ([flat('-1'), rate('-2', group='g')], {}, 2, '0'),
        ([flat('1'), flat('-0.25', level=level(2))], {}, 2, '1.75'),
        ([flat('1'), flat('-0.25', level=level(2))], {}, 1, '1'),
        ([flat('1'), flat('-0.25', field='r', level=level(2))], {'r': 3}, 4, '3'),
        ([flat('1'), flat('5', level=level(0))], {}, 0, '5'),
        ([flat('1'), flat('5', level=level(0))], {}, 1, '6'),
        ([flat('1'), flat('5', level=level(-1))], {}, 3, '3'),
        ([flat('1'), flat('5', level=level(-1)), flat('7', level=level('-0.5'))], {}, 3, '10'),
        (THIRD, {}, 3, '0.9999999999999999'),
        (THIRD, {}, '1234567890123.123456789', '411522630041.0411111107369959'),
        (THIRD, {}, 0.1, '0.03333333333333333'),
    ],
)
def test_signs_limits_and_precision(rules, attributes, qty, expected):
    assert price(rules, qty, attributes) == Decimal(expected)


@pytest.mark.parametrize(
    'attribute, value, matches',
    [
        (1, '1', True),
        ('1', '1', True),
        (1, '1.0', False),
        (1.0, '1.0', True),
        (1.0, '1', False),
        (True, 'True', True),
        (True, 'true', False),
        (True, '1', False),
        (None, 'None', True),
        (None, 'null', False),
        (None, '', False),
        (Decimal('1.50'), '1.50', True),
        (Decimal('1.50'), '1.5', False),
        (Decimal('1E+1'), '1E+1', True),
        (Decimal('1E+1'), '10', False),
        ('a', 'a', True),
        ('a', 'A', False),
        (['a'], "['a']", True),
        ({'k': 'v'}, "{'k': 'v'}", True),
        (['a'], '["a"]', False),
    ],
)
def test_a_value_is_the_spelling_of_the_attribute(attribute, value, matches):
    rules = [flat('1', field='x', value=value)]
    assert price(rules, 1, {'x': attribute}) == (1 if matches else 0)


@pytest.mark.parametrize(
    'attribute, number',
    [
        (' 12 ', '12'),
        ('1e3', '1000'),
        (True, '1'),
        (7, '7'),
        (0.5, '0.5'),
        (0.1, '0.1000000000000000055511151231257827021181583404541015625'),
        (None, None),
        ([1], None),
        ({'a': 1}, None),
        ('many', None),
        ('', None),
        ('NaN', None),
        ('Infinity', None),
        ('1e999999999', None),
        ('1_000', None),
        ('٣', None),
        ('9' * 501, None),
        (float('nan'), None),
        (float('inf'), None),
        (-float('inf'), None),
        (Decimal('1e99999'), None),
        ((0, (1,), 0), None),
    ],
)
def test_an_attribute_is_a_number_or_none(attribute, number):
    assert number_of(attribute) == (None if number is None else Decimal(number))


def test_a_threshold_of_an_attribute_that_is_no_number_is_skipped_and_reported():
    rules = [flat('1'), flat('5', field='ram', level=level(1))]
    series = dataframe.Series('u', {}, {'ram': 'much'})
    points = [dataframe.DataPoint.of(series, Decimal(2))] * 3

    priced, defects = book.RuleBook(rules).price_points(
        'instance', points, scope=None, instant=NOON
    )

    assert [point.price for point in priced] == [2, 2, 2]
    assert [defect.reason for defect in defects] == [
        "attribute 'ram' has thresholds and is not a number: 'much'"
    ]


def test_a_price_out_of_range_leaves_the_point_and_is_reported():
    points = [dataframe.DataPoint.of(dataframe.Series('u', {}, {}), Decimal('9e999999'))]

    priced, defects = book.RuleBook([flat('1000')]).price_points(
        'instance', points, scope=None, instant=NOON
    )

    assert priced == points
    assert 'out of range' in defects[0].reason


def test_an_absent_attribute_matches_nothing():
    rules = [flat('1', field='x', value='None'), flat('1', field='x', level=level(0))]
    assert price(rules, 1) == 0


def test_groupby_wins_over_metadata_and_the_calendar_over_both():
    series = dataframe.Series('u', {'x': 'g', 'month': '13'}, {'x': 'm'})
    rules = [flat('1', field='x', value='g'), flat('5', field='month', value='5', group='m')]
    points = [
        dataframe.DataPoint.of(series, Decimal(1), calendar={'month': month})
        for month in ('5', '6', '5')
    ]

    priced, _ = book.RuleBook(rules).price_points('instance', points, scope=None, instant=NOON)

    assert [point.price for point in priced] == [6, 1, 6]


def test_a_deleted_rule_applies_to_what_began_before_its_deletion():
    rules = [flat('1', deleted=NOON), flat('2', field='f', level=level(1), deleted=NOON)]
    assert price(rules, 1, {'f': 1}, instant=NOON - HOUR) == 3
    assert price(rules, 1, {'f': 1}, instant=NOON) == 0


def test_a_live_mapping_put_into_the_past_replaces_the_deleted_one():
    """Creating with force is how a wrong price of the past is corrected."""
    start = NOON - 9 * HOUR
    wrong = flat('1', start=start, deleted=NOON, order=1)
    for rules in ([wrong, flat('2', start=start, order=2)], [flat('2', start=start), wrong]):
        assert price(rules, 1, instant=NOON - HOUR) == 2


def test_before_its_deletion_a_threshold_wins_over_the_one_created_after():
    first = flat('1', level=level(0), deleted=NOON - HOUR)
    second = flat('2', level=level(0), deleted=NOON, order=1)
    third = flat('3', level=level(0), order=2)
    for rules in ([first, second, third], [third, second, first]):
        assert [
            price(rules, 1, instant=NOON + delta) for delta in (-2 * HOUR, -HOUR, 0 * HOUR)
        ] == [1, 2, 3]


def test_of_two_rules_in_one_slot_the_youngest_decides():
    rules = [flat('1', order=2), flat('2', order=1)]
    assert price(rules, 1) == price(rules[::-1], 1) == 1


def test_the_reserved_name_of_a_group_is_the_default_group():
    rules = [flat('2'), rate('3', field='f', value='v', group=DEFAULT_GROUP)]
    assert price(rules, 1, {'f': 'v'}) == 6


def test_plans_are_worked_out_once_per_series():
    rules = [flat('1'), *(flat(n, field='f', value=str(n)) for n in range(100))]
    compiled = book.RuleBook(rules)
    series = [dataframe.Series('u', {'f': n}, {}) for n in range(10)]
    for begin in range(3):
        calendar = timeframe.calendar_of(NOON + timedelta(days=begin))
        points = [dataframe.DataPoint.of(each, Decimal(1), calendar=calendar) for each in series]
        compiled.price_points('instance', points, scope='any', instant=NOON + begin * HOUR)
    assert compiled.formula_count == 10


def test_plans_in_memory_are_bounded():
    compiled = book.RuleBook([flat('1')], formulas_max=10)
    for n in range(35):
        point = dataframe.DataPoint('u', 1, 0, {'n': n}, {})
        compiled.price_points('instance', [point], scope=None, instant=NOON)
        assert compiled.formula_count <= 10
