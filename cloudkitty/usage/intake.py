"""Intake: checks facts and stores them; no other code writes the tables of facts.

A batch is stored in one transaction, completely or not at all.
"""

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import db
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.facts import Attributes, Fact
from cloudkitty.db import usage_tables
from cloudkitty.usage import keys, late, lives, messages, packs, producers, samples, series
from cloudkitty.usage.keys import Claim
from cloudkitty.usage.samples import Content, Key, Location

FUTURE_MAX = timedelta(seconds=300)
# A value may change usage until so long after it, microseconds.
REACH_US = {facts.DELTA: 1, facts.GAUGE: late.DAY_US}
ACCEPTED, DUPLICATE, LATE = 'accepted', 'duplicates', 'late'


class Entry(NamedTuple):
    """A message to be stored.

    :ivar text: as it was received, JSON.
    :ivar facts: the facts in it, all of one series.
    :ivar event: digests of its source and id, and of its content; None: it has no relevant id.
    :ivar until: its source has sent all of *meter* up to then, microseconds since the epoch.
    """

    text: str
    facts: tuple[Fact, ...]
    event: tuple[bytes, bytes] | None = None
    revision: int = 0
    source: str = ''
    meter: str = ''
    until: int | None = None


class Origin(NamedTuple):
    """Origin of messages; see the table usage_batches."""

    path: str
    publisher: str
    trust: str


@dataclass
class Outcome:
    """Result of storing a batch.

    :ivar rejected: reason by index.
    :ivar conflicts: indexes of those rejected because of what is stored.
    :ivar late: how many of the accepted entries change periods that may have been rated.
    """

    accepted: int = 0
    duplicates: int = 0
    late: int = 0
    rejected: dict[int, str] = field(default_factory=dict)
    conflicts: set[int] = field(default_factory=set)

    def contradict(self, number: int, reason: str) -> None:
        """Reject an entry because of what is stored."""
        self.rejected[number] = reason
        self.conflicts.add(number)


class Intake:
    """Stores facts about usage.

    :param clock: returns the current time, aware UTC.
    """

    def __init__(
        self, database: db.Database, limits: late.Limits, clock: Callable[[], datetime]
    ) -> None:
        self._database = database
        self._limits = limits
        self._clock = clock
        self._attributes = series.AttributeIds()

    @classmethod
    def of(
        cls,
        conf: cfg.ConfigOpts,
        database: db.Database,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> 'Intake':
        """Return the intake with the limits of the configuration."""
        return cls(database, late.Limits.of(conf), clock)

    def store(
        self,
        entries: Sequence[Entry],
        origin: Origin,
        *,
        request: keys.Request | None = None,
        answer: Callable[[Outcome], str] = lambda outcome: '',
    ) -> Outcome | str:
        """Store *entries*; return the result once it is committed.

        :param request: if it is repeated, its first answer is returned, and nothing is stored.
        :param answer: renders the answer that is kept for *request*.
        :raises Conflict: *request* was made with another body.
        """
        now = self._clock()

        def change(connection: sa.Connection) -> tuple[Outcome | str, Mapping[Attributes, int]]:
            if request is not None:
                told = keys.begin_request(connection, request, facts.to_us(now))
                if told is not None:
                    return told, {}
            batch = _Batch(connection, self._limits, now)
            outcome, ids = batch.store(entries, origin, self._attributes)
            if request is not None:
                keys.end_request(connection, request, answer(outcome))
            return outcome, ids

        outcome, ids = self._database.write(change)
        self._attributes.remember(ids)
        return outcome

    def void(
        self,
        source: str,
        event_id: str,
        note: Callable[[sa.Connection], None] = lambda connection: None,
    ) -> bool:
        """Withdraw the facts of an event; return whether there is such an event.

        :param note: called in the same transaction if there is.
        """
        now = self._clock()

        def change(connection: sa.Connection) -> bool:
            batch = _Batch(connection, self._limits, now)
            if not batch.void(keys.digest_of(source, event_id)):
                return False
            note(connection)
            return True

        return self._database.write(change)


class _Batch:
    """One transaction."""

    def __init__(self, connection: sa.Connection, limits: late.Limits, now: datetime) -> None:
        self._connection = connection
        self._limits = limits
        self._now = now
        self._now_us = facts.to_us(now)
        # Spans whose usage changed, by series, and the scopes of these.
        self._changed: dict[int, list[lives.Span]] = {}
        self._scopes: dict[int, str] = {}
        self._living: set[int] = set()

    def store(
        self, entries: Sequence[Entry], origin: Origin, known: series.AttributeIds
    ) -> tuple[Outcome, Mapping[Attributes, int]]:
        outcome = Outcome()
        self._take_producers(entries, outcome)
        usable = self._usable(entries, outcome)
        if not usable:
            return outcome, {}
        found = [fact for number in usable for fact in entries[number].facts]
        attributes = known.find(self._connection, series.attribute_ids(found))
        batch_id = self._keep([entries[number].text for number in usable], origin)
        self._lock_revised(entries, usable)
        ids = series.lock(self._connection, found)
        for key, series_id in ids.items():
            self._scopes[series_id] = key[1]
        locations = {number: Location(batch_id, position) for position, number in enumerate(usable)}
        news = {
            number: _News(entries[number], locations[number], ids, attributes) for number in usable
        }
        fresh = self._claim(news, outcome)
        self._insert(fresh, outcome)
        if not outcome.accepted:
            batches = usage_tables.batches
            self._connection.execute(sa.delete(batches).where(batches.c.id == batch_id))
        edge = self._limits.edge(self._now)
        outcome.late = sum(
            1
            for number, one in fresh.items()
            if number not in outcome.rejected and one.entry.facts[0].at < edge
        )
        self._record_late()
        return outcome, attributes

    def void(self, digest: bytes) -> bool:
        claimed = keys.find(self._connection, [digest]).get(digest)
        if claimed is None:
            return False
        series.lock_ids(self._connection, [claimed.series_id])
        self._void(claimed)
        self._record_late()
        return True

    def _take_producers(self, entries: Sequence[Entry], outcome: Outcome) -> None:
        told: dict[tuple[str, str], int] = {}
        for number, entry in enumerate(entries):
            if entry.until is None:
                continue
            if entry.until > facts.to_us(self._now + FUTURE_MAX):
                outcome.rejected[number] = 'until is in the future'
                continue
            outcome.accepted += 1
            told[entry.source, entry.meter] = max(
                entry.until, told.get((entry.source, entry.meter), 0)
            )
        producers.record(self._connection, told, now_us=self._now_us)

    def _usable(self, entries: Sequence[Entry], outcome: Outcome) -> list[int]:
        """Return the indexes of entries whose times are acceptable."""
        newest = facts.to_us(self._now + FUTURE_MAX)
        oldest = self._limits.oldest(self._now)
        usable = []
        for number, entry in enumerate(entries):
            times = [fact.at for fact in entry.facts]
            if not times:
                continue
            if max(times) > newest:
                outcome.rejected[number] = f'time is more than {FUTURE_MAX.seconds} s in the future'
            elif min(times) < oldest:
                outcome.rejected[number] = (
                    f'time is more than {self._limits.late_max.days} days in the past'
                )
            else:
                usable.append(number)
        return usable

    def _keep(self, texts: Sequence[str], origin: Origin) -> int:
        """Store messages as they were received; return the id of the batch."""
        body = f'[{",".join(texts)}]'.encode()
        row = {
            **origin._asdict(),
            'received_at': self._now_us,
            'messages': len(texts),
            'digest': messages.digest_of(body),
            'body': zlib.compress(body, 1),
        }
        made = self._connection.execute(sa.insert(usage_tables.batches).values(**row))
        key = made.inserted_primary_key
        assert key is not None
        return int(key[0])

    def _lock_revised(self, entries: Sequence[Entry], usable: Iterable[int]) -> None:
        """Lock the series of events that may replace others."""
        revised = [
            entry.event[0]
            for entry in map(entries.__getitem__, usable)
            if entry.event is not None and entry.revision
        ]
        if revised:
            found = keys.find(self._connection, revised)
            series.lock_ids(self._connection, [claimed.series_id for claimed in found.values()])

    def _claim(self, news: Mapping[int, '_News'], outcome: Outcome) -> dict[int, '_News']:
        """Return the entries that are new, or replace others."""
        chosen = _without_repeats(news, outcome)
        wanted = {one.claim.digest: one.claim for one in chosen.values() if one.claim is not None}
        held = keys.claim(self._connection, wanted, self._now_us) if wanted else {}
        fresh = {}
        for number, one in chosen.items():
            if one.claim is not None:
                holder = held[one.claim.digest]
                if holder.location != one.location:
                    if one.claim.revision <= holder.revision:
                        _refuse(number, one.claim, holder, outcome)
                        continue
                    one.replaces = holder
            fresh[number] = one
        return fresh

    def _void(self, claimed: Claim) -> None:
        table = usage_tables.series
        scope_id, kind = self._connection.execute(
            sa.select(table.c.scope_id, table.c.kind).where(table.c.id == claimed.series_id)
        ).one()
        self._scopes[claimed.series_id] = scope_id
        packs.open_of(self._connection, claimed.series_id, claimed.location)
        for key, _ in samples.void(
            self._connection, claimed.series_id, claimed.location, self._now_us
        ):
            self._touch(key, kind)

    def _touch(self, key: Key, kind: str) -> None:
        """Record that the usage of a series changed at an instant."""
        if kind == facts.STATE:
            # The changed time is computed from its lives.
            self._living.add(key.series_id)
            return
        # The next value of a counter changes too, whenever it is.
        end = None if kind == facts.CUMULATIVE else key.at + REACH_US[kind]
        self._changed.setdefault(key.series_id, []).append((key.at, end))

    def _insert(self, fresh: Mapping[int, '_News'], outcome: Outcome) -> None:
        wanted = [key for one in fresh.values() for key, _ in one.rows]
        packs.open_at(self._connection, wanted, self._now_us)
        stored = samples.find(self._connection, wanted)
        added: dict[Key, tuple[Content, Location]] = {}
        replaced: dict[Key, tuple[Content, Location]] = {}
        useless: list[Claim] = []
        for number, one in fresh.items():
            reason = one.contradiction(stored)
            rows = one.new_rows(stored)
            if reason or not (rows or one.replaces):
                if reason:
                    outcome.contradict(number, reason)
                else:
                    outcome.duplicates += 1
                if one.claim is not None and one.replaces is None:
                    useless.append(one.claim)
                continue
            outcome.accepted += 1
            if one.replaces is not None and one.claim is not None:
                self._void(one.replaces)
                keys.renew(self._connection, one.claim, self._now_us)
            for key, content in rows:
                (replaced if key in stored else added)[key] = (content, one.location)
                stored[key] = samples.Stored(content, one.location)
                self._touch(key, one.kind)
        samples.insert(self._connection, added)
        samples.replace(self._connection, replaced)
        keys.release(self._connection, [claim.digest for claim in useless])

    def _record_late(self) -> None:
        if self._living:
            self._changed.update(lives.rebuild(self._connection, self._living))
        spans: dict[str, list[lives.Span]] = {}
        for series_id, changed in self._changed.items():
            spans.setdefault(self._scopes[series_id], []).extend(changed)
        late.record(self._connection, spans, limits=self._limits, now=self._now)


class _News:
    """The rows that an entry would store.

    :ivar replaces: the earlier revision of the same event.
    """

    def __init__(
        self,
        entry: Entry,
        location: Location,
        ids: Mapping[series.SeriesKey, int],
        attributes: Mapping[Attributes, int],
    ) -> None:
        self.entry = entry
        self.location = location
        self.kind = entry.facts[0].kind
        series_id = ids[entry.facts[0].series]
        self.rows = [
            (
                Key(series_id, fact.at, fact.stage, fact.tag),
                Content(
                    fact.quantity,
                    None if fact.attributes is None else attributes[fact.attributes],
                    fact.born,
                ),
            )
            for fact in entry.facts
        ]
        self.claim: Claim | None = None
        if entry.event is not None:
            digest, body = entry.event
            self.claim = Claim(digest, body, entry.revision, series_id, location)
        self.replaces: Claim | None = None

    def _counts(self, stored: samples.Stored | None) -> bool:
        """Return whether a fact stays when this entry is stored."""
        if stored is None or stored.is_void:
            return False
        return self.replaces is None or stored.location != self.replaces.location

    def new_rows(self, stored: Mapping[Key, samples.Stored]) -> list[tuple[Key, Content]]:
        """Return the rows that are not stored."""
        return [row for row in self.rows if not self._counts(stored.get(row[0]))]

    def contradiction(self, stored: Mapping[Key, samples.Stored]) -> str | None:
        """Return why the rows cannot be stored beside those that are; None: they can."""
        for key, content in self.rows:
            old = stored.get(key)
            if old is not None and self._counts(old) and old.content != content:
                return f'another value is stored for {facts.render_us(key.at)}'
        return None


def _without_repeats(news: Mapping[int, _News], outcome: Outcome) -> dict[int, _News]:
    """Return *news* with each event once, in its highest revision."""
    best: dict[bytes, int] = {}
    for number, one in news.items():
        if one.claim is None:
            continue
        other = best.setdefault(one.claim.digest, number)
        known = news[other].claim
        assert known is not None
        if one.claim.revision > known.revision:
            best[one.claim.digest] = number
            outcome.duplicates += 1
        elif other != number:
            _refuse(number, one.claim, known, outcome)
    return {
        number: one
        for number, one in news.items()
        if one.claim is None or best[one.claim.digest] == number
    }


def _refuse(number: int, claim: Claim, holder: Claim, outcome: Outcome) -> None:
    """Record the result of an event that does not replace *holder*."""
    if claim.revision < holder.revision or claim.body == holder.body:
        outcome.duplicates += 1
    else:
        outcome.contradict(
            number,
            'another event has this source and id; a higher ckrevision would take its place',
        )
