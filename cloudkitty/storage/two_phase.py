"""Commit, reset and replace for a store outside the SQL database: data first, progress second.

The first step is idempotent, and only the second one takes effect.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import db
from cloudkitty.core import schedule
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.scopes import agreement, progress, resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.scopes.progress import NEXT, Replacement, ScopeBatch
from cloudkitty.storage import query


class Store(Protocol):
    """Protocol: what these functions need of a storage, see storage.v2.BaseStorage."""

    @property
    def conf(self) -> cfg.ConfigOpts: ...

    @property
    def database(self) -> db.Database: ...

    def push(self, dataframes: Iterable[DataFrame], scope_id: str | None = None) -> None: ...

    def retrieve(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        filters: query.Filters | None = None,
        *,
        paginate: bool = True,
    ) -> query.Page: ...

    def delete(
        self,
        begin: datetime | None = None,
        end: datetime | None = None,
        filters: query.Filters | None = None,
    ) -> None: ...


def commit(store: Store, batch: Sequence[ScopeBatch]) -> list[ScopeBatch]:
    """Implement BaseStorage.commit()."""
    terms = agreement.Terms.of(store.conf)
    moved = store.database.write(lambda connection: progress.find_moved(connection, batch, terms))
    valid = [part for part in batch if part not in moved]
    for part in valid:
        store.push(part.frames, part.scope_id)

    def change(connection: sa.Connection) -> list[ScopeBatch]:
        missed = progress.find_moved(connection, valid, terms)
        progress.advance(connection, [part for part in valid if part not in missed], terms.period_s)
        return missed

    return moved + store.database.write(change)


def reset(store: Store, order: resets.Reset) -> bool:
    """Implement BaseStorage.reset()."""
    terms = agreement.Terms.of(store.conf)
    with store.database.reader() as connection:
        changed_at = agreement.require(connection, terms).changed_at
        found = scope_state.get_scopes(connection, [order.state_id])
    for scope in found:
        mark = schedule.reset_mark(scope.mark, order.mark, terms.period_s, changed_at)
        store.delete(begin=mark + NEXT, filters={terms.scope_key: order.scope_id})

    def change(connection: sa.Connection) -> bool:
        mark = progress.take_order(connection, order, terms)
        if mark is not None:
            scope_state.advance(connection, {order.state_id: mark})
        return mark is not None

    return store.database.write(change)


def replace(store: Store, replacements: Sequence[Replacement]) -> list[Replacement]:
    """Implement BaseStorage.replace()."""
    terms = agreement.Terms.of(store.conf)
    late = store.database.write(
        lambda connection: progress.find_late(connection, replacements, terms)
    )
    valid = [one for one in replacements if one not in late]
    kept = {one.task_id: _replace(store, one.batch) for one in valid}

    def change(connection: sa.Connection) -> list[Replacement]:
        missed = progress.find_late(connection, valid, terms)
        progress.finish(connection, [one for one in valid if one not in missed], kept)
        return missed

    return late + store.database.write(change)


def _replace(store: Store, batch: ScopeBatch) -> int:
    """Store frames; return how many of the other periods keep their stored data."""
    owner = {store.conf.collect.scope_key: batch.scope_id}
    stored = store.retrieve(batch.mark + NEXT, batch.new_mark + NEXT, owner, paginate=False)[
        'dataframes'
    ]
    frames = list(batch.frames)
    store.push([frame for frame in frames if frame.usage], batch.scope_id)
    for frame in frames:
        if not frame.usage:
            store.delete(frame.start, frame.end, owner)
    return len({frame.start for frame in stored} - {frame.start for frame in frames})
