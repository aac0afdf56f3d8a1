"""What a month will cost if it goes on as its last days did. Pure.

The mean of the last seven whole days was never worse than other simple methods from the middle of
a month on, and can be told in a sentence.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from cloudkitty.core import decimals, timeframe
from cloudkitty.core.timeframe import Period

# Whole days whose mean each day to come has; with fewer than the second number none is made.
DAYS = 7
DAYS_MIN = 3
DAY = timedelta(days=1)


class Forecast(NamedTuple):
    """Amounts of one month.

    :ivar days: whole days that the mean is of.
    :ivar daily: their mean.
    :ivar expected: of the whole month, never less than what is known of it.
    :ivar low, high: if each day to come was like the least and the most of these days.
    """

    days: int
    daily: Decimal
    expected: Decimal
    low: Decimal
    high: Decimal


def span(month: Period) -> Period:
    """Return the days of which amounts are needed for the forecast of *month*."""
    return Period(month.begin - DAYS * DAY, month.end)


def foresee(amounts: Mapping[date, Decimal], month: Period, until: datetime) -> Forecast | None:
    """Return the forecast of *month*; None: there are too few days.

    :param amounts: by day, UTC, see span(); a missing day after the first one has nothing.
    :param until: up to when they are complete, aware UTC.
    """
    known = min(timeframe.to_utc(until), month.end)
    today = timeframe.midnight(known.date())
    whole = [day for day in (today - n * DAY for n in range(1, DAYS + 1)) if amounts]
    last = [amounts.get(day.date(), decimals.ZERO) for day in whole if day.date() >= min(amounts)]
    if len(last) < DAYS_MIN:
        return None
    begin = max(today, month.begin)
    left = (month.end - begin) // DAY
    inside = [amount for day, amount in amounts.items() if _is_in(day, month)]
    spent = _sum(amount for day, amount in amounts.items() if _is_in(day, month, begin))
    mean = Fraction(_sum(last)) / len(last)
    least = _sum(inside)

    def month_of(each: Fraction) -> Decimal:
        return max(least, decimals.SUM_CONTEXT.add(spent, _decimal(each * left)))

    return Forecast(
        len(last),
        _decimal(mean),
        month_of(mean),
        month_of(Fraction(min(last))),
        month_of(Fraction(max(last))),
    )


def _is_in(day: date, month: Period, end: datetime | None = None) -> bool:
    return month.begin <= timeframe.midnight(day) < (end or month.end)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = decimals.ZERO
    for amount in amounts:
        total = decimals.SUM_CONTEXT.add(total, amount)
    return total


def _decimal(number: Fraction) -> Decimal:
    return decimals.CONTEXT.divide(Decimal(number.numerator), Decimal(number.denominator))
