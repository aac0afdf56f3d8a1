"""Metrics whose data in the source ends before what is due: table source_lags."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state

_LAGS = tables.lags
METRIC_LENGTH_MAX = 500
# Most metrics in a text for operators.
NAMES_MAX = 10
# Periods wait for the metric; they are rated without it; the source never had data of it.
HELD = 'held'
LATE = 'late'
NOWHERE = 'nowhere'


class Lag(NamedTuple):
    """One row without its key.

    :ivar state: HELD, LATE or NOWHERE.
    :ivar newest: the metric's watermark; None: there never was any data.
    :ivar needed: up to when data is needed.
    :ivar since: when the lag was noticed.
    """

    state: str
    newest: datetime | None
    needed: datetime
    since: datetime


class Change(NamedTuple):
    """A change that record() made; *old* None: there was no lag; *new* None: the lag has ended."""

    metric: str
    old: Lag | None
    new: Lag | None


def list_lags(
    connection: sa.Connection, identity: scope_state.Identity, *, is_locking: bool = False
) -> dict[str, Lag]:
    """Return the lags of the source of *identity* by metric.

    :param is_locking: lock the rows until the transaction ends.
    """
    found = (
        sa.select(_LAGS)
        .where(*scope_state.identity_conditions(identity, _LAGS))
        .order_by(_LAGS.c.metric)
    )
    if is_locking:
        found = found.with_for_update()
    return {
        row.metric: Lag(
            row.state,
            timeframe.from_naive(row.newest),
            timeframe.from_naive(row.needed),
            timeframe.from_naive(row.since),
        )
        for row in connection.execute(found)
    }


def record(
    connection: sa.Connection,
    identity: scope_state.Identity,
    lags: Mapping[str, Lag],
    *,
    newest: Mapping[str, datetime | None],
    defined: Collection[str],
) -> list[Change]:
    """Replace the stored lags with *lags*; return those that began, changed their state or ended.

    A lag ends when the watermark reaches what was needed when the lag was recorded: a worker that
    needs less does not end it.

    :param newest: last known watermarks, by metric.
    :param defined: all defined metrics; rows of others are deleted.
    """
    known = list_lags(connection, identity, is_locking=True)
    changes: list[Change] = []
    for metric, lag in lags.items():
        name = metric[:METRIC_LENGTH_MAX]
        old = known.get(name)
        values = {**lag._asdict(), 'needed': max(lag.needed, old.needed)} if old else lag._asdict()
        new = Lag(**values)
        if new != old:
            _put(connection, identity, name, new, is_new=old is None)
        if old is None or old.state != new.state:
            changes.append(Change(name, old, new))
    reached = [
        name
        for name, old in known.items()
        if (data_end := newest.get(name)) is not None and data_end >= old.needed
    ]
    gone = set(known) - {name[:METRIC_LENGTH_MAX] for name in defined}
    for name in [*reached, *gone]:
        connection.execute(
            sa.delete(_LAGS).where(
                *scope_state.identity_conditions(identity, _LAGS), _LAGS.c.metric == name
            )
        )
    return changes + [Change(name, known[name], None) for name in reached]


def describe(held: Mapping[str, Lag]) -> str:
    """Return a text that names the metrics for which periods wait."""
    return '; '.join(
        f'metric {metric}: the source has no data after {timeframe.render(lag.newest)}'
        for metric, lag in sorted(held.items())[:NAMES_MAX]
        if lag.newest is not None
    )


def _put(
    connection: sa.Connection, identity: scope_state.Identity, name: str, lag: Lag, *, is_new: bool
) -> None:
    values = {
        'state': lag.state,
        'newest': lag.newest and timeframe.to_naive(lag.newest),
        'needed': timeframe.to_naive(lag.needed),
        'since': timeframe.to_naive(lag.since),
    }
    if is_new:
        connection.execute(sa.insert(_LAGS).values(**identity._asdict(), metric=name, **values))
    else:
        connection.execute(
            sa.update(_LAGS)
            .where(*scope_state.identity_conditions(identity, _LAGS), _LAGS.c.metric == name)
            .values(**values)
        )
