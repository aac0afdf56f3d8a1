"""From the currency of the prices to that of the statement. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from cloudkitty import errors


class DatedRate(NamedTuple):
    """A rate that holds from the begin of a day until the next one of its list."""

    begin: date
    rate: Fraction


def rate_at(rates: Sequence[DatedRate], day: date) -> Fraction | None:
    """Return the rate in force on *day*; None: there was none yet.

    :param rates: ordered by their begin.
    """
    found = None
    for dated in rates:
        if dated.begin <= day:
            found = dated.rate
    return found


def mean_rate(rates: Sequence[DatedRate], quantities: Mapping[date, Fraction]) -> Fraction:
    """Return the mean of the days' rates, weighted by the quantities of the days.

    :raises InvalidInput: a day with a quantity has no rate, or the quantities add up to zero.
    """
    weighted = whole = Fraction(0)
    for day, quantity in quantities.items():
        rate = rate_at(rates, day)
        if rate is None:
            raise errors.InvalidInput(reason=f'There is no rate for {day}')
        weighted += rate * quantity
        whole += quantity
    if not whole:
        raise errors.InvalidInput(reason='Quantities of zero have no mean rate')
    return weighted / whole
