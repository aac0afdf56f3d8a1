"""What a summary may add to its rows, and their order."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.core.timeframe import Period
from cloudkitty.report import rows


def month(year, number):
    return datetime(year, number, 1, tzinfo=UTC)


def test_rows_are_sorted_by_several_columns_and_equal_ones_keep_their_place():
    found = [{'n': 1, 'x': 'b'}, {'n': 2, 'x': 'a'}, {'n': 3, 'x': 'b'}, {'n': 4, 'x': 'a'}]

    ordered = rows.sort(found, rows.parse_order(['-x']), ['n', 'x'])

    assert [row['n'] for row in ordered] == [1, 3, 2, 4]
    ordered = rows.sort(found, rows.parse_order(['x', '-n']), ['n', 'x'])
    assert [row['n'] for row in ordered] == [4, 2, 3, 1]


@pytest.mark.parametrize(
    ('name', 'expected'), [('x', [2, Decimal('10'), 'a', None]), ('-x', ['a', 10, 2, None])]
)
def test_missing_values_come_last_and_text_is_apart_from_numbers(name, expected):
    found = [{'x': value} for value in ('a', None, Decimal('10'), 2)]

    assert [row['x'] for row in rows.sort(found, rows.parse_order([name]), ['x'])] == expected


@pytest.mark.parametrize(
    ('window', 'expected'),
    [
        (Period(month(2024, 3), month(2024, 4)), Period(month(2024, 2), month(2024, 3))),
        (Period(month(2024, 1), month(2024, 4)), Period(month(2023, 10), month(2024, 1))),
        (
            Period(month(2024, 3), month(2024, 3) + timedelta(days=7)),
            Period(month(2024, 2), month(2024, 2) + timedelta(days=7)),
        ),
        (
            Period(month(2024, 3), month(2024, 3) + timedelta(days=30)),
            Period(month(2024, 2), month(2024, 3)),
        ),
        (
            Period(month(2024, 3) + timedelta(hours=1), month(2024, 3) + timedelta(hours=3)),
            Period(month(2024, 3) - timedelta(hours=1), month(2024, 3) + timedelta(hours=1)),
        ),
        (Period(month(1970, 1), month(3000, 1)), Period(month(940, 1), month(1970, 1))),
        (
            Period(month(2024, 3), month(2024, 4) + timedelta(hours=1)),
            Period(month(2024, 3) - timedelta(days=31, hours=1), month(2024, 3)),
        ),
    ],
)
def test_the_span_before(window, expected):
    assert rows.previous(window) == expected


def test_groups_of_one_span_only_are_compared_with_zero():
    window = Period(month(2024, 2), month(2024, 3))
    bounds, earlier = window._asdict(), rows.previous(window)._asdict()
    found = [
        {**bounds, 'qty': 2, 'rate': 20, 'type': 'both'},
        {**bounds, 'qty': 3, 'rate': 30, 'type': 'new'},
    ]
    before = [
        {**earlier, 'qty': 1, 'rate': 10, 'type': 'both'},
        {**earlier, 'qty': 4, 'rate': 40, 'type': 'gone'},
    ]

    compared = rows.compare(found, before, ['type'], window)

    assert [(row['type'], row['rate'], row['previous_rate']) for row in compared] == [
        ('both', 20, 10),
        ('new', 30, 0),
        ('gone', 0, 40),
    ]
    assert {(row['begin'], row['end']) for row in compared} == {tuple(window)}
    assert [row['previous_qty'] for row in compared] == [1, 0, 4]


def test_buckets_are_cut_to_the_span():
    begin = datetime(2024, 5, 1, 12, tzinfo=UTC)
    window = Period(begin, begin + timedelta(days=1))
    found = [{'day_of_the_year': '122'}, {'day_of_the_year': '123'}, {'day_of_the_year': 'own'}]

    shown = rows.with_buckets(found, window, ['day_of_the_year'])

    midnight = datetime(2024, 5, 2, tzinfo=UTC)
    assert [(row['bucket_begin'], row['bucket_end']) for row in shown] == [
        (begin, midnight),
        (midnight, window.end),
        (None, None),
    ]


def test_days_of_two_years_are_told_apart_by_the_year_only():
    window = Period(month(2023, 1), month(2025, 1))
    found = [{'day_of_the_year': '1', 'year': '2024'}]

    with pytest.raises(errors.InvalidInput, match='time-y'):
        rows.with_buckets(found, window, ['day_of_the_year'])
    shown = rows.with_buckets(found, window, ['day_of_the_year', 'year'])
    assert shown[0]['bucket_begin'] == month(2024, 1)


def test_buckets_need_a_bounded_span():
    with pytest.raises(errors.InvalidInput, match='3660'):
        rows.with_buckets([], Period(month(2000, 1), month(2024, 1)), ['year'])


@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (None, 'sum(qty) AS qty, sum(price) AS rate, LAST(name) AS "name"'),
        ('*', 'sum(qty) AS qty, sum(price) AS price, LAST(name) AS "name"'),
        ('MAX(qty) AS m', 'MAX(qty) AS m, LAST(name) AS "name"'),
    ],
)
def test_attributes_are_further_columns(given, expected):
    assert rows.with_attributes(given, ['name']) == expected
    assert rows.with_attributes(given, []) == given


def test_a_group_without_values_is_one_that_all_rows_lack():
    found = [{'a': '', 'b': '', 'c': None}, {'a': 'x', 'b': '', 'c': None}]

    assert rows.without_values(found, ['a', 'b', 'c']) == ['b', 'c']
    assert rows.without_values([], ['a']) == []
