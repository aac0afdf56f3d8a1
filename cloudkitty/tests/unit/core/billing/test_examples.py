"""Worked examples of bills, computed by hand."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from cloudkitty.core.billing import conversion, corrections, money, month, sharing, statement
from cloudkitty.core.billing.plan import Share
from cloudkitty.core.billing.statement import Terms
from cloudkitty.tests.unit.core.billing.bills import (
    PERIOD,
    TAXES,
    T,
    amounts,
    bill,
    cpu,
    plan,
    usage,
)

PACKAGES = {'package': '3.00', 'size': '4'}
FLAT_TIERS = {'graduated': [{'up_to': '10', 'unit': '1', 'flat': '5'}, {'unit': '1', 'flat': '7'}]}


@pytest.mark.parametrize(
    'item, quantity, exact, amount',
    [
        # E1: each tier has its own price; the end of a tier belongs to it.
        (cpu({'graduated': T}), '100', '5', '5.00'),
        (cpu({'graduated': T}), '100.000001', '5.00000004', '5.00'),
        (cpu({'graduated': T}), '1500', '56', '56.00'),
        # E2: the whole quantity has the price of its tier.
        (cpu({'volume': T}), '100', '5', '5.00'),
        (cpu({'volume': T}), '100.000001', '4.00000004', '4.00'),
        (cpu({'volume': T}), '1500', '45', '45.00'),
        # E3: started packages, after what is free; 2.1 / 0.3 is 7, and 8 with floats.
        (cpu(PACKAGES, free='1'), '0', '0', '0.00'),
        (cpu(PACKAGES, free='1'), '1', '0', '0.00'),
        (cpu(PACKAGES, free='1'), '1.0001', '3', '3.00'),
        (cpu(PACKAGES, free='1'), '5', '3', '3.00'),
        (cpu(PACKAGES, free='1'), '5.01', '6', '6.00'),
        (cpu({'package': '1', 'size': '0.3'}), '2.1', '7', '7.00'),
        # E4: an allowance.
        (cpu({'unit': '0.08'}, free='100'), '99.9', '0', '0.00'),
        (cpu({'unit': '0.08'}, free='100'), '130.5', '2.44', '2.44'),
        # E5: seconds to started hours.
        (cpu({'unit': '0.021'}, per='3600', whole='up'), '90061', '0.546', '0.55'),
        # E21: the flat price of the first tier is charged at zero, a later one once entered.
        (cpu(FLAT_TIERS), '0', '5', '5.00'),
        (cpu(FLAT_TIERS), '10', '15', '15.00'),
        (cpu(FLAT_TIERS), '10.5', '22.5', '22.50'),
    ],
)
def test_price_of_a_quantity(item, quantity, exact, amount):
    """E1 to E5 and E21."""
    [line] = bill(plan(item), usage(quantity)).lines

    assert (line.exact, str(line.amount)) == (Decimal(exact), amount)


def test_minimum_adds_a_line():
    """E6."""
    lines = bill(plan(cpu('rated', minimum='50')), usage('1', '37.40')).lines

    assert [(line.kind, str(line.amount)) for line in lines] == [
        ('usage', '37.40'),
        ('minimum', '12.60'),
    ]


@pytest.mark.parametrize(
    'more, exact, amount',
    [({}, '1111.104', '1111.10'), ({'maximum': '1000'}, '1000', '1000.00')],
)
def test_discount_and_maximum(more, exact, amount):
    """E7."""
    [line] = bill(plan(cpu('rated', discount='10 %', **more)), usage('1', '1234.56')).lines

    assert (line.exact, str(line.amount)) == (Decimal(exact), amount)


def test_tiers_over_the_list_price():
    """E8."""
    tiers = [{'up_to': '1000', 'unit': '1'}, {'up_to': '10000', 'unit': '0.9'}, {'unit': '0.8'}]
    item = cpu({'graduated': tiers, 'measure': 'list'})
    [line] = bill(plan(item), usage('7', '12345.678')).lines

    assert (line.exact, str(line.amount)) == (Decimal('10976.5424'), '10976.54')


def test_rounding_is_shown():
    """E9: each line is rounded, the total is the sum of what is printed."""
    usages = [usage('1', '0.335', metric=metric) for metric in ('a', 'b', 'c')]
    lines = bill(plan(), *usages).lines
    sums = statement.totals(lines, {}, 2)

    assert amounts(lines) == ['0.34'] * 3
    assert (sums.list_price, str(sums.net), sums.rounding) == (
        Decimal('1.005'),
        '1.02',
        Decimal('0.015'),
    )


REDUCED = {'metric': 'book', 'price': 'rated', 'tax': 'reduced'}
DISK = {'metric': 'disk', 'price': 'rated'}


def test_tax_is_computed_by_category():
    """E10."""
    lines = bill(
        plan(cpu('rated'), DISK, REDUCED),
        usage('1', '10.01'),
        usage('1', '20.02', metric='disk'),
        usage('1', '5.00', metric='book'),
    ).lines
    sums = statement.totals(lines, TAXES, 2)

    assert {tax.category: str(tax.amount) for tax in sums.taxes} == {
        'standard': '6.01',
        'reduced': '0.28',
    }
    assert str(sums.total) == '41.32'


@pytest.mark.parametrize('daily, amount', [(True, '93.00'), (False, '94.00')])
def test_conversion_with_the_mean_or_the_last_rate(daily, amount):
    """E11: the mean is weighted by the quantities of the days."""
    rates = [
        conversion.DatedRate(date(2026, 10, 1), Fraction('0.90')),
        conversion.DatedRate(date(2026, 10, 2), Fraction('0.94')),
    ]
    last = conversion.rate_at(rates, date(2026, 10, 31))
    days = [
        usage(quantity)._replace(day=date(2026, 10, day))
        for day, quantity in ((1, '10'), (2, '30'))
    ]

    found = bill(
        plan(cpu({'unit': '2.5'})), *days, rate=last, **({'daily': rates} if daily else {})
    )
    assert (amounts(found.lines), found.problems) == ([amount], [])


def test_a_day_without_a_rate_is_a_problem():
    """And a day whose quantity was given back has no weight."""
    rates = [conversion.DatedRate(date(2026, 10, 2), Fraction('0.9'))]
    days = [
        usage(quantity)._replace(day=date(2026, 10, day))
        for day, quantity in ((1, '10'), (2, '30'), (3, '-5'))
    ]
    priced = plan(cpu({'unit': '1'}))

    assert bill(priced, *days, daily=rates).problems == ['item i1: There is no rate for 2026-10-01']
    found = bill(priced, *days[1:], daily=rates)
    assert (amounts(found.lines), found.problems) == (['22.50'], [])


@pytest.mark.parametrize(
    'currency, rate, amount', [('JPY', '149.37', '1844'), ('KWD', '0.3075', '3.796')]
)
def test_minor_units_of_the_currency(currency, rate, amount):
    """E12: the exact amount is converted, and rounded once."""
    digits = money.minor_digits(currency, {})
    [line] = bill(
        plan(cpu('rated')), usage('1', '12.345'), rate=Fraction(rate), digits=digits
    ).lines

    assert str(line.amount) == amount


@pytest.mark.parametrize(
    'zone, period, hours, amount',
    [
        ('Europe/Paris', '2026-10', 745, '37.25'),
        ('Europe/Paris', '2026-03', 743, '37.15'),
        ('UTC', '2026-10', 744, '37.20'),
        ('America/New_York', '2026-11', 721, '36.05'),
    ],
)
def test_hours_of_a_local_month(zone, period, hours, amount):
    """E13."""
    span = month.bounds(period, month.parse_zone(zone))
    found = (span.end - span.begin).total_seconds() / 3600

    assert found == hours
    [line] = bill(plan(cpu({'unit': '0.05'})), usage(str(hours))).lines
    assert str(line.amount) == amount


@pytest.mark.parametrize(
    'zone, begin, end',
    [
        ('Europe/Paris', '2026-09-30T22:00:00+00:00', '2026-10-31T23:00:00+00:00'),
        ('Asia/Kolkata', '2026-09-30T18:30:00+00:00', '2026-10-31T18:30:00+00:00'),
    ],
)
def test_bounds_of_a_local_month(zone, begin, end):
    """E14: the hour at 18:00Z begins before October does in Kolkata, so it is September's."""
    span = month.bounds('2026-10', month.parse_zone(zone))

    assert (span.begin.isoformat(), span.end.isoformat()) == (begin, end)


@pytest.mark.parametrize(
    'kind, before, after, booked, correction, tax',
    [
        ('graduated', '1500', '1520', ('56.00', '11.20'), '0.60', '0.12'),
        ('volume', '999.5', '1000.1', ('39.98', '8.00'), '-9.98', '-2.00'),
    ],
)
def test_late_usage_is_corrected(kind, before, after, booked, correction, tax):
    """E15 and E16: what the month costs now, less what was booked of it."""
    priced = plan(cpu({kind: T}))
    closed = bill(priced, usage(before)).lines
    lines = corrections.difference(bill(priced, usage(after)).lines, closed)
    before_, sums = (statement.totals(part, TAXES, 2) for part in (closed, lines))

    assert (str(before_.net), str(before_.tax)) == booked
    assert (amounts(lines), str(sums.tax)) == ([correction], tax)
    assert all(line.is_correction and line.period == PERIOD for line in lines)


@pytest.mark.parametrize(
    'pool, by_scope', [('account', ['3.77', '2.83']), ('scope', ['4.00', '3.00'])]
)
def test_scopes_reach_tiers_together_or_alone(pool, by_scope):
    """E17."""
    item = cpu({'graduated': T}, pool=pool)
    lines = bill(plan(item), usage('60', scope='b'), usage('80', scope='a')).lines

    assert [line.scope_id for line in lines] == ['a', 'b']
    assert amounts(lines) == by_scope


def test_coupon_is_divided_among_tax_categories():
    """E18."""
    priced = plan(cpu('rated'), REDUCED, coupon='5.00')
    lines = bill(priced, usage('1', '30.03'), usage('1', '5.00', metric='book')).lines
    sums = statement.totals(lines, TAXES, 2)

    assert {line.tax: str(line.amount) for line in lines if line.kind == 'coupon'} == {
        'standard': '-4.29',
        'reduced': '-0.71',
    }
    assert {tax.category: str(tax.amount) for tax in sums.taxes} == {
        'standard': '5.15',
        'reduced': '0.24',
    }
    assert str(sums.total) == '35.42'


def test_equal_parts_of_an_amount():
    """E19: what is divided is taken off its account, and nothing is left over."""
    own = bill(plan(cpu('rated')), usage('1', '100.00')).lines
    [off] = sharing.taken_off(own, Terms(PERIOD))
    parts = sharing.divide(10000, dict.fromkeys('abc', Decimal(1)))
    share = Share('infra', ('a', 'b', 'c'), by='equal')
    lines = [
        sharing.added(
            share, Decimal('100.00'), money.of_units(units, 2), Terms(PERIOD), Fraction(1)
        )
        for units in parts.values()
    ]

    assert amounts([off, *lines]) == ['-100.00', '33.34', '33.33', '33.33']
    assert sum(line.exact for line in [off, *lines]) == 0


def test_fee_of_a_part_of_the_month():
    """E20."""
    share = month.share('2026-10', month.parse_zone('Europe/Paris'), date(2026, 10, 16), None)
    [line] = bill(plan({'price': {'flat': '25.00'}}), share=share).lines

    assert share == Fraction(385, 745)
    assert (line.kind, str(line.amount)) == ('fee', '12.92')


def test_negative_quantity_has_no_tier():
    """E22: the draft says so; what has a price for each unit takes it."""
    found = bill(plan(cpu({'graduated': T})), usage('-1'))

    assert found.problems == ['item i1: -1 is negative, and has no graduated price']
    assert amounts(found.lines) == ['0.00']
    found = bill(plan(cpu({'unit': '2'})), usage('-1'))
    assert (found.problems, amounts(found.lines)) == ([], ['-2.00'])


def test_coupon_takes_no_more_than_there_is():
    """E23: and the minimum is made up for after it."""
    priced = plan(cpu('rated'), REDUCED, coupon='100', minimum='10')
    lines = bill(priced, usage('1', '30.03'), usage('1', '5.00', metric='book')).lines
    sums = statement.totals(lines, TAXES, 2)

    assert {line.tax: str(line.amount) for line in lines if line.kind == 'coupon'} == {
        'standard': '-30.03',
        'reduced': '-5.00',
    }
    assert [str(line.amount) for line in lines if line.kind == 'minimum'] == ['10.00']
    assert (str(sums.tax), str(sums.total)) == ('2.00', '12.00')


def test_steps_tell_how_a_line_came_about():
    """Their last result is the exact amount."""
    item = cpu({'unit': '0.021'}, per='3600', whole='up', free='2', discount='10 %', maximum='0.4')
    [line] = bill(plan(item, discount='5 %'), usage('90061')).lines

    assert [(step.name, step.operand, str(step.result)) for step in line.steps] == [
        ('per', '3600', '25.0169444444444444444444444444'),
        ('whole', 'up', '26'),
        ('free', '2', '24'),
        ('unit', '24 x 0.021', '0.504'),
        ('discount', '10 %', '0.4536'),
        ('discount', '5 %', '0.43092'),
        ('maximum', '0.4', '0.4'),
    ]


def test_a_series_is_taken_by_the_first_item_that_fits():
    """What fits none is billed at list price."""
    priced = plan(
        cpu({'unit': '1'}, where={'flavor': ['big', 'huge']}),
        cpu({'unit': '2'}, by=['flavor']),
    )
    lines = bill(
        priced,
        usage('1', '0.10', flavor='big'),
        usage('2', '0.20', flavor='small'),
        usage('3', '0.30', metric='disk'),
    ).lines

    assert [(line.item, line.key, str(line.amount), str(line.list_price)) for line in lines] == [
        ('i1', (), '1.00', '0.10'),
        ('i2', (('flavor', 'small'),), '4.00', '0.20'),
        ('list', (('metric', 'disk'),), '0.30', '0.30'),
    ]
