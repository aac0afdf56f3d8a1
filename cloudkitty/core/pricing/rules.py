"""Hashmap rules as values. Pure.

Source: doc/source/user/rating/hashmap.rst.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from cloudkitty import errors
from cloudkitty.core.bounds import is_bounded, to_decimal

FLAT = 'flat'
RATE = 'rate'
TYPES = (FLAT, RATE)
# Name that old databases may use for the group of the rules without group.
DEFAULT_GROUP = '_DEFAULT_'


class Rule(NamedTuple):
    """One rule with everything that its price depends on.

    A mapping has no level; a threshold has one. Times are aware UTC and half open; *start* None
    means always, *end* and *deleted* None mean for ever.

    :param service: name of the metric.
    :param field: name of the attribute, None: the rule is one of the service itself.
    :param group: name of the group, None: the default one.
    :param value: text that the attribute must equal; only for mappings of fields.
    :param scope: scope id, None: all scopes.
    :param order: increases with creation; decides between rules in the same slot.
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
    def threshold_level(self) -> Decimal:
        """The level of a threshold."""
        assert self.level is not None
        return self.level

    @property
    def until(self) -> datetime | None:
        """First instant at which the rule is no longer in force, None: never.

        A deleted rule still applies to periods that began before its deletion.
        """
        return min(filter(None, (self.end, self.deleted)), default=None)

    def is_in_force(self, instant: datetime) -> bool:
        return (self.start is None or self.start <= instant) and (
            self.until is None or instant < self.until
        )


def describe(rule: Rule) -> str:
    """Return a one-line description of *rule*."""
    what = f'service {rule.service}' if rule.field is None else f'field {rule.field}'
    if rule.is_threshold:
        what += f' from {rule.level}'
    elif rule.field is not None:
        what += f' = {rule.value}'
    own = '' if rule.scope is None else f', of scope {rule.scope}'
    group = '' if rule.group in (None, DEFAULT_GROUP) else f', group {rule.group}'
    return f'{what}: {rule.type} {rule.cost}{group}{own}'


class Defect(NamedTuple):
    """Something that kept a rule from applying, for the log."""

    service: str
    reason: str


def number_of(attribute: Any) -> Decimal | None:
    """Return the exact number that an attribute stands for, None if it is no number.

    Numeric text (blanks around and exponents allowed), int, float (its exact binary value) and
    bool are numbers; NaN, infinities, 1e999999999 and the name 1_000 are not.
    """
    if not isinstance(attribute, (str, int, float, Decimal)):
        return None
    try:
        number = to_decimal(attribute) if isinstance(attribute, str) else Decimal(attribute)
    except errors.InvalidInput:
        return None
    return number if is_bounded(number) else None
