"""Prepaid credits: which of them pay for a statement. Pure."""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from cloudkitty.core.decimals import SUM_CONTEXT, ZERO


class Credit(NamedTuple):
    """What an account has paid in advance.

    :ivar balance: what is left of it.
    :ivar begin, end: days in force, half open; None: no bound.
    :ivar priority: the lowest is drawn first.
    """

    id: str
    currency: str
    balance: Decimal
    begin: date | None = None
    end: date | None = None
    priority: int = 0
    note: str = ''

    def pays_in(self, first: date, end: date) -> bool:
        """Return whether it is in force on a day of [first, end)."""
        is_begun = self.begin is None or self.begin < end
        return is_begun and (self.end is None or self.end > first)


class Draw(NamedTuple):
    """What is taken of a credit; negative: what is given back."""

    credit_id: str
    note: str
    amount: Decimal


def draw(
    credits_: Iterable[Credit], total: Decimal, currency: str, days: tuple[date, date]
) -> tuple[Draw, ...]:
    """Return what *total*, with tax, takes of credits; of nothing below zero.

    By priority, then the earliest end, then the id.

    :param days: of the month, half open; a credit in force on any of them pays.
    """
    usable = [
        one
        for one in credits_
        if one.currency == currency and one.balance > 0 and one.pays_in(*days)
    ]
    drawn: list[Draw] = []
    left = total
    for one in sorted(usable, key=lambda one: (one.priority, one.end or date.max, one.id)):
        if left <= 0:
            break
        amount = min(left, one.balance)
        drawn.append(Draw(one.id, one.note, amount))
        left = SUM_CONTEXT.subtract(left, amount)
    return tuple(drawn)


def total(draws: Iterable[Draw]) -> Decimal:
    """Return the sum of what is drawn."""
    whole = ZERO
    for one in draws:
        whole = SUM_CONTEXT.add(whole, one.amount)
    return whole
