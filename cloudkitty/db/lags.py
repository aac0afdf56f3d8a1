"""Metrics whose data in the source ends before what is due: table source_lags."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, scopes

_LAGS = models.lags
METRIC_LENGTH_MAX = 500
# Metrics in a text for people.
NAMES_MAX = 10
# Periods wait for the source; they are rated without it; it is not known to have had any data.
HELD = 'held'
LATE = 'late'
NOWHERE = 'nowhere'


class Lag(NamedTuple):
    """One row, but for its key.

    :ivar state: HELD, LATE or NOWHERE.
    :ivar newest: up to when there is data; None: there never was.
    :ivar needed: up to when there should be.
    :ivar since: when this was noticed.
    """

    state: str
    newest: datetime | None
    needed: datetime
    since: datetime


class Change(NamedTuple):
    """What record() did to a metric; *old* None: it did not lag; *new* None: it does no more."""

    metric: str
    old: Lag | None
    new: Lag | None


def list_lags(connection: sa.Connection, identity: scopes.Identity, *,
              is_locking: bool = False) -> dict[str, Lag]:
    """Return the lags of the source of *identity* by metric.

    :param is_locking: nobody else can change them until the transaction ends.
    """
    found = sa.select(_LAGS).where(*scopes.belongs(identity, _LAGS)).order_by(_LAGS.c.metric)
    if is_locking:
        found = found.with_for_update()
    return {row.metric: Lag(row.state, timeframe.from_naive(row.newest),
                            timeframe.from_naive(row.needed), timeframe.from_naive(row.since))
            for row in connection.execute(found)}


def record(connection: sa.Connection, identity: scopes.Identity, lags: Mapping[str, Lag], *,
           newest: Mapping[str, datetime | None], defined: Collection[str]) -> list[Change]:
    """Make the table say *lags*; return what began, changed its state or ended.

    A lag ends when the newest data reaches what was needed when it was recorded: a worker that
    needs less does not end it.

    :param newest: what the source said last, by metric.
    :param defined: all metrics there are; rows of others go.
    """
    known = list_lags(connection, identity, is_locking=True)
    changes = []
    for metric, lag in lags.items():
        name = metric[:METRIC_LENGTH_MAX]
        old = known.get(name)
        values = {**lag._asdict(), 'needed': max(lag.needed, old.needed)} if old else lag._asdict()
        new = Lag(**values)
        if new != old:
            _put(connection, identity, name, new, is_new=old is None)
        if old is None or old.state != new.state:
            changes.append(Change(name, old, new))
    reached = [name for name, old in known.items()
               if newest.get(name) is not None and newest[name] >= old.needed]
    gone = set(known) - {name[:METRIC_LENGTH_MAX] for name in defined}
    for name in [*reached, *gone]:
        connection.execute(sa.delete(_LAGS).where(
            *scopes.belongs(identity, _LAGS), _LAGS.c.metric == name))
    return changes + [Change(name, known[name], None) for name in reached]


def describe(held: Mapping[str, Lag]) -> str:
    """Return for people what metrics are waited for."""
    return '; '.join(f'metric {metric}: the source has no data after {timeframe.render(lag.newest)}'
                     for metric, lag in sorted(held.items())[:NAMES_MAX])


def _put(connection, identity, name, lag, *, is_new):
    values = {'state': lag.state, 'newest': lag.newest and timeframe.to_naive(lag.newest),
              'needed': timeframe.to_naive(lag.needed), 'since': timeframe.to_naive(lag.since)}
    if is_new:
        connection.execute(sa.insert(_LAGS).values(**identity._asdict(), metric=name, **values))
    else:
        connection.execute(sa.update(_LAGS).where(
            *scopes.belongs(identity, _LAGS), _LAGS.c.metric == name).values(**values))
