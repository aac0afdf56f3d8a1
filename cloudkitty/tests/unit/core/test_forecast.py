"""What a month will cost: the mean of its last whole days for each day to come."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudkitty.core import forecast, timeframe

MONTH = timeframe.month_at(datetime(2026, 11, 1, tzinfo=UTC))


def at(day, hour=0, month=11):
    return datetime(2026, month, day, hour, tzinfo=UTC)


def days(numbers, month=11):
    return {date(2026, month, day): Decimal(amount) for day, amount in numbers.items()}


def test_each_day_to_come_is_the_mean_of_the_last_seven():
    """Ten days at 10, then seven from 4 to 10, and a part of the next, which is not whole."""
    amounts = days({**dict.fromkeys(range(1, 11), 10), **{n: n - 7 for n in range(11, 18)}, 18: 3})

    found = forecast.foresee(amounts, MONTH, at(18, 12))

    assert found == forecast.Forecast(
        days=7,
        daily=Decimal(7),
        expected=Decimal(100 + 49 + 13 * 7),
        low=Decimal(100 + 49 + 13 * 4),
        high=Decimal(100 + 49 + 13 * 10),
    )


def test_early_in_a_month_the_days_before_it_count():
    amounts = {**days(dict.fromkeys(range(25, 32), 2), month=10), **days({1: 5})}

    found = forecast.foresee(amounts, MONTH, at(2))

    assert found.days == 7
    assert round(found.daily * 7, 20) == 17
    assert round(found.expected - 29 * found.daily, 20) == 5
    assert (found.low, found.high) == (5 + 29 * 2, 5 + 29 * 5)


@pytest.mark.parametrize('count', [0, 1, 2, 3])
def test_with_few_days_there_is_none(count):
    amounts = days(dict.fromkeys(range(10, 10 + count), 1))

    found = forecast.foresee(amounts, MONTH, at(10 + count))

    assert (found is None) == (count < 3)


def test_a_day_without_usage_counts_after_the_first():
    found = forecast.foresee(days({10: 6}), MONTH, at(13))

    assert (found.days, found.daily, found.expected) == (3, 2, 6 + 18 * 2)


def test_a_month_that_is_over_costs_what_it_cost():
    found = forecast.foresee(days(dict.fromkeys(range(1, 31), 1)), MONTH, at(3, month=12))

    assert found.low == found.expected == found.high == 30


@given(
    st.dictionaries(st.integers(1, 30), st.decimals(0, 10**9, places=12), min_size=1),
    st.integers(1, 30),
)
def test_it_is_never_less_than_what_is_known(amounts, day):
    known = days({one: amount for one, amount in amounts.items() if one <= day})
    found = forecast.foresee(known, MONTH, at(day, 23))

    if found is not None:
        assert sum(known.values()) <= found.low <= found.expected <= found.high
