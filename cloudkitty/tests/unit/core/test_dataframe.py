"""Points and frames: exact numbers, what makes a series, the forms that leave and come back."""

import pickle
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from cloudkitty import errors
from cloudkitty.core import dataframe, decimals, timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series

BEGIN = datetime(2024, 5, 1, 12, tzinfo=UTC)
END = BEGIN + timedelta(hours=1)


def test_an_identity_needs_no_more_memory_than_its_text():
    many = [Series('unit', {'id': f'resource-{number}'}, {}) for number in range(1000)]
    tracemalloc.start()
    try:
        size = sum(len(one.identity) for one in many)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < size + 100 * len(many)


@pytest.mark.parametrize(
    'exact, rounded',
    [
        ('1.2345678901234567890123456785', '1.234567890123456789012345678'),
        ('1.2345678901234567890123456775', '1.234567890123456789012345678'),
        ('1.23456789012345678901234567850001', '1.234567890123456789012345679'),
        ('123456789012345678901234567.5', '123456789012345678901234567.5'),
        ('123456789012345678901234567.25', '123456789012345678901234567.2'),
        ('-2.5000000000000000000000000005', '-2.500000000000000000000000000'),
    ],
)
def test_operations_are_rounded_to_28_digits_half_to_even(exact, rounded):
    assert str(decimals.CONTEXT.multiply(Decimal(exact), Decimal(1))) == rounded


def test_sums_are_never_rounded():
    found = decimals.SUM_CONTEXT.add(Decimal('1e30'), Decimal('1e-30'))
    assert str(found) == f'1{"0" * 30}.{"0" * 29}1'


@pytest.mark.parametrize(
    'number, exact',
    [
        (0.1, '0.1'),
        (1e23, '1E+23'),
        (-0.0, '-0.0'),
        (3, '3'),
        ('1.50', '1.50'),
        (Decimal('0.10000000000000000000000000000000001'), '0.10000000000000000000000000000000001'),
    ],
)
def test_a_number_is_taken_as_it_is_written(number, exact):
    assert str(dataframe.to_decimal(number)) == exact


@pytest.mark.parametrize(
    'number',
    [True, False, None, '', 'x', [1], (0, (1,), 0), {}, float('nan'), 'NaN', 'sNaN', '-Infinity'],
)
def test_what_is_no_finite_number_is_refused(number):
    with pytest.raises(errors.InvalidInput, match='is not a (finite )?number'):
        dataframe.to_decimal(number)


@pytest.mark.parametrize(
    'number, text',
    [
        ('100', '100.0'),
        ('1E+2', '100.0'),
        ('0.10', '0.1'),
        ('1.00', '1.0'),
        ('0', '0.0'),
        ('1E-28', '0.0000000000000000000000000001'),
        ('12345678901234567890.12345678901', '12345678901234567890.12345678901'),
    ],
)
def test_a_number_is_shown_with_all_its_digits(number, text):
    assert decimals.render_decimal(Decimal(number)) == text
    assert dataframe.to_json({'n': Decimal(number)}) == f'{{"n":{text}}}'.encode()


SERIES = ('GiB', {'project_id': 'p', 'id': 'a'}, {'flavor': 'tiny'}, 'text')


@pytest.mark.parametrize(
    'other',
    [
        ('MiB', *SERIES[1:]),
        ('GiB', {'project_id': 'q', 'id': 'a'}, *SERIES[2:]),
        ('GiB', {'project_id': 'p'}, *SERIES[2:]),
        (*SERIES[:2], {'flavor': 'huge'}, 'text'),
        (*SERIES[:2], {}, 'text'),
        (*SERIES[:3], 'other'),
        (*SERIES[:3], None),
        ('GiB', {'project_id': 'p', 'id': 1}, *SERIES[2:]),
    ],
)
def test_every_part_tells_series_apart(other):
    one, two = Series(*SERIES), Series(*other)

    assert one != two
    assert one.identity != two.identity
    assert len({one, two, Series(*SERIES)}) == 2


def test_the_order_of_attributes_makes_no_other_series():
    """A process that reads them in another order must not make a resource two."""
    turned = Series('GiB', dict(reversed(SERIES[1].items())), *SERIES[2:])

    assert turned == Series(*SERIES)
    assert turned.identity == Series(*SERIES).identity
    assert (
        Series(*SERIES).identity == b'["GiB",{"id":"a","project_id":"p"},{"flavor":"tiny"},"text"]'
    )


@pytest.mark.parametrize('unit', ['', None])
def test_a_series_without_a_unit_is_undefined(unit):
    assert Series(unit, {}, {}).unit == 'undefined'


def point(**changes):
    parts = {'qty': '0.1', 'price': '2', 'groupby': {'x': 'g'}, 'metadata': {'x': 'm', 'y': 'n'}}
    return DataPoint('u', **{**parts, **changes})


def test_groupby_wins_over_metadata_and_the_calendar_over_both():
    calendar = timeframe.calendar_of(BEGIN)
    series = Series('u', {'x': 'g', 'month': '13'}, {'x': 'm', 'year': '1'})

    found = DataPoint.of(series, Decimal(1), calendar=calendar)

    assert found.desc == {'x': 'g', **calendar}
    assert found.groupby == {'x': 'g', **calendar}
    assert found.metadata == {'x': 'm', 'year': '1'}


def test_a_new_price_makes_a_new_point_and_changes_nothing_else():
    before = DataPoint.of(point().series, Decimal('0.1'), Decimal(2), {'month': '5'})

    after = before.set_price('0.30')

    assert (before.price, after.price) == (2, Decimal('0.30'))
    assert after.series is before.series
    assert (after.qty, after.calendar) == (Decimal('0.1'), {'month': '5'})


@pytest.mark.parametrize(
    'changes',
    [
        {'qty': '0.2'},
        {'price': 3},
        {'groupby': {'x': 'h'}},
        {'metadata': {}},
        {'description': 'text'},
    ],
)
def test_points_that_differ_in_anything_are_not_equal(changes):
    assert point() == point()
    assert point() != point(**changes)
    assert DataFrame(BEGIN, END, {'m': [point()]}) != DataFrame(
        BEGIN, END, {'m': [point(**changes)]}
    )


def test_nobody_can_change_what_points_share():
    shared = point().groupby
    for change in (
        lambda: shared.update(x='h'),
        lambda: shared.setdefault('z', 1),
        lambda: shared.pop('x'),
        lambda: shared.__setitem__('x', 'h'),
        lambda: shared.clear(),
    ):
        with pytest.raises(TypeError, match='cannot be changed'):
            change()
    assert pickle.loads(pickle.dumps(shared)) == shared == {'x': 'g'}


def test_a_frame_keeps_all_points_of_all_metrics():
    """Two metrics, two points of one of them, in their order."""
    frame = DataFrame(BEGIN, END)
    frame.add_point(point(qty=1), 'b')
    frame.add_points([point(qty=2), point(qty=3)], 'a')
    frame.add_point(point(qty=4), 'b')

    assert {name: [one.qty for one in points] for name, points in frame.itertypes()} == {
        'b': [1, 4],
        'a': [2, 3],
    }
    assert sorted((name, one.qty) for name, one in frame) == [
        ('a', 2),
        ('a', 3),
        ('b', 1),
        ('b', 4),
    ]


@pytest.mark.parametrize('is_legacy', [False, True])
def test_a_form_comes_back_as_the_frame_it_was_made_of(is_legacy):
    usage = {
        'a': [point(qty='0.30', price='1.5000000000000000000000000001'), point(groupby={})],
        'b': [point(price=0)],
    }
    frame = DataFrame(BEGIN, END, usage)

    found = DataFrame.from_dict(frame.as_dict(legacy=is_legacy), legacy=is_legacy)

    assert (found.start, found.end) == (BEGIN, END)
    for name, points in frame.itertypes():
        for one, two in zip(points, found.usage[name], strict=True):
            assert (one.unit, one.qty, one.price, one.desc) == (
                two.unit,
                two.qty,
                two.price,
                two.desc,
            )
            assert is_legacy or one == two


def test_the_json_of_a_frame_is_exact():
    frame = DataFrame(BEGIN, END, {'a': [point(price='1.5000000000000000000000000001')]})

    assert frame.json() == (
        '{"period":{"begin":"2024-05-01T12:00:00+00:00","end":"2024-05-01T13:00:00+00:00"},'
        '"usage":{"a":[{"vol":{"unit":"u","qty":0.1},'
        '"rating":{"price":1.5000000000000000000000000001},'
        '"groupby":{"x":"g"},"metadata":{"x":"m","y":"n"}}]}}'
    )


def form(**changes):
    return {'vol': {'unit': 'u', 'qty': 1}, 'groupby': {}, 'metadata': {}, **changes}


@pytest.mark.parametrize(
    'wrong, text',
    [
        (form(price=1), 'point has unknown keys: price'),
        (form(vol={'unit': 'u', 'qty': 1, 'quantity': 2}), 'vol has unknown keys: quantity'),
        (form(rating={'cost': 1}), 'rating has unknown keys: cost'),
        (form(vol={'unit': 'u'}), 'vol lacks qty'),
        (form(vol={'unit': 1, 'qty': 1}), 'vol.unit must be text, not 1'),
        (form(vol={'unit': 'u', 'qty': True}), 'True is not a number'),
        (form(rating={'price': 'NaN'}), 'is not a finite number'),
        (form(groupby='ab'), 'groupby must be a mapping'),
        (form(groupby=['ab']), 'groupby must be a mapping'),
        ([], 'point must be a mapping'),
    ],
)
def test_a_form_that_makes_no_point_is_refused(wrong, text):
    whole = {'period': {'begin': BEGIN, 'end': END}, 'usage': {'a': [form(), wrong]}}

    with pytest.raises(errors.InvalidInput) as caught:
        DataFrame.from_dict(whole)

    assert text in str(caught.value)


@pytest.mark.parametrize(
    'bound',
    [
        '2024-05-01T12:00:00',
        '2024-05-01T14:00:00+02:00',
        datetime(2024, 5, 1, 12),
        datetime(2024, 5, 1, 14, 0, 0, 7, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_bounds_without_a_zone_are_utc(bound):
    found = DataFrame.from_dict({'period': {'begin': bound, 'end': END}, 'usage': {}})
    assert found.start == BEGIN
    assert found.start.utcoffset() == timedelta(0)


def test_a_form_without_a_price_costs_nothing():
    assert DataPoint.from_dict(form()).price == 0
    assert DataPoint.from_dict(form(rating={'price': '0.7'})).price == Decimal('0.7')
