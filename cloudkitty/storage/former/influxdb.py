"""Reader of InfluxDB 1: a point of measurement `dataframes` is a rated point.

Tags are the attributes to group by and `type`, the metric; fields are metadata, `qty`, `price`,
`unit`, `description`, and the lists of names `groupby` and `metadata`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from oslo_config import cfg

from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import Series
from cloudkitty.core.timeframe import Period
from cloudkitty.storage import former, http
from cloudkitty.storage.former import Point, Sum

CHUNK_SIZE = 10_000
MEASUREMENT = 'dataframes'
PERIOD = '__ck_collect_period'
METRIC = 'type'
# Fields that are not metadata; a metadata key of that name was overwritten.
FIELDS = frozenset(('qty', 'price', 'unit', 'description', 'groupby', 'metadata', PERIOD))
_ESCAPED = re.compile(r'\\([\\n])')
_MICROSECOND_NS = 1000


class Row(NamedTuple):
    """A point of the measurement.

    :ivar begin: aware UTC.
    :ivar tags: without empty ones; the metric is *metric*.
    :ivar fields: without empty ones.
    """

    begin: datetime
    metric: str
    tags: Mapping[str, str]
    fields: Mapping[str, Any]


class PointMaker:
    """Makes rated points of rows, for both versions of the store. Shares series."""

    def __init__(self, reader: former.Reader) -> None:
        self._reader = reader
        self._series: dict[Any, Series] = {}

    def point(self, row: Row) -> Point:
        """Return the rated point of *row*.

        :raises SourceError: its quantity or price is no finite number.
        """
        fields = row.fields
        place = former.place_of(row.metric, row.tags, self._reader.scope_key, row.begin)
        length_s = int(fields.get(PERIOD) or self._reader.period_s)
        return Point(
            row.begin,
            row.begin + timedelta(seconds=length_s),
            row.metric,
            self._shared(row),
            former.number(fields.get('qty'), place),
            former.number(fields.get('price'), place),
        )

    def forget(self) -> None:
        """Forget the series, which are only shared within a window."""
        self._series.clear()

    def _shared(self, row: Row) -> Series:
        key = (
            tuple(row.tags.items()),
            tuple((name, value) for name, value in row.fields.items() if name not in _NUMBERS),
        )
        found = self._series.get(key)
        if found is None:
            found = self._series[key] = self._made(row)
        return found

    def _made(self, row: Row) -> Series:
        fields = row.fields
        groupby = self._complete(row.tags, fields.get('groupby'), (METRIC,))
        own = {name: former.plain(value) for name, value in fields.items() if name not in FIELDS}
        metadata = self._complete(own, fields.get('metadata'), FIELDS)
        return Series(
            fields.get('unit'),
            former.without_calendar(groupby),
            metadata,
            fields.get('description'),
        )

    def _complete(
        self, found: Mapping[str, Any], listed: Any, overwritten: Sequence[str] | frozenset[str]
    ) -> dict[str, Any]:
        """Return *found* with the empty attributes that only the list of names has."""
        # A name may contain the separator of the list.
        parts = {part for name in found if '|' in name for part in name.split('|')}
        names = [name for name in str(listed or '').split('|') if name and name not in parts]
        self._reader.remarks.lost_keys.update(name for name in names if name in overwritten)
        empty = {name: '' for name in names if name not in found and name not in overwritten}
        return {**found, **empty}


_NUMBERS = ('qty', 'price')


class InfluxDBReader(former.Reader):
    """InfluxDB 1.x, queried with InfluxQL."""

    GROUP = 'storage_influxdb'
    OPTS = [
        cfg.IntOpt(
            'version',
            default=1,
            choices=[1, 2],
            help='Version of InfluxDB; 2 is queried with Flux, using url, token, org and bucket.',
        ),
        cfg.StrOpt('username', help='User of InfluxDB 1.'),
        cfg.StrOpt('password', secret=True, help='Password of InfluxDB 1.'),
        cfg.StrOpt('database', help='Database of InfluxDB 1 that holds rated data.'),
        cfg.StrOpt(
            'retention_policy',
            default='autogen',
            help='Retention policy of InfluxDB 1 under which rated data was written.',
        ),
        cfg.HostAddressOpt('host', default='localhost', help='Host of InfluxDB 1.'),
        cfg.PortOpt('port', default=8086, help='Port of InfluxDB 1.'),
        cfg.BoolOpt('use_ssl', default=False, help='Whether to use TLS for InfluxDB 1.'),
        *http.tls_options(),
        cfg.FloatOpt(
            'timeout', default=60, min=0, help='Seconds to wait for the next part of an answer.'
        ),
        cfg.IntOpt(
            'query_timeout',
            default=3600000,
            help='Accepted and not used; earlier releases gave it to the client of InfluxDB 2.',
        ),
        cfg.StrOpt('url', help='Base URL of InfluxDB 2.'),
        cfg.StrOpt('token', secret=True, help='Token of InfluxDB 2.'),
        cfg.StrOpt('org', default='openstack', help='Organisation in InfluxDB 2.'),
        cfg.StrOpt('bucket', default='cloudkitty', help='Bucket of InfluxDB 2.'),
    ]

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        options = self.options
        scheme = 'https' if options.use_ssl else 'http'
        host = f'[{options.host}]' if ':' in options.host else options.host
        self.server = http.PatientServer(
            self.GROUP,
            f'{scheme}://{host}:{options.port}',
            timeout_s=options.timeout,
            cafile=options.cafile,
            is_insecure=options.insecure,
            login=(options.username, options.password or '') if options.username else None,
        )
        self._source = f'{quoted(options.retention_policy)}.{quoted(MEASUREMENT)}'
        self._maker = PointMaker(self)

    def extent(self) -> Period | None:
        times = [
            int(row[0])
            for function in ('first', 'last')
            for series in self._ask(f'SELECT {function}(qty) FROM {self._source}')
            for row in series['values']
        ]
        if not times:
            return None
        return Period(_instant(min(times)), _instant(max(times)) + timedelta(seconds=1))

    def read(self, window: Period) -> Iterator[Point]:
        self._maker.forget()
        yield from map(self._maker.point, self.rows(window))

    def rows(self, window: Period, scope_id: str | None = None) -> Iterator[Row]:
        """Yield the points of the measurement as they are stored, of one scope or of all.

        :raises SourceError: see read().
        """
        # Fields and tags apart: SELECT * renames a tag that is also a field of any point.
        condition = within(window)
        if scope_id is not None:
            condition += f' AND {quoted(self.scope_key)} = {literal(escaped(scope_id))}'
        query = f'SELECT *::field FROM {self._source} WHERE {condition} GROUP BY *'
        for series in self._ask(query):
            tags = {name: _unescaped(value) for name, value in series['tags'].items() if value}
            metric = tags.pop(METRIC, '')
            columns = series['columns']
            for values in series['values']:
                fields = {
                    name: value
                    for name, value in zip(columns, values, strict=True)
                    if value is not None
                }
                yield Row(_instant(fields.pop('time')), metric, tags, fields)

    def sums(self, window: Period) -> Mapping[tuple[str, str], Sum] | None:
        query = (
            f'SELECT sum(qty), sum(price) FROM {self._source} WHERE {within(window)} '
            f'GROUP BY {quoted(self.scope_key)}, {quoted(METRIC)}'
        )
        found: dict[tuple[str, str], Sum] = {}
        for series in self._ask(query):
            tags = series['tags']
            key = _unescaped(tags[self.scope_key]), _unescaped(tags[METRIC])
            for _, qty, price in series['values']:
                found[key] = Sum(former.number(qty, str(key)), former.number(price, str(key)))
        return found

    def _ask(self, query: str) -> Iterator[Mapping[str, Any]]:
        """Yield the series of the answer, which comes in parts.

        :raises SourceError: the server reports an error or cuts the answer.
        """
        parameters: dict[str, Any] = {
            'db': self.options.database,
            'q': query,
            'epoch': 'ns',
            'chunked': 'true',
            'chunk_size': CHUNK_SIZE,
        }
        is_partial = True
        for line in self.server.lines('GET', 'query', params=parameters):
            if not line.strip():
                continue
            answer = self.server.parse(line)
            if not isinstance(answer, dict):
                raise self.server.error('the answer is not from InfluxDB')
            for result in [answer, *answer.get('results', ())]:
                if 'error' in result:
                    raise self.server.error(http.shorten(str(result['error'])))
                yield from result.get('series', ())
            is_partial = any(result.get('partial') for result in answer.get('results', ()))
        if is_partial:
            raise self.server.error('the answer breaks off before its last part')


def within(window: Period) -> str:
    """Return the condition for points whose periods begin in *window*."""
    return f'time >= {nanoseconds(window.begin)} AND time < {nanoseconds(window.end)}'


def nanoseconds(instant: datetime) -> int:
    """Return the time of the store."""
    return (instant - timeframe.EPOCH) // timedelta(microseconds=1) * _MICROSECOND_NS


def _instant(nanoseconds: int) -> datetime:
    return timeframe.EPOCH + timedelta(microseconds=nanoseconds // _MICROSECOND_NS)


def quoted(name: str) -> str:
    """Return an identifier of InfluxQL."""
    escaped = name.replace('\\', '\\\\').replace('"', '\\"')
    return f'"{escaped}"'


def literal(text: str) -> str:
    """Return a text of InfluxQL."""
    shown = text.replace('\\', '\\\\').replace("'", "\\'").replace('\n', '\\n')
    return f"'{shown}'"


def escaped(value: str) -> str:
    """Return the value of a tag as the client of earlier releases had it stored."""
    return value.replace('\\', '\\\\').replace('\n', '\\n')


def _unescaped(value: str) -> str:
    """Undo escaped()."""
    return _ESCAPED.sub(lambda found: '\n' if found[1] == 'n' else '\\', value)
