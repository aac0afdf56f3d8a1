"""Facts are stored once, whole or not at all, and change lives and what is late."""

import os
import random
import threading
import zlib
from concurrent import futures
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.metering import facts
from cloudkitty.db import usage_tables
from cloudkitty.tests import usage
from cloudkitty.tests.usage import ORIGIN, entry, fact, life, us
from cloudkitty.usage import keys

SAMPLES = usage_tables.samples
# 1,000 for a thorough run.
PUSHES = int(os.environ.get('CLOUDKITTY_TEST_PUSHES', '40'))
TABLES = [name for name in usage_tables.metadata.tables if name.startswith('usage_')]


def counts(outcome):
    return outcome.accepted, outcome.duplicates, outcome.late, outcome.rejected


def quantities(database):
    """Return the quantities of facts that count."""
    found = usage.rows(database, SAMPLES, 'quantity', 'voided_at')
    return sorted(quantity for quantity, voided_at in found if voided_at is None)


def test_facts_are_stored_as_they_were_received(any_database):
    """With the message, and all digits of the quantity."""
    exact = '12345678901234567890.1234567'
    intake = usage.intake(any_database)

    outcome = intake.store([entry(fact(us(13.4), exact))], ORIGIN)

    assert counts(outcome) == (1, 0, 0, {})
    assert quantities(any_database) == [Decimal(exact)]
    ((body, messages),) = usage.rows(any_database, usage_tables.batches, 'body', 'messages')
    assert (zlib.decompress(body), messages) == (b'[{"a": 1.50}]', 1)


def test_a_repeat_counts_once(any_database):
    """By its natural key, in one batch or in another."""
    one, other = fact(us(13.4), kind=facts.GAUGE), fact(us(13.41), kind=facts.GAUGE)

    assert counts(usage.store(any_database, one, other, one)) == (2, 1, 0, {})
    assert counts(usage.store(any_database, other)) == (0, 1, 0, {})
    assert quantities(any_database) == [1, 1]
    assert len(usage.rows(any_database, usage_tables.batches, 'id')) == 1


def test_two_values_of_one_instant_contradict(any_database):
    """The first stays, and the second is named."""
    usage.store(any_database, fact(us(13.4), kind=facts.GAUGE))

    outcome = usage.store(any_database, fact(us(13.4), '2', kind=facts.GAUGE))

    assert outcome.rejected == {0: 'another value is stored for 2024-11-29T13:24:00.000000+00:00'}
    assert quantities(any_database) == [1]


def test_events_are_known_by_source_and_id(any_database):
    """The same again is a duplicate, another one is refused, a higher revision takes its place."""
    intake = usage.intake(any_database)

    def push(quantity, revision=0, at=13.4):
        stated = fact(us(at), quantity, tag=7)
        return counts(intake.store([entry(stated, event_id='e', revision=revision)], ORIGIN))

    assert push('1') == (1, 0, 0, {})
    assert push('1') == (0, 1, 0, {})
    accepted, duplicates, _, rejected = push('2')
    assert (accepted, duplicates, list(rejected)) == (0, 0, [0])
    assert push('2', revision=1) == (1, 0, 0, {})
    # What a revision replaced does not come back.
    assert push('1') == (0, 1, 0, {})
    assert push('3', revision=2, at=13.45) == (1, 0, 0, {})
    assert quantities(any_database) == [3]


def test_a_revision_within_a_batch(database):
    """The highest one counts."""
    stated = [fact(us(13.4), quantity, tag=7) for quantity in ('1', '2')]
    entries = [entry(one, event_id='e', revision=revision) for revision, one in enumerate(stated)]

    assert counts(usage.intake(database).store(entries, ORIGIN)) == (1, 1, 0, {})
    assert quantities(database) == [2]


def test_a_revision_that_contradicts_changes_nothing(any_database):
    """What it would replace still counts."""
    usage.store(any_database, fact(us(13.45), '9', kind=facts.GAUGE))
    intake = usage.intake(any_database)
    first = fact(us(13.4), '1', kind=facts.GAUGE)
    intake.store([entry(first, event_id='e')], ORIGIN)

    moved = first._replace(at=us(13.45))
    outcome = intake.store([entry(moved, event_id='e', revision=1)], ORIGIN)

    assert outcome.conflicts == {0}
    assert quantities(any_database) == [1, 9]
    # And it can still be corrected.
    right = first._replace(quantity=Decimal(2))
    assert intake.store([entry(right, event_id='e', revision=1)], ORIGIN).accepted == 1
    assert quantities(any_database) == [2, 9]


def test_a_tombstone_takes_an_event_back(any_database):
    """Until a higher revision comes."""
    intake = usage.intake(any_database)
    stated = life(us(13.1), us(13.2))
    intake.store([entry(*stated, event_id='e')], ORIGIN)
    assert len(usage.lives(any_database)) == 1

    assert intake.void('s', 'e')
    assert usage.lives(any_database) == []
    assert intake.store([entry(*stated, event_id='e')], ORIGIN).duplicates == 1
    assert usage.lives(any_database) == []
    assert intake.store([entry(*stated, event_id='e', revision=1)], ORIGIN).accepted == 1
    assert len(usage.lives(any_database)) == 1
    assert not intake.void('s', 'other')


def test_lives_follow_from_facts_in_any_order(any_database):
    """Each fact in a batch of its own, shuffled and doubled."""
    stated = [
        *life(us(10), us(12)),
        fact(us(11), '5', kind=facts.STATE, stage=facts.CHANGE),
    ]
    for one in random.Random(3).sample(stated * 2, 6):
        usage.store(any_database, one)

    assert usage.lives(any_database) == [
        (us(10), us(11), 1, 'said'),
        (us(11), us(12), 5, 'said'),
    ]


@pytest.mark.parametrize(
    'at, reason',
    [
        (usage.us(13.5) + 301 * facts.SECOND_US, 'time is more than 300 s in the future'),
        (usage.us(13.5) - 36 * 24 * usage.HOUR_US, 'time is more than 35 days in the past'),
    ],
)
def test_times_that_are_refused(database, at, reason):
    """Beside others that are stored."""
    outcome = usage.store(database, fact(at), fact(us(13.4)))

    assert counts(outcome) == (1, 0, 0, {0: reason})


@pytest.mark.parametrize(
    'now, expected',
    [
        # The period ends at 13:00 and may be rated then.
        (us(12.5), []),
        (us(12.9), []),
        # Clocks of hosts differ by a minute at most.
        (us(13) - 59 * facts.SECOND_US, [('p1', us(12.4), us(12.4) + 1)]),
        (us(13.5), [('p1', us(12.4), us(12.4) + 1)]),
    ],
)
def test_what_comes_after_its_period_is_due_is_late(any_database, now, expected):
    """A row says so, in the same transaction."""
    outcome = usage.store(any_database, fact(us(12.4)), now=facts.from_us(now))

    assert outcome.late == len(expected)
    assert usage.lates(any_database) == expected


@pytest.mark.parametrize(
    'stated, expected',
    [
        # An open life is late up to the last period that may be rated.
        (life(us(10), None), [(us(10), us(13))]),
        (life(us(10), us(11)), [(us(10), us(11))]),
        ([fact(us(10), kind=facts.GAUGE)], [(us(10), us(13))]),
        (life(us(13.2), None), []),
    ],
)
def test_how_far_a_late_fact_reaches(database, stated, expected):
    """Lives as far as they changed, values as long as they may hold."""
    usage.intake(database).store([entry(*stated)], ORIGIN)

    assert [(begin, end) for _, begin, end in usage.lates(database)] == expected


def test_a_late_end_is_late_from_then_on(database):
    """What was rated before it stays."""
    usage.intake(database).store([entry(*life(us(10), None))], ORIGIN)
    with database.writer() as connection:
        connection.execute(sa.delete(usage_tables.late))

    usage.store(database, life(us(10), us(12))[1])

    assert usage.lates(database) == [('p1', us(12), us(13))]


def test_a_request_is_answered_again(any_database):
    """With its first answer; with another body it is refused."""
    intake = usage.intake(any_database)
    request = keys.Request(b'k' * 16, b'b' * 16)

    def push(request, quantity):
        return intake.store(
            [entry(fact(us(13.4), quantity))],
            ORIGIN,
            request=request,
            answer=lambda outcome: f'{outcome.accepted} accepted',
        )

    assert push(request, '1').accepted == 1
    assert push(request, '2') == '1 accepted'
    with pytest.raises(errors.Conflict):
        push(request._replace(body=b'c' * 16), '3')
    assert quantities(any_database) == [1]


def test_a_failure_leaves_nothing(any_database):
    """Neither a claim of the event nor a part of the batch: a retry counts once."""
    intake = usage.intake(any_database)
    stated = [entry(fact(us(13.4), tag=number), event_id=str(number)) for number in (1, 2)]

    with pytest.raises(ZeroDivisionError):
        intake.store(
            stated,
            ORIGIN,
            request=keys.Request(b'k' * 16, b'b' * 16),
            answer=lambda outcome: 1 // 0,
        )

    for table in usage_tables.metadata.tables.values():
        if table.name.startswith('usage_') and table is not usage_tables.attributes:
            assert usage.rows(any_database, table, table.primary_key.columns.keys()[0]) == []
    assert intake.store(stated, ORIGIN).accepted == 2


def test_many_clients_push_the_same(any_database):
    """Each event counts once, whoever is first, and nobody waits for ever."""
    clients = min(16, PUSHES // 5)
    rounds = -(-PUSHES // clients)
    entries = [
        entry(*life(us(12 + number / 100), None, resource_id=f'r{number}'), event_id=str(number))
        for number in range(40)
    ]
    barrier = threading.Barrier(clients)

    def client(number):
        chosen = entries[:]
        random.Random(number).shuffle(chosen)
        intake = usage.intake(any_database)
        barrier.wait(timeout=60)
        return [intake.store(chosen, ORIGIN) for _ in range(rounds)]

    with futures.ThreadPoolExecutor(clients) as pool:
        outcomes = [one for many in pool.map(client, range(clients)) for one in many]

    assert sum(one.accepted for one in outcomes) == len(entries)
    assert sum(one.duplicates for one in outcomes) == len(entries) * (clients * rounds - 1)
    assert len(usage.lives(any_database)) == len(entries)


def test_completeness_only_grows(any_database):
    """A source cannot take back that it was complete."""
    intake = usage.intake(any_database)
    for until in (us(12), us(11)):
        intake.store([usage.Entry('{}', (), source='s', meter='m', until=until)], ORIGIN)

    found = usage.rows(any_database, usage_tables.producers, 'source', 'meter', 'until')
    assert found == [('s', 'm', us(12))]


def test_storing_looks_facts_up(database):
    """However many are stored: no statement reads one of the tables as a whole."""
    statements = []
    sa.event.listen(
        database.engine, 'before_cursor_execute', lambda *args: statements.append(args[2:4])
    )

    usage.store(
        database,
        fact(us(13.4), kind=facts.GAUGE),
        fact(us(13.4), kind=facts.GAUGE),
        *life(us(12), us(13), resource_id='v2'),
    )

    read = [one for one in statements if not one[0].startswith(('BEGIN', 'PRAGMA'))]
    assert len(read) > 5
    with database.engine.connect() as connection:
        for statement, parameters in read:
            parameters = parameters[0] if isinstance(parameters, list) else parameters
            plan = connection.exec_driver_sql(f'EXPLAIN QUERY PLAN {statement}', parameters)
            steps = {row[3] for row in plan}
            assert steps & {'SCAN found', *(f'SCAN {name}' for name in TABLES)} == set()
