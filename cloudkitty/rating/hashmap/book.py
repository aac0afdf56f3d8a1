"""All hashmap rules, and those in force for a service, a scope and an instant. Pure.

A *shelf* keeps the rules of one service and one scope (or of all scopes) and shows those in force
at an instant. *ServiceRules* lay a scope's own rules over the general ones and remember the plan
of every series, so that a point costs a multiplication and an addition, with seven rules or with
ten thousand.
"""

import bisect
import decimal
import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from cloudkitty import dataframe
from cloudkitty.rating.hashmap import plan
from cloudkitty.rating.hashmap.rules import DEFAULT_GROUP, Defect, Rule, number_of

# A threshold applies only if its level is above this.
FLOOR = Decimal(-1)
# Each keeps a series alive, about 1 KiB.
PLANS_MAX = 30_000
COMPILED_MAX = 20_000

_NEVER = datetime.max.replace(tzinfo=UTC)


class _Parent:
    """The rules of a service itself, or of one field, that are in force."""

    def __init__(self):
        self.mappings = defaultdict(dict)      # value (None for a service) -> group -> Rule
        self.thresholds = {}                   # (group, level) -> Rule

    def put(self, rule: Rule) -> None:
        group = None if rule.group == DEFAULT_GROUP else rule.group
        if rule.is_threshold:
            self.thresholds[group, rule.level] = rule
        else:
            self.mappings[rule.value if rule.field else None][group] = rule


def _ladders(*parents: _Parent) -> dict[str | None, plan.Ladder]:
    """Return the thresholds by group; on the same group and level the last parent wins."""
    slots = {}
    for parent in parents:
        slots.update(parent.thresholds)
    by_group = defaultdict(list)
    for (group, level), rule in sorted(slots.items(), key=lambda slot: slot[0][1]):
        if level > FLOOR:
            by_group[group].append(rule)
    return {group: plan.Ladder([rule.level for rule in rules], rules)
            for group, rules in by_group.items()}


class _Shelf:
    """The rules of one service for one scope, or for all, at any instant."""

    def __init__(self):
        self.rules = []
        self._layers = {}

    @functools.cached_property
    def _instants(self):
        edges = {edge for rule in self.rules for edge in (rule.start, rule.until)}
        return sorted(edges - {None})

    def segment(self, instant: datetime) -> int:
        """Return the number of the span of time, without changes of rules, that holds *instant*."""
        return bisect.bisect_right(self._instants, instant)

    def layer(self, segment: int) -> dict[str | None, _Parent]:
        """Return what is in force in a segment, by field (None: the service itself)."""
        layer = self._layers.get(segment)
        if layer is None:
            instant = self._instants[segment - 1] if segment else datetime.min.replace(tzinfo=UTC)
            layer = defaultdict(_Parent)
            for rule in self._by_precedence:
                if rule.is_in_force(instant):
                    layer[rule.field].put(rule)
            if len(self._layers) >= COMPILED_MAX:
                self._layers.clear()
            self._layers[segment] = layer = dict(layer)
        return layer

    @functools.cached_property
    def _by_precedence(self):
        """Return the rules so that of those in one slot the decisive one comes last.

        A mapping has a start, so one that covers the past was put there on purpose: the live one
        decides, then the one deleted last. A threshold has none: before a deletion the deleted
        one decides, because it was the one in force. Of equals the youngest decides.
        """
        ordered = sorted(self.rules, key=lambda rule: rule.order)
        mappings = sorted((rule for rule in ordered if not rule.is_threshold),
                          key=lambda rule: rule.deleted or _NEVER)
        thresholds = sorted((rule for rule in ordered if rule.is_threshold),
                            key=lambda rule: rule.deleted or _NEVER, reverse=True)
        return mappings + thresholds


_NO_SHELF = _Shelf()
_NOTHING = _Parent()


class ServiceRules:
    """The rules of one service, in force together, for one scope.

    :param general: rules of all scopes, by field.
    :param own: the scope's own, each of which replaces the general one in its slot.
    """

    def __init__(self, service: str, general: Mapping[str | None, _Parent],
                 own: Mapping[str | None, _Parent]):
        self.service = service
        self._general = general
        self._own = own
        self._fields = (general.keys() | own.keys()) - {None}
        self._ladders = {}
        self._plans = defaultdict(dict)        # relevant attributes of the day -> series -> Plan
        self._shared = {}                      # values of the fields -> (Plan, defects)
        self.plan_count = 0

    def price_points(self, points: Iterable[dataframe.DataPoint]
                     ) -> tuple[list[dataframe.DataPoint], list[Defect]]:
        """Return the points with their price added, and what kept rules from applying."""
        priced, defects = [], []
        calendar = plans = None
        for point in points:
            if point.calendar is not calendar:
                calendar = point.calendar
                plans = self._plans[self._relevant(calendar)]
            series = point.series
            known = plans.get(series)
            if known is None:
                known = plans[series] = self._shared_plan(point.desc, defects)
                self.plan_count += 1
            try:
                price = known.price(point.qty, point.price)
            except decimal.DecimalException:
                defects.append(Defect(self.service, f'the price of {point.qty} is out of range'))
                priced.append(point)
                continue
            priced.append(dataframe.DataPoint.of(series, point.qty, price, calendar))
        return priced, defects

    def _relevant(self, calendar):
        """Return those attributes of the day that rules ask for."""
        if not self._fields or self._fields.isdisjoint(calendar):
            return ()
        asked = sorted(self._fields & calendar.keys())
        return tuple((name, repr(calendar[name])) for name in asked)

    def _shared_plan(self, attributes, defects):
        """Return the plan of all series with these values of the fields that rules ask for."""
        key = tuple((field, repr(attributes[field]))
                    for field in sorted(self._fields & attributes.keys()))
        if key not in self._shared:
            if len(self._shared) >= COMPILED_MAX:
                self._shared.clear()
            found = []
            self._shared[key] = self._plan(attributes, found), found
        known, found = self._shared[key]
        defects += found
        return known

    def _plan(self, attributes, defects):
        buckets = defaultdict(plan.Bucket)
        for group, mapping in self._mappings(None, None).items():
            buckets[group].meet(mapping)
        for field in sorted(self._fields & attributes.keys()):
            attribute = attributes[field]
            for group, mapping in self._mappings(field, str(attribute)).items():
                buckets[group].meet(mapping)
            ladders = self._ladders_of(field)
            if not ladders:
                continue
            number = number_of(attribute)
            if number is None:
                reason = (f'attribute {field!r} has thresholds and is not a number: '
                          f'{str(attribute)[:100]!r}')
                defects.append(Defect(self.service, reason))
                continue
            for group, ladder in ladders.items():
                threshold = ladder.best(number)
                if threshold is not None:
                    buckets[group].compete(threshold)
        return plan.assemble(buckets, self._ladders_of(None))

    def _mappings(self, field, value):
        general = self._general.get(field, _NOTHING).mappings.get(value, {})
        own = self._own.get(field, _NOTHING).mappings.get(value)
        return {**general, **own} if own else general

    def _ladders_of(self, field):
        ladders = self._ladders.get(field)
        if ladders is None:
            ladders = self._ladders[field] = _ladders(
                self._general.get(field, _NOTHING), self._own.get(field, _NOTHING))
        return ladders


class RuleBook:
    """All rules, of all scopes and times.

    :param plans_max: plans kept in memory; beyond it all are forgotten and worked out again.
    """

    def __init__(self, rules: Iterable[Rule] = (), plans_max: int = PLANS_MAX):
        self._shelves = defaultdict(_Shelf)
        for rule in rules:
            self._shelves[rule.service, rule.scope].rules.append(rule)
        self._shelves = dict(self._shelves)
        self._compiled = {}
        self._plans_max = plans_max
        self.plan_count = 0

    def price_points(self, service: str, points: list[dataframe.DataPoint], *, scope: str | None,
                     instant: datetime) -> tuple[list[dataframe.DataPoint], list[Defect]]:
        """Return the points of a metric priced by the rules in force at *instant*.

        :param scope: scope id, None: general rules only.
        :param instant: begin of the period, aware UTC.
        :returns: (new points in the same order, what kept rules from applying).
        """
        rules = self._rules(service, scope, instant)
        if rules is None:
            return points, []
        known = rules.plan_count
        priced = rules.price_points(points)
        self.plan_count += rules.plan_count - known
        if self.plan_count > self._plans_max:
            self._compiled.clear()
            self.plan_count = 0
        return priced

    def _rules(self, service, scope, instant):
        general = self._shelves.get((service, None), _NO_SHELF)
        own = _NO_SHELF
        if scope is not None:
            own = self._shelves.get((service, scope), _NO_SHELF)
        if own is _NO_SHELF:
            if general is _NO_SHELF:
                return None
            scope = None
        key = (service, scope, general.segment(instant), own.segment(instant))
        rules = self._compiled.get(key)
        if rules is None:
            rules = ServiceRules(service, general.layer(key[2]), own.layer(key[3]))
            if len(self._compiled) >= COMPILED_MAX:
                self._compiled.clear()
            self._compiled[key] = rules
        return rules
