"""Files of rated data: JSON lines and Parquet. Every number is text, so that no digit is lost.

JSON lines: a head, one line a scope, period and origin, and a last line that says how many there
were. Parquet: one row a point, the rows of a scope, period and origin together; the head is in the
metadata of the schema.
"""

import itertools
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple

import orjson

from cloudkitty import errors, timeframe
from cloudkitty.dataframe import DataFrame, DataPoint, Series, to_decimal
from cloudkitty.storage.v2.sql.transfer import State
from cloudkitty.storage.v2.sql.writer import PUSHED, RATED, Cell

VERSION = 1
ORIGINS = {RATED: 'rated', PUSHED: 'pushed'}
NUMBERS = {name: number for number, name in ORIGINS.items()}
ROWS_PER_GROUP = 50000
HEAD_KEY = b'cloudkitty'
COLUMNS = ('scope', 'origin', 'begin', 'end', 'metric', 'unit', 'qty', 'price', 'groupby',
           'metadata', 'description')


class Head(NamedTuple):
    """What a file says of itself.

    :ivar scope_key: the attribute that names scopes.
    :ivar states: how far the scopes are rated; none of a part of the time.
    """

    scope_key: str
    states: list[State]

    def encode(self) -> bytes:
        states = [{**one._asdict(), 'mark': timeframe.render(one.mark)} for one in self.states]
        return orjson.dumps({'cloudkitty_rated_data': VERSION, 'scope_key': self.scope_key,
                             'scopes': states})

    @classmethod
    def decode(cls, text: bytes) -> 'Head':
        """Return what *text* says.

        :raises InvalidInput: it is no head of a version known here.
        """
        try:
            form = orjson.loads(text)
            if form['cloudkitty_rated_data'] != VERSION:
                raise errors.InvalidInput(
                    reason=f'the file is of version {form["cloudkitty_rated_data"]!r}; this '
                           f'release reads {VERSION}')
            return cls(form['scope_key'], [
                State(**{**one, 'mark': timeframe.parse(one['mark'])}) for one in form['scopes']])
        except (ValueError, KeyError, TypeError) as exc:
            raise errors.InvalidInput(reason='the file has no head of rated data') from exc


def write_lines(sink: BinaryIO, head: Head, cells: Iterable[Cell]) -> Iterator[int]:
    """Write JSON lines; yield 1 for each cell."""
    sink.write(head.encode() + b'\n')
    count = 0
    for cell in cells:
        points = [{'metric': name, 'unit': point.unit, 'qty': str(point.qty),
                   'price': str(point.price), 'groupby': dict(point.groupby),
                   'metadata': dict(point.metadata), 'description': point.description}
                  for name, point in cell.frame]
        sink.write(orjson.dumps(
            {'scope': cell.owner, 'origin': ORIGINS[cell.origin],
             'begin': cell.frame.start, 'end': cell.frame.end, 'points': points},
            default=str, option=orjson.OPT_NON_STR_KEYS) + b'\n')
        count += 1
        yield 1
    sink.write(orjson.dumps({'end': count}) + b'\n')


def read_lines(source: BinaryIO) -> tuple[Head, Iterator[Cell]]:
    """Return the head and the cells of JSON lines.

    :raises InvalidInput: a line is wrong, or the last one is missing; the text says which.
    """
    return Head.decode(source.readline()), _cells_of_lines(source)


def _cells_of_lines(source):
    count = 0
    series = {}
    for number, line in enumerate(source, 2):
        try:
            form = orjson.loads(line)
            if 'end' in form and 'points' not in form:
                if form['end'] != count:
                    raise errors.InvalidInput(
                        reason=f'{count} periods where {form["end"]} should be')
                return
            yield _cell(form, form['points'], series)
        except (ValueError, KeyError, TypeError, errors.InvalidInput) as exc:
            raise errors.InvalidInput(reason=f'line {number}: {exc}') from exc
        count += 1
    raise errors.InvalidInput(reason=f'the file ends after {count} periods, before its last line')


def _cell(form, points, series):
    frame = DataFrame(_instant(form['begin']), _instant(form['end']))
    for one in points:
        made = Series(one['unit'], one['groupby'], one['metadata'], one['description'])
        # Shared from period to period, as the writer likes them.
        made = series.setdefault(made.identity, made)
        frame.add_point(DataPoint.of(made, to_decimal(one['qty']), to_decimal(one['price'])),
                        one['metric'])
    if len(series) > ROWS_PER_GROUP:
        series.clear()
    return Cell(form['scope'], NUMBERS[form['origin']], frame)


def _instant(value: Any) -> datetime:
    return value if isinstance(value, datetime) else timeframe.parse_exact(value)


def _arrow():
    """Return the modules of pyarrow.

    :raises ConfigurationError: it is not installed.
    """
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError as exc:
        raise errors.ConfigurationError(
            reason='Parquet needs pyarrow: pip install cloudkitty[parquet]') from exc
    return pyarrow, parquet


def write_parquet(sink: BinaryIO, head: Head, cells: Iterable[Cell]) -> Iterator[int]:
    """Write Parquet; yield 1 for each cell."""
    arrow, parquet = _arrow()
    moment = arrow.timestamp('us', tz='UTC')
    schema = arrow.schema(
        [(name, moment if name in ('begin', 'end') else arrow.string()) for name in COLUMNS],
        metadata={HEAD_KEY: head.encode()})
    with parquet.ParquetWriter(sink, schema, compression='zstd') as writer:
        rows = []
        for cell in cells:
            rows.extend(_rows(cell))
            yield 1
            if len(rows) >= ROWS_PER_GROUP:
                writer.write_table(arrow.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(arrow.Table.from_pylist(rows, schema))


def _rows(cell):
    for name, point in cell.frame:
        yield {'scope': cell.owner, 'origin': ORIGINS[cell.origin], 'begin': cell.frame.start,
               'end': cell.frame.end, 'metric': name, 'unit': point.unit, 'qty': str(point.qty),
               'price': str(point.price), 'groupby': _json(point.groupby),
               'metadata': _json(point.metadata), 'description': point.description}


def _json(attributes):
    return orjson.dumps(attributes, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def read_parquet(source: BinaryIO) -> tuple[Head, Iterator[Cell]]:
    """Return the head and the cells of a Parquet file; one that cannot seek is copied first.

    :raises InvalidInput: it is no such file, or a row is wrong.
    """
    arrow, parquet = _arrow()
    if not source.seekable():
        copy = tempfile.TemporaryFile()
        shutil.copyfileobj(source, copy)
        source = copy
    try:
        file = parquet.ParquetFile(source)
    except arrow.ArrowInvalid as exc:
        raise errors.InvalidInput(reason=f'the file is no whole Parquet file: {exc}') from exc
    metadata = file.schema_arrow.metadata or {}
    return Head.decode(metadata.get(HEAD_KEY, b'')), _cells_of_rows(file)


def _cells_of_rows(file):
    series = {}
    rows = itertools.chain.from_iterable(
        batch.to_pylist() for batch in file.iter_batches(ROWS_PER_GROUP // 10))
    for _, members in itertools.groupby(
            rows, key=lambda row: (row['scope'], row['origin'], row['begin'])):
        points = list(members)
        try:
            for one in points:
                one['groupby'] = orjson.loads(one['groupby'])
                one['metadata'] = orjson.loads(one['metadata'])
            yield _cell(points[0], points, series)
        except (ValueError, KeyError, TypeError) as exc:
            raise errors.InvalidInput(reason=f'a row is wrong: {exc}') from exc


FORMATS = {'jsonl': (write_lines, read_lines), 'parquet': (write_parquet, read_parquet)}
