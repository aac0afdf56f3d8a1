"""Forecasts: what they are made of, and how good they were on a recorded year."""

import random
import statistics
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies as st

from cloudkitty.core.billing import forecast, month
from cloudkitty.core.billing.plan import UTC as ZONE
from cloudkitty.core.billing.statement import Usage

OCTOBER = month.bounds('2026-10', ZONE)


def usage(day, quantity, price='0', scope='a'):
    return Usage(scope, 'cpu', (), Decimal(quantity), Decimal(price), date(2026, 10, day))


def at(day, hour=0):
    return datetime(2026, 10, day, hour, tzinfo=UTC)


def test_the_days_left_are_as_the_last_seven():
    """Ten days over, of which three were dearer: 21 days are left."""
    days = [usage(day, '1', '2') for day in range(1, 4)]
    days += [usage(day, '3', '6') for day in range(4, 11)]

    [found] = forecast.project(days, OCTOBER, at(11, 5))
    assert (found.quantity, found.list_price) == (24 + 21 * 3, 48 + 21 * 6)


def test_three_full_days_are_needed():
    """Of the month, in whatever zone it begins."""
    days = [usage(day, '2') for day in range(1, 4)]
    assert forecast.project(days, OCTOBER, at(3, 23)) is None
    [found] = forecast.project(days, OCTOBER, at(4))
    assert found.quantity == 62
    paris = month.bounds('2026-10', month.parse_zone('Europe/Paris'))
    assert forecast.full_days(paris, at(2, 12)) == [date(2026, 10, 1)]


def test_a_series_that_ended_goes_on_no_more():
    [found] = forecast.project([usage(1, '5')], OCTOBER, at(20))
    assert found.quantity == 5


@hypothesis.given(
    st.lists(st.tuples(st.integers(1, 31), st.decimals(0, 100, places=3)), max_size=40),
    st.integers(4, 31),
)
def test_a_forecast_is_never_below_what_was_used(days, today):
    used = [usage(day, quantity) for day, quantity in days]
    found = forecast.project(used, OCTOBER, at(today))

    total = sum((one.quantity for one in used), Decimal(0))
    assert sum((one.quantity for one in found), Decimal(0)) >= total


@pytest.mark.parametrize(
    'pairs, miss',
    [([], None), ([('5', '0')], None), ([('11', '10'), ('8', '10'), ('10', '10')], '0.1000')],
)
def test_the_error_is_the_median_of_earlier_ones(pairs, miss):
    found = forecast.median_miss([tuple(map(Decimal, pair)) for pair in pairs])
    assert (None if found is None else str(found)) == miss


def test_a_year_of_two_hundred_scopes():
    """At day 14 the median miss is not above 8 %: growth, steps, weeks and noise."""
    dice = random.Random(37)
    misses = []
    for number in range(200):
        growth, step, at_step = dice.uniform(0, 0.01), dice.uniform(0.5, 2), dice.randrange(365)
        for one in range(1, 13):
            span = month.bounds(f'2025-{one:02}', ZONE)
            days, day = [], span.begin
            while day < span.end:
                place = (day - datetime(2025, 1, 1, tzinfo=UTC)).days
                weekend = 0.7 if number % 2 and day.weekday() > 4 else 1
                level = (1 + growth) ** place * (step if place > at_step else 1)
                quantity = round(100 * level * weekend * dice.uniform(0.9, 1.1), 3)
                days.append(Usage('a', 'cpu', (), Decimal(str(quantity)), Decimal(0), day.date()))
                day += timedelta(days=1)
            then = span.begin + timedelta(days=14)
            known = [usage for usage in days if usage.day < then.date()]
            [found] = forecast.project(known, span, then)
            whole = sum(usage.quantity for usage in days)
            misses.append(abs(found.quantity - whole) / whole)

    assert statistics.median(misses) <= Decimal('0.08')
