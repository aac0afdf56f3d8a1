"""Frames in ClickHouse as cells: one snapshot is read, a few frames at a time."""

import heapq
import itertools
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core.timeframe import Period
from cloudkitty.storage.v2.clickhouse import literals, revisions
from cloudkitty.storage.v2.clickhouse.body import Body, Where
from cloudkitty.storage.v2.clickhouse.literals import MICROSECOND
from cloudkitty.storage.v2.clickhouse.shards import Shards
from cloudkitty.storage.v2.clickhouse.writer import EVER, Stale, Writer
from cloudkitty.storage.v2.series import cells, retention_cutoff
from cloudkitty.storage.v2.series.cells import Chosen, FrameContent, FrameDigest, FrameKey
from cloudkitty.storage.v2.series.changes import Changes
from cloudkitty.storage.v2.series.frame_rows import Part
from cloudkitty.storage.v2.series.series_ids import IdCache, chunks


class Cells(cells.CellStore):
    """The frames that exist in ClickHouse."""

    def __init__(self, database: db.Database, id_cache: IdCache, body: Shards) -> None:
        super().__init__(database, id_cache)
        self.body = body

    def _view(self) -> 'View':
        return View(self.database, self.body)

    def _write(self, parts: Sequence[Part], changes: Changes | None) -> None:
        writer = Writer(self.database, self.id_cache, self.body, changes)
        pending = list(parts)

        def work() -> None:
            with self.database.reader() as connection:
                kept_from = retention_cutoff.read(connection).begin
            for part in pending:
                retention_cutoff.require_points(kept_from, part.usage.begins)
            written = writer.write(pending)
            stale = self.database.write(lambda connection: writer.close(connection, written))
            # The others are stored; these were changed by somebody else meanwhile.
            pending[:] = [part for part, one in zip(pending, written, strict=True) if one in stale]
            if pending:
                raise Stale

        writer.settle(work)

    def digests(self, scope_id: str, span: Period) -> list[FrameDigest]:
        with self.database.reader() as connection:
            owners = list(self.id_cache.find_scopes(connection, [scope_id]).values())
            seen = revisions.snapshot(connection)
        where = Where(*span, owners)
        return [one for body in self.body.of(owners) for one in body.digests(seen, where)]


class View(cells.View):
    """What exists when the view is made: it stays so, whatever is stored meanwhile."""

    def __init__(self, database: db.Database, body: Shards) -> None:
        self._database = database
        self._body = body
        with database.reader() as connection:
            self._snapshot = revisions.snapshot(connection)

    def count(self, chosen: Chosen) -> int:
        owners = chosen.owners
        if owners is None:
            with self._database.reader() as connection:
                owners = connection.execute(_SCOPES).scalars().all()
        # A few scopes at a time: ClickHouse keeps the keys of a query in memory.
        return sum(
            self._body.count(self._snapshot, _where(chosen)._replace(owners=part))
            for part in chunks(owners)
        )

    def keys(self, chosen: Chosen) -> Iterator[Sequence[FrameKey]]:
        # Of each shard one list is in memory.
        found = heapq.merge(
            *(self._keys_of(body, _where(chosen)) for body in self._body.of(chosen.owners))
        )
        while part := list(itertools.islice(found, cells.KEYS_AT_ONCE)):
            yield part

    def _keys_of(self, body: Body, where: Where) -> Iterator[FrameKey]:
        """Yield the keys of a shard, in their order."""
        conditions: list[str] = []
        while True:
            until = body.key_of_row(_with(where, conditions), cells.KEYS_AT_ONCE)
            part = [*conditions, f'NOT ({_after(*until)})'] if until is not None else conditions
            rows = body.keys(self._snapshot, _with(where, part))
            yield from sorted(
                FrameKey(row.scope, row.begin, row.origin, row.points) for row in rows
            )
            if until is None:
                return
            conditions = [_after(*until)]

    def find(self, spans: Mapping[int, Period]) -> list[FrameContent]:
        own = ' OR '.join(
            f'scope = {owner} AND begin >= {literals.instant(first)} '
            f'AND begin <= {literals.instant(last)}'
            for owner, (first, last) in sorted(spans.items())
        )
        where = Where(
            min(span.begin for span in spans.values()),
            max(span.end for span in spans.values()) + MICROSECOND,
            sorted(spans),
            None,
            own,
        )
        return list(self._body.points(self._snapshot, where))


_SCOPES = sa.select(revisions.LATEST.c.scope_id).order_by(revisions.LATEST.c.scope_id)


def _where(chosen: Chosen) -> Where:
    return Where(chosen.begin, chosen.end or EVER.end, chosen.owners)


def _with(where: Where, conditions: Sequence[str]) -> Where:
    return where._replace(chosen=' AND '.join(f'({one})' for one in conditions) or None)


def _after(scope: int, begin: datetime, origin: int) -> str:
    """Return the condition for keys after this one, in a form that ClickHouse looks up."""
    at = literals.instant(begin)
    return (
        f'scope >= {scope} AND (scope > {scope} OR begin >= {at} '
        f'AND (begin > {at} OR origin > {origin}))'
    )
