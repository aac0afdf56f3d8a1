"""Reader of InfluxDB 2, which is queried with Flux and returns CSV tables.

A table holds one field of one series; the fields of a point are put together here. A pivot on the
server would fail where a tag and a field have the same name, or a field has two types.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.bounds import read_sample
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import former, http
from cloudkitty.storage.former import Point, Sum, influxdb

# [storage_influxdb]version
VERSION = 2
ANNOTATIONS = ('datatype', 'group', 'default')
EVER = Period(timeframe.EPOCH, datetime(2200, 1, 1, tzinfo=UTC))
# Columns of the key of a table that are no tags.
_NO_TAGS = frozenset(('', 'result', 'table', '_start', '_stop', '_time', '_field', '_measurement'))
_FIELD_SIZE_MAX = 16 * 2**20


class Cell(NamedTuple):
    """A row of a table.

    :ivar types: data types by column.
    :ivar keys: columns that are the same in all rows of the table.
    """

    values: Mapping[str, str]
    types: Mapping[str, str]
    keys: frozenset[str]

    @property
    def tags(self) -> dict[str, str]:
        return {
            name: self.values[name]
            for name in self.values
            if name in self.keys and name not in _NO_TAGS and self.values[name]
        }

    @property
    def value(self) -> Any:
        text, kind = self.values['_value'], self.types.get('_value')
        if kind == 'double':
            return read_sample(text)
        if kind in ('long', 'unsignedLong'):
            return int(text)
        return text == 'true' if kind == 'boolean' else text


class InfluxDB2Reader(former.Reader):
    """InfluxDB 2.x."""

    GROUP = influxdb.InfluxDBReader.GROUP
    OPTS = influxdb.InfluxDBReader.OPTS

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        options = self.options
        self._server = http.PatientServer(
            self.GROUP,
            options.url,
            timeout_s=options.timeout,
            cafile=options.cafile,
            is_insecure=options.insecure,
            headers={'Authorization': f'Token {options.token or ""}', 'Accept': 'application/csv'},
        )
        self._maker = influxdb.PointMaker(self)

    def extent(self) -> Period | None:
        times = []
        for function, order in (('first', 'false'), ('last', 'true')):
            query = (
                f'{self._from(EVER)} |> filter(fn: (r) => r._field == "qty") |> {function}() '
                f'|> group() |> sort(columns: ["_time"], desc: {order}) |> limit(n: 1)'
            )
            times += [_instant(cell) for cell in self._ask(query, '_time')]
        return Period(min(times), max(times) + timedelta(seconds=1)) if times else None

    def read(self, window: Period) -> Iterator[Point]:
        self._maker.forget()
        fields: dict[tuple[Any, datetime], dict[str, Any]] = {}
        for cell in self._ask(self._from(window), '_time'):
            key = tuple(sorted(cell.tags.items())), _instant(cell)
            fields.setdefault(key, {})[cell.values['_field']] = cell.value
            if self.points_max is not None and len(fields) > self.points_max:
                raise former.WindowTooLarge
        for (items, begin), own in fields.items():
            tags = dict(items)
            metric = tags.pop(influxdb.METRIC, '')
            yield self._maker.point(influxdb.Row(begin, metric, tags, own))

    def sums(self, window: Period) -> Mapping[tuple[str, str], Sum] | None:
        columns = ', '.join(map(_quoted, (self.scope_key, influxdb.METRIC, '_field')))
        query = (
            f'{self._from(window)} |> filter(fn: (r) => r._field == "qty" or r._field == "price") '
            f'|> group(columns: [{columns}]) |> sum()'
        )
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for cell in self._ask(query):
            key = cell.values.get(self.scope_key, ''), cell.values.get(influxdb.METRIC, '')
            number = former.number(cell.value, str(key))
            found.setdefault(key, {})[cell.values['_field']] = number
        return {key: Sum(**sums) for key, sums in found.items()}

    def _from(self, window: Period) -> str:
        begin, end = (f'{bound:%Y-%m-%dT%H:%M:%SZ}' for bound in window)
        return (
            f'from(bucket: {_quoted(self.options.bucket)}) |> range(start: {begin}, stop: {end}) '
            f'|> filter(fn: (r) => r._measurement == "{influxdb.MEASUREMENT}")'
        )

    def _ask(self, query: str, *columns: str) -> Iterator[Cell]:
        """Yield the rows of all tables of the answer, which have these *columns*.

        :raises SourceError: the server reports an error, at once or after some tables.
        """
        dialect = {'annotations': ANNOTATIONS, 'header': True}
        lines = self._server.lines(
            'POST',
            'api/v2/query',
            params={'org': self.options.org},
            json={'query': query, 'dialect': dialect},
        )
        csv.field_size_limit(_FIELD_SIZE_MAX)
        try:
            for cell in _cells(csv.reader(f'{line.decode()}\n' for line in lines)):
                if 'error' in cell.values:
                    raise self._server.error(http.shorten(cell.values['error']))
                if not cell.values.keys() >= {'_value', '_field', *columns}:
                    raise ValueError('a table lacks columns')
                yield cell
        except (ValueError, LookupError, csv.Error, errors.InvalidInput) as exc:
            raise self._server.error(f'the answer is not from InfluxDB 2: {exc}') from exc


def _cells(rows: Iterable[Sequence[str]]) -> Iterator[Cell]:
    """Yield the rows of tables; each table begins with annotations and a row of names."""
    notes: dict[str, Sequence[str]] = {}
    names: Sequence[str] | None = None
    for row in rows:
        if not any(row):
            notes, names = {}, None
        elif row[0].startswith('#'):
            # Annotations begin a table even without an empty line before them.
            notes = {} if names is not None else notes
            names = None
            notes[row[0][1:]] = row
        elif names is None:
            names = row
            types = dict(zip(names, notes.get('datatype', ()), strict=False))
            keys = frozenset(
                name
                for name, told in zip(names, notes.get('group', ()), strict=False)
                if told == 'true'
            )
        else:
            defaults = notes.get('default') or [''] * len(names)
            values = {
                name: text or default
                for name, text, default in zip(names, row, defaults, strict=True)
            }
            yield Cell(values, types, keys)


def _instant(cell: Cell) -> datetime:
    return timeframe.parse_exact(cell.values['_time'])


def _quoted(name: str) -> str:
    escaped = name.replace('\\', '\\\\').replace('"', '\\"')
    return f'"{escaped}"'
