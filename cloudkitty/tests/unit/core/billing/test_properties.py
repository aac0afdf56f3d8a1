"""What holds for any plan and usage; CLOUDKITTY_TEST_EXAMPLES says with how many examples."""

import decimal
import os
from datetime import date
from decimal import Decimal
from fractions import Fraction

import hypothesis
from hypothesis import strategies as st

from cloudkitty.core import decimals
from cloudkitty.core.billing import charges, corrections, money, sharing, statement
from cloudkitty.core.billing.conversion import DatedRate
from cloudkitty.core.billing.statement import Usage
from cloudkitty.tests.unit.core.billing.bills import TAXES, T, bill, cpu, plan, usage

few = hypothesis.settings(max_examples=int(os.environ.get('CLOUDKITTY_TEST_EXAMPLES', '50')))

SCOPES = ('a', 'b', 'c')
FLAVORS = ('big', 'small', '')
METRICS = ('cpu', 'disk', 'other')
# Rates of days; the sums of a plan without them are the same whatever day they are of.
DAILY = (DatedRate(date(2026, 10, 1), Fraction(9, 7)), DatedRate(date(2026, 10, 9), Fraction(4, 3)))
numbers = st.decimals(0, 5000, places=7)
prices = st.decimals(0, 50, places=9)


def usages(quantities=numbers):
    return st.lists(
        st.builds(
            lambda scope, metric, flavor, quantity, price, day: Usage(
                scope, metric, (('flavor', flavor),), quantity, price, day
            ),
            st.sampled_from(SCOPES),
            st.sampled_from(METRICS),
            st.sampled_from(FLAVORS),
            quantities,
            prices,
            st.dates(DAILY[0].begin, date(2026, 10, 31)),
        ),
        max_size=12,
    )


def text(number):
    return decimals.render_decimal(number)


@st.composite
def tiers(draw):
    ends = sorted(draw(st.sets(st.decimals('0.1', 4000, places=2), max_size=3)))
    return [
        {'up_to': text(end), 'unit': text(draw(prices)), 'flat': text(draw(prices))} for end in ends
    ] + [{'unit': text(draw(prices))}]


@st.composite
def price_forms(draw):
    kind = draw(st.sampled_from(('rated', 'unit', 'graduated', 'volume', 'package')))
    if kind in ('graduated', 'volume'):
        measure = draw(st.sampled_from(('quantity', 'list')))
        return {kind: draw(tiers()), 'measure': measure}
    form = {kind: text(draw(prices))}
    return (
        {**form, 'size': text(draw(st.decimals('0.1', 9, places=1)))} if 'package' in form else form
    )


@st.composite
def items(draw, metric):
    price = draw(price_forms())
    over_list = 'rated' in price or price.get('measure') == 'list'
    item = {'metric': metric, 'price': price, 'pool': draw(st.sampled_from(('account', 'scope')))}
    if draw(st.booleans()):
        item['by'] = ['flavor']
    if not over_list and draw(st.booleans()):
        item |= {'per': '7', 'whole': draw(st.sampled_from(('up', 'down')))}
    for name in draw(st.sets(st.sampled_from(('free', 'minimum', 'discount', 'tax')))):
        value = {'discount': '12.5 %', 'tax': 'reduced'}.get(name, '20.5')
        item[name] = value
    return item


@st.composite
def plans(draw):
    fee = {'price': {'flat': text(draw(prices))}}
    settings = draw(
        st.fixed_dictionaries(
            {},
            optional={
                'discount': st.just('5 %'),
                'coupon': st.just('17.77'),
                'minimum': st.just('33'),
            },
        )
    )
    return plan(draw(items('cpu')), draw(items('disk')), fee, **settings)


def total(numbers_):
    return sum(map(Fraction, numbers_), Fraction(0))


@few
@hypothesis.given(
    plans(), usages(), st.randoms(use_true_random=False), st.sampled_from(((), DAILY))
)
def test_cutting_and_shuffling_usage_changes_nothing(plan_, found, dice, daily):
    """The bytes of all lines are the same in whatever parts and order the usage comes."""
    parts = []
    for one in found:
        cut = Decimal(dice.randint(0, 1000)).scaleb(-3)
        with_ = decimals.SUM_CONTEXT
        qty, price = with_.multiply(one.quantity, cut), with_.multiply(one.list_price, cut)
        parts += [
            one._replace(quantity=qty, list_price=price),
            one._replace(
                quantity=with_.subtract(one.quantity, qty),
                list_price=with_.subtract(one.list_price, price),
            ),
        ]
    dice.shuffle(parts)
    whole, again = bill(plan_, *found, daily=daily), bill(plan_, *parts, daily=daily)

    assert [line._replace(steps=()) for line in again.lines] == [
        line._replace(steps=()) for line in whole.lines
    ]
    assert [line.steps for line in again.lines] == [line.steps for line in whole.lines]


@few
@hypothesis.given(plans(), usages())
def test_every_list_price_is_in_exactly_one_line(plan_, found):
    """The lines add up to the usage: list price, and quantity by scope and metric."""
    lines = bill(plan_, *found).lines

    assert total(line.list_price for line in lines) == total(one.list_price for one in found)
    for scope in SCOPES:
        for metric in METRICS:
            assert total(
                line.quantity for line in lines if (line.scope_id, line.metric) == (scope, metric)
            ) == total(
                one.quantity for one in found if (one.scope_id, one.metric) == (scope, metric)
            )


@few
@hypothesis.given(plans(), usages(), st.integers(0, 4))
def test_the_printed_column_adds_up(plan_, found, digits):
    """Net is the sum of the printed amounts, and what rounding adds is shown."""
    lines = bill(plan_, *found, digits=digits).lines
    sums = statement.totals(lines, TAXES, digits)

    assert Fraction(sums.net) == total(line.amount for line in lines)
    assert Fraction(sums.total) == Fraction(sums.net) + total(tax.amount for tax in sums.taxes)
    assert Fraction(sums.rounding) == Fraction(sums.net) - total(line.exact for line in lines)
    unit = Fraction(1, 10**digits)
    # A line is one rounding, or a part of one.
    assert abs(Fraction(sums.rounding)) <= unit * len(lines)
    assert all((Fraction(line.amount) / unit).denominator == 1 for line in lines)


@few
@hypothesis.given(plans(), usages())
def test_coupon_and_minimum_bound_the_net(plan_, found):
    """The statement before tax is not below zero because of a coupon, nor below its minimum."""
    lines = bill(plan_, *found).lines
    net = total(line.amount for line in lines)

    assert net >= (plan_.minimum or 0)
    assert -total(line.amount for line in lines if line.kind == 'coupon') <= plan_.coupon


@few
@hypothesis.given(plans(), usages(), usages())
def test_booked_and_corrections_are_the_fresh_computation(plan_, before, after):
    """Whatever changes: closed lines and corrections add up to what the month says now."""
    closed, fresh = bill(plan_, *before).lines, bill(plan_, *after).lines
    found = corrections.difference(fresh, closed)

    for name in ('quantity', 'list_price', 'exact', 'amount'):
        assert total(getattr(line, name) for line in (*closed, *found)) == total(
            getattr(line, name) for line in fresh
        )
    assert corrections.difference(fresh, [*closed, *found]) == []


@few
@hypothesis.given(plans(), usages())
def test_nothing_changed_means_no_correction(plan_, found):
    lines = bill(plan_, *found).lines

    assert corrections.difference(lines, lines) == []


@few
@hypothesis.given(plans(), usages())
def test_taking_all_back_restores_what_was_booked(plan_, found):
    """A document and its negation cancel, line by line and in tax."""
    lines = bill(plan_, *found).lines
    back = [corrections.negated(line) for line in lines]

    assert corrections.difference([], [*lines, *back]) == []
    assert statement.totals(back, TAXES, 2).total == -statement.totals(lines, TAXES, 2).total


@few
@hypothesis.given(tiers(), st.lists(numbers, min_size=2, max_size=2))
def test_graduated_prices_never_fall(forms, quantities):
    """More units never cost less."""
    item = plan(cpu({'graduated': forms})).items[0]
    low, high = (charges.charge(item, Fraction(q), Fraction(0)) for q in sorted(quantities))

    assert low.amount <= high.amount
    assert sum(part.quantity for part in high.parts) == Fraction(max(quantities))


@few
@hypothesis.given(st.decimals('0.001', 50, places=3), st.decimals(0, 5000, places=6))
def test_packages_cover_the_quantity(size, quantity):
    """With no package to spare."""
    [part] = (
        plan(cpu({'package': '1', 'size': text(size)}))
        .items[0]
        .model.parts(Fraction(quantity), Fraction(0))
    )

    assert (
        (part.quantity - 1) * Fraction(size) < Fraction(quantity) <= part.quantity * Fraction(size)
    )


@few
@hypothesis.given(st.integers(-(10**9), 10**9), st.lists(st.fractions(0, 1000), min_size=1))
def test_split_is_exact_and_fair(units, weights):
    """Parts add up, and each is within a unit of its share."""
    parts = money.split(units, weights)
    whole = sum(weights) or len(weights)
    shares = [units * (w if sum(weights) else 1) / whole for w in weights]

    assert sum(parts) == units
    assert all(abs(part - share) < 1 for part, share in zip(parts, shares, strict=True))


@few
@hypothesis.given(st.fractions(), st.integers(0, 9))
def test_rounding_is_odd_and_within_half_a_unit(amount, digits):
    """Half goes away from zero, on both sides."""
    rounded = Fraction(money.round_amount(amount, digits))
    unit = Fraction(1, 10**digits)

    assert abs(rounded - amount) <= unit / 2
    assert Fraction(money.round_amount(-amount, digits)) == -rounded
    assert abs(money.round_amount(Fraction(5, 10 ** (digits + 1)), digits)) == Decimal(1).scaleb(
        -digits
    )


@few
@hypothesis.given(usages())
def test_falling_tiers_cost_less_together(found):
    """Scopes that share their tiers pay no more than alone."""
    pooled, alone = (
        total(line.exact for line in bill(plan(cpu({'graduated': T}, pool=pool)), *found).lines)
        for pool in ('account', 'scope')
    )
    assert pooled <= alone


@few
@hypothesis.given(st.lists(st.decimals(-50, 50, places=3), min_size=1, max_size=5))
def test_a_negative_quantity_under_steps_is_a_problem(quantities):
    """Each quantity alone may be negative: the sum decides."""
    found = [usage(text(quantity), '1') for quantity in quantities]

    for price in ({'graduated': T}, {'volume': T}, {'package': '1', 'size': '3'}):
        assert bool(bill(plan(cpu(price)), *found).problems) == (sum(quantities) < 0)
    assert bill(plan(cpu({'unit': '3'})), *found).problems == []


@few
@hypothesis.given(plans(), usages())
def test_the_decimal_context_of_the_caller_does_not_matter(plan_, found):
    made = bill(plan_, *found)
    with decimal.localcontext() as context:
        context.prec = 3
        assert bill(plan_, *found) == made
        assert corrections.difference([], made.lines) == corrections.difference([], made.lines)
        narrow = statement.totals(made.lines, TAXES, 2)
    assert narrow == statement.totals(made.lines, TAXES, 2)


@few
@hypothesis.given(
    st.integers(-(10**9), 10**9),
    st.dictionaries(st.text(min_size=1, max_size=3), st.decimals(-5, 10**6, places=4), min_size=1),
)
def test_shared_costs_are_neither_lost_nor_made(units, weights):
    """Whatever the weights are, and nobody without any pays as long as another has some."""
    parts = sharing.divide(units, weights)

    assert sum(parts.values()) == units
    if any(weight > 0 for weight in weights.values()):
        assert all(abs(parts[name]) <= 1 for name in weights if weights[name] <= 0)
