"""Formulas: the price of a series as a function of the quantity, compiled once. Pure.

Source: doc/source/user/rating/hashmap.rst, "How a price is computed".
"""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from cloudkitty.core import decimals, repeated
from cloudkitty.core.pricing import rules

_add = decimals.CONTEXT.add
_multiply = decimals.CONTEXT.multiply
_multiply_and_add = decimals.CONTEXT.fma


class Ladder(NamedTuple):
    """Thresholds of one parent in one group by ascending level."""

    levels: Sequence[Decimal]
    thresholds: Sequence[rules.Rule]

    def best(self, number: Decimal) -> rules.Rule | None:
        """Return the highest threshold that *number* reaches."""
        reached = bisect.bisect_right(self.levels, number)
        return self.thresholds[reached - 1] if reached else None


class Bucket:
    """The rules of one group that match a series."""

    __slots__ = ('field_best', 'flat', 'rate')

    def __init__(self) -> None:
        self.flat = decimals.ZERO
        self.rate = Decimal(1)
        self.field_best: rules.Rule | None = None

    def add_mapping(self, mapping: rules.Rule) -> None:
        if mapping.type == rules.FLAT:
            self.flat = max(self.flat, mapping.cost)
        else:
            self.rate = _multiply(self.rate, mapping.cost)

    def add_threshold(self, threshold: rules.Rule) -> None:
        """Keep the threshold with the highest level; of equal ones the first."""
        if self.field_best is None or threshold.threshold_level > self.field_best.threshold_level:
            self.field_best = threshold

    def factor(self) -> Decimal:
        """Return the price of one unit if no threshold of the service is reached."""
        best = self.field_best
        if best is None:
            return self.base()
        if best.type == rules.FLAT:
            return _multiply(self.rate, _add(self.flat, best.cost))
        return _multiply(_multiply(self.rate, best.cost), self.flat)

    def base(self) -> Decimal:
        """Return the price of one unit if a threshold of the service applies."""
        return _multiply(self.rate, self.flat)


class Term(NamedTuple):
    """The amount that one group adds to the price."""

    # Price of one unit if no threshold of the service is reached; None: then nothing is added.
    factor: Decimal | None
    # Price of one unit if one is reached.
    base: Decimal = decimals.ZERO
    # Thresholds of the service.
    ladder: Ladder | None = None

    def amount(self, qty: Decimal) -> Decimal | None:
        """Return the amount for *qty* units; None: no rule of this group applies."""
        threshold = None if self.ladder is None else self.ladder.best(qty)
        if threshold is None:
            return None if self.factor is None else _multiply(self.factor, qty)
        if threshold.type == rules.FLAT:
            return _add(_multiply(self.base, qty), threshold.cost)
        return _multiply(_multiply(self.base, qty), threshold.cost)


class Amount(NamedTuple):
    """What one group of rules adds to a price.

    :ivar group: name of the group, None: the default one.
    :ivar expression: the numbers that make the amount, such as '(0.5 + 0.75) * 2'.
    """

    group: str | None
    expression: str
    amount: Decimal


class Formula:
    """The price of a series as a function of the quantity."""

    __slots__ = ('terms',)

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = terms

    def price(self, qty: Decimal, price: Decimal) -> Decimal:
        """Return *price* plus the amount for *qty* units, rounded after each operation."""
        for term in self.terms:
            factor, _, ladder = term
            if ladder is None and factor is not None:
                price = _add(price, _multiply(factor, qty))
                continue
            amount = term.amount(qty)
            if amount is not None:
                price = _add(price, amount)
        return price

    def prices(self, quantities: Sequence[Decimal], prices: Sequence[Decimal]) -> Sequence[Decimal]:
        """Vectorised price()."""
        spread = repeated.spread_of(quantities, prices)
        if spread is not None:
            quantities, prices = repeated.distinct_of(quantities), repeated.distinct_of(prices)
        for term in self.terms:
            if term.ladder is None and term.factor is not None:
                factors = itertools.repeat(term.factor)
                if any(prices):
                    prices = list(map(_add, prices, map(_multiply, factors, quantities)))
                else:
                    # What is added to 0 needs no second rounding.
                    prices = list(map(_multiply_and_add, factors, quantities, prices))
                continue
            prices = [
                price if amount is None else _add(price, amount)
                for price, amount in zip(prices, map(term.amount, quantities), strict=True)
            ]
        return prices if spread is None else repeated.Repeated.of(prices, spread)


def assemble(buckets: Mapping[str | None, Bucket], ladders: Mapping[str | None, Ladder]) -> Formula:
    """Return the formula; groups in the order of their names, the default one first.

    The order matters only for the rounding of the 28th digit.

    :param buckets: rules that match the series, by group.
    :param ladders: thresholds of the service, by group.
    """
    groups = _in_order(buckets, ladders)
    return Formula(tuple(_term(buckets.get(group), ladders.get(group)) for group in groups))


def _in_order(
    buckets: Mapping[str | None, Bucket], ladders: Mapping[str | None, Ladder]
) -> list[str | None]:
    return sorted(buckets.keys() | ladders.keys(), key=lambda name: (name is not None, name))


def amounts(
    buckets: Mapping[str | None, Bucket], ladders: Mapping[str | None, Ladder], qty: Decimal
) -> list[Amount]:
    """Return what each group adds to the price of *qty* units, in the order of assemble().

    Their sum is the price that the formula adds; a group of which no rule applies is left out.
    """
    found = []
    for group in _in_order(buckets, ladders):
        term = _term(buckets.get(group), ladders.get(group))
        amount = term.amount(qty)
        if amount is not None:
            threshold = None if term.ladder is None else term.ladder.best(qty)
            bucket = buckets.get(group) or Bucket()
            found.append(Amount(group, _expression(bucket, threshold, qty), amount))
    return found


def _expression(bucket: Bucket, threshold: rules.Rule | None, qty: Decimal) -> str:
    """Return the numbers of Term.amount() as text; factors of 1 are left out.

    :param threshold: of the service, if one is reached.
    """
    flat = decimals.render_decimal(bucket.flat)
    factors = [] if bucket.rate == 1 else [decimals.render_decimal(bucket.rate)]
    best = bucket.field_best if threshold is None else None
    if best is not None:
        cost = decimals.render_decimal(best.cost)
        if best.type == rules.FLAT:
            flat = f'({flat} + {cost})'
        else:
            factors.append(cost)
    product = ' * '.join([flat, *factors, decimals.render_decimal(qty)])
    if threshold is None:
        return product
    cost = decimals.render_decimal(threshold.cost)
    return f'{product} + {cost}' if threshold.type == rules.FLAT else f'{product} * {cost}'


def _term(bucket: Bucket | None, ladder: Ladder | None) -> Term:
    if bucket is None:
        return Term(None, ladder=ladder)
    if ladder is not None and bucket.field_best is not None:
        first = bisect.bisect_left(ladder.levels, bucket.field_best.threshold_level)
        ladder = Ladder(ladder.levels[first:], ladder.thresholds[first:])
    if ladder is None or not ladder.levels:
        return Term(bucket.factor())
    return Term(bucket.factor(), bucket.base(), ladder)
