"""Lookup of the hashmap rules in force for a service, a scope and an instant. Pure.

A *rule set* holds the rules of one service and one scope (or of all scopes) and finds those in
force at an instant. *ServiceRules* overlay the general rules with a scope's own and cache the
formula of every series, so that a point costs a multiplication and an addition, with seven rules or
with ten thousand.
"""

import bisect
import decimal
import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from cloudkitty.core import dataframe, timeframe
from cloudkitty.core.columns import OF_PERIOD, Calendar, Column
from cloudkitty.core.pricing import formula
from cloudkitty.core.pricing.rules import DEFAULT_GROUP, Defect, Rule, number_of
from cloudkitty.core.scope_period import ScopePeriods

# A threshold applies only if its level is above this.
FLOOR = Decimal(-1)
# Each entry keeps a series alive, about 1 KiB.
FORMULAS_MAX = 30_000
COMPILED_MAX = 20_000

# Attribute names with their values as text.
Values = tuple[tuple[str, str], ...]
Formulas = dict[dataframe.Series, formula.Formula]

_NEVER = datetime.max.replace(tzinfo=UTC)


class _Parent:
    """The rules of a service itself, or of one field, that are in force."""

    def __init__(self) -> None:
        # By value (None for a service) and group.
        self.mappings: defaultdict[str | None, dict[str | None, Rule]] = defaultdict(dict)
        # By group and level.
        self.thresholds: dict[tuple[str | None, Decimal], Rule] = {}

    def put(self, rule: Rule) -> None:
        group = None if rule.group == DEFAULT_GROUP else rule.group
        if rule.level is not None:
            self.thresholds[group, rule.level] = rule
        else:
            self.mappings[rule.value if rule.field else None][group] = rule


def _ladders(*parents: _Parent) -> dict[str | None, formula.Ladder]:
    """Return the thresholds by group; for the same group and level the last parent's is used."""
    slots: dict[tuple[str | None, Decimal], Rule] = {}
    for parent in parents:
        slots.update(parent.thresholds)
    by_group: defaultdict[str | None, list[Rule]] = defaultdict(list)
    for (group, level), rule in sorted(slots.items(), key=lambda slot: slot[0][1]):
        if level > FLOOR:
            by_group[group].append(rule)
    return {
        group: formula.Ladder([rule.threshold_level for rule in rules], rules)
        for group, rules in by_group.items()
    }


class _RuleSet:
    """The rules of one service for one scope, or for all, at any instant."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._layers: dict[int, dict[str | None, _Parent]] = {}

    @functools.cached_property
    def _instants(self) -> list[datetime]:
        return sorted(
            {edge for rule in self.rules for edge in (rule.start, rule.until) if edge is not None}
        )

    def segment(self, instant: datetime) -> int:
        """Return the index of the span without rule changes that contains *instant*."""
        return bisect.bisect_right(self._instants, instant)

    def layer(self, segment: int) -> dict[str | None, _Parent]:
        """Return the rules in force in a segment by field (None: the service itself)."""
        layer = self._layers.get(segment)
        if layer is None:
            instant = self._instants[segment - 1] if segment else datetime.min.replace(tzinfo=UTC)
            parents: defaultdict[str | None, _Parent] = defaultdict(_Parent)
            for rule in self._by_precedence:
                if rule.is_in_force(instant):
                    parents[rule.field].put(rule)
            if len(self._layers) >= COMPILED_MAX:
                self._layers.clear()
            self._layers[segment] = layer = dict(parents)
        return layer

    @functools.cached_property
    def _by_precedence(self) -> list[Rule]:
        """Return the rules by ascending precedence: of those in one slot the last one applies.

        A mapping has a start, so one that covers the past does so on purpose: the one that is not
        deleted applies, else the one deleted last. A threshold has no start: before its deletion
        the deleted one applies, because it was in force then. Of equal ones the youngest applies.
        """
        ordered = sorted(self.rules, key=lambda rule: rule.order)
        mappings = sorted(
            (rule for rule in ordered if not rule.is_threshold),
            key=lambda rule: rule.deleted or _NEVER,
        )
        thresholds = sorted(
            (rule for rule in ordered if rule.is_threshold),
            key=lambda rule: rule.deleted or _NEVER,
            reverse=True,
        )
        return mappings + thresholds


_NO_RULES = _RuleSet()
_NOTHING = _Parent()


class ServiceRules:
    """The rules of one service for one scope that are in force at the same time.

    :param general: rules of all scopes, by field.
    :param own: rules of the scope, each of which replaces the general one in its slot.
    """

    def __init__(
        self, service: str, general: Mapping[str | None, _Parent], own: Mapping[str | None, _Parent]
    ) -> None:
        self.service = service
        self._general = general
        self._own = own
        self._fields = {name for name in (*general, *own) if name is not None}
        self._ladders: dict[str | None, dict[str | None, formula.Ladder]] = {}
        self._formulas: defaultdict[Values, Formulas] = defaultdict(dict)  # by calendar attributes
        self._shared: dict[Values, tuple[formula.Formula, list[Defect]]] = {}  # by those of fields
        self.formula_count = 0

    def price_points(
        self, points: Iterable[dataframe.DataPoint]
    ) -> tuple[list[dataframe.DataPoint], list[Defect]]:
        """Return the points with prices added, and the defects that kept rules from applying."""
        priced: list[dataframe.DataPoint] = []
        defects: list[Defect] = []
        # Sentinel that is no point's calendar.
        calendar: Mapping[str, Any] = {}
        formulas: Formulas = {}
        for point in points:
            if point.calendar is not calendar:
                calendar = point.calendar
                formulas = self._formulas[self.relevant(calendar)]
            series = point.series
            known = formulas.get(series)
            if known is None:
                known = self._new_formula(formulas, series, calendar, defects)
            try:
                price = known.price(point.qty, point.price)
            except decimal.DecimalException:
                defects.append(self._out_of_range(point.qty))
                priced.append(point)
                continue
            priced.append(dataframe.DataPoint.of(series, point.qty, price, calendar))
        return priced, defects

    def matching_rules(self, point: dataframe.DataPoint) -> list[Rule]:
        """Return the rules that match *point*, those of the service first.

        Of thresholds it is the highest that is reached in each group, of the field and of the
        service; which of the two applies depends on their levels.
        """
        attributes = point.desc
        found = list(self._mappings(None, None).values())
        reached = [ladder.best(point.qty) for ladder in self._ladders_of(None).values()]
        for field in sorted(self._fields & attributes.keys()):
            found += self._mappings(field, str(attributes[field])).values()
            number = number_of(attributes[field])
            if number is not None:
                reached += [ladder.best(number) for ladder in self._ladders_of(field).values()]
        return found + [rule for rule in reached if rule is not None]

    def amounts(self, point: dataframe.DataPoint) -> list[formula.Amount]:
        """Return what each group of rules adds to the price of *point*."""
        ladders = self._ladders_of(None)
        return formula.amounts(self._buckets(point.desc, []), ladders, point.qty)

    def price_run(
        self,
        series: dataframe.Series,
        quantities: Sequence[Decimal],
        prices: Sequence[Decimal],
        calendar: Mapping[str, Any],
    ) -> tuple[Sequence[Decimal], list[tuple[int, Defect]]]:
        """Return *prices* with the new prices added, and the defects by index.

        :param calendar: calendar attributes; those that rules refer to are the same for all.
        """
        defects: list[Defect] = []
        formulas = self._formulas[self.relevant(calendar)]
        known = formulas.get(series)
        if known is None:
            known = self._new_formula(formulas, series, calendar, defects)
        found = [(0, defect) for defect in defects]
        try:
            return known.prices(quantities, prices), found
        except decimal.DecimalException:
            pass
        priced = list(prices)
        for index, qty in enumerate(quantities):
            try:
                priced[index] = known.price(qty, prices[index])
            except decimal.DecimalException:
                found.append((index, self._out_of_range(qty)))
        return priced, found

    def _new_formula(
        self,
        formulas: Formulas,
        series: dataframe.Series,
        calendar: Mapping[str, Any],
        defects: list[Defect],
    ) -> formula.Formula:
        attributes = {**series.metadata, **series.groupby, **calendar}
        known = formulas[series] = self._shared_formula(attributes, defects)
        self.formula_count += 1
        return known

    def _out_of_range(self, qty: Decimal) -> Defect:
        return Defect(self.service, f'the price of {qty} is out of range')

    def depends_on_calendar(self, calendar: Calendar) -> bool:
        """Return whether rules refer to calendar attributes that a column has, see Column."""
        names = timeframe.CALENDAR_KEYS if calendar is OF_PERIOD else calendar or ()
        return not self._fields.isdisjoint(names)

    def relevant(self, calendar: Mapping[str, Any]) -> Values:
        """Return the calendar attributes that rules refer to."""
        if not self._fields or self._fields.isdisjoint(calendar):
            return ()
        asked = sorted(self._fields & calendar.keys())
        return tuple((name, repr(calendar[name])) for name in asked)

    def _shared_formula(
        self, attributes: Mapping[str, Any], defects: list[Defect]
    ) -> formula.Formula:
        """Return the formula of all series with these values of the fields that rules refer to."""
        key = tuple(
            (field, repr(attributes[field])) for field in sorted(self._fields & attributes.keys())
        )
        shared = self._shared.get(key)
        if shared is None:
            if len(self._shared) >= COMPILED_MAX:
                self._shared.clear()
            found: list[Defect] = []
            # Another thread may clear the cache at any time.
            shared = self._shared[key] = self._build_formula(attributes, found), found
        known, found = shared
        defects += found
        return known

    def _build_formula(
        self, attributes: Mapping[str, Any], defects: list[Defect]
    ) -> formula.Formula:
        return formula.assemble(self._buckets(attributes, defects), self._ladders_of(None))

    def _buckets(
        self, attributes: Mapping[str, Any], defects: list[Defect]
    ) -> Mapping[str | None, formula.Bucket]:
        """Return the rules that match by group, and add what keeps rules from it to *defects*."""
        buckets: defaultdict[str | None, formula.Bucket] = defaultdict(formula.Bucket)
        for group, mapping in self._mappings(None, None).items():
            buckets[group].add_mapping(mapping)
        for field in sorted(self._fields & attributes.keys()):
            attribute = attributes[field]
            for group, mapping in self._mappings(field, str(attribute)).items():
                buckets[group].add_mapping(mapping)
            ladders = self._ladders_of(field)
            if not ladders:
                continue
            number = number_of(attribute)
            if number is None:
                reason = (
                    f'attribute {field!r} has thresholds and is not a number: '
                    f'{str(attribute)[:100]!r}'
                )
                defects.append(Defect(self.service, reason))
                continue
            for group, ladder in ladders.items():
                threshold = ladder.best(number)
                if threshold is not None:
                    buckets[group].add_threshold(threshold)
        return buckets

    def _mappings(self, field: str | None, value: str | None) -> dict[str | None, Rule]:
        general = self._general.get(field, _NOTHING).mappings.get(value, {})
        own = self._own.get(field, _NOTHING).mappings.get(value)
        return {**general, **own} if own else general

    def _ladders_of(self, field: str | None) -> dict[str | None, formula.Ladder]:
        ladders = self._ladders.get(field)
        if ladders is None:
            ladders = self._ladders[field] = _ladders(
                self._general.get(field, _NOTHING), self._own.get(field, _NOTHING)
            )
        return ladders


class RuleBook:
    """All rules of all scopes and times.

    :param formulas_max: most cached formulas; beyond that the cache is cleared.
    """

    def __init__(self, rules: Iterable[Rule] = (), formulas_max: int = FORMULAS_MAX) -> None:
        rule_sets: defaultdict[tuple[str, str | None], _RuleSet] = defaultdict(_RuleSet)
        for rule in rules:
            rule_sets[rule.service, rule.scope].rules.append(rule)
        self._rule_sets = dict(rule_sets)
        self._compiled: dict[tuple[str, str | None, int, int], ServiceRules] = {}
        self._formulas_max = formulas_max
        self.formula_count = 0

    def price_points(
        self,
        service: str,
        points: list[dataframe.DataPoint],
        *,
        scope: str | None,
        instant: datetime,
    ) -> tuple[list[dataframe.DataPoint], list[Defect]]:
        """Return the points of a metric priced by the rules in force at *instant*.

        :param scope: scope id, None: general rules only.
        :param instant: begin of the period, aware UTC.
        :returns: (new points in the same order, defects that kept rules from applying).
        """
        rules = self._rules(service, scope, instant)
        if rules is None:
            return points, []
        known = rules.formula_count
        priced = rules.price_points(points)
        self._count_formulas(rules.formula_count - known)
        return priced

    def _count_formulas(self, made: int) -> None:
        self.formula_count += made
        if self.formula_count > self._formulas_max:
            self._compiled.clear()
            self.formula_count = 0

    def price_columns(self, usage: ScopePeriods) -> tuple[list[Column], list[tuple[int, Defect]]]:
        """Return the columns of a scope priced by the rules in force at the begin of each period.

        :returns: (new columns in the same order, defects that kept rules from applying by offset).
        """
        priced: list[Column] = []
        defects: list[tuple[int, Defect]] = []
        for metric, columns in itertools.groupby(usage.columns, key=lambda column: column.metric):
            rules = self._rules_by_place(metric, usage)
            for column in columns:
                parts: list[Sequence[Decimal]] = []
                for begin, end, in_force, calendar in _runs(column, rules, usage.calendars):
                    quantities, part = column.quantities, column.prices
                    # The whole keeps what is known of it, such as that its values repeat.
                    if end - begin < len(part):
                        quantities, part = quantities[begin:end], part[begin:end]
                    if in_force is not None:
                        known = in_force.formula_count
                        part, found = in_force.price_run(column.series, quantities, part, calendar)
                        self._count_formulas(in_force.formula_count - known)
                        defects += [(column.offsets[begin + n], defect) for n, defect in found]
                    parts.append(part)
                prices = parts[0] if len(parts) == 1 else [*itertools.chain.from_iterable(parts)]
                priced.append(column._replace(prices=prices))
        return priced, defects

    def _rules_by_place(self, service: str, usage: ScopePeriods) -> list[ServiceRules | None]:
        """Return the rules in force in each period of the batch; a single item applies to all."""
        first, last = (
            self._rules(service, usage.scope_id, usage.periods[offset].begin) for offset in (0, -1)
        )
        if first is last:
            return [first]
        return [self._rules(service, usage.scope_id, begin) for begin, _ in usage.periods]

    def matching_rules(
        self, service: str, point: dataframe.DataPoint, *, scope: str | None, instant: datetime
    ) -> list[Rule]:
        """Return the rules that match a point, see price_points() for the arguments."""
        rules = self._rules(service, scope, instant)
        return [] if rules is None else rules.matching_rules(point)

    def amounts(
        self, service: str, point: dataframe.DataPoint, *, scope: str | None, instant: datetime
    ) -> list[formula.Amount]:
        """Return what each group adds to the price of a point, see price_points().

        :raises decimal.DecimalException: the price is out of range.
        """
        rules = self._rules(service, scope, instant)
        return [] if rules is None else rules.amounts(point)

    def _rules(self, service: str, scope: str | None, instant: datetime) -> ServiceRules | None:
        general = self._rule_sets.get((service, None), _NO_RULES)
        own = _NO_RULES
        if scope is not None:
            own = self._rule_sets.get((service, scope), _NO_RULES)
        if own is _NO_RULES:
            if general is _NO_RULES:
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


def _runs(
    column: Column, rules: Sequence[ServiceRules | None], calendars: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int, int, ServiceRules | None, Mapping[str, Any]]]:
    """Yield (begin, end, rules, calendar attributes) of the parts of a column with equal rules.

    :param rules: see RuleBook._rules_by_place().
    """
    count = len(column.offsets)
    if len(rules) == 1 and (rules[0] is None or not rules[0].depends_on_calendar(column.calendar)):
        yield 0, count, rules[0], dataframe.NO_ATTRIBUTES
        return

    def kind(index: int) -> tuple[ServiceRules | None, Values, Mapping[str, Any]]:
        offset = column.offsets[index]
        in_force = rules[offset] if len(rules) > 1 else rules[0]
        calendar = column.calendar_at(index, calendars)
        return in_force, in_force.relevant(calendar) if in_force else (), calendar

    begin = 0
    for (in_force, _), part in itertools.groupby(map(kind, range(count)), key=lambda one: one[:2]):
        found = list(part)
        yield begin, begin + len(found), in_force, found[0][2]
        begin += len(found)
