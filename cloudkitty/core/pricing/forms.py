"""Hashmap rules in a form for users, for queries about rules that are not stored. Pure."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cloudkitty.core import decimals, timeframe
from cloudkitty.core.billing import money
from cloudkitty.core.billing.reading import Node
from cloudkitty.core.pricing.rules import FLAT, TYPES, Rule

RULES_MAX = 10_000
_TIMES = ('start', 'end', 'deleted')
_TEXTS = ('field', 'value', 'group', 'scope')


def parse(form: Any) -> list[Rule]:
    """Return the rules of a list; of equal ones the last applies.

    :raises InvalidInput: with the path of the fault.
    """
    nodes = Node(form, 'rules').list()
    if len(nodes) > RULES_MAX:
        raise Node(form, 'rules').fault(f'has more than {RULES_MAX} rules')
    return [_rule(node, order) for order, node in enumerate(nodes)]


def _rule(node: Node, order: int) -> Rule:
    found = node.members('service', 'cost', 'type', 'level', *_TEXTS, *_TIMES)
    for name in ('service', 'cost'):
        if found[name].is_missing:
            raise found[name].fault('is missing')
    level = None
    if not found['level'].is_missing:
        level = money.to_exact(found['level'].number(least=None))
    if found['field'].is_missing and not found['value'].is_missing:
        raise node.fault('a value needs a field')
    if not found['field'].is_missing and found['value'].is_missing and level is None:
        raise node.fault('a field needs a value or a level')
    return Rule(
        found['service'].text(),
        money.to_exact(found['cost'].number(least=None)),
        FLAT if found['type'].is_missing else found['type'].choice(*TYPES),
        field=_text(found['field']),
        group=_text(found['group']),
        value=_text(found['value']),
        level=level,
        scope=_text(found['scope']),
        start=_time(found['start']),
        end=_time(found['end']),
        deleted=_time(found['deleted']),
        order=order,
    )


def _text(node: Node) -> str | None:
    return None if node.is_missing else node.text()


def _time(node: Node) -> datetime | None:
    return None if node.is_missing else node.by(timeframe.parse)


def to_form(rules: Sequence[Rule]) -> list[dict[str, str]]:
    """Return *rules* as parse() reads them; numbers are text."""
    made = []
    for rule in sorted(rules, key=lambda rule: rule.order):
        form = {
            'service': rule.service,
            'cost': decimals.render_decimal(rule.cost),
            'type': rule.type,
        }
        form |= {name: getattr(rule, name) for name in _TEXTS if getattr(rule, name) is not None}
        for name in _TIMES:
            if getattr(rule, name) is not None:
                form[name] = timeframe.render(getattr(rule, name))
        if rule.level is not None:
            form['level'] = decimals.render_decimal(rule.level)
        made.append(form)
    return made
