"""Is everything of a span rated? Until when it is, and what waits, for one scope or for all."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import timeframe
from cloudkitty.db import lags, notes, pauses, reprocess, resets, scopes
from cloudkitty.db.scopes import Scope
from cloudkitty.storage.v2 import BaseStorage
from cloudkitty.timeframe import Period

# What a scope can be, the worst that is true.
FINAL = 'final'
WAITING = 'waiting'                  # its periods are not over, or are rated soon
HELD = 'held'                        # they wait for the source
FAILED = 'failed'
INACTIVE = 'inactive'                # switched off before all of its active time was rated
RESET = 'reset'                      # it is to be set back
AGAIN = 'again'                      # periods are to be rated again
STATES = (FINAL, WAITING, HELD, FAILED, INACTIVE, RESET, AGAIN)


class Status(NamedTuple):
    """Whether a scope is final in the span, and why not.

    :ivar since: when that began, aware UTC; None: it is not known.
    """

    state: str = FINAL
    reason: str = ''
    since: datetime | None = None


class Entry(NamedTuple):
    """A scope.

    :ivar rated_until: when the first period begins that is not rated, aware UTC.
    :ivar late: periods that were rated though the source lagged.
    :ivar inactive: when it was off: periods that begin then are not rated.
    """

    scope: Scope
    rated_until: datetime
    status: Status
    late: list[notes.Note]
    inactive: list[Period]


class Answer(NamedTuple):
    """What is known of a span.

    :ivar is_final: nothing is going to change any more, unless somebody orders it.
    :ivar reason: what keeps the whole from being final, apart from scopes.
    :ivar rated_until: up to when all of it is rated, at most its end; None: nobody knows.
    :ivar not_final: how many scopes are not.
    :ivar total: how many entries there are on all pages.
    :ivar lagging: what lags in the source now, by metric.
    """

    is_final: bool
    reason: str
    rated_until: datetime | None
    not_final: int
    total: int
    entries: list[Entry]
    lagging: dict[str, lags.Lag]


class Question(NamedTuple):
    """What is asked.

    :ivar window: periods that begin in it.
    :ivar scope_ids: None: all that the configuration rates.
    :ivar is_final: only the scopes of which this is true; None: all.
    :ivar offset, limit: the page of entries; limit None: all.
    """

    window: Period
    scope_ids: Collection[str] | None = None
    is_final: bool | None = None
    offset: int = 0
    limit: int | None = None


def examine(connection: sa.Connection, conf: cfg.ConfigOpts, question: Question) -> Answer:
    """Answer *question*, for the scopes that *conf* rates."""
    identity, window = scopes.Identity.of(conf), question.window
    length = timedelta(seconds=conf.collect.period)
    found = scopes.list_scopes(
        connection, scope_id=question.scope_ids,
        **{name: [value] for name, value in identity._asdict().items()})[1]
    lagging = lags.list_lags(connection, identity)
    orders = _orders(connection, identity, window, length)
    statuses = {scope.id: _status(scope, window, length, lagging=lagging, orders=orders)
                for scope in found}
    waiting = [scope for scope in found if statuses[scope.id].state != FINAL]
    chosen = [scope for scope in found if question.is_final is None
              or (statuses[scope.id].state == FINAL) == question.is_final]
    end = None if question.limit is None else question.offset + question.limit
    page = chosen[question.offset:end]
    late = _late(connection, page, window)
    inactive = pauses.list_pauses(connection, [scope.id for scope in page])
    fetched_at = scopes.last_fetch(connection, identity)
    is_closed = fetched_at is not None and fetched_at >= window.end
    return Answer(
        is_final=is_closed and not waiting,
        reason='' if is_closed else _open_reason(window, fetched_at),
        rated_until=_rated_until(waiting, window, length, fetched_at),
        not_final=len(waiting), total=len(chosen), lagging=lagging,
        entries=[Entry(scope, scope.mark + length, statuses[scope.id], late.get(scope.id, []),
                       [span for span in inactive.get(scope.id, ())
                        if span.begin < window.end and span.end > window.begin])
                 for scope in page])


def _open_reason(window, fetched_at):
    asked = timeframe.render(fetched_at) if fetched_at else 'never'
    return (f'the fetcher was asked last {asked}, before the end {timeframe.render(window.end)}: '
            f'scopes may turn up')


def _rated_until(waiting: Sequence[Scope], window, length, fetched_at):
    marks = [scope.mark + length for scope in waiting]
    return min([*marks, fetched_at, window.end]) if fetched_at else None


def _orders(connection, identity, window, length):
    """Return the statuses of scopes of which something is ordered, by primary key."""
    found = {order.state_id: Status(RESET, f'it is to be set back to '
                                           f'{timeframe.render(order.mark)}')
             for order in resets.list_pending(connection, identity)
             if order.mark + length < window.end}
    for task, state_id in reprocess.list_unfinished(connection, identity, window):
        found.setdefault(state_id, Status(
            AGAIN, task.failure_reason or f'periods are to be rated again: {task.reason}'))
    return found


def _status(scope, window, length, *, lagging, orders):
    begin = scope.mark + length
    is_rated = (begin >= window.end
                or scope.final_mark is not None and scope.mark >= scope.final_mark)
    if is_rated or not scope.active and begin >= scope.toggled_at:
        return orders.get(scope.id, Status())
    if not scope.active:
        return Status(INACTIVE, 'it was switched off before all of its time was rated',
                      scope.toggled_at)
    if scope.failure_reason:
        return Status(FAILED, scope.failure_reason, scope.failing_since)
    held = {metric: lag for metric, lag in lagging.items()
            if lag.state == lags.HELD and lag.newest < begin + length}
    if held:
        return Status(HELD, lags.describe(held), min(lag.since for lag in held.values()))
    return Status(WAITING)


def _late(connection, page, window):
    found: dict[int, list[notes.Note]] = {}
    for note in notes.list_notes(connection, [scope.id for scope in page], window):
        found.setdefault(note.state_id, []).append(note)
    return found


def list_empty(storage: BaseStorage, conf: cfg.ConfigOpts, entry: Entry,
               window: Period) -> list[Period]:
    """Return the ranges of rated periods in *window* for which nothing of the scope is stored."""
    length = timedelta(seconds=conf.collect.period)
    end = min(window.end, entry.rated_until)
    if end <= window.begin:
        return []
    stored = {row['begin'] for row in storage.total(
        ['time'], window.begin, end, filters={conf.collect.scope_key: [entry.scope.scope_id]},
        paginate=False)['results']}
    # Periods count from the scope's mark.
    begin = window.begin + (entry.rated_until - window.begin) % length
    ranges: list[Period] = []
    while begin < end:
        if begin not in stored and not any(
                span.begin <= begin < span.end for span in entry.inactive):
            if ranges and ranges[-1].end == begin:
                ranges[-1] = Period(ranges[-1].begin, begin + length)
            else:
                ranges.append(Period(begin, begin + length))
        begin += length
    return ranges
