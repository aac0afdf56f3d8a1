"""FOCUS files of real statements: against the validator of the format, and checks of our own."""

import csv
import io
import subprocess
from decimal import Decimal
from fractions import Fraction
from xml.etree import ElementTree

import duckdb
import pytest

from cloudkitty import errors
from cloudkitty.core.billing import parts
from cloudkitty.tests import peers
from cloudkitty.tests.drivers.output import bills
from cloudkitty.writer.focus import FocusParquetWriter, FocusWriter
from cloudkitty.writer.focus_rows import COLUMNS, MOMENTS, NUMBERS

# What a cloud like this one can claim: all but capacity reservations and commitment discounts.
CLAIMED = (
    'ACCOUNT_NAMING_SUPPORTED,AVAILABILITY_ZONE_SUPPORTED,MULTIPLE_PRICING_CATEGORIES_SUPPORTED,'
    'MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED,MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED,'
    'NEGOTIATED_PRICING_SUPPORTED,PUBLIC_PRICE_LIST_SUPPORTED,USAGE_MEASUREMENT_SUPPORTED,'
    'UNIT_PRICING_SUPPORTED,SUB_ACCOUNT_SUPPORTED,BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED,'
    'RESOURCE_TYPE_ASSIGNMENT_SUPPORTED,PRICING_BILLING_CURRENCY_DIFFERENCES_SUPPORTED,'
    'VIRTUAL_CURRENCY_SUPPORTED,REGION_SUPPORTED,TAGGING_SUPPORTED'
)
# One of the two always fails: their parent wants either, the validator reports both.
UNAVOIDABLE = {'closed': 'InvoiceId-C-004-C', 'draft': 'InvoiceId-C-005-C'}


@pytest.fixture
def world(conf, database):
    return bills.made(conf)


def written(statements, made=None):
    sink = io.BytesIO()
    (made or FocusWriter()).write(statements, sink)
    return sink.getvalue()


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text.decode())))


def faults(rows, statements):
    """Return what is wrong with *rows* of *statements*; the validator skips much of this."""
    found = [(n, name) for n, row in enumerate(rows) for name in row_faults(row)]
    return found + [fault for one in statements for fault in sum_faults(rows, one.content)]


def row_faults(row):
    """Yield the columns of a row that do not fit its others."""
    numbers = {name: Fraction(row[name]) for name in NUMBERS if row[name]}
    for price, cost in (('ContractedUnitPrice', 'ContractedCost'), ('ListUnitPrice', 'ListCost')):
        whole = numbers[price] * numbers['PricingQuantity'] if row[price] else numbers[cost]
        if abs(whole - numbers[cost]) > Fraction(1, 10**9):
            yield price
    if row['ChargeCategory'] not in ('Usage', 'Credit', 'Adjustment', 'Tax'):
        yield 'ChargeCategory'
    is_plain = row['ChargeCategory'] == 'Usage' and not row['ChargeClass']
    for name in ('PricingQuantity', 'SkuId', 'SkuPriceId', 'ListUnitPrice', 'PricingUnit'):
        if bool(row[name]) != is_plain:
            yield name
    if row['BilledCost'] != row['EffectiveCost']:
        yield 'EffectiveCost'
    yield from (name for name in MOMENTS if not row[name].endswith('Z'))


def sum_faults(rows, content):
    """Yield the columns that do not add up to a statement."""
    own = [
        row
        for row in rows
        if (row['InvoiceId'], row['BillingAccountId'])
        == (content.get('number', ''), content['account']['id'])
    ]
    if sum(Fraction(row['BilledCost']) for row in own) != Fraction(content['total']):
        yield content['account']['id'], 'BilledCost'
    usage = [row for row in own if row['ChargeCategory'] == 'Usage' and row['SkuMeter'] != 'Month']
    at_list = Fraction(content['list']) * Fraction(content['conversion_rate'])
    if sum(Fraction(row['ListCost']) for row in usage) != at_list:
        yield content['account']['id'], 'ListCost'


def test_rows_add_up_to_the_statements(world):
    """Closed and draft, with every kind of line; no number loses a digit."""
    closed, draft = bills.closed(world), [bills.draft(world)]

    assert len(closed) == 2
    for statements in (closed, draft):
        rows = rows_of(written(statements))
        assert tuple(rows[0]) == COLUMNS
        assert faults(rows, statements) == []
    rows = rows_of(written(closed))
    kinds = {(row['ChargeCategory'], row['ChargeClass'], row['ChargeFrequency']) for row in rows}
    assert kinds == {
        ('Usage', '', 'Usage-Based'),
        ('Usage', '', 'Recurring'),
        ('Usage', 'Correction', 'One-Time'),
        ('Credit', '', 'One-Time'),
        ('Adjustment', '', 'One-Time'),
        ('Tax', '', 'One-Time'),
    }
    tiers = {row['SkuPriceId'] for row in rows if row['SkuId'] == 'standard/vcpu'}
    assert tiers == {f'standard/vcpu/tier-{number}' for number in (1, 2, 3)}
    assert {row['SkuPriceId'] for row in rows if row['SkuId'] == 'standard/object'} == {
        'standard/object/allowance',
        'standard/object/unit',
    }
    swiss = next(row for row in rows if row['BillingCurrency'] == 'CHF')
    assert swiss['BillingPeriodStart'] == '2026-09-30T22:00:00Z'
    assert swiss['PricingCurrency'] == 'EUR'


def test_a_statement_that_takes_one_back_corrects_it(world):
    number = bills.closed(world)[0].content['number']
    world.closing.void(number, 'wrong', 'ann')
    statements = bills.closed(world)
    rows = rows_of(written(statements))

    assert sum(Fraction(row['BilledCost']) for row in rows if row['BillingCurrency'] == 'EUR') == 0
    taken = [row for row in rows if row['ChargeClass']]
    assert {row['InvoiceId'] for row in taken} >= {statements[1].content['number']}


AMOUNTS = ('BilledCost', 'EffectiveCost', 'ContractedCost', 'ListCost')
FACTORS = ('ContractedUnitPrice', 'ListUnitPrice', 'PricingQuantity')
BROKEN = [
    *((name, Decimal('0.01')) for name in (*AMOUNTS, *FACTORS)),
    ('ChargeCategory', 'Purchase'),
    *((name, '') for name in ('SkuId', 'SkuPriceId', 'PricingUnit', 'ListUnitPrice')),
    ('InvoiceId', 'CK-2026-999999'),
    ('BillingAccountId', 'another'),
    *((name, '2026-10-01T00:00:00') for name in MOMENTS),
]


@pytest.mark.parametrize('name, change', BROKEN)
def test_a_broken_cell_is_found(world, name, change):
    """The checks above have teeth: a number that is changed a little, and what a row must have."""
    statements = bills.closed(world)
    rows = rows_of(written(statements))
    index, row = next(
        (n, row) for n, row in enumerate(rows) if row['SkuId'] and Decimal(row['BilledCost'])
    )
    assert faults(rows, statements) == []

    value = change if isinstance(change, str) else str(Decimal(row[name]) + change)
    rows[index] = row | {name: value}

    assert faults(rows, statements) != []


def test_parquet_holds_what_csv_does(world, tmp_path):
    """Read by DuckDB, number by number."""
    statements = bills.closed(world)
    path = tmp_path / 'closed.parquet'
    path.write_bytes(written(statements, FocusParquetWriter()))
    expected = rows_of(written(statements))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM '{path}'").fetchall()

    assert len(found) == len(expected)
    for values, row in zip(found, expected, strict=True):
        for name, value in zip(COLUMNS, values, strict=True):
            if name in MOMENTS:
                assert row[name] == value.replace(' ', 'T').replace('+00', 'Z')
            elif row[name] and name in NUMBERS:
                assert Decimal(row[name]) == Decimal(value)
            else:
                assert row[name] == (value or '')


def test_a_number_that_parquet_cannot_hold_is_refused(world):
    [statement] = [one for one in bills.closed(world) if one.content['currency'] == 'EUR']
    line = statement.content['lines'][0]
    huge = line | {'quantity': '12345678901234567890.1234567890123456789012345678', 'steps': []}
    content = dict(statement.content, lines=[huge])

    with pytest.raises(errors.InvalidInput, match='digits before'):
        written([statement._replace(content=content)], FocusParquetWriter())
    assert b'12345678901234567890.1234567890123456789012345678' in written(
        [statement._replace(content=content)]
    )


def test_parts_add_up(world):
    """Of each line, number by number."""
    for statement in bills.closed(world):
        for line in statement.content['lines']:
            found = parts.divide(line)
            for name, own in (
                ('quantity', 'quantity'),
                ('list_price', 'list'),
                ('exact', 'exact'),
                ('amount', 'amount'),
            ):
                whole = sum(Fraction(getattr(part, name)) for part in found)
                assert whole == Fraction(line[own])


def failures(path, python):
    """Return the names of the rules that the validator says a file breaks; its status is always 0.

    :param python: 3.12 or newer.
    """
    bin_folder = peers.environment('focus', python)
    report = path.with_suffix('.xml')
    ended = subprocess.run(
        [
            bin_folder / 'focus-validator',
            *('--data-file', path, '--validate-version', '1.2.0.1', '--block-download'),
            *('--focus-dataset', 'CostAndUsage', '--applicability-criteria', CLAIMED),
            *('--output-type', 'unittest', '--output-destination', report),
        ],
        cwd=next(bin_folder.parent.glob('lib/python3*/site-packages')),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr
    suites = ElementTree.parse(report).getroot()
    cases = list(suites.iter('testcase'))
    passed = [case for case in cases if not len(case)]
    assert len(passed) > 280, 'the validator skipped more than it should'
    return {case.get('name').split(' ')[0] for case in cases if case.find('failure') is not None}


@pytest.mark.parametrize('state', sorted(UNAVOIDABLE))
def test_the_validator_of_the_format_agrees(conf, database, tmp_path, state):
    """Where a Python is present that it can run in; the checks above hold everywhere.

    It takes text that is not ASCII for a fault, which the format does not.
    """
    account = bills.DOCUMENT['accounts']['acme'] | {'name': 'ACME Ltd'}
    world = bills.made(conf, accounts={'acme': account})
    statements = bills.closed(world) if state == 'closed' else [bills.draft(world)]
    path = tmp_path / f'{state}.csv'
    path.write_bytes(written(statements))
    python = peers.python_since(12)

    assert faults(rows_of(path.read_bytes()), statements) == []
    if python is not None:
        assert failures(path, python) == {UNAVOIDABLE[state]}
