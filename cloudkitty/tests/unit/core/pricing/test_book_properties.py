"""Plans give, digit for digit, what the formula gives when it is written down directly."""

import decimal
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies as st

from cloudkitty.core import dataframe, decimals
from cloudkitty.core.columns import Column
from cloudkitty.core.pricing import book
from cloudkitty.core.pricing.rules import Rule
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.core.timeframe import Period, calendar_of

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
GROUPS = (None, 'a', 'b')
FIELDS = ('cpus', 'ram', 'month')
SCOPES = (None, 'own')


def slot_of(rule):
    is_mapping_of_field = rule.field and rule.level is None
    return rule.field, rule.group, rule.value if is_mapping_of_field else None, rule.level


def naive_price(rules, point, scope):
    """The formula of doc/source/user/rating/hashmap.rst, "How a price is computed", literally."""
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
    st.builds(
        Rule,
        service=st.just('s'),
        cost=costs,
        type=st.sampled_from(['flat', 'rate']),
        field=st.none() | st.sampled_from(FIELDS),
        group=st.sampled_from(GROUPS),
        value=st.sampled_from(['1', '2', '3', 'True', 'None', 'x']),
        level=levels,
        scope=st.sampled_from(SCOPES),
        start=st.none(),
        end=st.none(),
        deleted=st.none(),
        order=st.just(0),
    ),
    max_size=14,
    unique_by=lambda rule: (rule.scope, *slot_of(rule)),
)
quantities = (
    st.decimals(min_value=0, max_value=10**9, places=20)
    | st.integers(0, 6).map(Decimal)
    | st.decimals(0, 6, places=1)
)
prices = st.just(Decimal(0)) | st.decimals(-5, 10**6, places=30)
points = st.builds(
    lambda box, month, qty, price: dataframe.DataPoint.of(
        dataframe.Series('u', {}, box), qty, price, {'month': month} if month else {}
    ),
    st.dictionaries(st.sampled_from(FIELDS), attributes),
    st.sampled_from(['', '1', '2']),
    quantities,
    prices,
)


@hypothesis.settings(max_examples=400, deadline=None)
@hypothesis.given(rules, st.lists(points, min_size=1, max_size=6), st.sampled_from((None, 'own')))
def test_a_plan_prices_like_the_formula(drawn, frame, scope):
    """Any rules, attributes, quantities and scopes: the same digits."""
    priced, _ = book.RuleBook(drawn).price_points('s', frame, scope=scope, instant=NOON)
    with decimal.localcontext(decimals.CONTEXT):
        expected = [naive_price(drawn, point, scope) for point in frame]
    assert [point.price for point in priced] == expected


@hypothesis.settings(max_examples=100, deadline=None)
@hypothesis.given(rules, points, st.randoms(use_true_random=False))
def test_the_order_of_the_rules_does_not_matter(drawn, point, random):
    shuffled = list(drawn)
    random.shuffle(shuffled)
    results = [
        book.RuleBook(order).price_points('s', [point], scope='own', instant=NOON)
        for order in (drawn, shuffled)
    ]
    assert results[0] == results[1]


HOUR = timedelta(hours=1)
DAY = datetime(2024, 4, 30, 21, tzinfo=UTC)
PERIODS = [Period(DAY + n * HOUR, DAY + (n + 1) * HOUR) for n in range(6)]
instants = st.none() | st.integers(0, 6).map(lambda n: DAY + n * HOUR)
timed_rules = st.tuples(rules, st.lists(st.tuples(instants, instants), min_size=14, max_size=14))
owned = st.builds(
    lambda box, qty, price, is_dated: (dataframe.Series('u', {}, box), qty, price, is_dated),
    st.dictionaries(st.sampled_from(FIELDS), attributes),
    quantities,
    prices,
    st.booleans(),
)


@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(
    timed_rules, st.lists(owned, min_size=1, max_size=3), st.sampled_from((None, 'own')), st.data()
)
def test_columns_are_priced_like_the_points_of_each_period(drawn, members, scope, data):
    """Rules begin and end meanwhile, a month ends, series come and go: the same digits."""
    dated = [
        rule._replace(start=start, end=end)
        for rule, (start, end) in zip(drawn[0], drawn[1], strict=False)
    ]
    frames = [
        dataframe.DataFrame(
            *period,
            {
                's': [
                    dataframe.DataPoint.of(
                        series, qty + n, price, calendar_of(period.begin) if is_dated else {}
                    )
                    for series, qty, price, is_dated in members
                    if data.draw(st.integers(0, 3))
                ]
            },
        )
        for n, period in enumerate(PERIODS)
    ]
    known, whole = book.RuleBook(dated), ScopePeriods.of_frames(scope, frames)

    columns, _ = book.RuleBook(dated).price_columns(whole)

    priced = list(whole.with_columns(columns))
    for frame, shown in zip(frames, priced, strict=True):
        points_, _ = known.price_points('s', frame.usage['s'], scope=scope, instant=frame.start)
        assert [str(one.price) for _, one in shown] == [str(one.price) for one in points_]


@pytest.mark.parametrize('first, expected', [(0, [3, 3, 3, 7, 7, 7]), (3, [7, 7, 7])])
def test_a_price_by_month_is_asked_in_its_month(first, expected):
    """Also where the rules and the month are the same in all periods of a batch."""
    periods = PERIODS[first:]
    column = Column.unpriced(
        's', dataframe.Series('u', {}, {}), range(len(periods)), [Decimal(1)] * len(periods)
    )
    by_month = [
        Rule('s', Decimal(cost), field='month', value=month) for month, cost in (('4', 3), ('5', 7))
    ]

    (priced,), _ = book.RuleBook(by_month).price_columns(ScopePeriods('own', periods, [column]))

    assert priced.prices == expected


@pytest.mark.parametrize('quantities_', [['1', '1E+999999', '2'], ['1E+999999']])
def test_a_price_out_of_range_keeps_its_period_alone(quantities_):
    series = dataframe.Series('u', {}, {})
    column = Column.unpriced(
        's', series, range(len(quantities_)), [Decimal(one) for one in quantities_]
    )
    whole = ScopePeriods('own', PERIODS[: len(quantities_)], [column])

    (priced,), defects = book.RuleBook([Rule('s', Decimal(1000))]).price_columns(whole)

    expected = [Decimal(0) if 'E' in one else 1000 * Decimal(one) for one in quantities_]
    assert priced.prices == expected
    assert [offset for offset, _ in defects] == [quantities_.index('1E+999999')]
