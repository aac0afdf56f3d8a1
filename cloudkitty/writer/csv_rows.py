"""CSV: a row for each point, and three with the total at the end.

Source: doc/source/admin/files.rst, "Report files".
"""

import functools
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO

import orjson

from cloudkitty import writer
from cloudkitty.core import decimals, timeframe
from cloudkitty.core.dataframe import DataPoint
from cloudkitty.writer import RatedPeriod, Report, Sink, spreadsheet

# Column to the attribute that it has.
ATTRIBUTES = {
    'ResourceId': 'resource_id',
    'UserId': 'user_id',
    'ProjectId': 'project_id',
    'ItemName': 'name',
    'ItemFlavor': 'flavor_name',
    'ItemFlavorId': 'flavor_id',
    'AvailabilityZone': 'availability_zone',
}
COLUMNS = (
    'UsageStart',
    'UsageEnd',
    'ResourceId',
    'Operation',
    'UserId',
    'ProjectId',
    'ItemName',
    'ItemFlavor',
    'ItemFlavorId',
    'AvailabilityZone',
    'Service',
    'UsageQuantity',
    'RateValue',
    'Cost',
)
RUNNING = ('compute', 'instance')
TIME = '%Y/%m/%d %H:%M:%S'
USER = 'user:'
# Rows are kept in memory up to so many bytes, until all columns are known.
MEMORY_MAX = 16 * 2**20


class CSVWriter(writer.BaseReportWriter):
    """The columns of former releases; the cost is the price of the quantity."""

    extension = 'csv'
    label = ''

    def body(self, state: Mapping[str, Any] | None = None) -> 'CSVBody':
        if state is None:
            return CSVBody((), _Totals())
        return CSVBody(state['columns'], _Totals.of(state))

    def write(self, report: Report, out: BinaryIO) -> Iterator[int]:
        body = self.body()
        yield from body.write(report.periods, out)
        out.write(body.trailer())


class CSVBody(writer.Body):
    """The header and the rows of points.

    :param columns: of the header that is written.
    """

    def __init__(self, columns: Sequence[str], totals: '_Totals') -> None:
        self.columns = list(columns)
        self.totals = totals

    def write(self, periods: Iterable[RatedPeriod], out: Sink) -> Iterator[int]:
        names: set[str] = set()
        with tempfile.SpooledTemporaryFile(MEMORY_MAX) as rows:
            for period in periods:
                self.totals.add(period)
                for metric, point in period.frame:
                    row = _row(period, metric, point)
                    names.update(row.keys() - set(COLUMNS))
                    rows.write(orjson.dumps(row) + b'\n')
                yield 1
            rows.seek(0)
            self.columns = [*COLUMNS, *sorted(names)]
            out.write(_line(self.columns))
            for line in rows:
                self._write_row(orjson.loads(line), out)

    def append(self, periods: Iterable[RatedPeriod], out: Sink) -> Iterator[int]:
        known = set(self.columns)
        for period in periods:
            self.totals.add(period)
            for metric, point in period.frame:
                row = _row(period, metric, point)
                if not row.keys() <= known:
                    raise writer.HeaderChanged
                self._write_row(row, out)
            yield 1

    def _write_row(self, row: Mapping[str, str], out: Sink) -> None:
        out.write(_line([row.get(name, '') for name in self.columns]))

    def trailer(self) -> bytes:
        return b''.join(map(_line, self.totals.lines()))

    def state(self) -> dict[str, Any]:
        return {'columns': self.columns, **self.totals.state()}


class _Totals:
    """The content of the last three rows."""

    def __init__(self) -> None:
        self.price = decimals.ZERO
        self.scopes: set[str] = set()
        self.begin: datetime | None = None
        self.end: datetime | None = None

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> '_Totals':
        """Return the totals that had this state()."""
        made = cls()
        made.price, made.scopes = Decimal(state['price']), set(state['scopes'])
        made.begin, made.end = (
            None if text is None else timeframe.parse_exact(text) for text in state['span']
        )
        return made

    def state(self) -> dict[str, Any]:
        span = [None if one is None else timeframe.render(one) for one in (self.begin, self.end)]
        return {'price': str(self.price), 'scopes': sorted(self.scopes), 'span': span}

    def add(self, period: RatedPeriod) -> None:
        self.scopes.add(period.scope_id)
        start, end = period.frame.start, period.frame.end
        self.begin = start if self.begin is None else min(self.begin, start)
        self.end = end if self.end is None else max(self.end, end)
        for _, point in period.frame:
            self.price = decimals.SUM_CONTEXT.add(self.price, point.price)

    def lines(self) -> Iterator[list[str]]:
        # Of several scopes it is none's.
        scope = next(iter(self.scopes)) if len(self.scopes) == 1 else ''
        begin, end = ('' if one is None else one.strftime(TIME) for one in (self.begin, self.end))
        texts = {
            'InvoiceTotal': 'Total amount for invoice',
            'AccountTotal': f'Total for linked account# {scope}',
            'StatementTotal': f'Total statement amount for period {begin} - {end}',
        }
        for kind, text in texts.items():
            linked = _safe(scope) if kind == 'AccountTotal' else ''
            yield ['', _safe(scope), linked, kind, '', text, '', '', _text(self.price)]


def _row(period: RatedPeriod, metric: str, point: DataPoint) -> dict[str, str]:
    attributes = {**point.metadata, **point.groupby}
    frame = period.frame
    return {
        'UsageStart': _moment(frame.start),
        'UsageEnd': _moment(frame.end),
        'Operation': 'RunInstances' if metric in RUNNING else '',
        'Service': _safe(metric),
        'UsageQuantity': _text(point.qty),
        'RateValue': _text(_rate(point)),
        'Cost': _text(point.price),
        **{column: _attribute(attributes, name) for column, name in ATTRIBUTES.items()},
        **{USER + name: _safe(value) for name, value in point.metadata.items()},
    }


def _rate(point: DataPoint) -> Decimal:
    """Return the price of a unit; of no units, the price."""
    if not point.qty:
        return point.price
    return decimals.CONTEXT.divide(point.price, point.qty)


def _attribute(attributes: Mapping[str, Any], name: str) -> str:
    return _safe(attributes.get(name, ''))


def _safe(value: Any) -> str:
    """Return *value* as text that no spreadsheet takes for a formula."""
    return spreadsheet.safe_text(str(value))


def _text(number: Decimal) -> str:
    return format(decimals.trim(number), 'f')


# The points of a period have the same ones.
@functools.lru_cache(maxsize=64)
def _moment(value: datetime) -> str:
    return value.strftime(TIME)


def _line(cells: Sequence[str]) -> bytes:
    return f'{spreadsheet.csv_row(cells)}\r\n'.encode()
