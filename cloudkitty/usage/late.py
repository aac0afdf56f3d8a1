"""Time ranges whose usage changed after they may have been rated: table usage_late.

A row is written in the transaction that changes the usage, and removed when a reprocessing task is
stored. So a late fact cannot be lost between its intake and the rating of its period.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty.core import schedule, timeframe
from cloudkitty.core.metering import facts
from cloudkitty.db import usage_tables

_LATE = usage_tables.late
# Clocks of hosts may differ by so much, or by a period if that is shorter.
MARGIN = timedelta(seconds=60)


class Limits(NamedTuple):
    """When a fact is late, and when it is too late.

    :ivar length_s, wait_periods: see [collect].
    :ivar late_max: older facts are refused.
    """

    length_s: int
    wait_periods: int
    late_max: timedelta

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> 'Limits':
        """Return the limits of the configuration."""
        return cls(
            conf.collect.period, conf.collect.wait_periods, timedelta(days=conf.metering.late_max)
        )

    def edge(self, now: datetime) -> int:
        """Return the end of the last period that may be collected by now, in microseconds."""
        return facts.to_us(
            schedule.due_end(
                timeframe.EPOCH,
                now + min(MARGIN, timedelta(seconds=self.length_s)),
                length_s=self.length_s,
                wait_periods=self.wait_periods,
            )
        )

    def oldest(self, now: datetime) -> int:
        """Return from when on facts are accepted, microseconds since the epoch."""
        return facts.to_us(now - self.late_max)


# [begin, end), microseconds since the epoch.
Span = tuple[int, int]


class Row(NamedTuple):
    """Time of a scope, microseconds since the epoch."""

    id: int
    scope_id: str
    begin: int
    end: int
    received_at: int


def record(
    connection: sa.Connection,
    spans: Mapping[str, Iterable[tuple[int, int | None]]],
    *,
    limits: Limits,
    now: datetime,
) -> None:
    """Record that usage changed; time that is not due yet, or too old, is left out.

    :param spans: by scope, microseconds since the epoch; None: up to now.
    """
    edge, oldest = limits.edge(now), limits.oldest(now)
    rows = []
    for scope_id, changed in spans.items():
        cut = [
            (max(begin, oldest), edge if end is None else min(end, edge)) for begin, end in changed
        ]
        cut = [(begin, end) for begin, end in cut if begin < end]
        if cut:
            rows.append(
                {
                    'scope_id': scope_id,
                    'begin': min(begin for begin, _ in cut),
                    'end': max(end for _, end in cut),
                    'received_at': facts.to_us(now),
                }
            )
    if rows:
        connection.execute(sa.insert(_LATE), rows)


def read(connection: sa.Connection, limit: int, scope_id: str | None = None) -> list[Row]:
    """Return at most *limit* rows, by scope."""
    statement = sa.select(*[_LATE.c[name] for name in Row._fields])
    if scope_id is not None:
        statement = statement.where(_LATE.c.scope_id == scope_id)
    rows = connection.execute(statement.order_by(_LATE.c.scope_id, _LATE.c.id).limit(limit))
    return [Row(*row) for row in rows]


def oldest(connection: sa.Connection) -> int | None:
    """Return the begin of the first time of all rows, microseconds since the epoch."""
    return connection.execute(sa.select(sa.func.min(_LATE.c.begin))).scalar()


def page(connection: sa.Connection, *, offset: int, limit: int) -> tuple[int, list[Row]]:
    """Return how many rows there are, and some of them, those that came first first."""
    total = connection.execute(sa.select(sa.func.count()).select_from(_LATE)).scalar_one()
    rows = connection.execute(
        sa.select(*[_LATE.c[name] for name in Row._fields])
        .order_by(_LATE.c.id)
        .offset(offset)
        .limit(limit)
    )
    return total, [Row(*row) for row in rows]


def scopes(connection: sa.Connection, limit: int, after: str = '') -> list[str]:
    """Return at most *limit* scopes that have rows, in order."""
    return list(
        connection.execute(
            sa.select(_LATE.c.scope_id)
            .where(_LATE.c.scope_id > after)
            .distinct()
            .order_by(_LATE.c.scope_id)
            .limit(limit)
        ).scalars()
    )


def merge(rows: Sequence[Row]) -> list[Row]:
    """Return one row that covers *rows*, or none for none."""
    if not rows:
        return []
    return [
        rows[-1]._replace(
            begin=min(row.begin for row in rows),
            end=max(row.end for row in rows),
            received_at=max(row.received_at for row in rows),
        )
    ]


def divide(rows: Iterable[Row], spans: Iterable[Span]) -> tuple[list[Row], list[Row]]:
    """Return the parts of *rows* outside *spans*, and those inside them, merged for each span."""
    outside, inside = list(rows), []
    for begin, end in spans:
        inside += merge(
            [
                row._replace(begin=max(row.begin, begin), end=min(row.end, end))
                for row in outside
                if row.begin < end and row.end > begin
            ]
        )
        parts = [
            part
            for row in outside
            for part in (
                row._replace(end=min(row.end, begin)),
                row._replace(begin=max(row.begin, end)),
            )
        ]
        outside = [part for part in parts if part.begin < part.end]
    return outside, inside


def settle(connection: sa.Connection, rows: Sequence[Row], rest: Sequence[Row]) -> None:
    """Replace *rows* by what there is no task for yet.

    :param rest: the time of that.
    """
    connection.execute(sa.delete(_LATE).where(_LATE.c.id.in_([row.id for row in rows])))
    if rest:
        names = [name for name in Row._fields if name != 'id']
        connection.execute(
            sa.insert(_LATE), [{name: getattr(row, name) for name in names} for row in rest]
        )
