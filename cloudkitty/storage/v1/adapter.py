"""The methods of interface 2 over a driver of interface 1.

Interface 1 can only add points: scopes cannot be reset, and periods cannot be rated again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.storage import owners, query, v2
from cloudkitty.storage.v1 import sums


class Adapter(v2.BaseStorage):
    """A driver of interface 1 as a storage of interface 2.

    :param driver: see v1.BaseStorage.
    """

    def __init__(self, conf: cfg.ConfigOpts, driver: Any) -> None:
        super().__init__(conf)
        self.driver = driver
        self._scope_key = conf.collect.scope_key
        # Attributes that a driver may add, or that follow from the period.
        self._added = {'tenant_id', self._scope_key, *timeframe.CALENDAR_KEYS}

    def init(self) -> None:
        self.driver.init()

    def push(self, dataframes: Iterable[DataFrame], scope_id: str | None = None) -> None:
        """Store the points that are not stored yet; metric and attributes identify a point."""
        owned = (
            owners.split(dataframes, self._scope_key)
            if scope_id is None
            else ((scope_id, frame) for frame in dataframes)
        )
        for owner, frame in owned:
            begin, end = timeframe.to_naive(frame.start), timeframe.to_naive(frame.end)
            stored = self._stored(begin, end, None, owner)
            missing = self._missing(frame, stored)
            if missing:
                naive = DataFrame(begin, end)
                for name, point in missing:
                    naive.add_point(point, name)
                self.driver.append([naive], owner)
            elif not frame.usage and not stored:
                self.driver.nodata(begin, end, owner)
            self.driver.commit(owner)

    def _missing(
        self, frame: DataFrame, stored: Sequence[DataFrame]
    ) -> list[tuple[str, DataPoint]]:
        there = Counter(
            self._key(name, point)
            for one in stored
            if one.start == frame.start
            for name, point in one
        )
        missing = []
        for name, point in frame:
            key = self._key(name, point)
            if there[key]:
                there[key] -= 1
            else:
                missing.append((name, point))
        return missing

    def _key(self, metric: str, point: DataPoint) -> tuple[str, frozenset[tuple[str, str]]]:
        return metric, frozenset(
            (name, str(value)) for name, value in point.desc.items() if name not in self._added
        )

    def _stored(
        self, begin: datetime, end: datetime, metric: str | None, scope_id: str
    ) -> list[DataFrame]:
        try:
            found = self.driver.get_time_frame(begin, end, metric, scope_id)
        except errors.NoTimeFrame:
            return []
        return [DataFrame.from_dict(form, legacy=True) for form in found]

    def replace(self, replacements: Sequence[v2.Replacement]) -> NoReturn:
        raise self._cannot_remove()

    def delete(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        filters: query.Filters | None = None,
    ) -> NoReturn:
        raise self._cannot_remove()

    def _cannot_remove(self) -> errors.Conflict:
        return errors.Conflict(
            reason=f'[storage]backend {self.conf.storage.backend!r} has storage interface 1, which '
            'cannot take rated data away: scopes cannot be set back or rated again'
        )

    def retrieve(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        filters: query.Filters | None = None,
        metric_types: query.Names | None = None,
        offset: int = 0,
        limit: int = 1000,
        paginate: bool = True,
    ) -> query.Page:
        window = query.parse_window(begin, end, metric_types, filters, datetime.now(UTC))
        rows = sorted(self._rows(window), key=lambda row: (row.begin, row.end))
        last = offset + limit if paginate else None
        return {
            'total': len(rows),
            'dataframes': to_frames(rows[offset if paginate else 0 : last], self._scope_key),
        }

    def total(
        self,
        groupby: query.Names | None = None,
        begin: datetime | None = None,
        end: datetime | None = None,
        metric_types: query.Names | None = None,
        filters: query.Filters | None = None,
        custom_fields: str | None = None,
        offset: int = 0,
        limit: int = 1000,
        paginate: bool = True,
    ) -> query.Totals:
        window = query.parse_window(begin, end, metric_types, filters, datetime.now(UTC))
        groups = query.parse_groupby(groupby)
        spec = sums.QuerySpec(
            window, groups, query.parse_fields(custom_fields, groups), self._scope_key
        )
        rows = sorted(self._rows(window), key=lambda row: row.begin)
        return sums.answer(rows, spec, offset if paginate else 0, limit if paginate else None)

    def _rows(self, window: query.Window) -> Iterator[sums.Row]:
        """Yield the points of *window* that match its filters."""
        begin, end = timeframe.to_naive(window.begin), timeframe.to_naive(window.end)
        scopes = window.filters.get(self._scope_key)
        if scopes is None:
            scopes = self.driver.get_tenants(begin, end)
        for scope_id in scopes:
            for metric in window.metrics or (None,):
                for frame in self._stored(begin, end, metric, scope_id):
                    yield from self._fitting(frame, scope_id, window)

    def _fitting(self, frame: DataFrame, scope_id: str, window: query.Window) -> Iterator[sums.Row]:
        if not window.begin <= frame.start < window.end:
            return
        for name, point in frame:
            row = sums.Row(
                frame.start,
                frame.end,
                scope_id,
                name,
                point.desc,
                point.qty,
                point.price,
                unit=point.unit,
            )
            is_wanted = window.metrics is None or name in window.metrics
            if is_wanted and sums.fits(row, window.filters, self._scope_key):
                yield row


def to_frames(rows: list[sums.Row], scope_key: str) -> list[DataFrame]:
    """Return *rows* as frames, one a period, in their order.

    Interface 1 does not tell metadata apart, so all attributes become groupby.
    """
    frames: dict[tuple[datetime, datetime], DataFrame] = {}
    for row in rows:
        frame = frames.setdefault((row.begin, row.end), DataFrame(row.begin, row.end))
        attributes = {scope_key: row.scope_id, **timeframe.calendar_of(row.begin), **row.attributes}
        frame.add_point(DataPoint(row.unit, row.qty, row.price, attributes, {}), row.metric)
    return [DataFrame(*bounds, frame.usage) for bounds, frame in frames.items()]
