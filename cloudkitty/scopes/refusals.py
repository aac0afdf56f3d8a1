"""Queries of a metric and scope that the source refuses, and since when: table source_refusals."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state

_REFUSALS = tables.refusals
METRIC_LENGTH_MAX = 255


class Refusal(NamedTuple):
    """One row: consecutive periods that begin in [begin, end), all refused; aware UTC.

    :ivar state_id: primary key of the scope's row.
    :ivar since: when the source refused the first of them first.
    :ivar seen: when it refused one of them last.
    """

    state_id: int
    metric: str
    begin: datetime
    end: datetime
    since: datetime
    seen: datetime

    def goes_on(self, begin: datetime, first: datetime) -> bool:
        """Return whether a refused period that begins at *begin* is one of these, or the next.

        :param first: begin of the first period of this query; the periods from there to *begin*
            were answered.
        """
        return begin == self.begin or begin == first and self.begin <= begin <= self.end


class Patience(NamedTuple):
    """Refusals for which rating no longer waits.

    :ivar until: what the source has refused since before this instant, aware UTC.
    :ivar known: its refusals so far, by scope id and metric; see key().
    """

    until: datetime
    known: Mapping[tuple[str, str], Refusal]

    def is_over(self, scope_id: str, metric: str, begin: datetime, first: datetime) -> bool:
        """Return whether a refused period belongs to a refusal that has lasted.

        :param begin, first: see Refusal.goes_on().
        """
        known = self.known.get(key(scope_id, metric))
        return known is not None and known.since <= self.until and known.goes_on(begin, first)


def key(scope_id: str, metric: str) -> tuple[str, str]:
    """Return the key of a scope and a metric, whose name may be longer than the column."""
    return scope_id, metric[:METRIC_LENGTH_MAX]


def first_runs(
    refused: Iterable[tuple[str, str, datetime]], length: timedelta
) -> dict[tuple[str, str], Period]:
    """Return the time of the first periods in a row that were refused, by scope id and metric.

    :param refused: (scope id, metric, begin), in the order of time.
    :param length: of a period.
    """
    runs: dict[tuple[str, str], Period] = {}
    for scope_id, metric, begin in refused:
        one = key(scope_id, metric)
        run = runs.setdefault(one, Period(begin, begin))
        if run.end == begin:
            runs[one] = Period(run.begin, begin + length)
    return runs


def list_refusals(connection: sa.Connection, state_ids: Sequence[int]) -> list[Refusal]:
    """Return the refusals of these scopes."""
    return [
        Refusal(
            row.state_id,
            row.metric,
            timeframe.from_naive(row.begin),
            timeframe.from_naive(row.end),
            timeframe.from_naive(row.since),
            timeframe.from_naive(row.seen),
        )
        for chunk in scope_state.chunks(state_ids)
        for row in connection.execute(_BY_SCOPES, {'keys': chunk})
    ]


def replace(connection: sa.Connection, old: Iterable[Refusal], new: Collection[Refusal]) -> None:
    """Delete the rows of *old* and those that *new* replaces, and insert *new*."""
    # A scope may have been deleted; and locks are always taken in this order.
    existing = scope_state.lock_marks(connection, {one.state_id for one in new})
    by_metric: dict[str, set[int]] = {}
    for one in (*old, *new):
        by_metric.setdefault(one.metric, set()).add(one.state_id)
    for metric, state_ids in sorted(by_metric.items()):
        for chunk in scope_state.chunks(sorted(state_ids)):
            connection.execute(
                sa.delete(_REFUSALS).where(
                    _REFUSALS.c.state_id.in_(chunk), _REFUSALS.c.metric == metric
                )
            )
    rows = [
        {
            'state_id': one.state_id,
            'metric': one.metric,
            **{
                name: timeframe.to_naive(getattr(one, name))
                for name in ('begin', 'end', 'since', 'seen')
            },
        }
        for one in sorted(new)
        if one.state_id in existing
    ]
    for part in scope_state.chunks(rows):
        connection.execute(sa.insert(_REFUSALS), part)


# Built once, as each batch needs it.
_BY_SCOPES = sa.select(_REFUSALS).where(
    _REFUSALS.c.state_id.in_(sa.bindparam('keys', expanding=True))
)
