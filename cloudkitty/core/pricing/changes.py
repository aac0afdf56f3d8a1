"""Rules as they would be if some were others. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cloudkitty.core.pricing.rules import DEFAULT_GROUP, Rule


class Change(NamedTuple):
    """A rule that would fill its slot at all times.

    :ivar is_removal: the slot would be empty instead; cost and type of the rule do not matter.
    """

    rule: Rule
    is_removal: bool = False


def apply(rules: Iterable[Rule], changes: Sequence[Change]) -> list[Rule]:
    """Return *rules* with what *changes* put in the place of all that has their slots."""
    changed = {slot_of(change.rule) for change in changes}
    kept = [rule for rule in rules if slot_of(rule) not in changed]
    return kept + [change.rule for change in changes if not change.is_removal]


def slot_of(rule: Rule) -> tuple[Any, ...]:
    """Return what two rules that are in force at the same time do not have in common."""
    group = None if rule.group == DEFAULT_GROUP else rule.group
    # The value of a mapping of the service itself has no meaning.
    value = rule.value if rule.field is not None and not rule.is_threshold else None
    return rule.service, rule.field, group, value, rule.level, rule.scope
