"""Old samples are packed and removed; what can be rated counts the same all the time."""

import random
from concurrent import futures
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
import sqlalchemy as sa

from cloudkitty import db
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.quantities import Grid
from cloudkitty.db import usage_tables
from cloudkitty.tests import usage
from cloudkitty.tests.usage import HOUR_US, NOW, ORIGIN, entry, fact, life, us
from cloudkitty.usage import (
    attribute_rows,
    keys,
    listing,
    meter_list,
    packs,
    pieces,
    reading,
    retention,
    sampled,
    verify,
)
from cloudkitty.usage.listing import Selection

DAY = timedelta(days=1)
TERMS = retention.Terms(35 * DAY, 10 * DAY, 100 * DAY, 35 * DAY, 36 * DAY, 2 * DAY)
KINDS = (facts.GAUGE, facts.CUMULATIVE, facts.DELTA)
# Three days around midnights, hour by hour.
GRID = Grid(us(12, day=1), HOUR_US, 72)
STATE = reading.Grouping(('state',))


def stated(seed=1):
    """Return samples of each kind in three days, some at midnight, some of one instant."""
    choose = random.Random(seed)
    made = []
    for kind in KINDS:
        for number, hour in enumerate(
            [12, 24, 24, 48, *(choose.uniform(12, 80) for _ in range(20))]
        ):
            tag = number + 1 if kind == facts.DELTA else 0
            at = us(hour, day=1)
            # More digits than a float has.
            quantity = str(choose.randrange(10**6)) + '.12345678901234567'
            attributes = facts.Attributes(state=choose.choice('ab'))
            made.append(fact(at, quantity, kind=kind, meter=kind, tag=tag, attributes=attributes))
    return list({(one.series, one.at, one.tag): one for one in made}.values())


def seen(database):
    """Return all that can be read: quantities, facts in pages, meters, instants, scopes."""
    with database.reader() as connection:
        db.hold_snapshot(connection)
        counted = {}
        for kind in KINDS:
            for method in (None, 'last', 'count'):
                query = pieces.Query(kind, kind, method)
                found = reading.Reader().read(connection, query, GRID, STATE, ['p1'])
                counted[kind, method] = {
                    (one.resource_id, *one.values): dict(
                        zip(one.offsets, one.quantities, strict=True)
                    )
                    for one in found
                }
        pages, after = [], None
        while page := listing.samples(connection, Selection(), after=after, limit=7):
            pages += [one._replace(location=None) for one in page]
            after = page[-1].key
            assert listing.sample(connection, after, Selection()) == page[-1]
        span = (us(0, day=2), us(0, day=4))
        return (
            counted,
            pages,
            meter_list.meters(connection, Selection(), offset=0, limit=9),
            listing.samples(connection, Selection(begin=span[0], end=span[1]), limit=50),
            sorted(sampled.sampled_at(connection, 'gauge', None, span, step_us=60_000_000)),
            sampled.sampled_resources(connection, 'gauge', None, span),
            reading.scopes_since(connection, span[0]),
        )


def tend(database, terms=TERMS, now=NOW, needed_from=None):
    """Do all that is to be done."""
    one = retention.Retention(database, terms)
    for _ in range(200):
        if not one.step(now, needed_from):
            return
    raise AssertionError('it goes on for ever')


def count(database, table):
    return len(usage.rows(database, table, 'series_id'))


@pytest.fixture
def stored(any_database):
    for one in stated():
        usage.store(any_database, one)
    return any_database


def test_nothing_changes_by_packing(stored, monkeypatch):
    """Whatever is read, with packs of all sizes, and when late usage opens them."""
    monkeypatch.setattr(packs, 'SAMPLES_MAX', 5)
    monkeypatch.setattr(packs, 'ROWS_MAX', 13)
    monkeypatch.setattr(packs, 'PAGE', 3)
    before = seen(stored)
    total = count(stored, usage_tables.samples)

    tend(stored)

    assert count(stored, usage_tables.samples) == 0
    assert sum(number for (number,) in usage.rows(stored, usage_tables.packs, 'samples')) == total
    assert seen(stored) == before
    # What is there already is refused, and its pack is opened for that.
    outcome = usage.store(stored, *stated()[:30])
    assert (outcome.accepted, outcome.duplicates) == (0, 30)
    assert count(stored, usage_tables.samples) > 0
    assert seen(stored) == before
    # Something new between two packs, and in one.
    late = [fact(us(hour, day=1), '5', meter='delta', tag=999) for hour in (12.001, 30, 79.9)]
    late = [one._replace(attributes=facts.Attributes(state='a')) for one in late]
    assert usage.store(stored, *late).accepted == 3
    changed = seen(stored)
    assert changed != before
    tend(stored)
    assert count(stored, usage_tables.samples) == 0
    assert seen(stored) == changed


def test_samples_of_one_instant_stay_together(database, monkeypatch):
    """Even if they are more than a pack holds, or a transaction."""
    monkeypatch.setattr(packs, 'SAMPLES_MAX', 2)
    monkeypatch.setattr(packs, 'ROWS_MAX', 3)
    usage.store(database, *[fact(us(12, day=1), tag=number) for number in range(1, 9)])

    tend(database)

    ((begin, end, number),) = usage.rows(database, usage_tables.packs, 'begin', 'end', 'samples')
    assert (begin, end, number) == (us(12, day=1), us(12, day=1) + 1, 8)


def test_a_packed_event_is_taken_back_and_revised(database):
    """As if it were not packed."""
    intake = usage.intake(database)
    for number in range(3):
        one = entry(fact(us(number, day=2), tag=number + 1), event_id=f'e{number}')
        intake.store([one], ORIGIN)
    tend(database)

    assert intake.void('s', 'e1')
    tend(database)
    revised = entry(fact(us(2, day=2), '7', tag=3), event_id='e2', revision=1)
    assert intake.store([revised], ORIGIN).accepted == 1
    tend(database)

    with database.reader() as connection:
        found = listing.samples(connection, Selection(), limit=9)
    assert [(one.quantity, one.is_void) for one in found] == [(1, False), (1, True), (7, False)]


def test_what_is_not_old_stays(database):
    """Rows are packed by whole days, facts of lives never; messages go, and lives stay."""
    usage.store(
        database,
        *life(us(1, day=1), us(2, day=1), meter='volume'),
        fact(us(23.9, day=18)),
        fact(us(0.1, day=19)),
    )

    tend(database)

    assert [at for (at,) in usage.rows(database, usage_tables.samples, 'at')] == [
        us(1, day=1),
        us(2, day=1),
        us(0.1, day=19),
    ]
    assert len(usage.rows(database, usage_tables.batches, 'id')) == 1
    later = NOW + 36 * DAY
    usage.store(database, fact(us(13.4)), now=NOW + timedelta(minutes=1))
    tend(database, now=later)
    # Its id must not be given to another.
    assert usage.rows(database, usage_tables.batches, 'id') == [(2,)]
    faults = verify.check(database, frozenset())
    assert [line for line in faults if 'lives' in line] == []
    assert usage.lives(database) == [(us(1, day=1), us(2, day=1), Decimal(1), 'said')]
    changed = verify.rebuild(database, frozenset(), limits=usage.LIMITS, now=later)
    assert changed == (0, 0)


def test_samples_go_when_they_are_too_old(stored):
    """A counter keeps the last one, from which it goes on; nothing that can be rated changes."""
    usage.store(stored, fact(us(1), '7', kind=facts.CUMULATIVE, meter='cumulative'))
    noon = datetime(2024, 11, 3, 12, tzinfo=UTC)
    tend(stored)
    before = seen(stored)[0]

    # From the 3rd on all periods can be rated.
    tend(stored, now=noon + 100 * DAY)

    after = seen(stored)[0]
    first = 36  # hours from noon of the 1st to midnight of the 3rd
    for key, of_series in before.items():
        for group, by_offset in of_series.items():
            for offset, quantity in by_offset.items():
                if offset >= first:
                    assert after[key][group][offset] == quantity, (key, offset)
    assert after != before
    with stored.reader() as connection:
        query = pieces.Query('gauge')
        told = [
            reading.removed_before(connection, query, ['p1'], us(hour, day=3)) for hour in (-1, 0)
        ]
    assert told == [us(0, day=3), None]
    # The counter still counts the increment only, a year later.
    tend(stored, now=NOW + 400 * DAY)
    assert count(stored, usage_tables.packs) + count(stored, usage_tables.samples) == 1
    usage.intake(stored, NOW + 400 * DAY).store(
        [entry(fact(facts.to_us(NOW + 400 * DAY), '9', kind=facts.CUMULATIVE, meter='cumulative'))],
        ORIGIN,
    )
    grid = Grid(facts.to_us(NOW + 400 * DAY), HOUR_US, 1)
    query = pieces.Query('cumulative')
    with stored.reader() as connection:
        found = list(reading.Reader().read(connection, query, grid, STATE, ['p1']))
    assert [one.quantities for one in found] == [(2,)]


def test_what_is_not_rated_is_kept(database):
    """However old it is."""
    usage.store(database, fact(us(1, day=10)), fact(us(1, day=20)))
    needed = datetime(2024, 11, 12, tzinfo=UTC)

    tend(database, now=NOW + 400 * DAY, needed_from=needed)

    assert [begin for (begin,) in usage.rows(database, usage_tables.packs, 'begin')] == [
        us(1, day=20)
    ]


def test_keys_go_when_they_refuse_nothing_any_more(database):
    """Then their events are too old; those of requests go earlier, since events have their own."""
    one = entry(fact(us(13.4), tag=1), event_id='e1')
    usage.intake(database).store([one], ORIGIN, request=keys.Request(b'r' * 16, b'b' * 16))

    tend(database, now=NOW + 2 * DAY)
    assert len(usage.rows(database, usage_tables.requests, 'digest')) == 1

    tend(database, now=NOW + 36 * DAY)
    assert usage.rows(database, usage_tables.requests, 'digest') == []
    assert len(usage.rows(database, usage_tables.keys, 'digest')) == 1

    late = NOW + 36 * DAY + timedelta(seconds=1)
    tend(database, now=late)
    assert usage.rows(database, usage_tables.keys, 'digest') == []
    assert 'days in the past' in usage.intake(database, late).store([one], ORIGIN).rejected[0]


def test_rejects_go(database):
    with database.writer() as connection:
        connection.execute(
            sa.insert(usage_tables.rejects).values(
                digest=b'd' * 16,
                first=us(1),
                last=us(2),
                messages=1,
                path='bus',
                publisher='p',
                reason='r',
                body=b'b',
            )
        )
    tend(database, now=facts.from_us(us(2)) + 35 * DAY)
    assert len(usage.rows(database, usage_tables.rejects, 'first')) == 1
    tend(database, now=facts.from_us(us(2) + 1) + 35 * DAY)
    assert usage.rows(database, usage_tables.rejects, 'first') == []


def volatile(number, day, kind=facts.GAUGE, **more):
    """Return a sample with attributes of its own."""
    attributes = facts.Attributes(n=f'{kind} {number}')
    stage = facts.BEGIN if kind == facts.STATE else facts.SAMPLE
    at = us(1 + number / 100, day=day)
    return fact(at, kind=kind, meter=kind, stage=stage, attributes=attributes, **more)


def kept_attributes(database):
    """Return which attributes are stored."""
    return sorted(
        orjson.loads(body)['n'] for (body,) in usage.rows(database, usage_tables.attributes, 'body')
    )


def test_attributes_go_with_the_last_sample_that_states_them(any_database):
    """Those of lives stay, and so do those of the last sample of a counter, and what is read."""
    early = facts.from_us(us(2, day=2))
    for number, kind in enumerate((*KINDS, facts.STATE)):
        usage.store(
            any_database, volatile(number, 1, kind), volatile(10 + number, 2, kind), now=early
        )
    usage.store(any_database, volatile(20, 29))
    everything = kept_attributes(any_database)
    assert len(everything) == 9
    tend(any_database)
    assert kept_attributes(any_database) == everything

    one = retention.Retention(any_database, TERMS)
    for day in (103, 104, 105, 106):
        now = early + day * DAY
        for _ in range(2):
            while one.step(now, None):
                pass

    last = 'cumulative 11'
    assert kept_attributes(any_database) == sorted(
        [last, 'gauge 20', *(name for name in everything if 'state' in name)]
    )
    with any_database.reader() as connection:
        found = listing.samples(connection, Selection(), limit=9)
    assert all(row.attributes for row in found)
    assert last in [row.attributes['n'] for row in found]
    # A year later, too, by another process.
    tend(any_database, now=early + 400 * DAY)
    assert last in kept_attributes(any_database)


def test_attributes_that_are_stated_again_stay(any_database):
    """However old they are, and by whatever process that remembers them."""
    old, new = facts.from_us(us(2, day=1)), facts.from_us(us(2, day=1)) + 60 * DAY
    intake = usage.Intake(any_database, usage.LIMITS, lambda: clock[0])
    clock = [old]
    attributes = facts.Attributes(n='again')
    intake.store([entry(fact(us(1, day=1), attributes=attributes, tag=1))], ORIGIN)
    intake.store([entry(fact(us(1, day=1), attributes=facts.Attributes(n='x'), tag=2))], ORIGIN)
    clock[0] = new
    intake.store([entry(fact(facts.to_us(new), attributes=attributes, tag=3))], ORIGIN)

    clock[0] = old + 120 * DAY
    one = retention.Retention(any_database, TERMS)

    def tend_twice():
        for _ in range(2):
            while one.step(clock[0], None):
                pass

    tend_twice()
    # The newest row stays, whatever it is.
    assert kept_attributes(any_database) == ['again', 'x']
    intake.store([entry(fact(facts.to_us(clock[0]), attributes=facts.Attributes(n='y')))], ORIGIN)
    tend_twice()
    assert kept_attributes(any_database) == ['again', 'y']


def test_attributes_are_stated_while_they_are_removed(any_database):
    """The fact that states them finds them, or makes them anew."""
    attributes = facts.Attributes(n='again')
    stated = fact(us(1, day=1), attributes=attributes, tag=1)
    usage.store(any_database, stated, now=facts.from_us(us(2, day=1)))
    usage.store(any_database, fact(us(1), attributes=facts.Attributes(n='x'), tag=1))
    with futures.ThreadPoolExecutor(1) as pool:
        with any_database.writer() as connection:
            attribute_rows.remove(connection, us(0, day=2), 10)
            stating = pool.submit(usage.store, any_database, stated._replace(at=us(2), tag=3))
            with pytest.raises(TimeoutError):
                stating.result(timeout=1)
        assert stating.result(timeout=30).accepted == 1

    with any_database.reader() as connection:
        found = listing.samples(connection, Selection(begin=us(2)), limit=9)
    assert [row.attributes for row in found] == [attributes]
