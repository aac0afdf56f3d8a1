"""OSRF: a JSON list with an object for each period, and one with the total at the end.

Source: doc/source/admin/files.rst, "Report files".
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, BinaryIO

from cloudkitty import writer
from cloudkitty.core import dataframe, decimals
from cloudkitty.core.dataframe import DataPoint
from cloudkitty.writer import RatedPeriod, Report, Sink


class OSRFWriter(writer.BaseReportWriter):
    """The format that report files have had from the beginning."""

    extension = 'json'

    def body(self, state: Mapping[str, Any] | None = None) -> 'OSRFBody':
        return OSRFBody(decimals.ZERO if state is None else Decimal(state['total']))

    def write(self, report: Report, out: BinaryIO) -> Iterator[int]:
        body = self.body()
        yield from body.write(report.periods, out)
        out.write(body.trailer())


class OSRFBody(writer.Body):
    """The periods.

    :param total: price of those that are written.
    """

    def __init__(self, total: Decimal) -> None:
        self.total = total

    def write(self, periods: Iterable[RatedPeriod], out: Sink) -> Iterator[int]:
        out.write(b'[')
        yield from self.append(periods, out)

    def append(self, periods: Iterable[RatedPeriod], out: Sink) -> Iterator[int]:
        spans = itertools.groupby(
            periods, key=lambda one: (one.scope_id, one.frame.start, one.frame.end)
        )
        for (_, begin, end), members in spans:
            usage: dict[str, list[Any]] = {}
            count = 0
            for member in members:
                count += 1
                for name, point in member.frame:
                    usage.setdefault(name, []).append(_point(point))
                    self.total = decimals.SUM_CONTEXT.add(self.total, point.price)
            period = {'begin': begin.isoformat(), 'end': end.isoformat()}
            out.write(dataframe.to_json({'period': period, 'usage': usage}) + b',\n')
            yield count

    def trailer(self) -> bytes:
        return dataframe.to_json({'total': self.total}) + b']\n'

    def state(self) -> dict[str, Any]:
        return {'total': str(self.total)}


def _point(point: DataPoint) -> dict[str, Any]:
    return {
        'desc': {**point.metadata, **point.groupby},
        'vol': {'qty': point.qty, 'unit': point.unit},
        'rating': {'price': point.price},
    }
