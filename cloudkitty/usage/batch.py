"""One transaction of the intake: claims, facts, lives and late rows, all of them or nothing."""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.core.metering.facts import Attributes, Fact
from cloudkitty.db import usage_tables
from cloudkitty.usage import (
    attribute_rows,
    keys,
    late,
    lives,
    messages,
    packs,
    producers,
    samples,
    series,
)
from cloudkitty.usage.attribute_rows import AttributeIds, Known
from cloudkitty.usage.candidates import Candidate, refuse, without_repeats
from cloudkitty.usage.entries import (
    OWN_ATTRIBUTES,
    OWN_SERIES,
    UNLIMITED,
    Entry,
    Origin,
    Outcome,
    OwnLimits,
)
from cloudkitty.usage.keys import Claim
from cloudkitty.usage.samples import Content, Key, Location

FUTURE_MAX = timedelta(seconds=300)
# A value may change usage until so long after it, microseconds.
REACH_US = {facts.DELTA: 1, facts.GAUGE: facts.DAY_US}


class Batch:
    """What one transaction stores, or takes back.

    :param now: aware UTC.
    :param own: limits of what projects push themselves.
    """

    def __init__(
        self,
        connection: sa.Connection,
        limits: late.Limits,
        now: datetime,
        own: OwnLimits = UNLIMITED,
    ) -> None:
        self._connection = connection
        self._own = own
        self._limits = limits
        self._now = now
        self._now_us = facts.to_us(now)
        # Spans whose usage changed, by series, and the scopes of these.
        self._changed: dict[int, list[lives.Span]] = {}
        self._scopes: dict[int, str] = {}
        self._living: set[int] = set()

    def store(
        self, entries: Sequence[Entry], origin: Origin, known: AttributeIds
    ) -> tuple[Outcome, Mapping[Attributes, Known]]:
        outcome = Outcome()
        self._take_producers(entries, outcome)
        usable = self._with_attributes(entries, self._usable(entries, outcome), known, outcome)
        self._lock_revised(entries, usable)
        ids = series.lock(self._connection, _stated(entries, usable), self._own.series)
        usable = self._with_series(entries, usable, ids, outcome)
        if not usable:
            return outcome, {}
        for key, series_id in ids.items():
            self._scopes[series_id] = key[1]
        stated = _stated(entries, usable)
        attributes, outcome.new_attributes = known.find(
            self._connection,
            attribute_rows.needed([(fact.attributes, fact.kind) for fact in stated], self._now_us),
            _owners(stated),
        )
        batch_id = self._keep([entries[number].text for number in usable], origin)
        locations = {number: Location(batch_id, position) for position, number in enumerate(usable)}
        news = {
            number: Candidate(entries[number], locations[number], ids, attributes)
            for number in usable
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

    def _with_attributes(
        self, entries: Sequence[Entry], usable: list[int], known: AttributeIds, outcome: Outcome
    ) -> list[int]:
        """Return the indexes of entries whose attributes may be stored, and reject the others."""
        pushed = _owners(_stated(entries, usable)) if self._own.attributes else {}
        if not pushed:
            return usable
        beyond = known.beyond(self._connection, pushed, self._own.attributes)
        refused = {
            number
            for number in usable
            if any(fact.attributes in beyond for fact in entries[number].facts)
        }
        outcome.refuse_own(refused, OWN_ATTRIBUTES, self._own.attributes, 'sets of attributes')
        return [number for number in usable if number not in refused]

    def _with_series(
        self,
        entries: Sequence[Entry],
        usable: list[int],
        ids: Mapping[series.SeriesKey, int],
        outcome: Outcome,
    ) -> list[int]:
        """Return the indexes of entries whose series exist, and reject the others."""
        refused = {number for number in usable if entries[number].facts[0].series not in ids}
        outcome.refuse_own(refused, OWN_SERIES, self._own.series, 'pairs of resource and meter')
        return [number for number in usable if number not in refused]

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

    def _claim(self, news: Mapping[int, Candidate], outcome: Outcome) -> dict[int, Candidate]:
        """Return the entries that are new, or replace others."""
        chosen = without_repeats(news, outcome)
        wanted = {one.claim.digest: one.claim for one in chosen.values() if one.claim is not None}
        held = keys.claim(self._connection, wanted, self._now_us) if wanted else {}
        fresh = {}
        for number, one in chosen.items():
            if one.claim is not None:
                holder = held[one.claim.digest]
                if holder.location != one.location:
                    if one.claim.revision <= holder.revision:
                        refuse(number, one.claim, holder, outcome)
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

    def _insert(self, fresh: Mapping[int, Candidate], outcome: Outcome) -> None:
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


def _stated(entries: Sequence[Entry], numbers: Iterable[int]) -> list[Fact]:
    return [fact for number in numbers for fact in entries[number].facts]


def _owners(stated: Iterable[Fact]) -> dict[Attributes, str]:
    """Return the projects that push attributes themselves."""
    return {
        fact.attributes: fact.scope_id
        for fact in stated
        if fact.attributes is not None and facts.is_of_project(fact.source, fact.scope_id)
    }
