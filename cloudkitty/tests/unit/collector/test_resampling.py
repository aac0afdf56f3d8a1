"""What granules say of a period."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudkitty.collector.resampling import COMBINABLE, FOREVER, Granules, Span

ALWAYS = Span(-FOREVER, FOREVER)
HOUR = Span(0, 60)
THREE = Granules(20, {0: Decimal(1), 20: Decimal(4), 40: Decimal(2)})


@pytest.mark.parametrize(
    'method, expected',
    [
        ('sum', 7),
        ('count', 7),
        ('max', 4),
        ('min', 1),
        ('first', 1),
        ('last', 2),
        ('mean', Decimal('2.333333333333333333333333333')),
    ],
)
def test_granules_are_combined(method, expected):
    assert THREE.usage(method, HOUR, [ALWAYS]) == expected


@pytest.mark.parametrize(
    'method, early, late',
    [
        ('sum', 3, 4),
        ('mean', 1, Decimal('1.333333333333333333333333333')),
        ('max', 2, 2),
        ('first', Decimal('0.5'), 2),
        ('last', 2, 1),
    ],
)
def test_windows_divide_a_period(method, early, late):
    """A granule counts by its time, and what does not add up by the share of the time."""
    assert THREE.usage(method, HOUR, [Span(-5, 30)]) == early
    assert THREE.usage(method, HOUR, [Span(30, 90)]) == late


@pytest.mark.parametrize(
    'method, whole',
    [('time_weighted', Decimal('1.5')), ('share', Decimal('0.6666666666666666666666666667'))],
)
def test_what_is_weighted_counts_by_its_part_of_the_period(method, whole):
    """A resource that came after twenty seconds of a minute, with 1 and then 3.5."""
    granules = Granules(20, {20: Decimal(1), 40: Decimal('3.5')})

    assert granules.usage(method, HOUR, [ALWAYS]) == whole
    assert granules.usage(method, HOUR, [Span(5, 35)]) == Decimal('0.25')
    assert granules.usage(method, HOUR, [Span(-20, 20)]) is None
    parts = [granules.usage(method, HOUR, [window]) for window in (Span(0, 35), Span(35, 60))]
    assert sum(parts) == pytest.approx(whole)
    # One granule that is not the whole period is not the whole quantity.
    assert Granules(30, {0: Decimal(1)}).usage(method, HOUR, [ALWAYS]) == Decimal('0.5')


@pytest.mark.parametrize('method', ['median', '95pct', 'std'])
def test_one_granule_is_enough_for_any_method(method):
    one = Granules(60, {0: Decimal(6)})

    assert one.usage(method, HOUR, [ALWAYS]) == 6
    assert one.usage(method, HOUR, [Span(0, 20)]) == 2
    with pytest.raises(ValueError, match=method):
        THREE.usage(method, HOUR, [ALWAYS])


@pytest.mark.parametrize(
    'period, windows',
    [
        (Span(60, 120), [ALWAYS]),
        (Span(-60, 0), [ALWAYS]),
        (HOUR, [Span(60, 90)]),
        (HOUR, []),
        (HOUR, [Span(-90, 0)]),
    ],
)
def test_no_granule_is_no_usage(period, windows):
    assert THREE.usage('max', period, windows) is None


def test_zero_is_usage():
    assert Granules(60, {0: Decimal(0)}).usage('max', HOUR, [ALWAYS]) == 0


def test_a_hole_takes_no_part_in_a_mean():
    holed = Granules(20, {0: Decimal(3), 40: Decimal(5)})

    assert holed.usage('mean', HOUR, [ALWAYS]) == 4
    assert holed.usage('mean', HOUR, [Span(0, 40)]) == Decimal('1.5')


@pytest.mark.parametrize(
    'method, expected', [('sum', Decimal('2.5')), ('mean', Decimal('2.5')), ('max', 4)]
)
def test_a_period_may_begin_and_end_in_a_granule(method, expected):
    assert THREE.usage(method, Span(10, 30), [ALWAYS]) == expected


@given(
    st.lists(st.integers(0, 10**12), min_size=6, max_size=6),
    st.lists(st.integers(1, 59), max_size=4, unique=True),
    st.sampled_from(sorted(COMBINABLE - {'max', 'min', 'first', 'last'})),
)
def test_the_parts_make_the_whole(values, cuts, method):
    granules = Granules(10, dict(zip(range(0, 60, 10), map(Decimal, values), strict=True)))
    edges = [-FOREVER, *sorted(cuts), FOREVER]

    parts = [granules.usage(method, HOUR, [Span(*edge)]) for edge in pairwise(edges)]

    assert abs(sum(parts) - granules.usage(method, HOUR, [ALWAYS])) < Decimal('1e-12')


@pytest.mark.parametrize('method', [*sorted(COMBINABLE), 'median', '95pct'])
def test_granules_before_and_after_the_period_take_no_part(method):
    """Those that end at its begin, or begin at its end, belong to its neighbours."""
    many = Granules(60, {-60: Decimal(100), 0: Decimal(6), 60: Decimal(-100)})

    assert many.usage(method, HOUR, [ALWAYS]) == 6
    assert many.usage(method, HOUR, [Span(0, 60)]) == 6


def test_a_sum_of_granules_is_rounded_once():
    """Parts that are far smaller than the whole add up all the same."""
    small = Decimal('0.1')
    values = {0: Decimal('1e27'), **{number: small for number in range(1, 11)}}

    assert Granules(1, values).usage('sum', Span(0, 11), [ALWAYS]) == Decimal('1e27') + 1
    assert Granules(1, values).usage('sum', Span(0, 11), [Span(0, 5), Span(5, 11)]) == (
        Decimal('1e27') + 1
    )
