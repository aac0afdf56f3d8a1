"""Storage drivers as other packages have them, small and in memory."""

from cloudkitty import errors
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.storage import query, v1, v2
from cloudkitty.storage.v1 import sums
from cloudkitty.storage.v1.adapter import to_frames
from cloudkitty.tests.conformance.storage import JUNE


class MemoryV1(v1.BaseStorage):
    """A driver of interface 1 that keeps points in a list."""

    def __init__(self, conf):
        super().__init__(conf)
        self.appended, self.stored = [], []

    def init(self):
        pass

    def append(self, frames, tenant_id):
        self.appended += [(tenant_id, frame) for frame in frames]

    def commit(self, tenant_id):
        self.stored += [one for one in self.appended if one[0] == tenant_id]
        self.appended = [one for one in self.appended if one[0] != tenant_id]

    def get_state(self, tenant_id=None):
        return max(
            (frame.start for owner, frame in self.stored if tenant_id in (None, owner)),
            default=None,
        )

    def get_total(self, begin=None, end=None, tenant_id=None, service=None, groupby=None):
        found = [
            point.price
            for _, frame in self._frames(begin, end, tenant_id)
            for name, point in frame
            if service in (None, name)
        ]
        return [
            {
                'begin': begin,
                'end': end,
                'rate': sum(found),
                'tenant_id': tenant_id,
                'res_type': service,
            }
        ]

    def get_tenants(self, begin, end):
        return sorted({owner for owner, _ in self._frames(begin, end, None)})

    def get_time_frame(self, begin, end, res_type=None, tenant_id=None):
        found = [
            DataFrame(frame.start, frame.end, {name: [point]}).as_dict(legacy=True)
            for _, frame in self._frames(begin, end, tenant_id)
            for name, point in frame
            if res_type in (None, name)
        ]
        if not found:
            raise errors.NoTimeFrame
        return found

    def _frames(self, begin, end, tenant_id):
        return [
            (owner, frame)
            for owner, frame in self.stored
            if begin <= frame.start and frame.end <= end and tenant_id in (None, owner)
        ]

    def nodata(self, begin, end, tenant_id):
        self.append([DataFrame(begin, end)], tenant_id)


class MemoryV2(v2.BaseStorage):
    """A driver of interface 2 that keeps frames by (scope, begin); it knows no pushed ones."""

    def __init__(self, conf):
        super().__init__(conf)
        self.frames = {}

    def init(self):
        pass

    def push(self, dataframes, scope_id=None):
        for frame in dataframes:
            self.frames[scope_id, frame.start] = frame

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
        rows = list(self._rows(query.parse_window(begin, end, metric_types, filters, JUNE)))
        page = rows[offset : offset + limit] if paginate else rows
        return {'total': len(rows), 'dataframes': to_frames(page, 'project_id')}

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
        window = query.parse_window(begin, end, metric_types, filters, JUNE)
        groups = query.parse_groupby(groupby)
        spec = sums.QuerySpec(
            window, groups, query.parse_fields(custom_fields, groups), 'project_id'
        )
        return sums.answer(
            self._rows(window), spec, offset if paginate else 0, limit if paginate else None
        )

    def _rows(self, window):
        for (owner, begin), frame in sorted(self.frames.items(), key=lambda item: item[0][1]):
            for name, point in frame:
                row = sums.Row(
                    begin,
                    frame.end,
                    owner,
                    name,
                    point.desc,
                    point.qty,
                    point.price,
                    unit=point.unit,
                )
                if (
                    window.begin <= begin < window.end
                    and name in (window.metrics or [name])
                    and sums.fits(row, window.filters, 'project_id')
                ):
                    yield row

    def delete(self, begin=None, end=None, filters=None):
        owners = (filters or {}).get('project_id')
        self.frames = {
            (owner, at): frame
            for (owner, at), frame in self.frames.items()
            if not (
                (begin is None or begin <= at)
                and (end is None or at < end)
                and (owners is None or owner in owners)
            )
        }


class ForgetfulV2(MemoryV2):
    """The same, broken: it adds to a period in place of replacing it."""

    def push(self, dataframes, scope_id=None):
        for frame in dataframes:
            whole = self.frames.setdefault(
                (scope_id, frame.start), DataFrame(frame.start, frame.end)
            )
            for name, points in frame.itertypes():
                whole.add_points(points, name)
