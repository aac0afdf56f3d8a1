"""Driver `sqlalchemy` of interface 1: table rated_data_frames of the SQL database."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, overload

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.storage import v1
from cloudkitty.storage.v1 import store
from cloudkitty.storage.v1.table import ROWS

GROUPS = {'tenant_id', 'res_type'}


class SQLAlchemyStorage(v1.BaseStorage):
    """The methods of interface 1; the service itself uses those of interface 2 underneath."""

    def __init__(self, conf: cfg.ConfigOpts) -> None:
        super().__init__(conf)
        self._store = store.TableStorage(conf)
        self._appended: dict[str, list[DataFrame]] = {}

    def as_v2(self) -> store.TableStorage:
        return self._store

    def init(self) -> None:
        self._store.init()

    def append(self, frames: Sequence[DataFrame], tenant_id: str) -> None:
        self._appended.setdefault(tenant_id, []).extend(
            DataFrame(_aware(frame.start), _aware(frame.end), frame.usage) for frame in frames
        )

    def commit(self, tenant_id: str) -> None:
        merged: dict[datetime, DataFrame] = {}
        for frame in self._appended.get(tenant_id, ()):
            whole = merged.setdefault(frame.start, DataFrame(frame.start, frame.end))
            for name, points in frame.itertypes():
                whole.add_points(points, name)
        self._store.push(list(merged.values()), tenant_id)
        self._appended.pop(tenant_id, None)

    def get_state(self, tenant_id: str | None = None) -> datetime | None:
        layout = self._store.layout
        chosen = sa.true() if tenant_id is None else layout.among('tenant_id', [tenant_id])
        with self._store.database.reader() as connection:
            newest: datetime | None = connection.execute(
                sa.select(sa.func.max(ROWS.c.begin)).where(chosen)
            ).scalar()
        return newest

    def get_total(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        tenant_id: str | None = None,
        service: str | None = None,
        groupby: str | None = None,
    ) -> list[dict[str, Any]]:
        scope_key = self.conf.collect.scope_key
        groups = GROUPS.intersection((groupby or '').split(','))
        columns = {'tenant_id': scope_key, 'res_type': 'type'}
        rows = self._store.total(
            [columns[name] for name in sorted(groups)],
            _aware(begin),
            _aware(end),
            service,
            {scope_key: tenant_id} if tenant_id else None,
            paginate=False,
        )['results']
        given = {'tenant_id': tenant_id, 'res_type': service}
        return [
            {
                'begin': timeframe.to_naive(row['begin']),
                'end': timeframe.to_naive(row['end']),
                'rate': row['rate'],
                **given,
                **{name: row[columns[name]] for name in groups},
            }
            for row in sorted(rows, key=lambda row: row['rate'])
        ]

    def get_tenants(self, begin: datetime, end: datetime) -> list[str]:
        scope_key = self.conf.collect.scope_key
        rows = self._store.total([scope_key], _aware(begin), _aware(end), paginate=False)
        return [row[scope_key] for row in rows['results'] if row[scope_key]]

    def get_time_frame(
        self,
        begin: datetime,
        end: datetime,
        res_type: str | None = None,
        tenant_id: str | None = None,
    ) -> list[dict[str, Any]]:
        filters = {self.conf.collect.scope_key: tenant_id} if tenant_id else None
        frames = self._store.retrieve(
            _aware(begin), _aware(end), filters, res_type, paginate=False
        )['dataframes']
        return [
            frame.as_dict(legacy=True, mutable=True) for frame in frames if frame.end <= _aware(end)
        ]

    def nodata(self, begin: datetime, end: datetime, tenant_id: str) -> None:
        self.append([DataFrame(begin, end)], tenant_id)


@overload
def _aware(instant: None) -> None: ...


@overload
def _aware(instant: datetime) -> datetime: ...


def _aware(instant: datetime | None) -> datetime | None:
    """Return an instant of interface 1, which is naive UTC, as an aware one."""
    if instant is None or instant.tzinfo is not None:
        return instant
    return instant.replace(tzinfo=UTC)
