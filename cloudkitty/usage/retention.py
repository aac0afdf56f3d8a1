"""Packs old samples, and removes samples that are no longer needed, in bounded parts."""

import logging
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import db
from cloudkitty.core.metering import facts
from cloudkitty.db import usage_tables
from cloudkitty.usage import attribute_rows, packs, rejects, series

LOG = logging.getLogger(__name__)

_BATCHES = usage_tables.batches
_KEYS = usage_tables.keys
_REQUESTS = usage_tables.requests
_SERIES = usage_tables.series
_SAMPLES = usage_tables.samples
_PACKS = usage_tables.packs
# Series, and rows of other tables, that one step looks at.
SERIES_AT_ONCE = 200
ROWS_AT_ONCE = 1000
DAY = timedelta(days=1)


class Terms(NamedTuple):
    """Retention of samples, messages and keys."""

    messages: timedelta
    unpacked: timedelta
    samples: timedelta
    rejects: timedelta
    keys: timedelta
    requests: timedelta

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> 'Terms':
        """Return the terms of the configuration."""
        options = conf.metering
        # Older events are refused, so their keys have nothing left to refuse.
        keys = timedelta(days=options.late_max) + DAY
        return cls(
            timedelta(days=options.keep_messages_days),
            timedelta(days=options.pack_samples_days),
            max(timedelta(days=options.keep_samples_days), keys),
            timedelta(days=options.keep_rejects_days),
            keys,
            timedelta(days=options.keep_requests_days),
        )


class Retention:
    """Processes all series in turn, then starts again.

    Attributes that only removed samples stated are removed one turn later. Those of the last sample
    of a counter, which stays, are marked as used once a day.
    """

    def __init__(self, database: db.Database, terms: Terms) -> None:
        self._database = database
        self._terms = terms
        self._after = 0
        # All samples before this are removed, but the last ones of counters; None: not known.
        self._removed_before: int | None = None
        # The same for the series of this turn so far.
        self._turn_before = facts.AT_MAX
        self._marked_on: int | None = None

    def step(self, now: datetime, needed_from: datetime | None) -> bool:
        """Do a bounded part; return whether there is more.

        :param needed_from: what is not older may not have been rated yet; None: all was.
        """
        # Once a round, not before each group of series.
        if not self._after and self._remove_rows(now):
            return True
        with self._database.reader() as connection:
            kinds = _kinds(connection, self._after)
        now_us = facts.to_us(now)
        today = facts.midnight(now_us)
        if not kinds:
            self._after = 0
            self._removed_before, self._turn_before = self._turn_before, facts.AT_MAX
            self._marked_on = today
            return False
        pack_before = facts.midnight(now_us - _us(self._terms.unpacked))
        needed = now_us - _us(self._terms.samples)
        if needed_from is not None:
            needed = min(needed, facts.to_us(needed_from))
        # A gauge may hold for a day.
        remove_before = facts.midnight(needed) - facts.DAY_US
        self._turn_before = min(self._turn_before, remove_before)
        used_at = None if self._marked_on == today else now_us
        if not self._work(kinds, pack_before, remove_before, used_at):
            self._after = max(kinds)
        return True

    def _work(
        self, kinds: Mapping[int, str], pack_before: int, remove_before: int, used_at: int | None
    ) -> bool:
        """Pack or remove samples of series; return whether there is more.

        :param used_at: when attributes of samples that stay are used; None: they are marked.
        """
        with self._database.reader() as connection:
            packable = _with_rows(connection, kinds, pack_before)
            removable = _with_old(connection, kinds, remove_before)

        def change(connection: sa.Connection) -> bool:
            series.lock_ids(connection, packable or removable)
            if packable:
                return packs.pack(connection, packable, pack_before)
            old = {one: kinds[one] for one in removable}
            _remove(connection, old, remove_before)
            if used_at is not None:
                left = _left_attributes(connection, removable, remove_before)
                attribute_rows.use(connection, left, used_at)
            return False

        return bool(packable or removable) and self._database.write(change)

    def _remove_rows(self, now: datetime) -> bool:
        """Remove messages, keys and rejects; return whether there is more."""

        def change(connection: sa.Connection) -> bool:
            rejects.remove(connection, facts.to_us(now - self._terms.rejects))
            keys = facts.to_us(now - self._terms.keys)
            requests = facts.to_us(now - self._terms.requests)
            return any(
                [
                    _remove_oldest(connection, _KEYS.c.digest, _KEYS.c.seen_at, keys),
                    _remove_oldest(
                        connection, _REQUESTS.c.digest, _REQUESTS.c.received_at, requests
                    ),
                    _remove_batches(connection, facts.to_us(now - self._terms.messages)),
                    self._remove_attributes(connection),
                ]
            )

        return self._database.write(change)

    def _remove_attributes(self, connection: sa.Connection) -> bool:
        if self._removed_before is None:
            return False
        # Their use is recorded once a day, and samples may be of a little later.
        before = self._removed_before - 2 * facts.DAY_US
        return attribute_rows.remove(connection, before, ROWS_AT_ONCE)


def _us(span: timedelta) -> int:
    return span // facts.MICROSECOND


def _kinds(connection: sa.Connection, after: int) -> dict[int, str]:
    """Return the kinds of the next series that have samples, by id."""
    rows = connection.execute(
        sa.select(_SERIES.c.id, _SERIES.c.kind)
        .where(_SERIES.c.id > after, _SERIES.c.kind != facts.STATE)
        .order_by(_SERIES.c.id)
        .limit(SERIES_AT_ONCE)
    )
    return {series_id: kind for series_id, kind in rows}


def _with_rows(connection: sa.Connection, series_ids: Collection[int], before: int) -> list[int]:
    """Return which series have rows before an instant."""
    found = sa.select(_SAMPLES.c.series_id).where(
        _SAMPLES.c.series_id.in_(series_ids),
        _SAMPLES.c.stage == facts.SAMPLE,
        _SAMPLES.c.at < before,
    )
    return list(connection.execute(found.distinct()).scalars())


def _with_old(connection: sa.Connection, series_ids: Collection[int], before: int) -> list[int]:
    """Return which series have rows or packs before an instant."""
    found = sa.select(_PACKS.c.series_id).where(
        _PACKS.c.series_id.in_(series_ids), _PACKS.c.end <= before
    )
    packed = connection.execute(found.distinct()).scalars()
    return sorted({*_with_rows(connection, series_ids, before), *packed})


def _remove(connection: sa.Connection, kinds: Mapping[int, str], before: int) -> None:
    """Remove samples before midnight of a day; of a counter the last one stays.

    Its increments go on from that, however long ago it was.
    """
    counters = [one for one, kind in kinds.items() if kind == facts.CUMULATIVE]
    bounds = {**dict.fromkeys(kinds, before), **_newest_before(connection, counters, before)}
    changed = []
    for series_id, bound in bounds.items():
        rows = connection.execute(
            sa.delete(_SAMPLES).where(
                _SAMPLES.c.series_id == series_id,
                _SAMPLES.c.stage == facts.SAMPLE,
                _SAMPLES.c.at < bound,
            )
        ).rowcount
        rows += connection.execute(
            sa.delete(_PACKS).where(_PACKS.c.series_id == series_id, _PACKS.c.end <= bound)
        ).rowcount
        if rows:
            changed.append(series_id)
    for chunk in series.chunks(changed):
        connection.execute(
            sa.update(_SERIES)
            .where(_SERIES.c.id.in_(chunk))
            .values(kept_from=before + facts.DAY_US)
        )


def _left_attributes(
    connection: sa.Connection, series_ids: Collection[int], before: int
) -> set[int]:
    """Return the attributes of samples before an instant."""
    rows = connection.execute(
        sa.select(_SAMPLES.c.attributes_id)
        .where(
            _SAMPLES.c.series_id.in_(series_ids),
            _SAMPLES.c.stage == facts.SAMPLE,
            _SAMPLES.c.at < before,
        )
        .distinct()
    ).scalars()
    packed = packs.read(connection, [_SERIES.c.id.in_(series_ids)], end=before)
    found = {*rows, *(one.content.attributes_id for one in packed)}
    return {one for one in found if one is not None}


def _newest_before(
    connection: sa.Connection, series_ids: Collection[int], before: int
) -> dict[int, int]:
    """Return when the last sample that counts was, before midnight of a day, by series."""
    found: dict[int, int] = {}
    for newest, of_series, is_before in (
        (
            sa.func.max(_SAMPLES.c.at),
            _SAMPLES.c.series_id,
            sa.and_(
                _SAMPLES.c.stage == facts.SAMPLE,
                _SAMPLES.c.at < before,
                _SAMPLES.c.voided_at.is_(None),
            ),
        ),
        (
            sa.func.max(_PACKS.c.newest),
            _PACKS.c.series_id,
            sa.and_(_PACKS.c.begin < before, _PACKS.c.newest.is_not(None)),
        ),
    ):
        for series_id, at in connection.execute(
            sa.select(of_series, newest)
            .where(of_series.in_(series_ids), is_before)
            .group_by(of_series)
        ):
            found[series_id] = max(at, found.get(series_id, at))
    return found


def _remove_oldest(
    connection: sa.Connection, key: sa.Column[bytes], at: sa.Column[int], before: int
) -> bool:
    """Remove rows of a table from before an instant; return whether there may be more."""
    old = list(
        connection.execute(
            sa.select(key).where(at < before).order_by(at).limit(ROWS_AT_ONCE)
        ).scalars()
    )
    if old:
        connection.execute(sa.delete(key.table).where(key.in_(old), at < before))
    return len(old) == ROWS_AT_ONCE


def _remove_batches(connection: sa.Connection, before: int) -> bool:
    """Remove the first batches that came before an instant; return whether there may be more.

    The newest stays: SQLite would give its id to the next one, and the facts of both would seem to
    have the same message.
    """
    newest = sa.select(sa.func.max(_BATCHES.c.id)).scalar_subquery()
    rows = connection.execute(
        sa.select(_BATCHES.c.id, _BATCHES.c.received_at)
        .where(_BATCHES.c.id < newest)
        .order_by(_BATCHES.c.id)
        .limit(ROWS_AT_ONCE)
    )
    old = [batch_id for batch_id, received_at in rows if received_at < before]
    if old:
        connection.execute(sa.delete(_BATCHES).where(_BATCHES.c.id.in_(old)))
    return len(old) == ROWS_AT_ONCE
