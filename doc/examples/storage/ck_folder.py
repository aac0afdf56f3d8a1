"""A storage driver: a folder with a file for each period of a scope.

It keeps the contract but for points that are pushed, which it cannot tell from rated ones. Every
report reads all files; a driver for daily use keeps sums, too, and lets its database add up.
"""

import hashlib
import json
import os
import pathlib
from collections import defaultdict
from datetime import UTC, datetime

from oslo_config import cfg

from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.storage import query, v2
from cloudkitty.storage.v1 import sums


class FolderStorage(v2.BaseStorage):
    """Frames by scope and begin; storing one again replaces it, which makes commits repeatable."""

    GROUP = 'storage_folder'
    OPTS = [cfg.StrOpt('path', required=True, help='Folder for rated data, on a shared disk.')]

    def __init__(self, conf):
        super().__init__(conf)
        self._path = pathlib.Path(self.options.path)
        self._scope_key = conf.collect.scope_key

    def init(self):
        self._path.mkdir(parents=True, exist_ok=True)

    def push(self, dataframes, scope_id=None):
        for frame in dataframes:
            for owner, part in self._owners(frame, scope_id):
                path = self._file(owner, part.start)
                path.parent.mkdir(exist_ok=True)
                partial = path.with_suffix(f'.{os.getpid()}')
                # Readers see the old file or the new one, never a half of it.
                partial.write_text(json.dumps(_form(owner, part), default=str))
                partial.replace(path)

    def retrieve(
        self,
        begin=None,
        end=None,
        filters=None,
        metric_types=None,
        offset=0,
        limit=1000,
        paginate=True,
    ):
        window = query.parse_window(begin, end, metric_types, filters, datetime.now(UTC))
        found = list(self._points(window))
        page = found[offset : offset + limit] if paginate else found
        frames = {}
        for owner, frame, name, point in page:
            key = (frame.start, frame.end, owner)
            whole = frames.setdefault(key, DataFrame(frame.start, frame.end))
            whole.add_point(_with_calendar(frame, point), name)
        return {'total': len(found), 'dataframes': list(frames.values())}

    def total(
        self,
        groupby=None,
        begin=None,
        end=None,
        metric_types=None,
        filters=None,
        custom_fields=None,
        offset=0,
        limit=1000,
        paginate=True,
    ):
        window = query.parse_window(begin, end, metric_types, filters, datetime.now(UTC))
        groups = query.parse_groupby(groupby)
        # The points are filtered already; groups are not made of metadata.
        spec = sums.QuerySpec(
            window._replace(filters={}),
            groups,
            query.parse_fields(custom_fields, groups),
            self._scope_key,
        )
        rows = (
            _row(owner, frame, name, _without(point, groups))
            for owner, frame, name, point in self._points(window)
        )
        return sums.answer(rows, spec, offset if paginate else 0, limit if paginate else None)

    def delete(self, begin=None, end=None, filters=None):
        owners = (filters or {}).get(self._scope_key)
        owners = [owners] if isinstance(owners, str) else owners
        for owner, frame, path in list(self._frames()):
            if (
                (begin is None or begin <= frame.start)
                and (end is None or frame.start < end)
                and (owners is None or owner in owners)
            ):
                path.unlink(missing_ok=True)

    def _owners(self, frame, scope_id):
        """Return [(scope id, frame)]; frames that are pushed over the API name it in each point."""
        if scope_id is not None:
            return [(scope_id, frame)]
        parts = defaultdict(lambda: DataFrame(frame.start, frame.end))
        for name, point in frame:
            parts[point.desc.get(self._scope_key, '')].add_point(point, name)
        return list(parts.items())

    def _file(self, owner, begin):
        # Not the id itself: it may hold a slash.
        folder = hashlib.sha256(owner.encode()).hexdigest()
        return self._path / folder / f'{begin:%Y-%m-%dT%H%M%S}.json'

    def _frames(self):
        """Yield (scope id, frame, path), the oldest first."""
        for path in sorted(self._path.glob('*/*.json'), key=lambda path: (path.name, path)):
            content = json.loads(path.read_text())
            yield content['scope'], _frame(content), path

    def _points(self, window):
        for owner, frame, _ in self._frames():
            if window.begin <= frame.start < window.end:
                for name, point in frame:
                    row = _row(owner, frame, name, point)
                    is_wanted = window.metrics is None or name in window.metrics
                    if is_wanted and sums.fits(row, window.filters, self._scope_key):
                        yield owner, frame, name, point


def _form(owner, frame):
    """Return the content of a file; numbers are text, so that no digit is lost."""
    points = [
        [name, point.unit, str(point.qty), str(point.price), dict(point.groupby)]
        + [dict(point.metadata), point.description]
        for name, point in frame
    ]
    begin, end = timeframe.render(frame.start), timeframe.render(frame.end)
    return {'scope': owner, 'begin': begin, 'end': end, 'points': points}


def _frame(form):
    frame = DataFrame(timeframe.parse(form['begin']), timeframe.parse(form['end']))
    for name, *content in form['points']:
        frame.add_point(DataPoint(*content), name)
    return frame


def _without(point, groups):
    """Return a point without the metadata that is called like one of *groups*."""
    metadata = {name: value for name, value in point.metadata.items() if name not in groups}
    return DataPoint(point.unit, point.qty, point.price, point.groupby, metadata)


def _with_calendar(frame, point):
    """Return a point with the attributes year, month, week and day, which reports may show."""
    attributes = {**point.groupby, **timeframe.calendar_of(frame.start)}
    return DataPoint(
        point.unit, point.qty, point.price, attributes, point.metadata, point.description
    )


def _row(owner, frame, name, point):
    return sums.Row(
        frame.start,
        frame.end,
        owner,
        name,
        point.desc,
        point.qty,
        point.price,
        unit=point.unit,
    )
