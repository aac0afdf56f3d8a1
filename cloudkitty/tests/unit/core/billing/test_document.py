"""The document of plans and accounts: what it says, and how its faults are named."""

import copy
import pathlib
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import iso4217
import pytest
import yaml

from cloudkitty import errors
from cloudkitty.core.billing import document, money, month, terms
from cloudkitty.core.billing.models import Tier
from cloudkitty.core.billing.models.volume import Volume

GOOD = yaml.load(
    """
version: 1
currencies: {ICU: {digits: 2}}
plans:
  standard:
    currency: EUR
    items:
    - {name: vcpu, metric: cpu, pool: account, tax: reduced,
       price: {graduated: [{up_to: 1000, unit: 0.05}, {unit: 0.03}]}}
    - {name: egress, metric: net, per: 1073741824, whole: up, unit: GiB,
       price: {volume: [{up_to: 1000, unit: 0.09}, {unit: 0.05}]}}
    - {name: address, metric: ip, where: {state: [active]}, by: [kind], minimum: 1, maximum: 90,
       price: {package: 3.00, size: 4}}
    - {name: spend, metric: db, price: {graduated: [{unit: 0.9}], measure: list}}
    - {name: support, price: {flat: 25.00}}
    discount: 5 %
    coupon: 20.00
    minimum: 50.00
accounts:
  acme: {name: ACME Ltd, scopes: [p2, p1], plan: standard, currency: CHF, zone: Europe/Zurich,
    language: de, tax: {standard: CH-8.1, reduced: CH-2.6}, owner: p1, close_after: 36 h,
    from: 2026-01-01, until: 2027-01-01}
rates: {EUR/CHF: [{from: 2026-01-01, rate: 0.95}, {from: 2026-10-01, rate: 0.94}]}
taxes: {CH-8.1: [{from: 2024-01-01, rate: 8.1 %}], CH-2.6: [{from: 2024-01-01, rate: 2.6 %}]}
defaults: {plan: standard}
""",
    yaml.BaseLoader,
)
ITEM = 'plans.standard.items[0]'
ACME = 'accounts.acme'


def test_what_a_document_says():
    """Numbers are exact, scopes are sorted."""
    read = document.parse(GOOD)
    plan, account = read.plans['standard'], read.accounts['acme']
    egress, address = plan.items[1:3]

    assert egress.model == Volume(
        (Tier(Fraction(1000), Fraction('0.09')), Tier(None, Fraction('0.05')))
    )
    assert (egress.per, egress.whole, egress.unit) == (2**30, 'up', 'GiB')
    assert (address.where, address.by) == ({'state': frozenset({'active'})}, ('kind',))
    assert plan.attributes == ('kind', 'state')
    assert (plan.discount, plan.coupon, plan.minimum) == (Fraction(1, 20), 20, 50)
    assert account.scopes == ('p1', 'p2')
    assert account.close_after == timedelta(hours=36)
    assert (account.begin, account.end) == (date(2026, 1, 1), date(2027, 1, 1))
    assert read.digits('ICU') == 2


def test_terms_of_an_account():
    """The rate of the last day of the month counts, and the tax of each category."""
    read = document.parse(GOOD)
    found = terms.resolve(read, read.accounts['acme'], '2026-10')

    assert (found.price_currency, found.currency) == ('EUR', 'CHF')
    assert (found.terms.rate, found.terms.share, found.problems) == (Fraction('0.94'), 1, [])
    assert {name: tax.code for name, tax in found.taxes.items()} == {
        'standard': 'CH-8.1',
        'reduced': 'CH-2.6',
    }
    assert terms.resolve(read, read.accounts['acme'], '2026-09').terms.rate == Fraction('0.95')


@pytest.mark.parametrize(
    'path, value, problem',
    [
        ('rates', {}, 'no rate EUR/CHF is in force'),
        ('accounts.acme.tax', {'standard': 'CH-8.1'}, 'no tax code for category reduced'),
        ('taxes.CH-8.1', [{'from': '2027-01-01', 'rate': '1 %'}], 'no rate of tax CH-8.1'),
    ],
)
def test_what_keeps_a_month_open(path, value, problem):
    read = document.parse(changed(path, value))
    [found] = terms.resolve(read, read.accounts['acme'], '2026-10').problems

    assert problem in found


def test_a_scope_without_a_document_has_no_currency():
    read = document.parse({})

    assert terms.resolve(read, read.defaults, '2026-10').problems == [terms.NO_CURRENCY]


def changed(path, value):
    """Return GOOD with *value* at *path*; None: it is not there."""
    form = copy.deepcopy(GOOD)
    *way, last = path.replace('[', '.').replace(']', '').replace('CH-8.1', 'CH-8_1').split('.')
    at = form
    for step in way:
        at = at[int(step) if isinstance(at, list) else step]
    last = last.replace('_1', '.1') if last.startswith('CH-') else last
    if value is None:
        del at[last]
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return form


def tiers(*ends):
    return {'graduated': [{'unit': '1', **({'up_to': end} if end else {})} for end in ends]}


FAULTS = [
    ('version', '2', 'version'),
    ('colour', 'red', 'colour'),
    ('plans', ['a'], 'plans'),
    ('plans.standard', 'rated', 'plans.standard'),
    ('plans.standard.currency', 'euro', 'plans.standard.currency'),
    ('plans.standard.currency', 'EU1', 'plans.standard.currency'),
    (f'{ACME}.currency', 'EUROPEANS', f'{ACME}.currency'),
    ('plans.standard.discount', '5', 'plans.standard.discount'),
    ('plans.standard.discount', '101 %', 'plans.standard.discount'),
    ('plans.standard.coupon', '-1', 'plans.standard.coupon'),
    ('plans.standard.minimum', 'much', 'plans.standard.minimum'),
    ('plans.standard.items', {}, 'plans.standard.items'),
    (f'{ITEM}.price', None, f'{ITEM}.price'),
    (f'{ITEM}.price', 'cheap', f'{ITEM}.price'),
    (f'{ITEM}.price', {'unit': '1', 'flat': '1'}, f'{ITEM}.price'),
    (f'{ITEM}.price', {'unit': '.1e-400'}, f'{ITEM}.price.unit'),
    (f'{ITEM}.price', {'unit': 0.1}, f'{ITEM}.price.unit'),
    (f'{ITEM}.price', {'unit': True}, f'{ITEM}.price.unit'),
    (f'{ITEM}.price', {'unit': 'NaN'}, f'{ITEM}.price.unit'),
    (f'{ITEM}.price', {'unit': '-1'}, f'{ITEM}.price.unit'),
    (f'{ITEM}.price', {'unit': '9' * 21}, f'{ITEM}.price.unit'),
    (f'{ITEM}.price', {'unit': '0.' + '0' * 20 + '1'}, f'{ITEM}.price.unit'),
    (f'{ITEM}.price', {'package': '1'}, f'{ITEM}.price.size'),
    (f'{ITEM}.price', {'package': '1', 'size': '0'}, f'{ITEM}.price.size'),
    (f'{ITEM}.price', {'unit': '1', 'size': '4'}, f'{ITEM}.price.size'),
    (f'{ITEM}.price', {'unit': '1', 'measure': 'list'}, f'{ITEM}.price.measure'),
    (f'{ITEM}.price', {'graduated': []}, f'{ITEM}.price.graduated'),
    (f'{ITEM}.price', tiers('10', '20'), f'{ITEM}.price.graduated[1]'),
    (f'{ITEM}.price', tiers(None, None), f'{ITEM}.price.graduated[0]'),
    (f'{ITEM}.price', tiers('20', '10', None), f'{ITEM}.price.graduated[1]'),
    (f'{ITEM}.price', tiers('10', '10', None), f'{ITEM}.price.graduated[1]'),
    (f'{ITEM}.price', tiers('0', None), f'{ITEM}.price.graduated[0].up_to'),
    (f'{ITEM}.price', {'volume': [{}]}, f'{ITEM}.price.volume[0]'),
    (f'{ITEM}.price', {'volume': [{'unit': '1', 'to': '5'}]}, f'{ITEM}.price.volume[0].to'),
    (f'{ITEM}.metric', None, f'{ITEM}.metric'),
    (f'{ITEM}.pool', 'domain', f'{ITEM}.pool'),
    (f'{ITEM}.whole', 'near', f'{ITEM}.whole'),
    (f'{ITEM}.per', '0', f'{ITEM}.per'),
    (f'{ITEM}.name', 'coupon', f'{ITEM}.name'),
    (f'{ITEM}.name', ' ', f'{ITEM}.name'),
    (f'{ITEM}.name', 'a\nb', f'{ITEM}.name'),
    (f'{ITEM}.name', 'egress', ITEM),
    (f'{ITEM}.name', 'x' * 256, f'{ITEM}.name'),
    (f'{ITEM}.where', {'a': []}, f'{ITEM}.where.a'),
    (f'{ITEM}.by', 'flavor', f'{ITEM}.by'),
    ('plans.standard.items[2].maximum', '0.5', 'plans.standard.items[2].minimum'),
    ('plans.standard.items[3].per', '5', 'plans.standard.items[3].per'),
    ('plans.standard.items[4].by', ['a'], 'plans.standard.items[4].by'),
    (f'{ACME}.plan', 'gold', f'{ACME}.plan'),
    (f'{ACME}.zone', 'Europe/Atlantis', f'{ACME}.zone'),
    (f'{ACME}.zone', '../etc/passwd', f'{ACME}.zone'),
    (f'{ACME}.language', 'deutsch', f'{ACME}.language'),
    (f'{ACME}.close_after', 'soon', f'{ACME}.close_after'),
    (f'{ACME}.from', '2026-02-30', f'{ACME}.from'),
    (f'{ACME}.from', '2026-10', f'{ACME}.from'),
    (f'{ACME}.until', '2025-01-01', f'{ACME}.until'),
    (f'{ACME}.tax', {'standard': 'VAT'}, f'{ACME}.tax.standard'),
    ('accounts.other', {'scopes': ['p1']}, 'accounts.other'),
    ('accounts.p1', {}, 'accounts.p1'),
    ('accounts', {'a': {'tags': ['x']}, 'b': {'tags': ['x']}}, 'accounts.b'),
    ('accounts', {'a': {'domains': ['x']}, 'b': {'domains': ['x']}}, 'accounts.b'),
    ('rates', {'EUR': []}, 'rates.EUR'),
    ('rates', {'EUR/CHF': []}, 'rates.EUR/CHF'),
    ('rates', {'EUR/CH1': []}, 'rates.EUR/CH1'),
    ('rates', {'EUR/CHF': [{'from': '2026-01-01', 'rate': '0'}]}, 'rates.EUR/CHF[0].rate'),
    ('rates', {'EUR/CHF': [{'rate': '1'}]}, 'rates.EUR/CHF[0].from'),
    ('taxes.CH-8.1', [{'from': '2026-01-01', 'rate': '1'}], 'taxes.CH-8.1[0].rate'),
    ('taxes.CH-8.1', 2 * [{'from': '2026-01-01', 'rate': '1 %'}], 'taxes.CH-8.1[1]'),
    ('currencies', {'ICU': {}}, 'currencies.ICU.digits'),
    ('currencies', {'ICU': {'digits': '10'}}, 'currencies.ICU.digits'),
    ('currencies', {'icu': {'digits': '2'}}, 'currencies.icu'),
    ('currencies', {'IC1': {'digits': '2'}}, 'currencies.IC1'),
    ('defaults.plan', 'gold', 'defaults.plan'),
    ('defaults.scopes', ['p1'], 'defaults.scopes'),
]


@pytest.mark.parametrize('path, value, told', FAULTS)
def test_a_fault_is_refused_with_its_path(path, value, told):
    with pytest.raises(errors.InvalidInput) as refused:
        document.parse(changed(path, value))

    assert str(refused.value).startswith(f'{told}: ')


def test_decimals_of_a_request_are_numbers_too():
    """A JSON body has decimals and whole numbers where YAML has text."""
    form = changed(f'{ITEM}.price', {'unit': Decimal('0.10')})
    form['plans']['standard']['minimum'] = 5
    plan = document.parse(form).plans['standard']

    assert (plan.items[0].model.price, plan.minimum) == (Fraction(1, 10), 5)


def test_minor_units_are_those_of_iso_4217():
    known = {
        currency.code: currency.exponent
        for currency in iso4217.Currency
        if currency.exponent is not None
    }

    assert len(known) > 150
    assert {code: money.minor_digits(code, {}) for code in known} == known


@pytest.mark.parametrize('text', ['2026-13', '2026-1', '1969-01', '', '2026-10-01', '²026-10'])
def test_months_are_named(text):
    with pytest.raises(errors.InvalidInput):
        month.check(text)


def test_months_follow_each_other():
    assert [month.following('2026-12', count) for count in (1, -12, 0)] == [
        '2027-01',
        '2025-12',
        '2026-12',
    ]


def test_the_sample_is_a_document():
    """The one that the page of billing shows."""
    sample = pathlib.Path(__file__).parents[5] / 'etc' / 'cloudkitty' / 'billing' / 'plans.yml'
    read = document.parse(yaml.load(sample.read_text(), yaml.BaseLoader))

    assert set(read.accounts) == {'acme', 'infra'}
    assert terms.resolve(read, read.accounts['acme'], '2026-10').problems == []


INFRA = {
    **GOOD,
    'accounts': {
        **GOOD['accounts'],
        'infra': {'scopes': ['i'], 'plan': 'standard'},
        'other': {'scopes': ['o'], 'plan': 'standard'},
    },
}


def test_what_costs_are_divided():
    """Those with the plan, but for the sources themselves."""
    shared = [{'from': ['infra'], 'over': {'plan': 'standard'}, 'by': {'quantity': 'cpu'}}]
    read = document.parse(INFRA | {'shared': shared})

    [share] = read.shares
    assert (share.source, share.targets) == ('infra', ('acme', 'other'))
    assert (share.by, share.metric, share.tax) == ('quantity', 'cpu', 'standard')
    assert read.partners('acme') == {'infra', 'other'}
    assert read.partners('elsewhere') == set()


@pytest.mark.parametrize(
    'shared, reason',
    [
        ({'over': {'plan': 'standard'}}, 'shared[0]: from is missing'),
        ({'from': ['x'], 'over': {'plan': 'standard'}}, 'shared[0].from[0]: no account is named x'),
        ({'from': ['infra', 'infra'], 'over': {'plan': 'standard'}}, 'are divided already'),
        ({'from': ['infra'], 'over': {'accounts': ['infra']}}, 'are divided themselves'),
        ({'from': ['infra'], 'over': {'accounts': ['x']}}, 'no account is named x'),
        ({'from': ['infra'], 'over': {'plan': 'x'}}, 'must be 1 to 1000 accounts; there are 0'),
        ({'from': ['infra'], 'over': {}}, 'must have exactly one of plan, accounts'),
        ({'from': ['infra']}, 'shared[0].over: must have exactly one of plan, accounts'),
        ({'from': ['infra'], 'over': {'plan': 'standard'}, 'by': 'luck'}, 'one of list, equal'),
        ({'from': ['infra'], 'over': {'plan': 'standard'}, 'by': {}}, 'or a mapping with quantity'),
    ],
)
def test_costs_that_cannot_be_divided(shared, reason):
    with pytest.raises(errors.InvalidInput) as caught:
        document.parse(INFRA | {'shared': [shared]})
    assert reason in str(caught.value)
