"""Reports of the API on rated data, limited to the scopes that the caller may see."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.report import rows
from cloudkitty.storage import query
from cloudkitty.storage import v2 as storage_v2

_Item = TypeVar('_Item')


class Viewer(NamedTuple):
    """The caller of a report: an admin sees all scopes, others the scope of their project."""

    is_admin: bool
    project_id: str | None

    @property
    def sees_nothing(self) -> bool:
        return not self.is_admin and not self.project_id


class Selection(NamedTuple):
    """The selection of a report.

    :ivar begin, end: aware datetimes; None: the bound of the current month, UTC.
    :ivar filters: attribute to allowed values; `type` chooses metrics.
    :ivar offset, limit: the page; limit None: everything from the first on.
    """

    begin: datetime | None = None
    end: datetime | None = None
    filters: Mapping[str, Sequence[str]] | None = None
    offset: int = 0
    limit: int | None = 100

    @property
    def page(self) -> dict:
        """The paging arguments for the storage."""
        if self.limit is None:
            return {'paginate': False}
        return {'offset': self.offset, 'limit': self.limit, 'paginate': True}

    def cut(self, found: Sequence[_Item]) -> Sequence[_Item]:
        """Return the page of all that was found."""
        return found[self.offset : None if self.limit is None else self.offset + self.limit]


class Extras(NamedTuple):
    """Additional columns of a summary, and its order.

    :ivar attributes: attributes whose last value in the span each row shows.
    :ivar has_buckets: whether rows show the begin and end of their calendar groups.
    :ivar is_compared: whether rows show the sums of the span before, see rows.previous().
    :ivar order: columns to sort by; (): the groups.
    """

    attributes: Sequence[str] = ()
    has_buckets: bool = False
    is_compared: bool = False
    order: Sequence[rows.Order] = ()

    @property
    def needs_all_rows(self) -> bool:
        """Whether a page can only be cut from the rows of all pages."""
        return self.is_compared or bool(self.order)


class Table(NamedTuple):
    """The rows of a page.

    :ivar total: number of the rows of all pages.
    :ivar columns: names in the order of display.
    :ivar rows: values by column, as returned by the storage.
    """

    total: int
    columns: list[str]
    rows: Sequence[Mapping[str, Any]]


EMPTY = Table(0, [], [])


class ScopeFrame(NamedTuple):
    """The points of one period, metric and scope.

    :ivar scope_id: None: the points name no scope.
    """

    begin: datetime
    end: datetime
    scope_id: str | None
    metric: str
    points: list[DataPoint]


class Report:
    """Reports over one storage.

    :param scope_key: attribute that names the scope, see [collect]scope_key.
    """

    def __init__(self, storage: storage_v2.BaseStorage, scope_key: str):
        self.storage = storage
        self.scope_key = scope_key

    def summary(
        self,
        viewer: Viewer,
        selection: Selection,
        *,
        groupby: Sequence[str] = (),
        custom_fields: str | None = None,
        extras: Extras = Extras(),  # noqa: B008 (it is immutable)
        now: datetime,
    ) -> Table:
        """Return the sums of the data that *viewer* may see, one row per group.

        Columns: begin, end, measures, groups in the requested order, what *extras* adds.

        :raises InvalidInput: an unknown `time-x`, an empty group, wrong *custom_fields*, extras
            that do not fit them.
        """
        groups = [name for name in query.parse_groupby(groupby) if name != query.TIME]
        has_time = query.TIME in groupby
        if extras.is_compared and (custom_fields or has_time or _has_calendar(groups)):
            raise errors.InvalidInput(
                reason='compare cannot be combined with custom_fields or groups of time'
            )
        arguments = {
            'groupby': list(dict.fromkeys(groupby)) or None,
            'custom_fields': rows.with_attributes(custom_fields, extras.attributes) or None,
            **({'paginate': False} if extras.needs_all_rows else selection.page),
        }
        window = self._window(viewer, selection, now)
        answer = self.storage.total(**arguments, **window)
        total = answer['total']
        found: list[rows.Row] = list(answer['results'])
        span = Period(window['begin'], window['end'])
        if extras.is_compared:
            before = rows.previous(span)
            earlier = self.storage.total(**arguments, **{**window, **before._asdict()})
            found = rows.compare(found, earlier['results'], groups, span)
            total = len(found)
        if not found:
            return Table(total, [], found)
        if extras.has_buckets:
            found = rows.with_buckets(found, span, groups)
        measures = () if custom_fields else [field.alias for field in query.DEFAULT_FIELDS]
        columns = _columns(found[0], measures, groups)
        if extras.order:
            found = rows.sort(found, extras.order, columns)
        return Table(total, columns, selection.cut(found) if extras.needs_all_rows else found)

    def frames(
        self, viewer: Viewer, selection: Selection, now: datetime
    ) -> tuple[int, list[DataFrame]]:
        """Return the number of points that *viewer* may see, and the page, one frame per period."""
        answer = self.storage.retrieve(**selection.page, **self._window(viewer, selection, now))
        return answer['total'], merge(answer['dataframes'])

    def scope_frames(
        self, viewer: Viewer, selection: Selection, now: datetime
    ) -> tuple[int, list[ScopeFrame]]:
        """Return how many points *viewer* may see, and the page by period, metric and scope."""
        answer = self.storage.retrieve(**selection.page, **self._window(viewer, selection, now))
        return answer['total'], split(answer['dataframes'], self.scope_key)

    def scopes(self, viewer: Viewer, selection: Selection, now: datetime) -> list[str]:
        """Return the ids of the scopes that have points *viewer* may see, sorted."""
        answer = self.storage.total(
            groupby=[self.scope_key], **selection.page, **self._window(viewer, selection, now)
        )
        return [row[self.scope_key] for row in answer['results'] if row[self.scope_key]]

    def _window(self, viewer, selection, now):
        """Return the arguments that select points, which are the same for all reports."""
        month = timeframe.month_at(now)
        filters = dict(selection.filters or {})
        metric_types = filters.pop(query.TYPE, None)
        if not viewer.is_admin:
            # Always added, as a separate filter, so that no input of a caller can override it.
            filters[self.scope_key] = [viewer.project_id]
        return {
            'begin': timeframe.within_bounds(selection.begin or month.begin),
            'end': timeframe.within_bounds(selection.end or month.end),
            'filters': filters or None,
            'metric_types': metric_types,
        }


def _has_calendar(groups):
    return any(name in timeframe.CALENDAR_KEYS for name in groups)


def _columns(row, measures, groups):
    """Return the columns of a row in the order of display; *measures* are the first of theirs."""
    after = [*groups, *(name for name in row if name in rows.BUCKET_COLUMNS)]
    others = [name for name in row if name not in ('begin', 'end', *after)]
    return ['begin', 'end', *dict.fromkeys((*measures, *others)), *after]


def merge(frames: Sequence[DataFrame]) -> list[DataFrame]:
    """Return one frame per period, sorted by begin and end."""
    merged: dict[tuple[datetime, datetime], DataFrame] = {}
    for frame in frames:
        whole = merged.setdefault((frame.start, frame.end), DataFrame(frame.start, frame.end))
        for name, points in frame.itertypes():
            whole.add_points(points, name)
    return [merged[period] for period in sorted(merged)]


def split(frames: Iterable[DataFrame], scope_key: str) -> list[ScopeFrame]:
    """Return the points of *frames* by period, metric and scope, sorted by them."""
    parts: dict[tuple[datetime, datetime, str, str | None], list[DataPoint]] = {}
    for frame in frames:
        for metric, points in frame.itertypes():
            for point in points:
                scope_id = _scope_of(point.series, scope_key)
                parts.setdefault((frame.start, frame.end, metric, scope_id), []).append(point)
    return [
        ScopeFrame(begin, end, scope_id, metric, parts[begin, end, metric, scope_id])
        # Points that name no scope come first.
        for begin, end, metric, scope_id in sorted(
            parts, key=lambda part: (*part[:3], part[3] is not None, part[3])
        )
    ]


def _scope_of(series, scope_key):
    named = series.groupby.get(scope_key, series.metadata.get(scope_key))
    return None if named is None else str(named)
