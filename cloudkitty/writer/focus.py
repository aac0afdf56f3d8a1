"""FOCUS 1.2, the format of the FinOps Foundation for costs, as CSV and Parquet.

Source: doc/source/admin/files.rst, "FOCUS".
"""

import functools
import itertools
import operator
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, BinaryIO

import orjson

from cloudkitty import errors, writer
from cloudkitty.core.billing import form
from cloudkitty.writer import Statement, focus_rows, parquet, spreadsheet
from cloudkitty.writer.focus_rows import COLUMNS, MOMENTS, NUMBERS, Row

FOLDER = 'focus/1.2'
MEMORY_MAX = 16 * 2**20
ROWS_PER_GROUP = 20_000
# Precision of DuckDB and most other readers, and the scales that are tried.
PRECISION, SCALES = 38, (10, 18, 28)
_values = operator.itemgetter(*COLUMNS)


class FocusWriter(writer.BaseStatementsWriter):
    """FOCUS as CSV; numbers have all their digits."""

    extension = 'csv'
    folder = FOLDER

    def write(self, statements: Iterable[Statement], out: BinaryIO) -> None:
        out.write(_line(COLUMNS))
        for row in _rows(statements):
            out.write(_line([_text(value) for value in _values(row)]))


class FocusParquetWriter(writer.BaseStatementsWriter):
    """FOCUS as Parquet; needs the extra `parquet`.

    A column of numbers has as many digits after the point as its values need; one that does not fit
    into 38 digits is refused, never rounded.
    """

    extension = 'parquet'
    folder = FOLDER

    def write(self, statements: Iterable[Statement], out: BinaryIO) -> None:
        arrow, library = parquet.libraries()
        with tempfile.SpooledTemporaryFile(MEMORY_MAX) as spool:
            scales = _Scales()
            for row in _rows(statements):
                scales.add(row)
                spool.write(orjson.dumps(row, default=str) + b'\n')
            spool.seek(0)
            schema = arrow.schema([(name, _type(arrow, name, scales)) for name in COLUMNS])
            with library.ParquetWriter(out, schema, compression='zstd') as file:
                for group in _groups(spool):
                    file.write_table(arrow.Table.from_pylist(group, schema))


class _Scales:
    """The digits that the numbers of each column need."""

    def __init__(self) -> None:
        self.before = dict.fromkeys(NUMBERS, 0)
        self.after = dict.fromkeys(NUMBERS, 0)

    def add(self, row: Row) -> None:
        for name in NUMBERS:
            value = row[name]
            if isinstance(value, Decimal):
                whole, _, rest = form.number(value.copy_abs()).partition('.')
                self.before[name] = max(self.before[name], len(whole))
                self.after[name] = max(self.after[name], len(rest))

    def scale(self, name: str) -> int:
        """Return the scale of a column.

        :raises InvalidInput: no type holds its values.
        """
        scale = next((one for one in SCALES if one >= self.after[name]), self.after[name])
        if self.before[name] + scale > PRECISION:
            raise errors.InvalidInput(
                reason=f'{name} has {self.before[name]} digits before and {self.after[name]} after '
                f'the point; Parquet holds {PRECISION}. The format focus has no such bound'
            )
        return scale


def _rows(statements: Iterable[Statement]) -> Iterator[Row]:
    for statement in statements:
        yield from focus_rows.rows_of(statement)


def _type(arrow: Any, name: str, scales: _Scales) -> Any:
    if name in NUMBERS:
        return arrow.decimal128(PRECISION, scales.scale(name))
    return arrow.timestamp('us', tz='UTC') if name in MOMENTS else arrow.string()


def _groups(lines: Iterable[bytes]) -> Iterator[list[dict[str, Any]]]:
    rows = iter(lines)
    while group := [_parsed(line) for line in itertools.islice(rows, ROWS_PER_GROUP)]:
        yield group


def _parsed(line: bytes) -> dict[str, Any]:
    row: dict[str, Any] = orjson.loads(line)
    for name in NUMBERS:
        row[name] = None if row[name] is None else Decimal(row[name])
    for name in MOMENTS:
        row[name] = datetime.fromisoformat(row[name])
    return row


def _line(cells: Sequence[str]) -> bytes:
    return f'{spreadsheet.csv_row(cells)}\n'.encode()


def _text(value: str | Decimal | datetime | None) -> str:
    if value is None:
        return ''
    if isinstance(value, str):
        return spreadsheet.safe_text(value)
    return form.number(value) if isinstance(value, Decimal) else _moment(value)


# The rows of a month have few different ones.
@functools.lru_cache(maxsize=1024)
def _moment(value: datetime) -> str:
    return value.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%SZ')
