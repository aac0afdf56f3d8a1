"""Usage of a period from granules, the equal spans over which a source has aggregated. Pure.

All instants and lengths are whole microseconds, instants since the epoch.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from cloudkitty.core.decimals import CONTEXT, SUM_CONTEXT, ZERO

FOREVER = 2**63
ONE = Decimal(1)
# Divided by the length of the period, even if granules are missing; of a share each value is 1.
WEIGHTED = ('time_weighted', 'share')
# Sums: a part of a granule's time has the same part of its value.
ADDITIVE = ('sum', 'count')
PICKED = {
    'max': max,
    'min': min,
    'first': lambda values: values[0],
    'last': lambda values: values[-1],
}
COMBINABLE = frozenset((*ADDITIVE, *PICKED, 'mean'))


class Span(NamedTuple):
    """A half open span of time, [begin, end)."""

    begin: int
    end: int


class Granules:
    """The granules of one resource and metric, all of one length.

    :param length: of a granule.
    :param values: by the begin of the granule, in the order of time.
    """

    def __init__(self, length: int, values: dict[int, Decimal]):
        self.length = length
        self._begins = list(values)
        self._values = list(values.values())

    def overlapping(self, period: Span, windows: Sequence[Span]) -> int:
        """Return how many granules have a part in *period* and in one of *windows*."""
        return sum(
            any(_overlap(begin, self.length, _common(window, period)) > 0 for window in windows)
            for begin in self._begins
        )

    def usage(self, method: str, period: Span, windows: Sequence[Span]) -> Decimal | None:
        """Return the part of the usage in *period* that falls into *windows*.

        For windows that partition the period, the parts of sums and means add up to the whole; for
        other methods each part is its own value times its share of the time. Weighted values count
        by their part of the period, so time without granules counts as 0.

        :param method: one of COMBINABLE or WEIGHTED; any other requires a single granule that
            equals the period.
        :param windows: spans that do not overlap; parts outside the period are ignored.
        :returns: rounded as decimals.CONTEXT says; None: no granule is in the windows.
        :raises ValueError: several granules cannot be combined by *method*.
        """
        first = bisect_right(self._begins, period.begin - self.length)
        last = bisect_left(self._begins, period.end)
        if first >= last:
            return None
        values = self._values[first:last]
        whole = [_overlap(begin, self.length, period) for begin in self._begins[first:last]]
        windows = [_common(window, period) for window in windows]
        if windows == [period]:
            parts = whole
        else:
            parts = [
                sum(_overlap(begin, self.length, window) for window in windows)
                for begin in self._begins[first:last]
            ]
        if not any(parts):
            return None
        if method in WEIGHTED:
            values = values if method == 'time_weighted' else [ONE] * len(values)
            return _quotient(values, parts, period.end - period.begin)
        if len(values) == 1 and parts[0] == (self.length if method in ADDITIVE else whole[0]):
            return values[0]
        return self._combine(method, values, parts, sum(whole))

    def _combine(self, method, values, parts, whole):
        if method in ADDITIVE:
            return _quotient(values, parts, self.length)
        if method == 'mean':
            return _quotient(values, parts, whole)
        inside = [value for value, part in zip(values, parts, strict=True) if part]
        if method in PICKED:
            return _quotient([PICKED[method](inside)], [sum(parts)], whole)
        if len(values) > 1:
            raise ValueError(method)
        return _quotient(inside, [sum(parts)], whole)


def _common(one: Span, other: Span) -> Span:
    return Span(max(one.begin, other.begin), min(one.end, other.end))


def _overlap(begin, length, span):
    return max(0, min(begin + length, span.end) - max(begin, span.begin))


def _quotient(values, weights, divisor):
    """Return the exact sum of values × weights, divided (and rounded) once."""
    total = ZERO
    for value, weight in zip(values, weights, strict=True):
        total = SUM_CONTEXT.fma(value, Decimal(weight), total)
    return CONTEXT.divide(total, Decimal(divisor))
