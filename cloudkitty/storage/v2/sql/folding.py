"""Folding: sums by series are added for several periods of a scope at once.

An upsert of two rows a series would be most of the cost of a period. So of some periods only the
sums by scope and metric are changed with the frames; queries of sums by series read these frames
as well, until they are folded. A row of rated_unfolded has the begin of the first of them.

Source: doc/source/contributor/storage.rst, "Folding".
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables, upsert
from cloudkitty.storage.v2.series import series_ids
from cloudkitty.storage.v2.series.frame_rows import RATED

FRAMES = tables.rated_frames
UNFOLDED = tables.rated_unfolded
# Condition for frames joined to UNFOLDED.
IS_UNFOLDED = sa.and_(
    FRAMES.c.scope_id == UNFOLDED.c.scope_id,
    FRAMES.c.origin == RATED,
    FRAMES.c.begin >= UNFOLDED.c.begin,
)

# Built once: to build a statement takes longer than to execute it.
_UNFOLDED = sa.select(UNFOLDED.c.scope_id, UNFOLDED.c.begin).where(
    UNFOLDED.c.begin < sa.bindparam('before')
)
_UNFOLDED_OF = _UNFOLDED.where(UNFOLDED.c.scope_id.in_(sa.bindparam('owners', expanding=True)))


def is_due(state_id: int, mark: datetime, new_mark: datetime, length_s: int, periods: int) -> bool:
    """Return whether a scope is folded when its mark moves.

    Scopes take turns, so that each period folds an equal part of them.

    :param state_id: number of the scope.
    :param periods: after how many periods a scope is folded.
    """
    before, after = (int(at.timestamp()) // length_s + state_id for at in (mark, new_mark))
    return before // periods != after // periods


def unfolded_from(
    connection: sa.Connection, end: datetime, owners: Collection[int] | None
) -> dict[int, datetime]:
    """Return from when on the frames of scopes are unfolded, naive UTC.

    :param end: only scopes with some that begin before, aware UTC.
    :param owners: numbers of scopes; None: all.
    """
    before = timeframe.to_naive(end)
    if owners is None:
        found = connection.execute(_UNFOLDED, {'before': before})
        return {row.scope_id: row.begin for row in found}
    return {
        row.scope_id: row.begin
        for chunk in series_ids.chunks(sorted(owners))
        for row in connection.execute(_UNFOLDED_OF, {'before': before, 'owners': chunk})
    }


def find_left(connection: sa.Connection, before: datetime, limit: int) -> list[int]:
    """Return scopes with frames that begin before an instant, aware UTC, and are unfolded."""
    return list(
        connection.execute(
            sa.select(UNFOLDED.c.scope_id)
            .where(UNFOLDED.c.begin < timeframe.to_naive(before))
            .order_by(UNFOLDED.c.scope_id)
            .limit(limit)
        ).scalars()
    )


class Unfolded:
    """The unfolded frames of locked scopes, see Writer.lock()."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    def defer(self, first: Mapping[int, datetime]) -> set[int]:
        """Return which of the scopes need not be folded to store more periods of them.

        :param first: begin of the first of these periods, naive UTC, by scope.
        """
        begins = self._begins(first)
        new = {owner: begin for owner, begin in first.items() if owner not in begins}
        for owner in self._have_later(new):
            del new[owner]
        upsert.insert(self.connection, UNFOLDED, ('scope_id', 'begin'), sorted(new.items()))
        begins |= new
        return {
            owner for owner, begin in first.items() if owner in begins and begin >= begins[owner]
        }

    def take(self, owners: Iterable[int] | None) -> Iterator[tables.Row]:
        """Yield the unfolded frames of scopes, None: of all; then they count as folded."""
        if owners is None:
            owners = self.connection.execute(sa.select(UNFOLDED.c.scope_id)).scalars().all()
        for chunk in series_ids.chunks(sorted(self._begins(owners))):
            chosen = UNFOLDED.c.scope_id.in_(chunk)
            statement = sa.select(FRAMES.c.scope_id, FRAMES.c.begin, FRAMES.c.block)
            yield from self.connection.execute(
                statement.join(UNFOLDED, IS_UNFOLDED).where(chosen).with_for_update()
            ).all()
            self.connection.execute(sa.delete(UNFOLDED).where(chosen))

    def _begins(self, owners: Iterable[int]) -> dict[int, datetime]:
        # A locking read, which on MariaDB sees what others committed since the transaction began.
        return {
            row.scope_id: row.begin
            for chunk in series_ids.chunks(sorted(owners))
            for row in self.connection.execute(
                sa.select(UNFOLDED).where(UNFOLDED.c.scope_id.in_(chunk)).with_for_update()
            )
        }

    def _have_later(self, begins: Mapping[int, datetime]) -> set[int]:
        """Return the scopes with rated frames that begin then or later: those are folded."""
        if not begins:
            return set()
        found: set[int] = set()
        for chunk in series_ids.chunks(sorted(begins)):
            rows: Iterable[Any] = self.connection.execute(
                sa.select(FRAMES.c.scope_id, FRAMES.c.begin)
                .where(
                    FRAMES.c.scope_id.in_(chunk),
                    FRAMES.c.begin >= min(begins[owner] for owner in chunk),
                    FRAMES.c.origin == RATED,
                )
                .with_for_update()
            )
            found.update(row.scope_id for row in rows if row.begin >= begins[row.scope_id])
        return found
