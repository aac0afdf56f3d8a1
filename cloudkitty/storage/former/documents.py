"""Points that stores keep as JSON documents: Elasticsearch, OpenSearch and Loki."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import Series
from cloudkitty.storage import former
from cloudkitty.storage.former import Point

_NEEDED = ('start', 'type', 'qty', 'price')


class PointMaker:
    """Builds rated points from documents. Equal series are shared."""

    def __init__(self, reader: former.Reader) -> None:
        self._reader = reader
        self._series: dict[str, Series] = {}

    def forget(self) -> None:
        """Forget the series, which are only shared within a window."""
        self._series.clear()

    def point(self, document: Any) -> Point | None:
        """Return the rated point; None if the document is not one, which is counted.

        :raises SourceError: its quantity or price is no finite number.
        """
        try:
            begin = timeframe.parse_exact(document['start'])
            end = document.get('end')
            end = timeframe.parse_exact(end) if end else begin + self._period
            if any(name not in document for name in _NEEDED):
                raise KeyError
            series = self._shared(document)
        except (KeyError, TypeError, AttributeError, errors.InvalidInput):
            self._reader.remarks.unreadable += 1
            return None
        metric = str(document['type'])
        place = former.place_of(metric, series.groupby, self._reader.scope_key, begin)
        return Point(
            begin,
            end,
            metric,
            series,
            former.number(document['qty'], place),
            former.number(document['price'], place),
        )

    @property
    def _period(self) -> timedelta:
        return timedelta(seconds=self._reader.period_s)

    def _shared(self, document: Mapping[str, Any]) -> Series:
        boxes = [dict(document.get(name) or {}) for name in ('groupby', 'metadata')]
        rest = [document.get('unit'), document.get('description')]
        key = json.dumps([boxes, rest], sort_keys=True, default=str)
        found = self._series.get(key)
        if found is None:
            groupby, metadata = map(former.plain, boxes)
            unit, description = rest
            found = self._series[key] = Series(
                unit, former.without_calendar(groupby), metadata, description
            )
        return found
