"""Parquet: one row per point, with the rows of a scope, period and origin together.

The header is in the metadata of the schema. Every number is text, so that no digit is lost.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import orjson

from cloudkitty import errors, plugins, writer
from cloudkitty.writer import RatedPeriod, Report, header

ROWS_PER_GROUP = 50000
HEADER_KEY = b'cloudkitty'
COLUMNS = (
    'scope',
    'origin',
    'begin',
    'end',
    'metric',
    'unit',
    'qty',
    'price',
    'groupby',
    'metadata',
    'description',
)


class ParquetWriter(writer.BaseReportWriter):
    """Parquet, for DuckDB, pandas and the like; needs the extra `parquet`."""

    extension = 'parquet'
    can_read = True

    def write(self, report: Report, out: BinaryIO) -> Iterator[int]:
        arrow, parquet = libraries()
        moment = arrow.timestamp('us', tz='UTC')
        schema = arrow.schema(
            [(name, moment if name in ('begin', 'end') else arrow.string()) for name in COLUMNS],
            metadata={HEADER_KEY: header.encode(report)},
        )
        with parquet.ParquetWriter(out, schema, compression='zstd') as file:
            rows: list[dict[str, Any]] = []
            for period in report.periods:
                rows.extend(_rows(period))
                yield 1
                if len(rows) >= ROWS_PER_GROUP:
                    file.write_table(arrow.Table.from_pylist(rows, schema))
                    rows = []
            if rows:
                file.write_table(arrow.Table.from_pylist(rows, schema))

    def read(self, source: BinaryIO) -> Report:
        """Return the report in a file; a file that cannot seek is copied first."""
        arrow, parquet = libraries()
        if not source.seekable():
            copy = tempfile.TemporaryFile()
            shutil.copyfileobj(source, copy)
            source = copy
        try:
            file = parquet.ParquetFile(source)
        except arrow.ArrowInvalid as exc:
            raise errors.InvalidInput(
                reason=f'the file is not a complete Parquet file: {exc}'
            ) from exc
        metadata = file.schema_arrow.metadata or {}
        return Report(*header.decode(metadata.get(HEADER_KEY, b'')), _periods(file))


def libraries() -> tuple[Any, Any]:
    """Return the modules of pyarrow.

    :raises ConfigurationError: it is not installed.
    """
    pyarrow = plugins.import_extra(
        'Parquet needs pyarrow: pip install pyarrow', 'pyarrow', 'pyarrow.parquet'
    )
    return pyarrow, pyarrow.parquet


def _rows(period: RatedPeriod) -> Iterator[dict[str, Any]]:
    for name, point in period.frame:
        yield {
            'scope': period.scope_id,
            'origin': period.origin,
            'begin': period.frame.start,
            'end': period.frame.end,
            'metric': name,
            'unit': point.unit,
            'qty': str(point.qty),
            'price': str(point.price),
            'groupby': _json(point.groupby),
            'metadata': _json(point.metadata),
            'description': point.description,
        }


def _json(attributes: Mapping[str, Any]) -> str:
    return orjson.dumps(attributes, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _periods(file: Any) -> Iterator[RatedPeriod]:
    parser = header.PeriodParser()
    rows = itertools.chain.from_iterable(
        batch.to_pylist() for batch in file.iter_batches(ROWS_PER_GROUP // 10)
    )
    for _, members in itertools.groupby(
        rows, key=lambda row: (row['scope'], row['origin'], row['begin'])
    ):
        points = list(members)
        try:
            for one in points:
                one['groupby'] = orjson.loads(one['groupby'])
                one['metadata'] = orjson.loads(one['metadata'])
            yield parser.parse(points[0], points)
        except (ValueError, KeyError, TypeError, errors.InvalidInput) as exc:
            raise errors.InvalidInput(reason=f'a row is invalid: {exc}') from exc
