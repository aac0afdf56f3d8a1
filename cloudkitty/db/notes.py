"""Periods that were rated though the source lagged: table scope_notes. A row is a range."""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, scopes, upsert

_NOTES = models.notes
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
    """Keep *notes*; one that goes on where another with the same reason ends makes that longer."""
    alike: dict[tuple, list[int]] = {}
    for state_id, *rest in notes:
        alike.setdefault(tuple(rest), []).append(state_id)
    for (begin, end, reason), state_ids in alike.items():
        for chunk in scopes.chunks(sorted(state_ids)):
            _record(connection, chunk, timeframe.to_naive(begin), timeframe.to_naive(end),
                    reason=reason[:REASON_LENGTH_MAX])


def _record(connection, state_ids, begin, end, *, reason):
    continues = [_NOTES.c.end == begin, _NOTES.c.reason == reason]
    known = set(connection.execute(sa.select(_NOTES.c.state_id).where(
        _NOTES.c.state_id.in_(state_ids), *continues)).scalars())
    if known:
        connection.execute(sa.update(_NOTES).where(
            _NOTES.c.state_id.in_(known), *continues).values(end=end))
    fresh = [{'state_id': state_id, 'begin': begin, 'end': end, 'reason': reason}
             for state_id in state_ids if state_id not in known]
    if fresh:
        upsert.insert_missing(connection, _NOTES, fresh)


def clear(connection: sa.Connection, state_ids: Collection[int], begin: datetime,
          end: datetime | None = None) -> None:
    """Forget what is noted of periods that begin in [begin, end); None: of all later ones."""
    naive_begin, naive_end = timeframe.to_naive(begin), end and timeframe.to_naive(end)
    for chunk in scopes.chunks(sorted(state_ids)):
        touched = [_NOTES.c.state_id.in_(chunk), _NOTES.c.end > naive_begin]
        if end is not None:
            touched.append(_NOTES.c.begin < naive_end)
        old = connection.execute(sa.select(_NOTES).where(*touched)).all()
        if not old:
            continue
        connection.execute(sa.delete(_NOTES).where(*touched))
        rests = [{**row._asdict(), **part} for row in old
                 for part in ({'end': min(row.end, naive_begin)},
                              {'begin': max(row.begin, naive_end or row.end)})]
        rests = [row for row in rests if row['begin'] < row['end']]
        if rests:
            connection.execute(sa.insert(_NOTES), rests)


def list_notes(connection: sa.Connection, state_ids: Collection[int],
               window: timeframe.Period) -> list[Note]:
    """Return what is noted of periods of these scopes that begin in *window*, in order."""
    found = [Note(row.state_id, timeframe.from_naive(row.begin), timeframe.from_naive(row.end),
                  row.reason)
             for chunk in scopes.chunks(sorted(state_ids))
             for row in connection.execute(sa.select(_NOTES).where(
                 _NOTES.c.state_id.in_(chunk), _NOTES.c.end > timeframe.to_naive(window.begin),
                 _NOTES.c.begin < timeframe.to_naive(window.end)))]
    return sorted(found)
