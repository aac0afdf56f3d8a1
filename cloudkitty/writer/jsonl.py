"""JSON lines: a header, one line for each scope, period and origin, and a last line with the count.

Every number is text, so that no digit is lost.
"""

from collections.abc import Iterator
from typing import BinaryIO

import orjson

from cloudkitty import errors, writer
from cloudkitty.writer import RatedPeriod, Report, header


class JSONLinesWriter(writer.BaseReportWriter):
    """JSON lines, which need no library and can be read while they are written."""

    extension = 'jsonl'
    can_read = True

    def write(self, report: Report, out: BinaryIO) -> Iterator[int]:
        out.write(header.encode(report) + b'\n')
        count = 0
        for period in report.periods:
            out.write(_line(period) + b'\n')
            count += 1
            yield 1
        out.write(orjson.dumps({'end': count}) + b'\n')

    def read(self, source: BinaryIO) -> Report:
        return Report(*header.decode(source.readline()), _periods(source))


def _line(period: RatedPeriod) -> bytes:
    points = [
        {
            'metric': name,
            'unit': point.unit,
            'qty': str(point.qty),
            'price': str(point.price),
            'groupby': dict(point.groupby),
            'metadata': dict(point.metadata),
            'description': point.description,
        }
        for name, point in period.frame
    ]
    return orjson.dumps(
        {
            'scope': period.scope_id,
            'origin': period.origin,
            'begin': period.frame.start,
            'end': period.frame.end,
            'points': points,
        },
        default=str,
        option=orjson.OPT_NON_STR_KEYS,
    )


def _periods(source: BinaryIO) -> Iterator[RatedPeriod]:
    count = 0
    parser = header.PeriodParser()
    for number, line in enumerate(source, 2):
        try:
            form = orjson.loads(line)
            if 'end' in form and 'points' not in form:
                if form['end'] != count:
                    raise errors.InvalidInput(
                        reason=f'{count} periods where {form["end"]} should be'
                    )
                return
            yield parser.parse(form, form['points'])
        except (ValueError, KeyError, TypeError, errors.InvalidInput) as exc:
            raise errors.InvalidInput(reason=f'line {number}: {exc}') from exc
        count += 1
    raise errors.InvalidInput(reason=f'the file ends after {count} periods, before its last line')
