"""Sequences in which values repeat: what depends on a value is computed once for each. Pure.

Most resources do not change from one period to the next, so the numbers of a series are mostly
equal.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_Value = TypeVar('_Value')
_Result = TypeVar('_Result')

# With fewer items than this there is nothing to gain.
LENGTH_MIN = 4

# Makes the tuple of all items from one item for each distinct value.
Spread = Callable[[Sequence[Any]], tuple[Any, ...]]


class Repeated(tuple[_Value, ...]):
    """A tuple that knows its distinct values; slices and copies of it are plain tuples.

    :ivar distinct: one item for each distinct value, in the order of first occurrence.
    :ivar spread: makes the items of a tuple of the same pattern from those of its `distinct`;
        tuples with the same `spread` have equal values at the same places.
    """

    distinct: Sequence[_Value]
    spread: Spread

    @classmethod
    def of(cls, distinct: Sequence[_Value], spread: Spread) -> 'Repeated[_Value]':
        """Return the tuple that *spread* makes from *distinct*."""
        made = cls(spread(distinct))
        made.distinct = distinct
        made.spread = spread
        return made

    def map(self, function: Callable[[_Value], _Result]) -> 'Repeated[_Result]':
        """Return the results of *function*, which is called once for each distinct value."""
        return Repeated.of(list(map(function, self.distinct)), self.spread)


def find(items: Sequence[_Value]) -> Sequence[_Value]:
    """Return *items*, which are hashable, as a Repeated if their values mostly repeat."""
    if len(items) < LENGTH_MIN:
        return items
    if items.count(items[0]) == len(items):
        return Repeated.of([items[0]], _same(len(items)))
    places = dict.fromkeys(items)
    if 2 * len(places) > len(items):
        return items
    distinct = list(places)
    index = {item: place for place, item in enumerate(distinct)}
    return Repeated.of(distinct, operator.itemgetter(*map(index.__getitem__, items)))


@functools.lru_cache
def _same(count: int) -> Spread:
    return operator.itemgetter(*[0] * count)


def apply(function: Callable[[_Value], _Result], items: Sequence[_Value]) -> Sequence[_Result]:
    """Return the result of *function* for each of *items*."""
    return items.map(function) if isinstance(items, Repeated) else list(map(function, items))


def distinct_of(items: Sequence[_Value]) -> Sequence[_Value]:
    """Return the distinct values of *items* as far as they are known, else all."""
    return items.distinct if isinstance(items, Repeated) else items


def spread_of(*columns: Sequence[Any]) -> Spread | None:
    """Return the pattern of repetition that *columns* share; None: none is known."""
    first = columns[0]
    if not isinstance(first, Repeated):
        return None
    if all(isinstance(one, Repeated) and one.spread is first.spread for one in columns):
        return first.spread
    return None


def constant(value: _Value, items: Sequence[Any]) -> Sequence[_Value]:
    """Return *value* in place of each of *items*, with their pattern of repetition."""
    if isinstance(items, Repeated):
        return Repeated.of([value] * len(items.distinct), items.spread)
    return (value,) * len(items)
