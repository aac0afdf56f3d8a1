"""Text for files that people open in a spreadsheet."""

from cloudkitty.core import bounds

# A spreadsheet takes a cell that begins with one of these for a formula, which could run a program
# or send the sheet away. An apostrophe before it makes the cell text.
FORMULA_STARTS = ('=', '+', '-', '@', '\t', '\r', '\n')


def safe_text(text: str) -> str:
    """Return *text* as a cell that is no formula and is shown in the order of its characters."""
    text = bounds.quote_directions(text)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
