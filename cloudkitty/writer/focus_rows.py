"""The rows of FOCUS 1.2 for a statement.

Source: doc/source/admin/files.rst, "FOCUS".
"""

import zoneinfo
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import orjson

from cloudkitty.core import decimals
from cloudkitty.core.billing import money, month, parts
from cloudkitty.core.billing.statement import COUPON, FEE, LIST, USAGE
from cloudkitty.writer import Statement, focus_services

Row = dict[str, str | Decimal | datetime | None]
MOMENTS = ('BillingPeriodEnd', 'BillingPeriodStart', 'ChargePeriodEnd', 'ChargePeriodStart')
NUMBERS = (
    'BilledCost',
    'CommitmentDiscountQuantity',
    'ConsumedQuantity',
    'ContractedCost',
    'ContractedUnitPrice',
    'EffectiveCost',
    'ListCost',
    'ListUnitPrice',
    'PricingCurrencyContractedUnitPrice',
    'PricingCurrencyEffectiveCost',
    'PricingCurrencyListUnitPrice',
    'PricingQuantity',
)
COLUMNS = tuple(
    'AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingAccountType '
    'BillingCurrency BillingPeriodEnd BillingPeriodStart CapacityReservationId '
    'CapacityReservationStatus ChargeCategory ChargeClass ChargeDescription ChargeFrequency '
    'ChargePeriodEnd ChargePeriodStart CommitmentDiscountCategory CommitmentDiscountId '
    'CommitmentDiscountName CommitmentDiscountQuantity CommitmentDiscountStatus '
    'CommitmentDiscountType CommitmentDiscountUnit ConsumedQuantity ConsumedUnit ContractedCost '
    'ContractedUnitPrice EffectiveCost InvoiceId InvoiceIssuerName ListCost ListUnitPrice '
    'PricingCategory PricingCurrency PricingCurrencyContractedUnitPrice '
    'PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice PricingQuantity PricingUnit '
    'ProviderName PublisherName RegionId RegionName ResourceId ResourceName ResourceType '
    'ServiceCategory ServiceName ServiceSubcategory SkuId SkuMeter SkuPriceDetails SkuPriceId '
    'SubAccountId SubAccountName SubAccountType Tags'.split()
)
# Attribute of a line to the column that it has; every other one is a tag.
_ATTRIBUTES = {
    'id': 'ResourceId',
    'resource_id': 'ResourceId',
    'name': 'ResourceName',
    'display_name': 'ResourceName',
    'region': 'RegionId',
    'region_id': 'RegionId',
    'availability_zone': 'AvailabilityZone',
}
CORRECTION = 'Correction'
UNIT = 'Units'
NOBODY = 'CloudKitty'


def rows_of(statement: Statement) -> Iterator[Row]:
    """Yield the rows of a statement; their BilledCost adds up to its total."""
    content = statement.content
    common = _common(content)
    for line in content['lines']:
        yield from _line_rows(content, common, line)
    for tax in content['taxes']:
        yield _tax_row(content, common, tax)


def _common(content: Mapping[str, Any]) -> Row:
    issuer = next(iter(content.get('issuer', '').splitlines()), '').strip() or NOBODY
    begin, end = _moment(content['begin']), _moment(content['end'])
    return {
        **dict.fromkeys(COLUMNS),
        'BillingAccountId': content['account']['id'],
        'BillingAccountName': content['account']['name'],
        'BillingAccountType': 'Account',
        'BillingCurrency': content['currency'],
        'BillingPeriodStart': begin,
        'BillingPeriodEnd': end,
        'ChargePeriodStart': begin,
        'ChargePeriodEnd': end,
        'ChargeClass': CORRECTION if content.get('voids') else None,
        'InvoiceId': content.get('number'),
        'InvoiceIssuerName': issuer,
        'ProviderName': issuer,
        'PublisherName': issuer,
        'PricingCurrency': content['price_currency'],
    }


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _line_rows(content: Mapping[str, Any], common: Row, line: Mapping[str, Any]) -> Iterator[Row]:
    kind = line['kind']
    base = common | _place(line, content.get('names', {}))
    if line['correction'] or common['ChargeClass']:
        yield _single(content, base, line, 'Usage' if kind in (USAGE, FEE) else None) | {
            'ChargeClass': CORRECTION,
            **_charge_period(content, line),
        }
    elif kind == USAGE:
        yield from _usage_rows(content, base, line)
    elif kind == FEE:
        yield _fee_row(content, base, line)
    else:
        yield _single(content, base, line, None)


def _place(line: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    """Return the columns of service, resource and project of a line."""
    service = focus_services.of_metric(line['metric'])
    found: Row = {
        'ChargeDescription': ' '.join([line['item'], *line['key'].values()]).strip(),
        'ServiceCategory': service.category,
        'ServiceSubcategory': service.subcategory,
        'ServiceName': service.name,
    }
    tags = {}
    for name, value in sorted(line['key'].items()):
        column = _ATTRIBUTES.get(name)
        if column is None or not value:
            tags[name] = value
        else:
            found[column] = value
    if 'RegionId' in found:
        found['RegionName'] = found['RegionId']
    if 'ResourceName' in found and 'ResourceId' not in found:
        found['ResourceId'] = found['ResourceName']
    if 'ResourceId' in found:
        found['ResourceType'] = service.resource_type
    if line['scope_id'] is not None:
        found |= {
            'SubAccountId': line['scope_id'],
            'SubAccountName': names.get(line['scope_id'], line['scope_id']),
            'SubAccountType': 'Project',
        }
        found['Tags'] = orjson.dumps(tags).decode()
    return found


def _charge_period(content: Mapping[str, Any], line: Mapping[str, Any]) -> Row:
    begin, end = month.bounds(line['month'], zoneinfo.ZoneInfo(content['zone']))
    return {'ChargePeriodStart': begin, 'ChargePeriodEnd': end}


def _usage_rows(content: Mapping[str, Any], base: Row, line: Mapping[str, Any]) -> Iterator[Row]:
    rate = parts.rate_of(line, content['conversion_rate'])
    for part in parts.divide(line):
        if not part.units and not part.exact and not part.list_price:
            continue
        at_list = money.to_exact(Fraction(part.list_price) * rate)
        units = part.units or Decimal(1)
        yield base | {
            'ChargeCategory': 'Usage',
            'ChargeFrequency': 'Usage-Based',
            'BilledCost': part.amount,
            'EffectiveCost': part.amount,
            'ContractedCost': part.exact,
            'ListCost': at_list,
            'ConsumedQuantity': part.quantity,
            'ConsumedUnit': line['unit'] or UNIT,
            'SkuMeter': line['metric'],
            **_pricing(content, line, part.name),
            **_unit_prices(units, part.exact, at_list, part.list_price, part.amount, rate),
            'PricingUnit': line['unit'] or UNIT,
        }


def _fee_row(content: Mapping[str, Any], base: Row, line: Mapping[str, Any]) -> Row:
    exact, amount = Decimal(line['exact']), Decimal(line['amount'])
    rate = Fraction(content['conversion_rate'])
    in_prices = money.to_exact(Fraction(exact) / rate)
    # A fee is a month of something; a purchase would be taken for one that is paid in advance.
    return base | {
        'ChargeCategory': 'Usage',
        'ChargeFrequency': 'Recurring',
        'BilledCost': amount,
        'EffectiveCost': amount,
        'ContractedCost': exact,
        'ListCost': exact,
        'SkuMeter': 'Month',
        **_pricing(content, line, 'flat'),
        **_unit_prices(Decimal(1), exact, exact, in_prices, amount, rate),
        'PricingUnit': 'Months',
    }


def _pricing(content: Mapping[str, Any], line: Mapping[str, Any], part: str) -> Row:
    plan = content['plan'] or LIST
    item = line['metric'] if line['item'] == LIST else line['item']
    return {
        'PricingCategory': 'Standard',
        'SkuId': f'{plan}/{item}',
        'SkuPriceId': f'{plan}/{item}/{part}',
        'SkuPriceDetails': orjson.dumps({'x_Tier': part}).decode(),
    }


def _unit_prices(
    units: Decimal,
    exact: Decimal,
    at_list: Decimal,
    in_prices: Decimal,
    amount: Decimal,
    rate: Fraction,
) -> Row:
    """Return quantity and prices of a unit.

    :param at_list: in the currency of the statement; *in_prices*: in that of the plan.
    """

    whole = Fraction(units)
    net, listed = Fraction(exact) / whole, Fraction(in_prices) / whole
    found: Row = {
        'PricingQuantity': units,
        'ContractedUnitPrice': money.to_exact(net),
        'PricingCurrencyListUnitPrice': money.to_exact(listed),
    }
    if rate == 1 and at_list == in_prices:
        return found | {
            'ListUnitPrice': found['PricingCurrencyListUnitPrice'],
            'PricingCurrencyContractedUnitPrice': found['ContractedUnitPrice'],
            'PricingCurrencyEffectiveCost': decimals.trim(amount),
        }
    return found | {
        'ListUnitPrice': money.to_exact(Fraction(at_list) / whole),
        'PricingCurrencyContractedUnitPrice': money.to_exact(net / rate),
        'PricingCurrencyEffectiveCost': money.to_exact(Fraction(amount) / rate),
    }


def _single(
    content: Mapping[str, Any], base: Row, line: Mapping[str, Any], category: str | None
) -> Row:
    """Return the one row of a line without quantities.

    :param category: None: that of its kind.
    """
    amount, exact = Decimal(line['amount']), Decimal(line['exact'])
    is_usage = category is not None
    rate = parts.rate_of(line, content['conversion_rate'])
    at_list = money.to_exact(Fraction(line['list']) * rate)
    return base | {
        'ChargeCategory': category or ('Credit' if line['kind'] == COUPON else 'Adjustment'),
        'ChargeFrequency': 'One-Time',
        'BilledCost': amount,
        'EffectiveCost': amount,
        'ContractedCost': exact if is_usage else amount,
        'ListCost': at_list if is_usage else amount,
        'PricingCurrencyEffectiveCost': money.to_exact(Fraction(amount) / rate),
    }


def _tax_row(content: Mapping[str, Any], common: Row, tax: Mapping[str, Any]) -> Row:
    amount = Decimal(tax['amount'])
    rate = Fraction(content['conversion_rate'])
    return common | {
        'ChargeCategory': 'Tax',
        'ChargeFrequency': 'One-Time',
        'ChargeDescription': f'{tax["code"]} {tax["percent"]} % of {tax["base"]}',
        'ServiceCategory': focus_services.BILLING.category,
        'ServiceSubcategory': focus_services.BILLING.subcategory,
        'ServiceName': 'Tax',
        'BilledCost': amount,
        'EffectiveCost': amount,
        'ContractedCost': amount,
        'ListCost': amount,
        'PricingCurrencyEffectiveCost': decimals.trim(money.to_exact(Fraction(amount) / rate)),
    }
