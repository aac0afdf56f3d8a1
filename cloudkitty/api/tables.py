"""Answers as CSV (RFC 4180), for spreadsheets and accounting."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from webob import acceptparse

from cloudkitty.core import timeframe
from cloudkitty.writer.spreadsheet import safe_text

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
    part = io.StringIO()
    write = csv.writer(part).writerow
    write([safe_text(name) for name in table.columns])
    for number, row in enumerate(table.rows, 1):
        # Most cells of a table with many columns are empty.
        write([None if value is None else _cell(value) for value in map(row.get, table.columns)])
        if not number % ROWS_AT_ONCE:
            yield _take(part)
    yield _take(part)


def _take(part):
    text = part.getvalue()
    part.seek(0)
    part.truncate()
    return text.encode()


def _cell(value):
    if value is None:
        return ''
    if isinstance(value, datetime):
        return timeframe.render(value)
    if isinstance(value, Decimal):
        # All digits and no exponent.
        return format(value, 'f')
    return safe_text(value) if isinstance(value, str) else value
