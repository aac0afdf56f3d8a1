"""Reading rated data: what may be seen, of which time. The only reader of the storage."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from cloudkitty import errors, timeframe
from cloudkitty.dataframe import DataFrame, DataPoint
from cloudkitty.storage import v2 as storage_v2

TYPE = 'type'
TIME = 'time'
# Names of the calendar attributes that a group `time-x` stands for.
CALENDAR_GROUPS = {'time-d': 'day_of_the_year', 'time-w': 'week_of_the_year', 'time-m': 'month',
                   'time-y': 'year'}
FIXED_COLUMNS = ('begin', 'end', 'qty', 'rate')

_TIME_GROUP = re.compile(r'time-[^-]*')


class Viewer(NamedTuple):
    """Who reads: an admin sees all scopes, anybody else the scope of the project."""

    is_admin: bool
    project_id: str | None

    @property
    def sees_nothing(self) -> bool:
        return not self.is_admin and not self.project_id


class Selection(NamedTuple):
    """What is asked for.

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
        """The arguments that choose a page of the storage's answer."""
        if self.limit is None:
            return {'paginate': False}
        return {'offset': self.offset, 'limit': self.limit, 'paginate': True}


class Table(NamedTuple):
    """Rows with named columns; *total* counts those of all pages."""

    total: int
    columns: list[str]
    rows: list[list]


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
    """Reads one storage.

    :param scope_key: attribute that names the scope, see [collect]scope_key.
    """

    def __init__(self, storage: storage_v2.BaseStorage, scope_key: str):
        self.storage = storage
        self.scope_key = scope_key

    def summary(self, viewer: Viewer, selection: Selection, *, groupby: Sequence[str] = (),
                custom_fields: str | None = None, now: datetime) -> Table:
        """Return the sums of what *viewer* may see, one row a group.

        Columns: begin, end, measures, groups in the order asked for.

        :raises InvalidInput: an unknown `time-x`, an empty group, wrong *custom_fields*.
        """
        groups = group_columns(groupby)
        answer = self.storage.total(
            groupby=list(dict.fromkeys(groupby)) or None, custom_fields=custom_fields or None,
            **selection.page, **self._window(viewer, selection, now))
        rows = answer['results']
        if not rows:
            return Table(answer['total'], [], [])
        measures = ['qty', 'rate']
        if custom_fields:
            measures = [name for name in rows[0] if name not in ('begin', 'end', *groups)]
        columns = ['begin', 'end', *measures, *groups]
        return Table(answer['total'], columns, [[row[name] for name in columns] for row in rows])

    def frames(self, viewer: Viewer, selection: Selection,
               now: datetime) -> tuple[int, list[DataFrame]]:
        """Return how many points *viewer* may see, and those of the page, one frame a period."""
        answer = self.storage.retrieve(**selection.page, **self._window(viewer, selection, now))
        return answer['total'], merge(answer['dataframes'])

    def scope_frames(self, viewer: Viewer, selection: Selection,
                     now: datetime) -> list[ScopeFrame]:
        """Return the points *viewer* may see, by period, metric and scope."""
        _, frames = self.frames(viewer, selection, now)
        return [part for frame in frames for part in split(frame, self.scope_key)]

    def scopes(self, viewer: Viewer, selection: Selection, now: datetime) -> list[str]:
        """Return the ids of the scopes that have points *viewer* may see, sorted."""
        answer = self.storage.total(groupby=[self.scope_key], **selection.page,
                                    **self._window(viewer, selection, now))
        return [row[self.scope_key] for row in answer['results'] if row[self.scope_key]]

    def _window(self, viewer, selection, now):
        """Return the arguments that choose points, the same for all questions."""
        month = timeframe.month_at(now)
        filters = dict(selection.filters or {})
        metric_types = filters.pop(TYPE, None)
        if not viewer.is_admin:
            # Whatever was asked for, and as a value of its own: nothing a caller writes reaches it.
            filters[self.scope_key] = [viewer.project_id]
        return {'begin': selection.begin or month.begin, 'end': selection.end or month.end,
                'filters': filters or None, 'metric_types': metric_types}


def group_columns(groupby: Sequence[str]) -> list[str]:
    """Return the columns that groups make: calendar groups by attribute, `time` none.

    :raises InvalidInput: an unknown `time-x`, an empty name, or that of another column.
    """
    for name in groupby:
        is_wrong_time = _TIME_GROUP.fullmatch(name) and name not in CALENDAR_GROUPS
        if not name or is_wrong_time or name in FIXED_COLUMNS:
            raise errors.InvalidInput(
                reason=f'Cannot group by {name!r}; allowed: {TYPE}, {TIME}, '
                       f'{", ".join(CALENDAR_GROUPS)} or the name of an attribute.')
    return list(dict.fromkeys(CALENDAR_GROUPS.get(name, name) for name in groupby if name != TIME))


def merge(frames: Sequence[DataFrame]) -> list[DataFrame]:
    """Return one frame a period, sorted by begin and end."""
    merged: dict[tuple[datetime, datetime], DataFrame] = {}
    for frame in frames:
        whole = merged.setdefault((frame.start, frame.end), DataFrame(frame.start, frame.end))
        for name, points in frame.itertypes():
            whole.add_points(points, name)
    return [merged[period] for period in sorted(merged)]


def split(frame: DataFrame, scope_key: str) -> Iterator[ScopeFrame]:
    """Yield the points of *frame* by metric and scope, sorted by both."""
    for metric, points in sorted(frame.itertypes()):
        by_scope: dict[str | None, list[DataPoint]] = {}
        for point in points:
            by_scope.setdefault(_scope_of(point.series, scope_key), []).append(point)
        for scope_id in sorted(by_scope, key=lambda known: (known is not None, known)):
            yield ScopeFrame(frame.start, frame.end, scope_id, metric, by_scope[scope_id])


def _scope_of(series, scope_key):
    named = series.groupby.get(scope_key, series.metadata.get(scope_key))
    return None if named is None else str(named)
