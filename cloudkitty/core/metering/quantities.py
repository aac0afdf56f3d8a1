"""Quantities of periods from lives and samples, exact up to one division. Pure.

Each kind of series is first cut into *pieces*, each of one period, or of several with the same
value, and with the attributes that it had then. The pieces with equal attributes are then
aggregated.

Source: doc/source/contributor/metering.rst, "Quantities".
"""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from cloudkitty.core.decimals import CONTEXT, SUM_CONTEXT, ZERO
from cloudkitty.core.metering import facts

DURATION = 'duration'
METHODS = (DURATION, 'sum', 'count', 'mean', 'max', 'min', 'last', 'unique')
# Allowed methods by kind; the first is the default.
METHODS_OF = {
    facts.STATE: (DURATION, 'count', 'max', 'min', 'last', 'unique'),
    facts.GAUGE: (DURATION, 'count', 'mean', 'max', 'min', 'last', 'sum', 'unique'),
    facts.CUMULATIVE: ('sum', 'count', 'max', 'min', 'last'),
    facts.DELTA: ('sum', 'count', 'mean', 'max', 'min', 'last', 'unique'),
}
# What the first value of a counter counts: all of it if the resource is that young, nothing, all.
FIRSTS = ('life', 'zero', 'count')
UNITS_US = {
    'second': facts.SECOND_US,
    'minute': 60 * facts.SECOND_US,
    'hour': 3600 * facts.SECOND_US,
}


class Grid(NamedTuple):
    """Consecutive periods of one length, microseconds since the epoch."""

    begin: int
    length: int
    periods: int

    @property
    def end(self) -> int:
        return self.begin + self.length * self.periods

    def offset(self, at: int) -> int:
        """Return the index of the period that holds *at*; it may be out of range."""
        return (at - self.begin) // self.length


class Sample(NamedTuple):
    """A measured value.

    :ivar at: microseconds since the epoch.
    :ivar attributes: any value that is equal for equal attributes.
    """

    at: int
    quantity: Decimal
    attributes: Hashable | None = None


class Span(NamedTuple):
    """A time, [begin, end), with one quantity; end None: it goes on."""

    begin: int
    end: int | None
    quantity: Decimal
    attributes: Hashable | None = None


class Piece(NamedTuple):
    """A part of a series; its value is a quantity, or one times microseconds.

    :ivar begin, end: the periods [begin, end) of a grid, each of which has the value.
    """

    begin: int
    end: int
    attributes: Hashable | None
    value: Decimal


def of_lives(lives: Iterable[Span], grid: Grid) -> Iterator[Piece]:
    """Yield quantity times microseconds of each life in each period."""
    return _spread(lives, grid)


def levels_of_lives(lives: Iterable[Span], grid: Grid) -> Iterator[Piece]:
    """Yield the quantity of each life in each period that it touches."""
    start, stop = grid.begin, grid.end
    for begin, end, quantity, attributes in lives:
        begin = max(begin, start)
        end = stop if end is None else min(end, stop)
        if begin < end:
            yield Piece(grid.offset(begin), grid.offset(end - 1) + 1, attributes, quantity)


def of_gauge(samples: Sequence[Sample], grid: Grid, hold_us: int) -> Iterator[Piece]:
    """Yield value times microseconds in each period.

    A value holds until the next sample, at most for *hold_us*; after that is a gap, which counts
    nothing.

    :param samples: oldest first, from *hold_us* before the grid on.
    """
    spans = []
    for number, (at, quantity, attributes) in enumerate(samples):
        end = at + hold_us
        if number + 1 < len(samples):
            end = min(end, samples[number + 1][0])
        spans.append(Span(at, end, quantity, attributes))
    return _spread(spans, grid)


def of_counter(
    samples: Sequence[Sample], grid: Grid, *, first: str = 'life', is_young: bool = False
) -> Iterator[Piece]:
    """Yield the increments of a counter; each belongs to the period of its later sample.

    A value below the one before means that the counter began again, and counts itself. So sums over
    periods are those over the whole time, wherever it is divided.

    :param samples: oldest first; one before the grid is the baseline.
    :param first: what the very first value counts, see FIRSTS.
    :param is_young: whether the life of the resource began shortly before the first sample.
    """
    before: Decimal | None = None
    # The sum of the increments so far of one period with the same attributes.
    current: tuple[int, Hashable | None] | None = None
    value = ZERO
    for at, quantity, attributes in samples:
        if before is None:
            counts = first == 'count' or (first == 'life' and is_young)
            increment = quantity if counts else ZERO
        elif quantity < before:
            increment = quantity
        else:
            increment = SUM_CONTEXT.subtract(quantity, before)
        before = quantity
        offset = grid.offset(at)
        if not 0 <= offset < grid.periods:
            continue
        if current == (offset, attributes):
            value = SUM_CONTEXT.add(value, increment)
            continue
        if current is not None:
            yield Piece(current[0], current[0] + 1, current[1], value)
        current, value = (offset, attributes), increment
    if current is not None:
        yield Piece(current[0], current[0] + 1, current[1], value)


def of_values(samples: Iterable[Sample], grid: Grid) -> Iterator[Piece]:
    """Yield the samples as they are."""
    for at, quantity, attributes in samples:
        offset = grid.offset(at)
        if 0 <= offset < grid.periods:
            yield Piece(offset, offset + 1, attributes, quantity)


def since(samples: Sequence[Sample], at: int) -> Sequence[Sample]:
    """Return the *samples* from *at* on, and the last one before."""
    first = bisect_left(samples, at, key=lambda sample: sample.at)
    return samples[max(first - 1, 0) :]


def _spread(spans: Iterable[Span], grid: Grid) -> Iterator[Piece]:
    """Yield quantity times microseconds of each span in each period that it touches."""
    start, length, stop = grid.begin, grid.length, grid.end
    for begin, end, quantity, attributes in spans:
        begin = max(begin, start)
        end = stop if end is None else min(end, stop)
        if begin >= end:
            continue
        first, missing = divmod(begin - start, length)
        last, rest = divmod(end - start, length)
        if first == last:
            yield Piece(first, first + 1, attributes, SUM_CONTEXT.multiply(quantity, end - begin))
            continue
        if missing:
            yield Piece(
                first, first + 1, attributes, SUM_CONTEXT.multiply(quantity, length - missing)
            )
            first += 1
        if first < last:
            yield Piece(first, last, attributes, SUM_CONTEXT.multiply(quantity, length))
        if rest:
            yield Piece(last, last + 1, attributes, SUM_CONTEXT.multiply(quantity, rest))


def total(values: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    result = ZERO
    for value in values:
        result = SUM_CONTEXT.add(result, value)
    return result


def _mean(values: Sequence[Decimal]) -> Decimal:
    return CONTEXT.divide(total(values), Decimal(len(values)))


AGGREGATES: dict[str, Callable[[Sequence[Decimal]], Decimal]] = {
    'sum': total,
    'count': lambda values: Decimal(len(values)),
    'mean': _mean,
    'max': max,
    'min': min,
    'last': lambda values: values[-1],
    'unique': lambda values: Decimal(len(set(values))),
}


def aggregate(method: str, values: Sequence[Decimal], unit_us: int) -> Decimal:
    """Return the quantity of the *values* of pieces, oldest first.

    :param unit_us: time that one unit of DURATION stands for, microseconds.
    """
    if method == DURATION:
        return CONTEXT.divide(total(values), unit_us)
    return AGGREGATES[method](values)
