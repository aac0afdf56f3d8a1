"""What a month will cost: usage so far goes on as in its last days, then the plan prices it. Pure.

Source: doc/source/admin/billing.rst, "Forecasts".
"""

import statistics
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from cloudkitty.core import timeframe
from cloudkitty.core.billing import money
from cloudkitty.core.billing.statement import Usage
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.core.timeframe import Period

# Days whose mean is that of the days to come, and how many there must be.
DAYS = 7
DAYS_MIN = 3
DAY = timedelta(days=1)
# Closed months by which the forecast is judged.
MONTHS = 3


def full_days(span: Period, until: datetime) -> list[date]:
    """Return the last days, UTC, that lie between the begin of *span* and *until*; DAYS at most."""
    end = min(until, span.end).replace(hour=0, minute=0, second=0, microsecond=0)
    found: list[date] = []
    while len(found) < DAYS and end - DAY >= span.begin:
        end -= DAY
        found.append(end.date())
    return sorted(found)


def project(usages: Iterable[Usage], span: Period, until: datetime) -> list[Usage] | None:
    """Return the usage of the whole month; None: too few days are over.

    Each series has its quantity and list price of the days that are over, and for each day left
    their mean of the last full days. It is never less than what was used already.

    :param usages: by day, UTC, up to *until* or beyond.
    :param span: the month.
    """
    days = full_days(span, until)
    if len(days) < DAYS_MIN:
        return None
    first, last = days[0], days[-1]
    left = Fraction((span.end - datetime.combine(last, datetime.min.time(), UTC) - DAY) / DAY)
    sums: dict[tuple[str, str, tuple[tuple[str, str], ...]], list[Decimal]] = {}
    for usage in usages:
        assert usage.day is not None
        known = sums.setdefault((usage.scope_id, usage.metric, usage.attributes), [ZERO] * 6)
        places = [0] if usage.day > last else [0, 1, 2] if usage.day >= first else [0, 1]
        for place in places:
            known[2 * place] = SUM_CONTEXT.add(known[2 * place], usage.quantity)
            known[2 * place + 1] = SUM_CONTEXT.add(known[2 * place + 1], usage.list_price)
    weight = left / len(days)
    return [
        Usage(*series, _ahead(known[0::2], weight), _ahead(known[1::2], weight))
        for series, known in sums.items()
    ]


def _ahead(sums: Sequence[Decimal], weight: Fraction) -> Decimal:
    """Return what is used at the end of the month.

    :param sums: used so far, on the days that are over, and on the last of these.
    """
    used, over, recent = sums
    return max(used, money.to_exact(Fraction(over) + Fraction(recent) * weight))


def at_same_time(span: Period, until: datetime, other: Period) -> datetime:
    """Return the time in *other* that is as far from its begin as *until* from that of *span*."""
    return min(other.begin + (timeframe.to_utc(until) - span.begin), other.end)


def median_miss(pairs: Sequence[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Return by how much of the actual amounts forecasts were wrong, as a part of one.

    :param pairs: (forecast, actual); actual amounts of zero say nothing.
    :returns: None: there is nothing to judge by.
    """
    misses = [
        abs(Fraction(forecast) - Fraction(actual)) / abs(Fraction(actual))
        for forecast, actual in pairs
        if actual
    ]
    return money.round_amount(statistics.median(misses), 4) if misses else None
