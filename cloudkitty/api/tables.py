"""Answers as CSV (RFC 4180), for spreadsheets and accounting."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from webob import acceptparse

from cloudkitty.core import timeframe
from cloudkitty.writer.spreadsheet import csv_row, safe_text

CSV_TYPE = 'text/csv'
JSON_TYPE = 'application/json'
ROWS_AT_ONCE = 500


class CSVTable(NamedTuple):
    """Content of a CSV file.

    :ivar name: of the file, without the ending.
    :ivar rows: values by column; a column that a row lacks is empty.
    """

    name: str
    columns: Sequence[str]
    rows: Iterable[Mapping[str, Any]]


def prefers_csv(accept: str | None) -> bool:
    """Return whether an Accept header asks for CSV rather than JSON."""
    offers = acceptparse.create_accept_header(accept).acceptable_offers([JSON_TYPE, CSV_TYPE])
    return bool(offers) and offers[0][0] == CSV_TYPE


def encode(table: CSVTable) -> Iterator[bytes]:
    """Yield the file in parts, UTF-8."""
    lines = [csv_row([safe_text(name) for name in table.columns])]
    for number, row in enumerate(table.rows, 1):
        # Most cells of a table with many columns are empty.
        cells = ['' if value is None else _cell(value) for value in map(row.get, table.columns)]
        lines.append(csv_row(cells))
        if not number % ROWS_AT_ONCE:
            yield _take(lines)
    yield _take(lines)


def _take(lines):
    part = ''.join([f'{line}\r\n' for line in lines])
    lines.clear()
    return part.encode()


def _cell(value):
    if isinstance(value, datetime):
        return timeframe.render(value)
    if isinstance(value, Decimal):
        # All digits and no exponent.
        return format(value, 'f')
    return safe_text(str(value))
