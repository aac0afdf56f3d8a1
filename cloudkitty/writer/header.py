"""Header of files with rated data, and the parser of their rows."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.bounds import to_decimal
from cloudkitty.core.dataframe import DataFrame, DataPoint, Series
from cloudkitty.writer import PUSHED, RATED, RatedPeriod, Report, ScopeProgress

VERSION = 1
SERIES_KEPT_MAX = 50000


def encode(report: Report) -> bytes:
    """Return the header of *report* as JSON."""
    progress = [{**one._asdict(), 'mark': timeframe.render(one.mark)} for one in report.progress]
    return orjson.dumps(
        {'cloudkitty_rated_data': VERSION, 'scope_key': report.scope_key, 'scopes': progress}
    )


def decode(text: bytes) -> tuple[str, list[ScopeProgress]]:
    """Return scope key and progress from a header.

    :raises InvalidInput: it is no header of a version known here.
    """
    try:
        form = orjson.loads(text)
        if form['cloudkitty_rated_data'] != VERSION:
            raise errors.InvalidInput(
                reason=f'the file is of version {form["cloudkitty_rated_data"]!r}; this release '
                f'reads {VERSION}'
            )
        return form['scope_key'], [
            ScopeProgress(**{**one, 'mark': timeframe.parse(one['mark'])}) for one in form['scopes']
        ]
    except (ValueError, KeyError, TypeError) as exc:
        raise errors.InvalidInput(
            reason='the file does not begin with the header of a dump of rated data'
        ) from exc


class PeriodParser:
    """Builds periods from parsed rows; equal series become one object."""

    def __init__(self) -> None:
        self._series: dict[bytes, Series] = {}

    def parse(self, form: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> RatedPeriod:
        """Return a period.

        :param form: scope, origin, begin and end; times as text or aware datetimes.
        :raises InvalidInput, ValueError, KeyError, TypeError: something is missing or wrong.
        """
        if form['origin'] not in (RATED, PUSHED):
            raise errors.InvalidInput(reason=f'{form["origin"]!r} is no origin')
        frame = DataFrame(_instant(form['begin']), _instant(form['end']))
        for one in points:
            made = Series(one['unit'], one['groupby'], one['metadata'], one['description'])
            made = self._series.setdefault(made.identity, made)
            frame.add_point(
                DataPoint.of(made, to_decimal(one['qty']), to_decimal(one['price'])), one['metric']
            )
        if len(self._series) > SERIES_KEPT_MAX:
            self._series.clear()
        return RatedPeriod(form['scope'], form['origin'], frame)


def _instant(value: str | datetime) -> datetime:
    return value if isinstance(value, datetime) else timeframe.parse_exact(value)
