"""Answers as CSV."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from cloudkitty.api import tables


def read(table):
    return list(csv.reader(io.StringIO(b''.join(tables.encode(table)).decode(), newline='')))


@pytest.mark.parametrize(
    ('accept', 'expected'),
    [
        (None, False),
        ('', False),
        ('*/*', False),
        ('application/json', False),
        ('text/csv', True),
        ('text/csv, application/json;q=0.5', True),
        ('text/csv;q=0.5, application/json', False),
        ('text/html, text/csv;q=0', False),
        ('nonsense;;;', False),
    ],
)
def test_csv_is_answered_when_it_is_preferred(accept, expected):
    assert tables.prefers_csv(accept) is expected


def test_numbers_keep_all_digits_and_times_their_zone():
    row = {'a': Decimal('1E-30'), 'b': Decimal('1E+3'), 'c': datetime(2024, 5, 1, tzinfo=UTC)}

    assert read(tables.CSVTable('t', ['a', 'b', 'c', 'd'], [row])) == [
        ['a', 'b', 'c', 'd'],
        ['0.000000000000000000000000000001', '1000', '2024-05-01T00:00:00+00:00', ''],
    ]


@pytest.mark.parametrize(
    'text',
    ['=1+1', '+1', '-1', '@SUM(A1)', ' =1', '"=1"', '\u00a0=1', '＝1', '＋1', '－1', '＠SUM(A1)'],
)
def test_text_is_no_formula(text):
    assert read(tables.CSVTable('t', [text], [{text: text}])) == [[f"'{text}"], [f"'{text}"]]


@pytest.mark.parametrize('separator', ['\t', '\r', '\n', '\r\n', ';'])
@pytest.mark.parametrize('formula', ['=1', ' -1', '"@SUM(A1)"'])
def test_text_is_no_formula_wherever_it_is_split(separator, formula):
    """The separator is a setting of the spreadsheet, and is known to be a semicolon in Europe."""
    table = tables.CSVTable('t', ['a', 'b'], [{'a': 'x', 'b': f'web{separator}{formula}'}])
    written = b''.join(tables.encode(table)).decode()

    assert read(table)[1] == ['x', f"web{separator}'{formula}"]
    assert f"{separator}'" in written


@pytest.mark.parametrize('text', ['a-1', 'a;b', 'a=b', 'a; b=1', 'a\nb', 'x@example.org', "'"])
def test_other_text_stays_as_it_is(text):
    assert read(tables.CSVTable('t', [text], [{text: text}])) == [[text], [text]]


@pytest.mark.parametrize('text', ['a;b', 'a\tb', 'a,b', 'a\nb'])
def test_text_is_one_cell_whatever_separates_cells(text):
    """Spreadsheets take semicolons and tabs for separators beside commas, but not in quotes."""
    assert f'"{text}"'.encode() in b''.join(
        tables.encode(tables.CSVTable('t', ['a'], [{'a': text}]))
    )


def test_a_row_of_nothing_is_a_row():
    assert read(tables.CSVTable('t', ['a'], [{}])) == [['a'], ['']]


def test_text_is_read_in_the_order_in_which_it_is_written():
    text = 'web\u202epohs'

    assert read(tables.CSVTable('t', ['a'], [{'a': text}]))[1] == ['web\\u202epohs']


def test_a_negative_number_is_no_formula():
    assert read(tables.CSVTable('t', ['a'], [{'a': Decimal('-1.5')}]))[1] == ['-1.5']


def test_separators_in_text_are_quoted():
    text = 'a,"b"\r\nc'

    assert read(tables.CSVTable('t', ['a'], [{'a': text}]))[1] == [text]


def test_more_rows_than_a_part_arrive_once_each():
    count = 2 * tables.ROWS_AT_ONCE + 1

    found = read(tables.CSVTable('t', ['a'], ({'a': number} for number in range(count))))

    assert [row[0] for row in found[1:]] == [str(number) for number in range(count)]
