"""Frames of the SQL database as cells: read a few at a time, each part in its own transaction."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import sqlalchemy as sa

from cloudkitty import db, errors
from cloudkitty.core import block, timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2.series import cells, retention_cutoff
from cloudkitty.storage.v2.series.cells import Chosen, FrameContent, FrameDigest, FrameKey
from cloudkitty.storage.v2.series.changes import Changes
from cloudkitty.storage.v2.series.frame_rows import Part
from cloudkitty.storage.v2.series.series_ids import chunks
from cloudkitty.storage.v2.sql.writer import Writer

FRAMES = tables.rated_frames
STATES = tables.scopes
KEY = (FRAMES.c.scope_id, FRAMES.c.begin, FRAMES.c.origin)


class Cells(cells.CellStore):
    """The frames of table rated_frames."""

    def _view(self) -> cells.View:
        return _View(self.database)

    def _write(self, parts: Sequence[Part], changes: Changes | None) -> None:
        owners = {part.owner for part in parts}
        numbers = self.database.write(
            lambda connection: self.id_cache.scope_numbers(connection, owners)
        )

        def change(connection: sa.Connection) -> Writer:
            writer = Writer(connection, self.id_cache, changes)
            _lock_states(connection, owners)
            writer.lock(numbers.values())
            for part in parts:
                retention_cutoff.require_points(writer.retention_cutoff, part.usage.begins)
            writer.store(parts)
            return writer

        writer = self.database.write(change)
        writer.ids.fill_cache()

    def digests(self, scope_id: str, span: Period) -> list[FrameDigest]:
        """Implement CellStore.digests().

        Points name their series by ids, whose rows never change: equal blocks hold equal points.
        """
        with self.database.reader() as connection:
            numbers = self.id_cache.find_scopes(connection, [scope_id])
            rows = connection.execute(
                sa.select(FRAMES.c.begin, FRAMES.c.end, FRAMES.c.origin, _digest(connection))
                .where(
                    FRAMES.c.scope_id == numbers.get(scope_id),
                    FRAMES.c.begin >= timeframe.to_naive(span.begin),
                    FRAMES.c.begin < timeframe.to_naive(span.end),
                )
                .order_by(FRAMES.c.begin, FRAMES.c.origin)
            ).all()
            is_hashed = connection.dialect.name != 'sqlite'
        return [
            FrameDigest(
                timeframe.from_naive(begin),
                timeframe.from_naive(end),
                origin,
                value if is_hashed else hashlib.sha256(value).digest(),
            )
            for begin, end, origin, value in rows
        ]


class _View(cells.View):
    """What is committed at the time of each statement."""

    def __init__(self, database: db.Database) -> None:
        self._database = database

    def count(self, chosen: Chosen) -> int:
        with self._database.reader() as connection:
            count: int = connection.execute(
                sa.select(sa.func.count()).select_from(FRAMES).where(*_conditions(chosen))
            ).scalar_one()
        return count

    def keys(self, chosen: Chosen) -> Iterator[Sequence[FrameKey]]:
        statement = (
            sa.select(*KEY, FRAMES.c.points)
            .where(*_conditions(chosen))
            .order_by(*KEY)
            .limit(cells.KEYS_AT_ONCE)
        )
        last = None
        while True:
            # One transaction per list, so that none is open for hours.
            with self._database.reader() as connection:
                part = statement if last is None else statement.where(*_after(last))
                rows = connection.execute(part).all()
            yield [
                FrameKey(row.scope_id, timeframe.from_naive(row.begin), row.origin, row.points)
                for row in rows
            ]
            if len(rows) < cells.KEYS_AT_ONCE:
                return
            last = rows[-1]

    def find(self, spans: Mapping[int, Period]) -> list[FrameContent]:
        found: list[FrameContent] = []
        for chunk in chunks(sorted(spans.items())):
            own = (
                sa.and_(
                    FRAMES.c.scope_id == owner,
                    FRAMES.c.begin >= timeframe.to_naive(span.begin),
                    FRAMES.c.begin <= timeframe.to_naive(span.end),
                )
                for owner, span in chunk
            )
            with self._database.reader() as connection:
                rows = connection.execute(sa.select(FRAMES).where(sa.or_(*own))).all()
            found += map(_content, rows)
        return found


def _conditions(chosen: Chosen) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [FRAMES.c.begin >= timeframe.to_naive(chosen.begin)]
    if chosen.end is not None:
        conditions.append(FRAMES.c.begin < timeframe.to_naive(chosen.end))
    if chosen.owners is not None:
        conditions.append(FRAMES.c.scope_id.in_(chosen.owners))
    return conditions


def _after(last: tables.Row) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions for frames after *last*: PostgreSQL looks up one, MariaDB the other."""
    values = (last.scope_id, last.begin, last.origin)
    return (
        sa.tuple_(*KEY) > sa.tuple_(*values),
        sa.or_(
            FRAMES.c.scope_id > last.scope_id,
            sa.and_(
                FRAMES.c.scope_id == last.scope_id,
                sa.or_(
                    FRAMES.c.begin > last.begin,
                    sa.and_(FRAMES.c.begin == last.begin, FRAMES.c.origin > last.origin),
                ),
            ),
        ),
    )


def _content(row: tables.Row) -> FrameContent:
    try:
        columns = block.decode(row.block)
    except block.CorruptBlock as exc:
        raise errors.InvalidInput(
            reason=f'rated_frames: scope_id {row.scope_id}, begin {row.begin}, origin '
            f'{row.origin}: the block is corrupt: {exc}'
        ) from exc
    begin, end = timeframe.from_naive(row.begin), timeframe.from_naive(row.end)
    return FrameContent(row.scope_id, begin, row.origin, end, columns)


def _lock_states(connection: sa.Connection, owners: Iterable[str]) -> None:
    for chunk in scope_state.chunks(sorted(owners)):
        connection.execute(
            sa.select(STATES.c.id)
            .where(STATES.c.identifier.in_(chunk))
            .order_by(STATES.c.id)
            .with_for_update()
        ).all()


def _digest(connection: sa.Connection) -> sa.ColumnElement[bytes]:
    """Return the SHA-256 of a block, computed in the database, except in SQLite."""
    name = connection.dialect.name
    if name == 'sqlite':
        return FRAMES.c.block
    if name == 'postgresql':
        return sa.func.sha256(FRAMES.c.block, type_=sa.LargeBinary)
    return sa.func.unhex(sa.func.sha2(FRAMES.c.block, 256), type_=sa.LargeBinary)
