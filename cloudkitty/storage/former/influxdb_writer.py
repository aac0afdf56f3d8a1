"""Writer to InfluxDB 1, for a return to the former service. The layout is that of the reader."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.former import importer, influxdb
from cloudkitty.storage.former.influxdb import Row

LINES_AT_ONCE = 5000
_MOMENT = timedelta(microseconds=1)
# The server refuses a field of this name, and the last two would change the bill.
_RESERVED = influxdb.FIELDS | {'time', influxdb.METRIC}


@dataclass
class Losses:
    """Data that the store cannot hold.

    :ivar merged: points that were added to another one of their period, because only metadata
        tells them apart.
    :ivar long_numbers: quantities and prices with more digits than a float holds exactly.
    :ivar attributes: metadata that were left out.
    """

    merged: int = 0
    long_numbers: int = 0
    attributes: int = 0


class InfluxDBWriter(influxdb.InfluxDBReader):
    """InfluxDB 1, whose measurement is written too."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        if self.options.version != 1:
            raise errors.ConfigurationError(
                reason=f'[{self.GROUP}]version = {self.options.version}: rated data is written to '
                'InfluxDB 1 only'
            )
        self.losses = Losses()
        self._types: dict[str, str] | None = None

    def rows_of(self, scope_id: str, frames: Sequence[DataFrame]) -> list[Row]:
        """Return the points to store for the *frames* of one period of a scope.

        :raises SourceError: the server does not answer.
        :raises InvalidInput: a point cannot be stored.
        """
        found: dict[Any, Row] = {}
        for frame in frames:
            for metric, point in frame:
                tags = self._tags(scope_id, metric, frame.start, point.groupby)
                key = metric, frozenset(tags.items())
                if key in found:
                    self.losses.merged += 1
                    found[key] = _added(found[key], point)
                else:
                    found[key] = Row(frame.start, metric, tags, self._fields(frame, point))
        return [self._rounded(row) for row in found.values()]

    def _tags(
        self, scope_id: str, metric: str, begin: datetime, groupby: Mapping[str, Any]
    ) -> dict[str, str]:
        tags = {self.scope_key: scope_id, **groupby, **timeframe.calendar_of(begin)}
        found = {name: str(value) for name, value in tags.items() if value not in ('', None)}
        found.pop(influxdb.METRIC, None)
        for name, value in (*found.items(), (influxdb.METRIC, metric)):
            if value.endswith('\\') or name.endswith('\\'):
                raise errors.InvalidInput(
                    reason=f'scope {scope_id!r}, period {timeframe.render(begin)}: InfluxDB '
                    f'refuses the attribute {name} = {value!r}, because it ends in a backslash'
                )
        return found

    def _fields(self, frame: DataFrame, point: DataPoint) -> dict[str, Any]:
        names = [*point.groupby, *(k for k in timeframe.CALENDAR_KEYS if k not in point.groupby)]
        fields: dict[str, Any] = {}
        for name, value in point.metadata.items():
            made = self._field(name, value)
            if made is None:
                self.losses.attributes += 1
            elif made != '':
                fields[name] = made
        fields |= {
            'qty': point.qty,
            'price': point.price,
            'unit': point.unit,
            'groupby': '|'.join(names),
            'metadata': '|'.join(point.metadata),
            influxdb.PERIOD: int((frame.end - frame.start).total_seconds()),
        }
        if point.description:
            fields['description'] = _text(point.description)
        return fields

    def _field(self, name: str, value: Any) -> Any:
        """Return a metadata value in the type that its field has in the store; None: none."""
        if name in _RESERVED:
            return None
        if self._types is None:
            self._types = self._read_types()
        kind = self._types.get(name)
        if kind == 'string' or (kind is None and not isinstance(value, bool | int | float)):
            return '' if value is None else _text(value)
        if kind == 'boolean' or isinstance(value, bool):
            return value if isinstance(value, bool) and kind in (None, 'boolean') else None
        return _number(kind, value)

    def _read_types(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for series in self._ask(f'SHOW FIELD KEYS FROM {self._source}'):
            found.update({name: kind for name, kind in series['values']})
        return found

    def _rounded(self, row: Row) -> Row:
        """Return *row* with the floats of its quantity and price."""
        numbers = {}
        for name in ('qty', 'price'):
            self.losses.long_numbers += importer.is_long(row.fields[name])
            numbers[name] = float(row.fields[name])
        return row._replace(fields={**row.fields, **numbers})

    def write(self, rows: Iterable[Row]) -> None:
        """Store *rows*; a point with the same time and tags is replaced.

        :raises SourceError: the server refuses some of them.
        """
        lines = [_line(row) for row in rows]
        parameters = {
            'db': self.options.database,
            'rp': self.options.retention_policy,
            'precision': 'ns',
        }
        for first in range(0, len(lines), LINES_AT_ONCE):
            body = '\n'.join(lines[first : first + LINES_AT_ONCE]).encode()
            with self.server.open('POST', 'write', params=parameters, data=body):
                pass

    def delete(self, scope_id: str, begin: datetime) -> None:
        """Delete the points of one period of a scope.

        :raises SourceError: the server refuses it.
        """
        condition = f'{influxdb.quoted(self.scope_key)} = ' + influxdb.literal(
            influxdb.escaped(scope_id)
        )
        statement = (
            f'DELETE FROM {influxdb.quoted(influxdb.MEASUREMENT)} WHERE '
            f'{influxdb.within(Period(begin, begin + _MOMENT))} AND {condition}'
        )
        answer = self.server.ask(
            'POST', 'query', params={'db': self.options.database}, data={'q': statement}
        )
        for result in answer.get('results', ()):
            if 'error' in result:
                raise self.server.error(str(result['error']))


def same(row: Row, other: Row) -> bool:
    """Return whether two points are the same, with what a float makes of numbers."""
    return key_of(row) == key_of(other) and _plain(row.fields) == _plain(other.fields)


def key_of(row: Row) -> tuple[datetime, str, frozenset[tuple[str, str]]]:
    """Return the key of a point: the store keeps one point of each."""
    return row.begin, row.metric, frozenset(row.tags.items())


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: float(value) if isinstance(value, Decimal | int) else value
        for name, value in fields.items()
        if value != ''
    }


def _added(row: Row, point: DataPoint) -> Row:
    fields = row.fields
    sums = {'qty': fields['qty'] + point.qty, 'price': fields['price'] + point.price}
    return row._replace(fields={**fields, **sums})


def _text(value: Any) -> str:
    shown = value if isinstance(value, str) else json.dumps(value)
    # The client of earlier releases had them stored so.
    return shown.replace('\n', '\\n')


def _number(kind: str | None, value: Any) -> int | float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if not math.isfinite(number):
        return None
    if kind == 'integer' or (kind is None and isinstance(value, int)):
        return int(number) if number.is_integer() else None
    return number


def _line(row: Row) -> str:
    """Return a point in line protocol."""
    tags = {**row.tags, influxdb.METRIC: row.metric}
    written = ','.join(
        f'{_escaped_name(name)}={_escaped_name(influxdb.escaped(value))}'
        for name, value in sorted(tags.items())
    )
    fields = ','.join(
        f'{_escaped_name(name)}={_written(value)}' for name, value in sorted(row.fields.items())
    )
    return f'{influxdb.MEASUREMENT},{written} {fields} {influxdb.nanoseconds(row.begin)}'


def _escaped_name(text: str) -> str:
    for character in ', =':
        text = text.replace(character, f'\\{character}')
    return text


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return f'{value}i'
    if isinstance(value, float):
        return repr(value)
    shown = str(value).replace('\\', '\\\\').replace('"', '\\"')
    return f'"{shown}"'
