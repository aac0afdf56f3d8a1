"""What a hashmap rule is. Pure.

Source: doc/source/user/rating/hashmap.rst.
"""

import decimal
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

FLAT = 'flat'
RATE = 'rate'
TYPES = (FLAT, RATE)
# The name under which old databases may hold the group of the rules without group.
DEFAULT_GROUP = '_DEFAULT_'


class Rule(NamedTuple):
    """One rule with all that its price depends on.

    A mapping has no level; a threshold has one. Times are aware UTC and half open; *start* None
    means always, *end* and *deleted* None mean for ever.

    :param service: name of the metric.
    :param field: name of the attribute, None: the rule is one of the service itself.
    :param group: name of the group, None: the default one.
    :param value: text the attribute must equal; mappings of fields only.
    :param scope: scope id, None: all scopes.
    :param order: grows with the creation; decides between rules that fill the same slot.
    """

    service: str
    cost: Decimal
    type: str = FLAT
    field: str | None = None
    group: str | None = None
    value: str | None = None
    level: Decimal | None = None
    scope: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    deleted: datetime | None = None
    order: int = 0

    @property
    def is_threshold(self) -> bool:
        return self.level is not None

    @property
    def until(self) -> datetime | None:
        """First instant at which the rule is no longer in force, None: never.

        A deleted rule goes on applying to what began before its deletion.
        """
        return min(filter(None, (self.end, self.deleted)), default=None)

    def is_in_force(self, instant: datetime) -> bool:
        return ((self.start is None or self.start <= instant)
                and (self.until is None or instant < self.until))


class Defect(NamedTuple):
    """Something that kept a rule from applying, for the log."""

    service: str
    reason: str


def number_of(attribute: Any) -> Decimal | None:
    """Return the exact number an attribute stands for, None if for none.

    Numeric text (blanks around and exponents allowed), int, float (its exact binary value) and
    bool are numbers; NaN and infinities are not.
    """
    if not isinstance(attribute, (str, int, float, Decimal)):
        return None
    try:
        number = Decimal(attribute)
    except decimal.InvalidOperation:
        return None
    return number if number.is_finite() else None
