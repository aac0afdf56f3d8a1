"""Completeness of a span: up to when it is rated and what is pending, by scope or for all."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import collector
from cloudkitty.core import timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import agreement, inactive_time, late_data, resets, source_gaps, source_lag
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import state as scope_state
from cloudkitty.scopes.state import Scope
from cloudkitty.storage.v2 import BaseStorage

# States of a scope; of several that are true, the worst counts.
FINAL = 'final'
WAITING = 'waiting'  # its periods are not over, or are rated soon
HELD = 'held'  # they wait for the source
GAP = 'gap'  # all is rated, some of it without samples, and nobody has accepted that
FAILED = 'failed'
INACTIVE = 'inactive'  # switched off before all of its active time was rated
RESET = 'reset'  # it is to be set back
AGAIN = 'again'  # periods are to be rated again
STATES = (FINAL, GAP, WAITING, HELD, FAILED, INACTIVE, RESET, AGAIN)


class Status(NamedTuple):
    """Whether a scope is final in the span, and why not.

    :ivar since: begin of that state, aware UTC; None: unknown.
    """

    state: str = FINAL
    reason: str = ''
    since: datetime | None = None


class Entry(NamedTuple):
    """The completeness of a scope.

    :ivar rated_until: begin of the first period that is not rated, aware UTC.
    :ivar late: periods that were rated though the source lacked samples.
    :ivar inactive: when it was off: periods that begin then are not rated.
    """

    scope: Scope
    rated_until: datetime
    status: Status
    late: list[late_data.Note]
    inactive: list[Period]


class Completeness(NamedTuple):
    """The completeness of a span.

    :ivar is_final: nothing will change any more unless somebody orders it.
    :ivar reason: why the whole is not final, apart from scopes.
    :ivar rated_until: up to when all of it is rated, at most its end; None: unknown.
    :ivar not_final: number of scopes that are not final.
    :ivar total: number of entries on all pages.
    :ivar lagging: current lags of the source, by metric.
    :ivar gaps: times in the span without samples of a metric, except where nobody used anything.
    :ivar not_measured: collectors that cannot tell of gaps.
    :ivar agreed: which lengths periods have had.
    """

    is_final: bool
    reason: str
    rated_until: datetime | None
    not_final: int
    total: int
    entries: list[Entry]
    lagging: dict[str, source_lag.Lag]
    gaps: list[source_gaps.Gap]
    not_measured: list[str]
    agreed: agreement.State


class Query(NamedTuple):
    """A query for the completeness.

    :ivar window: periods that begin in it.
    :ivar scope_ids: None: all that the configuration rates.
    :ivar is_final: only scopes with this value; None: all.
    :ivar offset, limit: the page of entries; limit None: all.
    """

    window: Period
    scope_ids: Collection[str] | None = None
    is_final: bool | None = None
    offset: int = 0
    limit: int | None = None


def examine(connection: sa.Connection, conf: cfg.ConfigOpts, query: Query) -> Completeness:
    """Answer *query*, for the scopes that *conf* rates."""
    identity, window = scope_state.Identity.of(conf), query.window
    agreed = agreement.read(connection)
    length = _length(agreed, conf)
    found = scope_state.list_scopes(
        connection,
        scope_id=query.scope_ids,
        scope_key=[identity.scope_key],
        fetcher=[identity.fetcher],
        collector=[identity.collector],
    )[1]
    lagging = source_lag.list_lags(connection, identity)
    gaps = [
        gap
        for gap in source_gaps.list_gaps(connection, identity, window=window)
        if gap.state != source_gaps.UNUSED
    ]
    # Those with a note only: mostly there are none.
    pending = _unexplained(connection, found, window, gaps)
    if found:
        pending |= _orders(connection, identity, window, length)
    waits = _Waits(lagging, [gap for gap in gaps if gap.state == source_gaps.HELD])
    statuses = {scope.id: _status(scope, window, length, waits, pending) for scope in found}
    waiting = [scope for scope in found if statuses[scope.id].state != FINAL]
    chosen = [
        scope
        for scope in found
        if query.is_final is None or (statuses[scope.id].state == FINAL) == query.is_final
    ]
    end = None if query.limit is None else query.offset + query.limit
    page = chosen[query.offset : end]
    late = _late(connection, page, window)
    inactive = inactive_time.list_inactive_times(connection, [scope.id for scope in page])
    fetched_at = scope_state.last_fetch(connection, identity)
    is_closed = fetched_at is not None and fetched_at >= window.end
    return Completeness(
        is_final=is_closed and not waiting,
        reason='' if is_closed else _open_reason(window, fetched_at),
        rated_until=_rated_until(waiting, window, length, fetched_at),
        not_final=len(waiting),
        total=len(chosen),
        lagging=lagging,
        gaps=gaps,
        not_measured=collector.list_unmeasured(conf),
        agreed=agreed,
        entries=[
            Entry(
                scope,
                scope.mark + length,
                statuses[scope.id],
                late.get(scope.id, []),
                _within(window, inactive.get(scope.id, ())),
            )
            for scope in page
        ],
    )


def _length(agreed, conf):
    """Return how long a period is: what the processors agreed on, else the configuration."""
    if agreed.current:
        return agreed.current.terms.length
    return timedelta(seconds=conf.collect.period)


def _within(window, spans):
    return [span for span in spans if span.begin < window.end and span.end > window.begin]


def _open_reason(window, fetched_at):
    if fetched_at is None:
        return 'no scopes were listed yet'
    return (
        f'scopes were last listed at {timeframe.render(fetched_at)}, before the end '
        f'{timeframe.render(window.end)}: there may be more'
    )


def _rated_until(waiting: Sequence[Scope], window, length, fetched_at):
    marks = [scope.mark + length for scope in waiting]
    return min([*marks, fetched_at, window.end]) if fetched_at else None


def _orders(connection, identity, window, length):
    """Return the statuses of scopes with pending orders, by primary key."""
    found = {
        order.state_id: Status(RESET, f'it is to be set back to {timeframe.render(order.mark)}')
        for order in resets.list_pending(connection, identity)
        if order.mark + length < window.end
    }
    for task, state_id in scope_reprocessing.list_unfinished(connection, identity, window):
        found.setdefault(
            state_id,
            Status(AGAIN, task.failure_reason or f'periods are to be rated again: {task.reason}'),
        )
    return found


class _Waits(NamedTuple):
    """What periods may wait for: lags by metric, and gaps."""

    lagging: dict[str, source_lag.Lag]
    gaps: list[source_gaps.Gap]


def _status(scope, window, length, waits, pending):
    begin = scope.mark + length
    is_rated = (
        begin >= window.end or scope.final_mark is not None and scope.mark >= scope.final_mark
    )
    if is_rated or not scope.active and begin >= scope.toggled_at:
        return pending.get(scope.id, Status())
    if not scope.active:
        return Status(
            INACTIVE, 'it was switched off before all of its time was rated', scope.toggled_at
        )
    if scope.failure_reason:
        return Status(FAILED, scope.failure_reason, scope.failing_since)
    held = {
        metric: lag
        for metric, lag in waits.lagging.items()
        if lag.state == source_lag.HELD and lag.newest < begin + length
    }
    if held:
        return Status(HELD, source_lag.describe(held), min(lag.since for lag in held.values()))
    gaps = [gap for gap in waits.gaps if gap.begin < begin + length and gap.end > begin]
    if gaps:
        return Status(HELD, source_gaps.describe(gaps), min(gap.begin for gap in gaps))
    return Status(WAITING)


def _unexplained(connection, found, window, gaps):
    """Return the statuses of scopes with a noted time that nobody has accepted, by primary key."""
    notes = late_data.list_notes(connection, [scope.id for scope in found], window)
    statuses: dict[int, Status] = {}
    for note in notes:
        if note.state_id not in statuses and not source_gaps.is_explained(
            Period(note.begin, note.end), gaps
        ):
            span = f'from {timeframe.render(note.begin)} to {timeframe.render(note.end)}'
            statuses[note.state_id] = Status(
                GAP, f'rated with {note.reason}, {span}; rate it again, or accept it', note.begin
            )
    return statuses


def _late(connection, page, window):
    found: dict[int, list[late_data.Note]] = {}
    for note in late_data.list_notes(connection, [scope.id for scope in page], window):
        found.setdefault(note.state_id, []).append(note)
    return found


def list_empty(
    storage: BaseStorage,
    conf: cfg.ConfigOpts,
    entry: Entry,
    window: Period,
    agreed: agreement.State | None = None,
) -> list[Period]:
    """Return the ranges of rated periods in *window* without stored data of the scope.

    :param agreed: what the length of periods was when; None: always that of *conf*.
    """
    end = min(window.end, entry.rated_until)
    if end <= window.begin:
        return []
    stored = {
        row['begin']
        for row in storage.total(
            ['time'],
            window.begin,
            end,
            filters={conf.collect.scope_key: [entry.scope.scope_id]},
            paginate=False,
        )['results']
    }
    ranges: list[Period] = []
    begin = window.begin
    while begin < end:
        found = agreed.at(begin) if agreed else None
        length = found.terms.length if found else timedelta(seconds=conf.collect.period)
        until = min(end, found.until if found and found.until else end)
        # Periods count from the scope's mark, and before a change from its date.
        anchor = found.until if found and found.until else entry.rated_until
        _add_empty(ranges, Period(begin + (anchor - begin) % length, until), length, entry, stored)
        begin = until
    return ranges


def _add_empty(ranges, span, length, entry, stored):
    """Append to *ranges* those of the periods in *span* that are neither stored nor inactive."""
    begin = span.begin
    while begin < span.end:
        if begin not in stored and not any(
            pause.begin <= begin < pause.end for pause in entry.inactive
        ):
            if ranges and ranges[-1].end == begin:
                ranges[-1] = Period(ranges[-1].begin, begin + length)
            else:
                ranges.append(Period(begin, begin + length))
        begin += length
