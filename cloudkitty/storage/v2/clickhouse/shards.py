"""The shards of ClickHouse: each scope is on one of them, by its number.

Source: doc/source/contributor/storage-clickhouse.rst, "Shards".
"""

import heapq
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from datetime import date, datetime
from typing import Any

from cloudkitty import errors
from cloudkitty.storage.v2.clickhouse import literals
from cloudkitty.storage.v2.clickhouse.body import Body, Row, Where
from cloudkitty.storage.v2.clickhouse.client import GROUP, Client
from cloudkitty.storage.v2.clickhouse.revisions import Snapshot, Ticket
from cloudkitty.storage.v2.series import series_ids
from cloudkitty.storage.v2.series.cells import FrameContent
from cloudkitty.storage.v2.series.frame_rows import Frame

QUERIES_AT_ONCE = 8  # of a shard


class Shards:
    """The tables of all shards.

    :param options: section [storage_clickhouse].
    :ivar all: the tables of each shard.
    """

    def __init__(self, options: Any) -> None:
        self._name = options.database
        replicas = options.shards or [options.urls]
        many = len(replicas)
        self.all: list[Body] = []
        for number, urls in enumerate(replicas, 1):
            name = self._name
            if many > 1:
                # Else shards that are listed in another way would be read as if they were empty.
                name = f'{name}_{number}_of_{many}'
            self.all.append(Body(Client(options, urls, name), options, name))
        self._pool: tuple[int, futures.Executor] | None = None

    def of(self, owners: Collection[int] | None) -> list[Body]:
        """Return the shards of some scopes; None: all."""
        if owners is None:
            return self.all
        return [self.all[place] for place in sorted({self._place(owner) for owner in owners})]

    def _place(self, owner: int) -> int:
        return owner % len(self.all)

    def _split(self, where: Where) -> Iterator[tuple[Body, Where]]:
        """Yield the shards of the scopes of *where*, each with those that it has."""
        if where.owners is None:
            yield from ((body, where) for body in self.all)
            return
        for place, body in enumerate(self.all):
            own = [owner for owner in where.owners if self._place(owner) == place]
            if own:
                yield body, where._replace(owners=own)

    def rows(self, statements: Sequence[tuple[Body, str]]) -> list[list[list[Any]]]:
        """Return the rows of queries to shards, which are asked at the same time."""
        if len(statements) == 1:
            return [body.client.rows(statement) for body, statement in statements]
        if self._pool is None or self._pool[0] != os.getpid():
            # A process has no threads of its parent.
            self._pool = os.getpid(), futures.ThreadPoolExecutor(QUERIES_AT_ONCE * len(self.all))
        return list(self._pool[1].map(lambda one: one[0].client.rows(one[1]), statements))

    def create(self) -> None:
        """Implement Body.create() on all shards.

        :raises ConfigurationError: a server has another shard, or one of another number.
        """
        for body in self.all:
            self._require_own(body)
        for body in self.all:
            body.create()

    def _require_own(self, body: Body) -> None:
        family = re.compile(rf'{self._name}(_\d+_of_\d+)?')
        for rows in body.client.rows_everywhere(
            "SELECT database FROM system.tables WHERE name = 'frames'"
        ):
            found = sorted(name for (name,) in rows if family.fullmatch(name))
            if found and body.database not in found:
                raise errors.ConfigurationError(
                    reason=f'[{GROUP}]shards: a server that should have the database '
                    f'{body.database} has {", ".join(found)}. The number and the order of shards '
                    'cannot change.'
                )

    # Writing.

    def insert(self, frames: Iterable[tuple[Frame, Ticket]]) -> None:
        """Implement Body.insert()."""
        own: list[list[tuple[Frame, Ticket]]] = [[] for _ in self.all]
        for one in frames:
            own[self._place(one[0].owner)].append(one)
        for body, part in zip(self.all, own, strict=True):
            body.insert(part)

    def insert_removal(self, ticket: Ticket, where: Where) -> None:
        """Implement Body.insert_removal()."""
        for body, own in self._split(where):
            body.insert_removal(ticket, own)

    def insert_days(
        self, ticket: Ticket, where: Where, days: Collection[tuple[int, date]] = ()
    ) -> None:
        """Implement Body.insert_days(); *days* are of the scopes of *where*."""
        for body, own in self._split(where):
            body.insert_days(ticket, own, [day for day in days if self.of([day[0]]) == [body]])

    def insert_series(
        self,
        entries: Mapping[int, series_ids.Entry],
        scope_key: str,
        identifiers: Mapping[int, str],
    ) -> None:
        """Implement Body.insert_series(): each is where the frames are that have it."""
        own: list[dict[int, series_ids.Entry]] = [{} for _ in self.all]
        for number, entry in entries.items():
            own[self._place(entry.owner)][number] = entry
        for body, part in zip(self.all, own, strict=True):
            if part:
                body.insert_series(part, scope_key, identifiers)

    def remove_revisions(self, revisions: Collection[int]) -> None:
        """Implement Body.remove_revisions()."""
        for body in self.all:
            body.remove_revisions(revisions)

    def remove_months(self, month: date) -> None:
        """Implement Body.remove_months()."""
        for body in self.all:
            body.remove_months(month)

    # Reading.

    def first_day(self, snapshot: Snapshot, begin: datetime = literals.EARLIEST) -> date | None:
        """Implement Body.first_day()."""
        found = [body.first_day(snapshot, begin) for body in self.all]
        return min((day for day in found if day is not None), default=None)

    def days_of(self, snapshot: Snapshot, where: Where) -> list[tuple[int, date]]:
        """Implement Body.days_of()."""
        return [day for body, own in self._split(where) for day in body.days_of(snapshot, own)]

    def keys(
        self, snapshot: Snapshot, where: Where, ending_after: datetime = literals.EARLIEST
    ) -> list[Row]:
        """Implement Body.keys()."""
        found = [body.keys(snapshot, own, ending_after) for body, own in self._split(where)]
        return list(heapq.merge(*found, key=lambda row: (row.begin, row.scope, row.origin)))

    def count(self, snapshot: Snapshot, where: Where) -> int:
        """Implement Body.count()."""
        return sum(body.count(snapshot, own) for body, own in self._split(where))

    def points(self, snapshot: Snapshot, where: Where, chosen: str = '1') -> Iterator[FrameContent]:
        """Implement Body.points()."""
        found = [body.points(snapshot, own, chosen) for body, own in self._split(where)]
        return heapq.merge(*found, key=lambda one: (one.begin, one.scope, one.origin))

    def series_of(self, snapshot: Snapshot, where: Where) -> list[tuple[datetime, Sequence[int]]]:
        """Implement Body.series_of()."""
        return [one for body, own in self._split(where) for one in body.series_of(snapshot, own)]
