"""Rules in few words, and the price of one point by them."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from cloudkitty.core import dataframe, decimals
from cloudkitty.core.pricing import book
from cloudkitty.core.pricing.rules import Rule

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def flat(cost, *, service='instance', **more):
    return Rule(service, Decimal(str(cost)), 'flat', **more)


def rate(cost, *, service='instance', **more):
    return Rule(service, Decimal(str(cost)), 'rate', **more)


def level(number):
    return Decimal(str(number))


def price(
    rules,
    qty,
    attributes=(),
    *,
    service='instance',
    scope='t0',
    incoming=0,
    instant=NOON,
    calendar=dataframe.NO_ATTRIBUTES,
):
    """Return the price of one point; how it is made is checked on the way."""
    series = dataframe.Series('u', {'project_id': scope}, dict(attributes))
    point = dataframe.DataPoint.of(
        series, dataframe.to_decimal(qty), dataframe.to_decimal(incoming), calendar
    )
    rule_book = book.RuleBook(rules)
    points, _ = rule_book.price_points(service, [point], scope=scope, instant=instant)
    amounts = rule_book.amounts(service, point, scope=scope, instant=instant)
    assert sum((one.amount for one in amounts), point.price) == points[0].price
    for one in amounts:
        assert value_of(one.expression) == one.amount, one
    return points[0].price


def value_of(expression):
    """Return the value of products and sums, worked out exactly and rounded once."""
    names = {'Fraction': Fraction}
    exact = eval(re.sub(r'[\d.]+', r'Fraction("\g<0>")', expression), names)
    return decimals.CONTEXT.divide(Decimal(exact.numerator), Decimal(exact.denominator))
