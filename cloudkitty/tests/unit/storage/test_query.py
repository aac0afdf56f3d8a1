"""Questions about rated data, as callers write them."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.storage import query

NOW = datetime(2024, 5, 17, 8, tzinfo=UTC)


def test_missing_bounds_are_those_of_the_month():
    window = query.parse_window(None, None, None, None, NOW)

    assert (window.begin, window.end) == (
        datetime(2024, 5, 1, tzinfo=UTC),
        datetime(2024, 6, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    'types, filters, metrics, attributes',
    [
        (None, None, None, {}),
        ([], {}, None, {}),
        ('a', None, ('a',), {}),
        (['a', 'b'], {'type': 'b'}, ('b',), {}),
        (['a'], {'type': 'b'}, (), {}),
        (None, {'type': ['a', 'b'], 'x': 1}, ('a', 'b'), {'x': ('1',)}),
        (None, {'x': []}, None, {'x': ()}),
    ],
)
def test_conditions_narrow(types, filters, metrics, attributes):
    """A type filter narrows the metrics; an empty list of values lets nothing through."""
    window = query.parse_window(NOW, NOW, types, filters, NOW)

    assert (window.metrics, window.filters) == (metrics, attributes)


@pytest.mark.parametrize(
    'asked, names',
    [
        (None, ()),
        ('type', ('type',)),
        (['b', 'a', 'b'], ('b', 'a')),
        (
            ['time-d', 'time-w', 'time-m', 'time-y', 'time'],
            ('day_of_the_year', 'week_of_the_year', 'month', 'year', 'time'),
        ),
        (
            ['up-time', 'time-a-b', 'time-d', 'day_of_the_year'],
            ('up-time', 'time-a-b', 'day_of_the_year'),
        ),
    ],
)
def test_groups_keep_their_order(asked, names):
    assert query.parse_groupby(asked) == names


@pytest.mark.parametrize('asked', ['time-x', 'time-', 'time-day', ''])
def test_unknown_time_groups_are_refused(asked):
    with pytest.raises(errors.InvalidInput, match='Cannot group by'):
        query.parse_groupby([asked])


@pytest.mark.parametrize(
    'text, fields',
    [
        (None, query.DEFAULT_FIELDS),
        ('', query.DEFAULT_FIELDS),
        ('  ', query.DEFAULT_FIELDS),
        ('*', query.ALL_FIELDS),
        ('SUM(price)', (('sum', 'price', 'sum'),)),
        (
            'max(qty) AS peak,Mean(price) as "mean price"',
            (('max', 'qty', 'peak'), ('mean', 'price', 'mean price')),
        ),
        ('last(flavor.name) AS f', (('last', 'flavor.name', 'f'),)),
    ],
)
def test_custom_fields(text, fields):
    assert query.parse_fields(text, ['type']) == fields


@pytest.mark.parametrize(
    'text',
    [
        'qty',
        'sum(qty',
        'sum()',
        'drop(qty)',
        'sum(qty) AS',
        'sum(qty) AS a b',
        'sum(qty),',
        'sum(qty) AS "a;b"',
        "sum(qty) AS 'a'",
        'sum(qty)); DROP TABLE x',
        'sum(qty), sum(price)',
        'sum(qty) AS type',
        'sum(qty) AS begin',
        'sum(1)',
        'sum(a-b)',
        '*, sum(qty)',
        ','.join(f'sum(qty) AS a{number}' for number in range(query.FIELDS_MAX + 1)),
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(errors.InvalidInput, match='custom_fields'):
        query.parse_fields(text, ['type'])


@pytest.mark.parametrize(
    'function, expected',
    [
        ('sum', 10),
        ('count', 4),
        ('mean', '2.5'),
        ('min', 1),
        ('max', 4),
        ('first', 3),
        ('last', 2),
        ('median', '2.5'),
    ],
)
def test_functions(function, expected):
    numbers = [Decimal(n) for n in (3, 1, 4, 2)]

    aggregate = query.Aggregate(function)
    assert aggregate.value() == (0 if function == 'count' else None)
    for number in numbers:
        aggregate.add(number)
    assert aggregate.value() == Decimal(expected)


@pytest.mark.parametrize(
    'function, values, expected',
    [
        ('max', ['9', '10'], Decimal(10)),
        ('min', ['9', '10'], Decimal(9)),
        ('max', ['9', '10', 'a'], 'a'),
        ('min', ['a', '9', '10'], '10'),
        ('max', ['web', '1e999999999'], 'web'),
        ('max', ['1e999999999'], '1e999999999'),
        ('max', ['1e400', '2'], '2'),
        ('last', ['007'], '007'),
        ('last', ['1_000'], '1_000'),
        ('last', [' 12'], ' 12'),
        ('last', ['٣'], '٣'),
        ('last', ['1e3'], Decimal(1000)),
        ('first', ['a', 'b'], 'a'),
        ('last', ['a', '2'], Decimal(2)),
        ('count', ['a', '', None, 'b', True], 3),
        ('min', [True, False], 'False'),
    ],
)
def test_text_has_an_order_and_a_number(function, values, expected):
    """Numbers are compared as numbers, unless there is text among them."""
    aggregate = query.Aggregate(function)
    for value in map(query.read_value, values):
        if value is not None:
            aggregate.add(value)

    assert aggregate.value() == expected


@pytest.mark.parametrize('function', ['sum', 'mean', 'median'])
def test_text_is_not_computed_with(function):
    with pytest.raises(errors.InvalidInput, match=f'{function} needs numbers'):
        query.Aggregate(function).add('small')


def test_a_negative_zero_is_zero():
    assert str(query.read_value('-0.0')) == '0'
