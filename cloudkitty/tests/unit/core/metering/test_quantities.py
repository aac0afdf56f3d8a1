"""Quantities of periods, exact up to one division."""

import os
from decimal import Decimal
from fractions import Fraction

import hypothesis
import pytest
from hypothesis import strategies

from cloudkitty.core.metering import facts, quantities
from cloudkitty.core.metering.quantities import Grid, Sample, Span

EXAMPLES = int(os.environ.get('CLOUDKITTY_TEST_EXAMPLES', '300'))
HOUR = 3600 * facts.SECOND_US
GRID = Grid(0, 10, 3)


def values(pieces):
    """Return the values by offset."""
    found = {}
    for piece in pieces:
        for offset in range(piece.begin, piece.end):
            found.setdefault(offset, []).append(piece.value)
    return found


def test_a_volume_by_the_second():
    """3 GiB for 5.276907 s and 5 GiB for 11.087192 s of an hour."""
    first, second, third = 7_581_206, 12_858_113, 23_945_305
    begin = 42 * 60 * facts.SECOND_US
    pieces = quantities.of_lives(
        [
            Span(begin + first, begin + second, Decimal(3)),
            Span(begin + second, begin + third, Decimal(5)),
        ],
        Grid(0, HOUR, 1),
    )

    exact = Fraction(3 * 5276907 + 5 * 11087192, HOUR)
    found = quantities.aggregate('duration', values(pieces)[0], HOUR)
    assert found == Decimal('0.01979630027777777777777777778')
    assert abs(Fraction(found) - exact) < Fraction(1, 10**28)


@pytest.mark.parametrize(
    'life, expected',
    [
        ((0, 10), {0: [20]}),
        ((5, 25), {0: [10], 1: [20], 2: [10]}),
        ((-5, None), {0: [20], 1: [20], 2: [20]}),
        ((30, 40), {}),
        ((-9, 0), {}),
        ((29, 30), {2: [2]}),
    ],
)
@pytest.mark.parametrize('start', [0, 13])
def test_lives_count_for_their_time(life, expected, start):
    """Quantity times the time that a life has in each period, wherever the first one begins."""
    life = [None if at is None else at + start for at in life]
    grid = GRID._replace(begin=start)

    pieces = quantities.of_lives([Span(*life, Decimal(2))], grid)

    assert values(pieces) == expected


@pytest.mark.parametrize(
    'samples, hold, expected',
    [
        ([(0, 4)], 5, {0: [20]}),
        ([(0, 4), (5, 2)], 20, {0: [20, 10], 1: [20], 2: [10]}),
        # What no value holds for is a gap.
        ([(0, 4), (25, 2)], 2, {0: [8], 2: [4]}),
        ([(-3, 4)], 5, {0: [8]}),
    ],
)
def test_a_gauge_holds_until_the_next_value(samples, hold, expected):
    """And no longer than it may."""
    found = [Sample(at, Decimal(quantity)) for at, quantity in samples]

    assert values(quantities.of_gauge(found, GRID, hold)) == expected


@pytest.mark.parametrize(
    'samples, options, expected',
    [
        ([(-2, 5), (3, 9), (12, 10)], {}, {0: [4], 1: [1]}),
        # The counter began again.
        ([(-2, 5), (3, 2)], {}, {0: [2]}),
        # The first value is a baseline, unless the resource is young or it is to be counted.
        ([(3, 9), (12, 10)], {}, {0: [0], 1: [1]}),
        ([(3, 9)], {'is_young': True}, {0: [9]}),
        ([(3, 9)], {'first': 'zero', 'is_young': True}, {0: [0]}),
        ([(3, 9)], {'first': 'count'}, {0: [9]}),
    ],
)
def test_increments_of_a_counter(samples, options, expected):
    """Each belongs to the period of its later sample."""
    found = [Sample(at, Decimal(quantity)) for at, quantity in samples]

    assert values(quantities.of_counter(found, GRID, **options)) == expected


@pytest.mark.parametrize(
    'method, expected',
    [
        ('sum', '6.5'),
        ('count', '4'),
        ('mean', '1.625'),
        ('max', '2.5'),
        ('min', '1'),
        ('last', '2'),
        ('unique', '3'),
        ('duration', '0.65'),
    ],
)
def test_aggregate(method, expected):
    """Each method, over values in the order of time."""
    given = [Decimal(text) for text in ('1', '2.5', '1', '2')]

    assert quantities.aggregate(method, given, 10) == Decimal(expected)


SAMPLES = strategies.lists(
    strategies.tuples(
        strategies.integers(0, 99), strategies.decimals(0, 1000, places=2, allow_nan=False)
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: [Sample(at, quantity) for at, quantity in sorted(pairs)])


def summed(pieces):
    return quantities.total(piece.value for piece in pieces for _ in range(piece.begin, piece.end))


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(SAMPLES, strategies.integers(1, 40))
def test_parts_of_time_add_up(samples, length):
    """However time is divided into periods, their usage adds up to that of the whole time."""
    periods = -(-100 // length)
    parts, whole = Grid(0, length, periods), Grid(0, length * periods, 1)
    existence = [
        Span(one.at, other.at, one.quantity)
        for one, other in zip(samples, samples[1:], strict=False)
    ]

    for cut in (
        lambda grid: quantities.of_lives(existence, grid),
        lambda grid: quantities.of_gauge(samples, grid, 7),
        lambda grid: quantities.of_counter(samples, grid, first='count'),
        lambda grid: quantities.of_values(samples, grid),
    ):
        assert summed(cut(parts)) == summed(cut(whole))


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(*[strategies.integers(-20, 60)] * 2, strategies.integers(1, 40))
def test_a_life_counts_in_each_period_for_its_time_in_it(begin, end, length):
    """And in no other."""
    grid = Grid(0, length, 40 // length)

    found = quantities.of_lives([Span(begin, end, Decimal('1.5'))], grid)

    overlaps = {
        offset: min(end, (offset + 1) * length) - max(begin, offset * length)
        for offset in range(grid.periods)
    }
    assert values(found) == {
        offset: [Decimal('1.5') * overlap] for offset, overlap in overlaps.items() if overlap > 0
    }


@hypothesis.settings(max_examples=EXAMPLES)
@hypothesis.given(SAMPLES, strategies.integers(1, 99))
def test_counters_telescope(samples, edge):
    """Two collections, each with the last sample before it, count what one counts."""
    early = [one for one in samples if one.at < edge]
    late = quantities.since(samples, edge)
    before, after = Grid(0, edge, 1), Grid(edge, 100 - edge, 1)
    # Without a sample before the edge the very first one is in the later part.
    whole = summed(quantities.of_counter(samples, Grid(0, 100, 1)))

    assert whole == quantities.total(
        [
            summed(quantities.of_counter(early, before)),
            summed(quantities.of_counter(late, after)),
        ]
    )
