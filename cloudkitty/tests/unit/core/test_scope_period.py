"""Periods of a scope in columns show the frames they were made of."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudkitty.core.columns import Column, ColumnBuilder, calendars_of, points_of
from cloudkitty.core.dataframe import DataFrame, DataPoint, FrozenDict, Series
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.core.timeframe import Period, calendar_of

START = datetime(2024, 2, 28, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)
PERIODS = [Period(START + n * HOUR, START + (n + 1) * HOUR) for n in range(4)]
SERIES = [Series('u', {'id': name}, {}) for name in 'abc']
# What a point carries of the day: nothing, what its period says, or what another clock says.
CALENDARS = st.sampled_from(['none', 'own', 'other'])
POINTS = st.tuples(st.sampled_from(SERIES), st.integers(0, 9), st.integers(0, 9), CALENDARS)
USAGE = st.dictionaries(st.sampled_from(['cpu', 'disk']), st.lists(POINTS, min_size=1, max_size=4))
USAGES = st.lists(USAGE, max_size=4)


def point_of(period, series, qty, price, calendar):
    calendars = {
        'none': {},
        'own': FrozenDict(calendar_of(period.begin)),
        'other': FrozenDict(month='13'),
    }
    return DataPoint.of(series, Decimal(qty), Decimal(price), calendars[calendar])


def frames_of(usages):
    return [
        DataFrame(
            *period,
            {name: [point_of(period, *one) for one in points] for name, points in usage.items()},
        )
        for period, usage in zip(PERIODS, usages, strict=False)
    ]


def content(frames):
    return [
        (frame.start, frame.end, [(name, one, dict(one.calendar)) for name, one in frame])
        for frame in frames
    ]


@given(USAGES)
def test_frames_come_out_as_they_went_in(usages):
    """Points keep their order, whatever order other periods have, and what they carry."""
    frames = frames_of(usages)

    whole = ScopePeriods.of_frames('s', frames)

    assert content(whole) == content(frames)
    assert content(whole[n] for n in range(len(whole))) == content(frames)
    assert [list(one.points()) for one in whole.scope_periods()] == [list(one) for one in frames]
    assert whole.points == sum(len(list(frame)) for frame in frames)


@given(USAGES, st.integers(0, 4), st.integers(0, 4))
def test_a_part_shows_its_frames(usages, first, end):
    frames = frames_of(usages)

    whole = ScopePeriods.of_frames('s', frames)

    assert content(whole[first:end]) == content(frames[first:end])
    assert whole[first:end].begins == [frame.start for frame in frames[first:end]]
    assert content(whole.with_points()) == content(frame for frame in frames if frame.usage)


def test_a_series_has_one_column_where_its_order_allows_it():
    frames = frames_of([{'cpu': [(one, 1, 0, 'own') for one in SERIES]}] * 3)

    whole = ScopePeriods.of_frames('s', frames)

    assert [(column.series, column.offsets) for column in whole.columns] == [
        (series, [0, 1, 2]) for series in SERIES
    ]


@pytest.mark.parametrize('order', [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_a_source_may_answer_for_periods_in_any_order(order):
    """The periods of each column are in theirs, with their own quantity and price."""
    builder = ColumnBuilder(calendars_of(PERIODS))
    for offset in order:
        builder.add(
            'cpu', offset, [point_of(PERIODS[offset], SERIES[0], offset, 10 + offset, 'own')]
        )

    columns = builder.columns()

    assert all(list(column.offsets) == sorted(column.offsets) for column in columns)
    assert content(ScopePeriods('s', PERIODS, columns)) == content(
        frames_of([{'cpu': [(SERIES[0], offset, 10 + offset, 'own')]} for offset in range(3)])
    )


def test_what_is_in_columns_already_is_taken_as_it_is():
    whole = ScopePeriods.of_frames('s', frames_of([{}]))

    assert ScopePeriods.of_frames('s', whole) is whole


@pytest.mark.parametrize('offsets', [[0, 1], [1, 2], [0]])
def test_columns_are_shown_as_the_points_of_their_periods(offsets):
    column = Column.unpriced('cpu', SERIES[0], offsets, [Decimal(n) for n in range(len(offsets))])

    found = list(points_of([('s', column)], PERIODS[:3]))

    assert [(scope_id, period) for scope_id, period, _ in found] == [
        ('s', PERIODS[offset]) for offset in offsets
    ]
    for number, (_, period, (point,)) in enumerate(found):
        expected = DataPoint.of(SERIES[0], Decimal(number), Decimal(0), calendar_of(period.begin))
        assert point == expected


def test_a_series_without_points_is_left_out():
    """A store would look for its first one."""
    idle, used = (Column.unpriced('cpu', SERIES[n], [n] * n, [Decimal(1)] * n) for n in (0, 1))

    assert ScopePeriods('s', PERIODS, [idle, used]).columns == [used]
    assert ScopePeriods('s', PERIODS, [used]).with_columns([idle]).columns == []


def test_a_column_moves_with_the_begin_of_its_batch():
    column = Column.unpriced('cpu', SERIES[0], range(2), [Decimal(1), Decimal(2)])

    assert column.moved(0) is column
    assert list(column.moved(3).offsets) == [3, 4]


def test_points_that_are_kept_keep_their_numbers():
    column = Column('cpu', SERIES[0], [0, 1, 3], [5, 6, 7], [50, 60, 70])

    kept = column.kept([1, 2])

    assert (kept.offsets, kept.quantities, kept.prices) == ([1, 3], [6, 7], [60, 70])
    assert column.kept([0, 1, 2]) is column
