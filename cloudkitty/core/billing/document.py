"""Reads plans, accounts and rates. Pure.

Source: doc/source/admin/billing.rst, "The document".
"""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeVar

from cloudkitty.core.billing import money, month, plan, prices, sharing, statement
from cloudkitty.core.billing.conversion import DatedRate
from cloudkitty.core.billing.models.flat import Flat
from cloudkitty.core.billing.models.rated import Rated
from cloudkitty.core.billing.reading import Node

ITEMS_MAX = 1000
# Names that lines have which no item makes.
RESERVED = (statement.LIST, statement.COUPON, statement.STATEMENT, statement.SHARED)
# Groups of sums that are no attributes.
NO_ATTRIBUTES = ('begin', 'end', 'qty', 'rate', 'type', 'time')
_LANGUAGE = re.compile('[a-z]{2,3}(_[A-Z]{2})?')
_USAGE_ONLY = ('where', 'by', 'pool', 'per', 'whole', 'free', 'minimum', 'maximum')
_Value = TypeVar('_Value')
_MEMBERS = ('scopes', 'tags', 'domains')
_SETTINGS = ('name', 'plan', 'currency', 'conversion', 'zone', 'language', 'tax', 'close_after')


def parse(form: Mapping[str, Any]) -> plan.Document:
    """Return the document that *form* describes.

    :param form: mappings, lists and texts; numbers are texts or decimals.
    :raises InvalidInput: with the path of the fault.
    """
    found = Node(form).members(
        'version', 'currencies', 'plans', 'taxes', 'rates', 'defaults', 'accounts', 'shared'
    )
    if not found['version'].is_missing and str(found['version'].value) != '1':
        raise found['version'].fault('must be 1')
    accounts = _accounts(found['accounts'])
    document = plan.Document(
        plans={name: _plan(name, node) for name, node in sorted(found['plans'].mapping().items())},
        accounts=accounts,
        defaults=_account('', found['defaults'], _SETTINGS),
        rates=_rates(found['rates']),
        taxes={
            name: _dated(node, Node.percent)
            for name, node in sorted(found['taxes'].mapping().items())
        },
        currencies=_currencies(found['currencies']),
        shares=sharing.parse(found['shared'], accounts),
    )
    _check_names(document)
    return document


def _currencies(node: Node) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, one in sorted(node.mapping().items()):
        digits = one.members('digits')['digits']
        name = Node(name, one.path).currency()
        if digits.is_missing or digits.number().denominator != 1:
            raise digits.fault('must be a whole number')
        if digits.number() > money.DIGITS_MAX:
            raise digits.fault(f'must be {money.DIGITS_MAX} at most')
        found[name] = int(digits.number())
    return found


def _rates(node: Node) -> dict[tuple[str, str], tuple[DatedRate, ...]]:
    found: dict[tuple[str, str], tuple[DatedRate, ...]] = {}
    for name, one in sorted(node.mapping().items()):
        first, _, second = name.partition('/')
        if not second or first == second:
            raise one.fault('must be named by two currencies, such as EUR/CHF')
        pair = Node(first, one.path).currency(), Node(second, one.path).currency()
        found[pair] = _dated(one, lambda rate: rate.number(above=0))
    return found


def _dated(node: Node, read: Callable[[Node], Fraction]) -> tuple[DatedRate, ...]:
    rates: list[DatedRate] = []
    for one in node.list():
        found = one.members('from', 'rate')
        for name in ('from', 'rate'):
            if found[name].is_missing:
                raise found[name].fault('is missing')
        rate = DatedRate(found['from'].day(), read(found['rate']))
        if rates and rate.begin <= rates[-1].begin:
            raise one.fault('must begin after the one before')
        rates.append(rate)
    if not rates:
        raise node.fault('must have at least one rate')
    return tuple(rates)


def _plan(name: str, node: Node) -> plan.Plan:
    found = node.members('currency', 'items', 'discount', 'coupon', 'minimum')
    nodes = found['items'].list()
    if len(nodes) > ITEMS_MAX:
        raise found['items'].fault(f'has more than {ITEMS_MAX} items')
    items = tuple(_item(one) for one in nodes)
    names = [item.name for item in items]
    for one, item in zip(nodes, items, strict=True):
        if names.count(item.name) > 1:
            raise one.fault(f'two items are named {item.name}')
    return plan.Plan(
        name,
        currency=_optional(found['currency'], Node.currency),
        items=items,
        discount=_optional(found['discount'], Node.percent) or Fraction(0),
        coupon=_optional(found['coupon'], Node.number) or Fraction(0),
        minimum=_optional(found['minimum'], Node.number),
    )


def _item(node: Node) -> plan.Item:
    found = node.members('name', 'metric', *_USAGE_ONLY, 'price', 'discount', 'tax', 'unit')
    if found['price'].is_missing:
        raise found['price'].fault('is missing')
    model, measures_list = prices.parse(found['price'])
    metric = _optional(found['metric'], Node.text)
    if metric is None:
        _check_fee(found, isinstance(model, Flat))
    if isinstance(model, Rated) or measures_list:
        for name in ('per', 'whole'):
            if not found[name].is_missing:
                raise found[name].fault('has no meaning for a list price')
    item = plan.Item(
        found['name'].text(),
        model,
        metric=metric,
        where={
            _attribute(one, name): _values(one) for name, one in found['where'].mapping().items()
        },
        by=tuple(dict.fromkeys(_attribute(one, one.text()) for one in found['by'].list())),
        pool=_chosen(found['pool'], plan.ACCOUNT, plan.SCOPE),
        per=_optional(found['per'], lambda per: per.number(above=0)) or Fraction(1),
        whole=_optional(found['whole'], lambda whole: whole.choice(plan.UP, plan.DOWN)),
        free=_optional(found['free'], Node.number) or Fraction(0),
        measures_list=measures_list,
        discount=_optional(found['discount'], Node.percent) or Fraction(0),
        minimum=_optional(found['minimum'], Node.number),
        maximum=_optional(found['maximum'], Node.number),
        tax=_optional(found['tax'], Node.text) or plan.STANDARD_TAX,
        unit=_optional(found['unit'], Node.text) or '',
    )
    if item.name in RESERVED:
        raise found['name'].fault(f'{item.name} is the name of other lines')
    if (item.maximum or 0) < (item.minimum or 0) and item.maximum is not None:
        raise found['minimum'].fault('is more than the maximum')
    return item


def _check_fee(found: dict[str, Node], is_flat: bool) -> None:
    if not is_flat:
        raise found['metric'].fault('is missing: only a fee has none, and its price is flat')
    for name in _USAGE_ONLY:
        if not found[name].is_missing:
            raise found[name].fault('belongs to an item with a metric')


def _attribute(node: Node, name: str) -> str:
    if name in NO_ATTRIBUTES or name.startswith('time-'):
        raise node.fault(f'{name} is no attribute')
    return name


def _values(node: Node) -> frozenset[str]:
    values = frozenset(one.text() for one in node.list())
    if not values:
        raise node.fault('must have at least one value')
    return values


def _accounts(node: Node) -> dict[str, plan.Account]:
    found: dict[str, plan.Account] = {}
    owners: dict[str, str] = {}
    groups: dict[tuple[str, str], str] = {}
    for name, one in sorted(node.mapping().items()):
        account = found[name] = _account(
            name, one, (*_SETTINGS, *_MEMBERS, 'owner', 'from', 'until')
        )
        for kind, values in ((plan.TAG, account.tags), (plan.DOMAIN, account.domains)):
            for value in values:
                if groups.setdefault((kind, value), name) != name:
                    raise one.fault(
                        f'{kind} {value} belongs to account {groups[kind, value]} already'
                    )
        for scope in account.scopes:
            if owners.setdefault(scope, name) != name:
                raise one.fault(f'scope {scope} belongs to account {owners[scope]} already')
    for name in found:
        if owners.get(name, name) != name:
            raise Node(None, f'accounts.{name}').fault(
                f'is the id of a scope of account {owners[name]}'
            )
    return found


def _account(name: str, node: Node, known: tuple[str, ...]) -> plan.Account:
    found = node.members(*known)
    found = {**Node({}, node.path).members(*_MEMBERS, 'owner', 'from', 'until'), **found}
    begin, end = _optional(found['from'], Node.day), _optional(found['until'], Node.day)
    if begin and end and end <= begin:
        raise found['until'].fault('must be after from')
    return plan.Account(
        name,
        name=_optional(found['name'], Node.text) or name,
        plan=_optional(found['plan'], Node.text),
        **{name: tuple(sorted({one.text() for one in found[name].list()})) for name in _MEMBERS},
        currency=_optional(found['currency'], Node.currency),
        conversion=_chosen(found['conversion'], plan.MONTH_END, plan.DAILY),
        zone=_optional(found['zone'], lambda zone: zone.by(month.parse_zone)) or plan.UTC,
        language=_optional(found['language'], _language) or 'en',
        tax={category: one.text() for category, one in found['tax'].mapping().items()},
        owner=_optional(found['owner'], Node.text),
        begin=begin,
        end=end,
        close_after=plan.CLOSE_AFTER
        if found['close_after'].is_missing
        else found['close_after'].duration(),
    )


def _optional(node: Node, read: Callable[[Node], _Value]) -> _Value | None:
    return None if node.is_missing else read(node)


def _chosen(node: Node, default: str, *others: str) -> str:
    return default if node.is_missing else node.choice(default, *others)


def _language(node: Node) -> str:
    if not _LANGUAGE.fullmatch(node.text()):
        raise node.fault('must be a language such as en or pt_BR')
    return node.text()


def _check_names(document: plan.Document) -> None:
    """Make sure that what accounts refer to is there."""
    accounts = {f'accounts.{name}': account for name, account in document.accounts.items()}
    for path, account in {**accounts, 'defaults': document.defaults}.items():
        if account.plan is not None and account.plan not in document.plans:
            raise Node(None, f'{path}.plan').fault(f'no plan is named {account.plan}')
        for category, code in account.tax.items():
            if code not in document.taxes:
                raise Node(None, f'{path}.tax.{category}').fault(f'no tax is named {code}')
