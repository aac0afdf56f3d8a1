"""What is worked out once for a series: its price, in which only the quantity is missing. Pure.

Source: doc/source/user/rating/hashmap.rst, "How a price is made".
"""

import bisect
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from cloudkitty import dataframe
from cloudkitty.rating.hashmap import rules

_add = dataframe.CONTEXT.add
_multiply = dataframe.CONTEXT.multiply


class Ladder(NamedTuple):
    """Thresholds of one parent in one group, by level, ascending."""

    levels: Sequence[Decimal]
    thresholds: Sequence[rules.Rule]

    def best(self, number: Decimal) -> rules.Rule | None:
        """Return the highest threshold that *number* reaches."""
        reached = bisect.bisect_right(self.levels, number)
        return self.thresholds[reached - 1] if reached else None


class Bucket:
    """What a series meets in one group."""

    __slots__ = ('field_best', 'flat', 'rate')

    def __init__(self):
        self.flat = dataframe.ZERO
        self.rate = Decimal(1)
        self.field_best = None

    def meet(self, mapping: rules.Rule) -> None:
        if mapping.type == rules.FLAT:
            self.flat = max(self.flat, mapping.cost)
        else:
            self.rate = _multiply(self.rate, mapping.cost)

    def compete(self, threshold: rules.Rule) -> None:
        """Keep the highest level; of equal ones the first met."""
        if self.field_best is None or threshold.level > self.field_best.level:
            self.field_best = threshold

    def factor(self) -> Decimal:
        """Return the price of one unit when no threshold of the service is reached."""
        best = self.field_best
        if best is None:
            return self.base()
        if best.type == rules.FLAT:
            return _multiply(self.rate, _add(self.flat, best.cost))
        return _multiply(_multiply(self.rate, best.cost), self.flat)

    def base(self) -> Decimal:
        """Return the price of one unit when a threshold of the service decides."""
        return _multiply(self.rate, self.flat)


class Term(NamedTuple):
    """What one group adds to the price."""

    # Price of one unit when no threshold of the service is reached; None: then nothing is added.
    factor: Decimal | None
    # Price of one unit when one is reached.
    base: Decimal = dataframe.ZERO
    # Thresholds of the service.
    ladder: Ladder | None = None

    def amount(self, qty: Decimal) -> Decimal | None:
        """Return what *qty* units cost, None: nothing in this group applies."""
        threshold = self.ladder.best(qty)
        if threshold is None:
            return None if self.factor is None else _multiply(self.factor, qty)
        if threshold.type == rules.FLAT:
            return _add(_multiply(self.base, qty), threshold.cost)
        return _multiply(_multiply(self.base, qty), threshold.cost)


class Plan:
    """The price of a series in which only the quantity is missing."""

    __slots__ = ('terms',)

    def __init__(self, terms: Sequence[Term]):
        self.terms = terms

    def price(self, qty: Decimal, price: Decimal) -> Decimal:
        """Return *price* plus what *qty* units cost, rounded after each operation."""
        for term in self.terms:
            if term[2] is None:
                price = _add(price, _multiply(term[0], qty))
                continue
            amount = term.amount(qty)
            if amount is not None:
                price = _add(price, amount)
        return price


def assemble(buckets: Mapping[str | None, Bucket],
             ladders: Mapping[str | None, Ladder]) -> Plan:
    """Return the plan; groups in the order of their names, the default one first.

    The order matters only for the rounding of the 28th digit.

    :param buckets: what the series meets, by group.
    :param ladders: thresholds of the service, by group.
    """
    groups = sorted(buckets.keys() | ladders.keys(), key=lambda name: (name is not None, name))
    return Plan(tuple(_term(buckets.get(group), ladders.get(group)) for group in groups))


def _term(bucket, ladder):
    if bucket is None:
        return Term(None, ladder=ladder)
    if ladder is not None and bucket.field_best is not None:
        first = bisect.bisect_left(ladder.levels, bucket.field_best.level)
        ladder = Ladder(ladder.levels[first:], ladder.thresholds[first:])
    if ladder is None or not ladder.levels:
        return Term(bucket.factor())
    return Term(bucket.factor(), bucket.base(), ladder)
