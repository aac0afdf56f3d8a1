"""Compares facts with their messages and lives with facts, and repairs them."""

import functools
from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa

from cloudkitty import db, errors
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.facts import Attributes, Fact
from cloudkitty.db import usage_tables
from cloudkitty.usage import attribute_rows, late, listing, lives, messages, packs, series
from cloudkitty.usage.attribute_rows import AttributeIds
from cloudkitty.usage.listing import SampleRow, Selection

_SERIES = usage_tables.series
_SAMPLES = usage_tables.samples
_BATCHES = usage_tables.batches
PAGE = 1000
EVERYTHING = Selection()


def check(database: db.Database, ignored: frozenset[str]) -> Iterator[str]:
    """Yield a line for each wrong batch, fact or life; change nothing.

    :param ignored: names of attributes that are left out.
    """
    yield from _check_batches(database)
    batches = messages.Batches()
    for page in sample_pages(database):
        with database.reader() as connection:
            for row in page:
                wrong = _fault(connection, batches, row, ignored)
                if wrong:
                    yield f'sample {listing.sample_id(row.key)}: {wrong}'
    for series_ids in _series_pages(database):
        with database.reader() as connection:
            stored = lives.read(connection, series_ids)
            for series_id, wanted in lives.expected(connection, series_ids).items():
                if stored.get(series_id, []) != wanted:
                    yield f'series {series_id}: its lives do not follow from its facts'


def _check_batches(database: db.Database) -> Iterator[str]:
    after = 0
    while True:
        with database.reader() as connection:
            found = connection.execute(
                sa.select(_BATCHES.c.id)
                .where(_BATCHES.c.id > after)
                .order_by(_BATCHES.c.id)
                .limit(PAGE)
            )
            ids = list(found.scalars())
            for batch_id in ids:
                batch = messages.read(connection, batch_id)
                if batch is not None and not batch.is_intact:
                    yield f'batch {batch_id}: its messages are not those that were stored'
        if not ids:
            return
        after = ids[-1]


def sample_pages(
    database: db.Database, selection: Selection = EVERYTHING
) -> Iterator[list[SampleRow]]:
    """Yield all facts of *selection* in lists of bounded length, by series and time."""
    after = None
    while True:
        with database.reader() as connection:
            db.hold_snapshot(connection)
            page = listing.samples(connection, selection, after=after, limit=PAGE)
        if not page:
            return
        yield page
        after = page[-1].key


def _series_pages(database: db.Database) -> Iterator[list[int]]:
    after = 0
    while True:
        with database.reader() as connection:
            found = connection.execute(
                sa.select(_SERIES.c.id)
                .where(_SERIES.c.id > after, _SERIES.c.kind == facts.STATE)
                .order_by(_SERIES.c.id)
                .limit(PAGE)
            )
            ids = list(found.scalars())
        if not ids:
            return
        yield ids
        after = ids[-1]


def _fault(
    connection: sa.Connection,
    batches: messages.Batches,
    row: SampleRow,
    ignored: frozenset[str],
) -> str | None:
    """Return the error of a fact; None: there is none, or its message is no longer kept."""
    batch = batches.get(connection, row.location.batch_id)
    if batch is None:
        return None
    fact = _stated_by(batch, row, ignored)
    if fact is None:
        return 'its message does not state it'
    if fact.quantity != row.quantity or fact.born != row.born:
        return 'its message states another quantity or birth'
    return None if fact.attributes == row.attributes else 'its message states other attributes'


def _stated_by(batch: messages.Batch, row: SampleRow, ignored: frozenset[str]) -> Fact | None:
    if row.location.position >= len(batch.texts):
        return None
    try:
        found = messages.stated(batch.texts[row.location.position], ignored)
    except (ValueError, errors.InvalidInput):
        return None
    one = row.series
    wanted = (one.scope_id, one.meter, one.resource_id, one.kind, row.key.at, row.key.stage)
    for fact in found:
        says = (fact.scope_id, fact.meter, fact.resource_id, fact.kind, fact.at, fact.stage)
        sources = (fact.source, facts.source_of_project(fact.scope_id, fact.source))
        if says == wanted and one.source in sources:
            return fact
    return None


def rebuild(
    database: db.Database,
    ignored: frozenset[str],
    *,
    limits: late.Limits,
    now: datetime,
) -> tuple[int, int]:
    """Recompute attributes from the messages, and lives from the facts.

    Periods whose usage changes are rated again.

    :returns: how many facts and how many series were changed.
    """
    batches, ids = messages.Batches(), AttributeIds()
    changed = 0
    for page in sample_pages(database):
        with database.reader() as connection:
            wanted = [
                (row, fact.attributes)
                for row in page
                if (batch := batches.get(connection, row.location.batch_id)) is not None
                and (fact := _stated_by(batch, row, ignored)) is not None
                and fact.attributes != row.attributes
            ]
        if wanted:
            database.write(functools.partial(_restate, wanted, ids, limits, now))
        changed += len(wanted)
    healed = 0
    for series_ids in _series_pages(database):
        healed += database.write(functools.partial(_relive, series_ids, limits, now))
    return changed, healed


def _restate(
    rows: list[tuple[SampleRow, Attributes | None]],
    ids: AttributeIds,
    limits: late.Limits,
    now: datetime,
    connection: sa.Connection,
) -> None:
    """Store other attributes of facts."""
    series.lock_ids(connection, [row.key.series_id for row, _ in rows])
    wanted = [(attributes, row.series.kind) for row, attributes in rows]
    found, _ = ids.find(connection, attribute_rows.needed(wanted, facts.to_us(now)))
    packs.open_at(connection, [row.key for row, _ in rows], facts.to_us(now))
    spans: dict[str, list[lives.Span]] = {}
    for row, attributes in rows:
        connection.execute(
            sa.update(_SAMPLES)
            .where(*[_SAMPLES.c[name] == value for name, value in row.key._asdict().items()])
            .values(attributes_id=None if attributes is None else found[attributes].id)
        )
        spans.setdefault(row.series.scope_id, []).append((row.key.at, None))
    late.record(connection, spans, limits=limits, now=now)


def _relive(
    series_ids: list[int], limits: late.Limits, now: datetime, connection: sa.Connection
) -> int:
    series.lock_ids(connection, series_ids)
    changed = lives.rebuild(connection, series_ids)
    if changed:
        spans: dict[str, list[lives.Span]] = {}
        for series_id, scope_id in connection.execute(
            sa.select(_SERIES.c.id, _SERIES.c.scope_id).where(_SERIES.c.id.in_(changed))
        ):
            spans.setdefault(scope_id, []).extend(changed[series_id])
        late.record(connection, spans, limits=limits, now=now)
    return len(changed)
