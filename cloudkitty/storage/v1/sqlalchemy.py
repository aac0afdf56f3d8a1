"""Driver `sqlalchemy` of interface 1: table rated_data_frames of the SQL database."""

from datetime import UTC, datetime

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.dataframe import DataFrame
from cloudkitty.storage import v1
from cloudkitty.storage.v1 import store
from cloudkitty.storage.v1.table import ROWS

GROUPS = {'tenant_id', 'res_type'}


class SQLAlchemyStorage(v1.BaseStorage):
    """The methods of interface 1; the service itself uses those of interface 2 underneath."""

    def __init__(self, conf):
        super().__init__(conf)
        self._store = store.TableStorage(conf)
        self._appended: dict[str, list[DataFrame]] = {}

    def as_v2(self):
        return self._store

    def init(self):
        self._store.init()

    def append(self, frames, tenant_id):
        self._appended.setdefault(tenant_id, []).extend(
            DataFrame(_aware(frame.start), _aware(frame.end), frame.usage) for frame in frames)

    def commit(self, tenant_id):
        merged = {}
        for frame in self._appended.get(tenant_id, ()):
            whole = merged.setdefault(frame.start, DataFrame(frame.start, frame.end))
            for name, points in frame.itertypes():
                whole.add_points(points, name)
        self._store.push(list(merged.values()), tenant_id)
        self._appended.pop(tenant_id, None)

    def get_state(self, tenant_id=None):
        layout = self._store.layout
        chosen = sa.true() if tenant_id is None else layout.among('tenant_id', [tenant_id])
        with self._store.database.reader() as connection:
            return connection.execute(sa.select(sa.func.max(ROWS.c.begin)).where(chosen)).scalar()

    def get_total(self, begin=None, end=None, tenant_id=None, service=None, groupby=None):
        scope_key = self.conf.collect.scope_key
        groups = GROUPS.intersection((groupby or '').split(','))
        columns = {'tenant_id': scope_key, 'res_type': 'type'}
        rows = self._store.total(
            [columns[name] for name in sorted(groups)], _aware(begin), _aware(end), service,
            {scope_key: tenant_id} if tenant_id else None, paginate=False)['results']
        given = {'tenant_id': tenant_id, 'res_type': service}
        return [{'begin': timeframe.to_naive(row['begin']), 'end': timeframe.to_naive(row['end']),
                 'rate': row['rate'], **given, **{name: row[columns[name]] for name in groups}}
                for row in sorted(rows, key=lambda row: row['rate'])]

    def get_tenants(self, begin, end):
        scope_key = self.conf.collect.scope_key
        rows = self._store.total([scope_key], _aware(begin), _aware(end), paginate=False)
        return [row[scope_key] for row in rows['results'] if row[scope_key]]

    def get_time_frame(self, begin, end, res_type=None, tenant_id=None):
        filters = {self.conf.collect.scope_key: tenant_id} if tenant_id else None
        frames = self._store.retrieve(_aware(begin), _aware(end), filters, res_type,
                                      paginate=False)['dataframes']
        return [frame.as_dict(legacy=True, mutable=True) for frame in frames
                if frame.end <= _aware(end)]

    def nodata(self, begin, end, tenant_id):
        self.append([DataFrame(begin, end)], tenant_id)


def _aware(instant: datetime | None) -> datetime | None:
    """Return an instant of interface 1, which is naive UTC, as an aware one."""
    if instant is None or instant.tzinfo is not None:
        return instant
    return instant.replace(tzinfo=UTC)
