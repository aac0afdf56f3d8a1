"""Times in which the source has no samples of a metric: table source_gaps."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty.core import coverage, timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state

_GAPS = tables.gaps
_NOTES = tables.notes
METRIC_LENGTH_MAX = 255
SIGN_LENGTH_MAX = 255
# Most stored times of a metric without usage: the newest are kept.
UNUSED_MAX = 1000
# Gaps begin and end at whole seconds.
INSTANT = timedelta(seconds=1)
# Most gaps in a text for operators.
NAMES_MAX = 10
# Periods wait for samples; they were rated without; the samples came later; nobody used anything;
# some scopes have samples or answers that cannot be used, and were rated without; an operator has
# accepted that there are none.
HELD = 'held'
NOTED = 'noted'
BACK = 'back'
UNUSED = 'unused'
UNUSABLE = 'unusable'
ACCEPTED = 'accepted'
STATES = (HELD, NOTED, BACK, UNUSED, UNUSABLE, ACCEPTED)
# Unresolved states: an operator has to rate again or to accept the gap.
OPEN = (NOTED, BACK, UNUSABLE)
# Those of them that the coverage of the source tells.
UNCOVERED = (NOTED, BACK)


class Gap(NamedTuple):
    """One row without the identity; times are aware UTC.

    :ivar sign: the evidence that samples are missing or cannot be used, or that nothing was used.
    :ivar accepted_at, accepted_by, reason: None unless it is accepted.
    """

    metric: str
    begin: datetime
    end: datetime
    state: str
    sign: str
    accepted_at: datetime | None = None
    accepted_by: str | None = None
    reason: str | None = None

    @property
    def span(self) -> Period:
        return Period(self.begin, self.end)


def list_gaps(
    connection: sa.Connection,
    identity: scope_state.Identity,
    *,
    window: Period | None = None,
    metrics: Collection[str] | None = None,
    states: Collection[str] | None = None,
    is_locking: bool = False,
) -> list[Gap]:
    """Return the gaps of the source of *identity*, by metric and time.

    :param window, metrics, states: only those that overlap it, or have one of them.
    :param is_locking: lock the rows until the transaction ends.
    """
    found = sa.select(_GAPS).where(*scope_state.identity_conditions(identity, _GAPS))
    if window is not None:
        found = found.where(
            _GAPS.c.end > timeframe.to_naive(window.begin),
            _GAPS.c.begin < timeframe.to_naive(window.end),
        )
    if metrics is not None:
        found = found.where(_GAPS.c.metric.in_(metrics))
    if states is not None:
        found = found.where(_GAPS.c.state.in_(states))
    if is_locking:
        found = found.with_for_update()
    rows = connection.execute(found.order_by(_GAPS.c.metric, _GAPS.c.begin))
    return [
        Gap(
            row.metric,
            timeframe.from_naive(row.begin),
            timeframe.from_naive(row.end),
            row.state,
            row.sign,
            timeframe.from_naive(row.accepted_at),
            row.accepted_by,
            row.reason,
        )
        for row in rows
    ]


def find_known(gaps: Sequence[Gap], begin: datetime, since: datetime) -> dict[str, coverage.Gap]:
    """Return the gaps that may go on at *begin*, by metric.

    :param since: those that ended before this instant are over.
    """
    return {
        gap.metric: coverage.Gap(gap.begin, gap.end, gap.state != UNUSED, gap.sign)
        for gap in gaps
        if gap.state in (HELD, NOTED, UNUSED) and gap.begin < begin and gap.end >= since
    }


def record(
    connection: sa.Connection,
    identity: scope_state.Identity,
    found: Mapping[str, Sequence[Gap]],
    span: Period,
) -> list[Gap]:
    """Replace the stored gaps in *span* by *found*; return those that are new or changed.

    Accepted gaps stay accepted. A noted gap for which the source has samples now becomes one that
    is back.

    :param found: gaps by metric, for all metrics that are known; may reach out of *span*.
    """
    names = {metric[:METRIC_LENGTH_MAX]: gaps for metric, gaps in found.items()}
    known: dict[str, list[Gap]] = {name: [] for name in names}
    for gap in list_gaps(connection, identity, metrics=list(names), is_locking=True):
        known[gap.metric].append(gap)
    changes: list[Gap] = []
    for name, gaps in names.items():
        if not gaps and not known[name]:
            continue
        wanted = _unaccepted(gaps, known[name])
        old = [gap for gap in known[name] if gap.state != ACCEPTED]
        new = _bounded(_merged(old, wanted, span))
        if new != old:
            _replace(connection, identity, old, new)
        changes.extend(gap for gap in new if not _is_told(gap, old))
    return changes


def is_recorded(stored: Sequence[Gap], found: Mapping[str, Sequence[Gap]], span: Period) -> bool:
    """Return whether record() would change nothing.

    :param stored: the gaps that are stored around *span*.
    """
    for metric, gaps in found.items():
        known = [gap for gap in stored if gap.metric == metric[:METRIC_LENGTH_MAX]]
        old = [gap for gap in known if gap.state != ACCEPTED]
        if _merged(old, _unaccepted(gaps, known), span) != old:
            return False
    return True


def _unaccepted(gaps: Sequence[Gap], known: Sequence[Gap]) -> list[Gap]:
    accepted = [gap.span for gap in known if gap.state == ACCEPTED]
    return [
        gap._replace(
            metric=gap.metric[:METRIC_LENGTH_MAX],
            begin=begin,
            end=end,
            sign=gap.sign[:SIGN_LENGTH_MAX],
        )
        for gap in gaps
        for begin, end in coverage.without(gap.span, accepted)
    ]


def _merged(old: Sequence[Gap], wanted: Sequence[Gap], span: Period) -> list[Gap]:
    """Return the gaps of a metric: the wanted ones, and what they leave of the old ones."""
    spans = [gap.span for gap in wanted]
    unusable = [gap for gap in old if gap.state == UNUSABLE]
    old = [gap for gap in old if gap.state != UNUSABLE]
    found: list[Gap] = []
    for gap in old:
        for begin, end in coverage.without(gap.span, [span, *spans]):
            found.append(gap._replace(begin=begin, end=end))
        if gap.state in UNCOVERED:
            inside = Period(max(gap.begin, span.begin), min(gap.end, span.end))
            for begin, end in coverage.without(inside, spans) if inside.begin < inside.end else ():
                found.append(gap._replace(begin=begin, end=end, state=BACK))
    for gap in wanted:
        if any(one.state in UNCOVERED and coverage.overlaps(one.span, gap.span) for one in old):
            # Once it is noted, it is until the periods are rated again.
            gap = gap._replace(state=BACK if gap.state == UNUSED else NOTED)
        found.append(gap)
    return _joined(_with_unusable(found, unusable))


def _with_unusable(gaps: Sequence[Gap], unusable: Sequence[Gap]) -> list[Gap]:
    """Return *gaps* with what those that are uncovered leave of the *unusable* ones.

    Those for which periods wait, or nothing was used, have what these leave.
    """
    lasting = [gap for gap in gaps if gap.state in (*UNCOVERED, ACCEPTED)]
    rests = _parts(unusable, [gap.span for gap in lasting])
    others = [gap for gap in gaps if gap not in lasting]
    return [*lasting, *rests, *_parts(others, [gap.span for gap in rests])]


def _parts(gaps: Sequence[Gap], spans: Sequence[Period]) -> list[Gap]:
    return [
        gap._replace(begin=begin, end=end)
        for gap in gaps
        for begin, end in coverage.without(gap.span, spans)
    ]


def _joined(gaps: Sequence[Gap]) -> list[Gap]:
    """Return the gaps in order, adjacent ones of a state as one."""
    joined: list[Gap] = []
    for gap in sorted(gaps, key=lambda gap: gap.begin):
        last = joined[-1] if joined else None
        if last and last.state == gap.state != ACCEPTED and gap.begin <= last.end:
            joined[-1] = last._replace(end=max(last.end, gap.end))
        else:
            joined.append(gap)
    return joined


def _bounded(gaps: Sequence[Gap]) -> list[Gap]:
    """Return *gaps* without the oldest of too many times without usage."""
    surplus = sum(1 for gap in gaps if gap.state == UNUSED) - UNUSED_MAX
    if surplus <= 0:
        return list(gaps)
    oldest = itertools.islice((gap for gap in gaps if gap.state == UNUSED), surplus)
    dropped = set(oldest)
    return [gap for gap in gaps if gap not in dropped]


def _is_told(gap: Gap, old: Sequence[Gap]) -> bool:
    return any(one.state == gap.state and coverage.overlaps(one.span, gap.span) for one in old)


def _replace(
    connection: sa.Connection,
    identity: scope_state.Identity,
    old: Sequence[Gap],
    new: Sequence[Gap],
) -> None:
    for gap in old:
        if gap not in new:
            _delete(connection, identity, gap)
    rows = [{**identity._asdict(), **_values(gap)} for gap in new if gap not in old]
    if rows:
        connection.execute(sa.insert(_GAPS), rows)


def _values(gap: Gap) -> dict[str, Any]:
    return {
        **gap._asdict(),
        'begin': timeframe.to_naive(gap.begin),
        'end': timeframe.to_naive(gap.end),
        'accepted_at': gap.accepted_at and timeframe.to_naive(gap.accepted_at),
    }


def _delete(connection: sa.Connection, identity: scope_state.Identity, gap: Gap) -> None:
    connection.execute(
        sa.delete(_GAPS).where(
            *scope_state.identity_conditions(identity, _GAPS),
            _GAPS.c.metric == gap.metric,
            _GAPS.c.begin == timeframe.to_naive(gap.begin),
        )
    )


def record_unusable(
    connection: sa.Connection, identity: scope_state.Identity, found: Sequence[Gap]
) -> None:
    """Add gaps whose samples or answers cannot be used, except where there are unresolved ones.

    :param found: of whole periods, in state UNUSABLE; they may overlap.
    """
    by_metric: dict[str, list[Gap]] = {}
    for gap in found:
        name = gap.metric[:METRIC_LENGTH_MAX]
        by_metric.setdefault(name, []).append(
            gap._replace(metric=name, sign=gap.sign[:SIGN_LENGTH_MAX])
        )
    for name, gaps in sorted(by_metric.items()):
        # With those that are adjacent.
        window = Period(
            min(gap.begin for gap in gaps) - INSTANT, max(gap.end for gap in gaps) + INSTANT
        )
        old = list_gaps(connection, identity, window=window, metrics=[name], is_locking=True)
        new = _joined(_with_unusable(old, _joined(gaps)))
        if new != old:
            _replace(connection, identity, old, new)


def accept(
    connection: sa.Connection,
    identity: scope_state.Identity,
    metric: str,
    span: Period,
    *,
    by: str,
    reason: str,
    now: datetime,
) -> list[Gap]:
    """Accept that there are no samples of *metric* in *span*; return the gaps stored before."""
    old = list_gaps(connection, identity, metrics=[metric], is_locking=True)
    touched = [gap for gap in old if coverage.overlaps(gap.span, span)]
    rests = [
        gap._replace(begin=begin, end=end)
        for gap in touched
        for begin, end in coverage.without(gap.span, [span])
    ]
    signs = dict.fromkeys(gap.sign for gap in touched if gap.state != ACCEPTED)
    accepted = Gap(metric, *span, ACCEPTED, '; '.join(signs)[:SIGN_LENGTH_MAX], now, by, reason)
    _replace(connection, identity, touched, [*rests, accepted])
    return touched


def tidy(connection: sa.Connection, identity: scope_state.Identity) -> None:
    """Delete the gaps that are back, or unusable, and of which no scope has a note any more."""
    notes = (
        sa.select(_NOTES.c.state_id)
        .join(tables.scopes, tables.scopes.c.id == _NOTES.c.state_id)
        .where(
            *scope_state.identity_conditions(identity),
            _NOTES.c.end > _GAPS.c.begin,
            _NOTES.c.begin < _GAPS.c.end,
        )
    )
    connection.execute(
        sa.delete(_GAPS).where(
            *scope_state.identity_conditions(identity, _GAPS),
            _GAPS.c.state.in_((BACK, UNUSABLE)),
            ~notes.exists(),
        )
    )


def remove_unused(connection: sa.Connection, before: datetime, *, limit: int) -> int:
    """Delete at most *limit* of the oldest times before *before* without usage.

    Those of all sources; unresolved and accepted gaps are kept.

    :returns: how many were deleted.
    """
    key = (_GAPS.c.end, *_GAPS.primary_key.columns)
    found = connection.execute(
        sa.select(*key)
        .where(_GAPS.c.state == UNUSED, _GAPS.c.end <= timeframe.to_naive(before))
        .order_by(*key)
        .limit(limit)
    ).all()
    names = [column.name for column in _GAPS.primary_key.columns]
    for row in found:
        connection.execute(
            sa.delete(_GAPS).where(
                *(_GAPS.c[name] == getattr(row, name) for name in names), _GAPS.c.state == UNUSED
            )
        )
    return len(found)


def count(connection: sa.Connection, identity: scope_state.Identity) -> list[tuple[str, str, int]]:
    """Return (metric, state, number of gaps) of the unresolved ones."""
    found = (
        sa.select(_GAPS.c.metric, _GAPS.c.state, sa.func.count())
        .where(*scope_state.identity_conditions(identity, _GAPS), _GAPS.c.state.in_((HELD, *OPEN)))
        .group_by(_GAPS.c.metric, _GAPS.c.state)
        .order_by(_GAPS.c.metric, _GAPS.c.state)
    )
    return [(metric, state, number) for metric, state, number in connection.execute(found)]


def is_explained(note: Period, gaps: Sequence[Gap]) -> bool:
    """Return whether an operator has accepted all of the gaps in a noted time, and any."""
    inside = [gap for gap in gaps if coverage.overlaps(gap.span, note)]
    return not any(gap.state in OPEN for gap in inside) and any(
        gap.state == ACCEPTED for gap in inside
    )


def describe(gaps: Sequence[Gap]) -> str:
    """Return a text about the gaps for which periods wait."""
    return '; '.join(
        f'metric {gap.metric}: the source has no samples from {timeframe.render(gap.begin)} to '
        f'{timeframe.render(gap.end)} ({gap.sign})'
        for gap in gaps[:NAMES_MAX]
    )
