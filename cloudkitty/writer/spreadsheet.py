"""Rows of CSV files (RFC 4180) that people open in a spreadsheet."""

import re
from collections.abc import Iterable

from cloudkitty.core import bounds

# A spreadsheet takes a cell that begins with one of these for a formula, which could run a program
# or send the sheet away; the wide ones where people write Japanese. An apostrophe makes it text.
# Where a semicolon or a tab separates cells, a cell begins in the middle of a text, too.
_FORMULA = re.compile(r'^(?=[\t\r\n])|(?:^|(?<=[;\t\r\n]))(?![;\t\r\n])(?=[\s"]*[=+\-@＝＋－＠])')
# Besides comma and quote, what a spreadsheet may separate cells by.
_QUOTED = re.compile('[",;\t\r\n]')


def safe_text(text: str) -> str:
    """Return *text* as a cell that is no formula and is shown in the order of its characters."""
    return _FORMULA.sub("'", bounds.quote_directions(text))


def csv_row(cells: Iterable[str]) -> str:
    """Return a line without its end; texts are those of safe_text(), or numbers."""
    # A line without any text would be no row.
    return ','.join(map(_quoted, cells)) or '""'


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _QUOTED.search(cell) else cell
