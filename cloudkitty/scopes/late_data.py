"""Notes on periods that were rated although the source lacked samples: table scope_notes."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core import coverage, timeframe
from cloudkitty.db import tables, upsert
from cloudkitty.scopes import state as scope_state

_NOTES = tables.notes
_SCOPES = tables.scopes
REASON_LENGTH_MAX = 255


class Note(NamedTuple):
    """One row: periods of a scope that begin in [begin, end), aware UTC.

    :ivar state_id: primary key of the scope's row.
    :ivar reason: what was missing.
    """

    state_id: int
    begin: datetime
    end: datetime
    reason: str


def record(connection: sa.Connection, notes: Iterable[Note]) -> None:
    """Store *notes*; extend the adjacent note of a scope if it has the same reason."""
    groups: dict[tuple[datetime, datetime, str], list[int]] = {}
    for note in notes:
        groups.setdefault((note.begin, note.end, note.reason), []).append(note.state_id)
    for (begin, end, reason), state_ids in groups.items():
        for chunk in scope_state.chunks(sorted(state_ids)):
            _record(
                connection,
                chunk,
                timeframe.to_naive(begin),
                timeframe.to_naive(end),
                reason=reason[:REASON_LENGTH_MAX],
            )


def _record(
    connection: sa.Connection,
    state_ids: Collection[int],
    begin: datetime,
    end: datetime,
    *,
    reason: str,
) -> None:
    continues = [_NOTES.c.end == begin, _NOTES.c.reason == reason]
    known = set(
        connection.execute(
            sa.select(_NOTES.c.state_id).where(_NOTES.c.state_id.in_(state_ids), *continues)
        ).scalars()
    )
    if known:
        connection.execute(
            sa.update(_NOTES).where(_NOTES.c.state_id.in_(known), *continues).values(end=end)
        )
    fresh = [
        {'state_id': state_id, 'begin': begin, 'end': end, 'reason': reason}
        for state_id in state_ids
        if state_id not in known
    ]
    if fresh:
        upsert.insert_missing(connection, _NOTES, fresh)


def record_rated(
    connection: sa.Connection,
    identity: scope_state.Identity,
    span: timeframe.Period,
    reason: str,
    length: timedelta,
) -> None:
    """Note the periods in *span* that scopes have rated without any note.

    :param span: from the begin of a period to the end of one.
    :param length: of a period.
    """
    found = connection.execute(
        sa.select(_SCOPES.c.id, _SCOPES.c.last_processed_timestamp).where(
            *scope_state.identity_conditions(identity),
            _SCOPES.c.last_processed_timestamp >= timeframe.to_naive(span.begin),
        )
    ).all()
    noted: dict[int, list[timeframe.Period]] = {}
    for note in list_notes(connection, [key for key, _ in found], span):
        noted.setdefault(note.state_id, []).append(timeframe.Period(note.begin, note.end))
    record(
        connection,
        (
            Note(key, part.begin, part.end, reason)
            for key, mark in found
            for part in coverage.without(
                timeframe.Period(span.begin, min(span.end, timeframe.from_naive(mark) + length)),
                noted.get(key, ()),
            )
        ),
    )


def clear(
    connection: sa.Connection,
    state_ids: Collection[int],
    begin: datetime,
    end: datetime | None = None,
) -> None:
    """Delete the notes on periods that begin in [begin, end); *end* None: on all later ones."""
    naive_begin, naive_end = timeframe.to_naive(begin), end and timeframe.to_naive(end)
    for chunk in scope_state.chunks(sorted(state_ids)):
        touched = [_NOTES.c.state_id.in_(chunk), _NOTES.c.end > naive_begin]
        if end is not None:
            touched.append(_NOTES.c.begin < naive_end)
        old = connection.execute(sa.select(_NOTES).where(*touched)).all()
        if not old:
            continue
        connection.execute(sa.delete(_NOTES).where(*touched))
        rests = [
            {**row._asdict(), **part}
            for row in old
            for part in (
                {'end': min(row.end, naive_begin)},
                {'begin': max(row.begin, naive_end or row.end)},
            )
        ]
        rests = [row for row in rests if row['begin'] < row['end']]
        if rests:
            connection.execute(sa.insert(_NOTES), rests)


def list_notes(
    connection: sa.Connection,
    state_ids: Collection[int],
    window: timeframe.Period | None = None,
) -> list[Note]:
    """Return the notes on periods of these scopes that begin in *window*, in order.

    :param window: None: all.
    """
    inside = (
        []
        if window is None
        else [
            _NOTES.c.end > timeframe.to_naive(window.begin),
            _NOTES.c.begin < timeframe.to_naive(window.end),
        ]
    )
    found = [
        Note(
            row.state_id, timeframe.from_naive(row.begin), timeframe.from_naive(row.end), row.reason
        )
        for chunk in scope_state.chunks(sorted(state_ids))
        for row in connection.execute(
            sa.select(_NOTES).where(_NOTES.c.state_id.in_(chunk), *inside)
        )
    ]
    return sorted(found)
