"""Plans give, digit for digit, what the formula gives when it is written down directly."""

import decimal
from datetime import UTC, datetime
from decimal import Decimal

import hypothesis
from hypothesis import strategies as st

from cloudkitty import dataframe
from cloudkitty.rating.hashmap import book
from cloudkitty.rating.hashmap.rules import Rule

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
GROUPS = (None, 'a', 'b')
FIELDS = ('cpus', 'ram', 'month')
SCOPES = (None, 'own')


def slot_of(rule):
    is_mapping_of_field = rule.field and rule.level is None
    return rule.field, rule.group, rule.value if is_mapping_of_field else None, rule.level


def naive_price(rules, point, scope):
    """Contract rating, sections 4.1 to 4.5, word by word."""
    slots = {}
    for layer in dict.fromkeys((None, scope)):
        slots.update({slot_of(rule): rule for rule in rules if rule.scope == layer})
    price = point.price
    for group in GROUPS:
        found = [rule for rule in slots.values() if rule.group == group and matches(rule, point)]
        if found:
            price = price + group_price(found, point.qty)
    return price


def matches(rule, point):
    if rule.field is None:
        return rule.level is None or point.qty >= rule.level > -1
    if rule.field not in point.desc:
        return False
    attribute = point.desc[rule.field]
    if rule.level is None:
        return str(attribute) == rule.value
    try:
        return Decimal(attribute) >= rule.level > -1
    except (TypeError, decimal.InvalidOperation):
        return False


def group_price(found, qty):
    flat, rate, best = Decimal(0), Decimal(1), None
    for rule in sorted(found, key=lambda rule: rule.field or ''):
        if rule.level is not None:
            if best is None or rule.level > best.level:
                best = rule
        elif rule.type == 'flat':
            flat = max(flat, rule.cost)
        else:
            rate = rate * rule.cost
    if best is not None and best.field is not None:
        if best.type == 'flat':
            return rate * (flat + best.cost) * qty
        return (rate * best.cost) * flat * qty
    amount = rate * flat * qty
    if best is None:
        return amount
    return amount + best.cost if best.type == 'flat' else amount * best.cost


costs = st.decimals(min_value=-10, max_value=10**12, places=28) | st.integers(-2, 5).map(Decimal)
levels = st.none() | st.integers(-2, 5).map(Decimal) | st.decimals(-2, 5, places=2)
attributes = st.integers(-2, 5) | st.sampled_from(['1', '2', '1.5', 'x', None, True, 0.1, ' 3 '])
rules = st.lists(
    st.builds(Rule, service=st.just('s'), cost=costs, type=st.sampled_from(['flat', 'rate']),
              field=st.none() | st.sampled_from(FIELDS), group=st.sampled_from(GROUPS),
              value=st.sampled_from(['1', '2', '3', 'True', 'None', 'x']), level=levels,
              scope=st.sampled_from(SCOPES), start=st.none(), end=st.none(), deleted=st.none(),
              order=st.just(0)),
    max_size=14, unique_by=lambda rule: (rule.scope, *slot_of(rule)))
quantities = (st.decimals(min_value=0, max_value=10**9, places=20)
              | st.integers(0, 6).map(Decimal) | st.decimals(0, 6, places=1))
prices = st.just(Decimal(0)) | st.decimals(-5, 10**6, places=30)
points = st.builds(
    lambda box, month, qty, price: dataframe.DataPoint.of(
        dataframe.Series('u', {}, box), qty, price, {'month': month} if month else {}),
    st.dictionaries(st.sampled_from(FIELDS), attributes), st.sampled_from(['', '1', '2']),
    quantities, prices)


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(rules, st.lists(points, min_size=1, max_size=6), st.sampled_from((None, 'own')))
def test_a_plan_prices_like_the_formula(drawn, frame, scope):
    """Any rules, attributes, quantities and scopes: the same digits."""
    priced, _ = book.RuleBook(drawn).price_points('s', frame, scope=scope, instant=NOON)
    with decimal.localcontext(dataframe.CONTEXT):
        expected = [naive_price(drawn, point, scope) for point in frame]
    assert [point.price for point in priced] == expected


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(rules, points, st.randoms(use_true_random=False))
def test_the_order_of_the_rules_does_not_matter(drawn, point, random):
    shuffled = list(drawn)
    random.shuffle(shuffled)
    results = [book.RuleBook(order).price_points('s', [point], scope='own', instant=NOON)
               for order in (drawn, shuffled)]
    assert results[0] == results[1]
