"""Comparison of two bills, cell by cell. Pure."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.former.rest import Amount, Amounts

# Rounding error of one addition of 64-bit floats, relative to the sum.
FLOAT_ERROR = Decimal(2) ** -53
# Relative error of the prices of storage v1 on MariaDB, floats of 32 bits.
SINGLE_ERROR = Decimal('6e-8')
NOTHING = Amount(ZERO, ZERO)


class Tolerance(NamedTuple):
    """The tolerance of a comparison.

    :ivar relative: of the greater number.
    :ivar per_point: the same, for each point of the sum.
    :ivar reason: why, for the operator.
    :ivar absolute: besides.
    """

    relative: Decimal
    per_point: Decimal
    reason: str
    absolute: Decimal = Decimal('1e-9')

    def allows(self, old: Decimal, new: Decimal, points: int) -> bool:
        """Return whether *old* and *new* are the same but for rounding."""
        relative = self.relative + self.per_point * points
        size = max(abs(old), abs(new))
        return abs(SUM_CONTEXT.subtract(old, new)) <= size * relative + self.absolute


FLOATS = Tolerance(ZERO, FLOAT_ERROR, 'the former service adds floats of 64 bits')
SINGLES = Tolerance(
    SINGLE_ERROR,
    FLOAT_ERROR,
    'storage v1 keeps prices as floats of 32 bits, and its API shows five digits after the point',
    Decimal('0.5e-5'),
)


class Outcome(StrEnum):
    """Result of the comparison of a cell."""

    EQUAL = 'equal'
    WITHIN = 'within'
    DIFFERENT = 'different'
    OLD_ONLY = 'only there'
    NEW_ONLY = 'only here'


DIFFERING = (Outcome.DIFFERENT, Outcome.OLD_ONLY, Outcome.NEW_ONLY)


class Line(NamedTuple):
    """A compared cell: a metric of a scope in *window*.

    :ivar old, new: None: that bill has none.
    :ivar cause: of a difference; '': unknown.
    """

    window: Period
    scope_id: str
    metric: str
    old: Amount | None
    new: Amount | None
    outcome: Outcome
    cause: str = ''


def outcome_of(old: Amount | None, new: Amount | None, tolerance: Tolerance) -> Outcome:
    """Return how two amounts compare; None: there is none."""
    before, after = old or NOTHING, new or NOTHING
    pairs = [(before.price, after.price)]
    if before.qty is not None and after.qty is not None:
        pairs.append((before.qty, after.qty))
    if all(one == other for one, other in pairs):
        return Outcome.EQUAL
    points = max(before.points, after.points)
    if all(tolerance.allows(one, other, points) for one, other in pairs):
        return Outcome.WITHIN
    if old is None:
        return Outcome.NEW_ONLY
    return Outcome.OLD_ONLY if new is None else Outcome.DIFFERENT


def compare(window: Period, old: Amounts, new: Amounts, tolerance: Tolerance) -> Iterator[Line]:
    """Yield a line for each cell that one of the bills has, by scope and metric."""
    for key in sorted(old.keys() | new.keys()):
        mine, theirs = new.get(key), old.get(key)
        yield Line(window, *key, theirs, mine, outcome_of(theirs, mine, tolerance))


def windows(window: Period, length: timedelta) -> Iterator[Period]:
    """Yield the parts of *window* that are *length* long, the last one shorter."""
    begin = window.begin
    while begin < window.end:
        end = min(begin + length, window.end)
        yield Period(begin, end)
        begin = end
