"""Plans, usage and statements for tests."""

from decimal import Decimal
from fractions import Fraction

from cloudkitty.core.billing import document, statement
from cloudkitty.core.billing.statement import TaxRate, Terms, Usage

PERIOD = '2026-10'
T = [{'up_to': '100', 'unit': '0.05'}, {'up_to': '1000', 'unit': '0.04'}, {'unit': '0.03'}]
TAXES = {
    (PERIOD, 'standard'): TaxRate('A', Fraction(20, 100)),
    (PERIOD, 'reduced'): TaxRate('B', Fraction(55, 1000)),
}


def plan(*items, **settings):
    """Return a plan; items are numbered and of metric `cpu` unless they say otherwise."""
    forms = [{'name': f'i{n}', **item} for n, item in enumerate(items, 1)]
    form = {'currency': 'EUR', 'items': forms, **settings}
    return document.parse({'plans': {'p': form}}).plans['p']


def usage(quantity, list_price='0', scope='a', metric='cpu', **attributes):
    return Usage(
        scope, metric, tuple(sorted(attributes.items())), Decimal(quantity), Decimal(list_price)
    )


def bill(plan_, *usages, **terms):
    return statement.compute(plan_, usages, Terms(PERIOD, **terms))


def amounts(lines):
    return [str(line.amount) for line in lines]


def cpu(price, **rest):
    return {'metric': 'cpu', 'price': price, **rest}
