"""What the processors of a database agree on, on every database."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.timeframe import to_naive
from cloudkitty.db import tables
from cloudkitty.scopes import agreement
from cloudkitty.scopes import state as scope_state

HOUR = timedelta(hours=1)
TERMS = agreement.Terms(3600, 'project_id')
IDENTITY = scope_state.Identity('project_id', 'fake', 'fake')
NOW = datetime.now(UTC)
DATE = (NOW + timedelta(days=2)).replace(hour=0, minute=0, second=0, microsecond=0)


def _read(database):
    with database.reader() as connection:
        return agreement.read(connection)


def _order(database, begin=DATE, **changes):
    return database.write(
        lambda connection: agreement.order(connection, TERMS._replace(**changes), begin)
    )


def _see(database, scope_id, mark, *, fetched_at=NOW, identity=IDENTITY):
    def change(connection):
        scope_state.claim_fetch(connection, identity, seen=None, now=fetched_at)
        scope_state.record_seen(
            connection, identity, [scope_id], now=NOW, initial_mark=mark, final_mark=mark
        )

    database.write(change)


def _come(database, begin):
    """Let the change that is ordered be one for *begin*."""
    table = tables.agreements
    with database.writer() as connection:
        connection.execute(
            sa.update(table).where(table.c.in_force.is_(False)).values(begin=to_naive(begin))
        )


def _marks(database):
    with database.reader() as connection:
        return {scope.scope_id: scope.mark for scope in scope_state.list_scopes(connection)[1]}


def test_the_database_tells_its_time(any_database):
    before = datetime.now(UTC)

    told = _read(any_database).now

    assert before - timedelta(seconds=1) <= told <= datetime.now(UTC) + timedelta(seconds=1)


@pytest.mark.timeout(60)
def test_of_nodes_that_start_at_once_one_decides(any_database):
    barrier, ended = threading.Barrier(4), []

    def start(period_s):
        barrier.wait(30)
        try:
            agreement.settle(any_database, TERMS._replace(period_s=period_s), now=NOW)
            ended.append(period_s)
        except errors.Disagreement:
            ended.append(None)

    threads = [threading.Thread(target=start, args=(600 * number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    [agreed] = _read(any_database).agreements
    assert sorted(filter(None, ended)) == [agreed.terms.period_s]


def test_what_is_agreed_on_survives_the_database(any_database):
    terms = agreement.Terms(600, 'Zürich', datetime(2026, 11, 1, tzinfo=UTC))

    agreement.settle(any_database, terms, now=NOW)
    agreement.settle(any_database, terms, now=NOW)

    assert _read(any_database).current == agreement.Agreement(1, None, terms, True)


@pytest.mark.parametrize(
    ('begin', 'changes', 'told'),
    [
        (DATE, {}, 'Nothing would change'),
        (NOW - HOUR, {'period_s': 600}, 'not in the future'),
        (DATE + timedelta(minutes=30), {'period_s': 1800}, 'no edge of periods of 3600 s'),
        (DATE + HOUR, {'period_s': 7200}, 'no edge of periods of 7200 s'),
        (DATE, {'scope_key': 'namespace'}, 'order a start date too'),
        (
            DATE,
            {'scope_key': 'namespace', 'start_date': DATE - HOUR},
            'order a start date too',
        ),
    ],
)
def test_what_cannot_be_ordered_is_refused(database, begin, changes, told):
    agreement.settle(database, TERMS, now=NOW)

    with pytest.raises(errors.InvalidInput, match=told):
        _order(database, begin, **changes)

    assert len(_read(database).agreements) == 1


def test_nothing_is_ordered_for_periods_that_are_rated(database):
    agreement.settle(database, TERMS, now=NOW)
    _see(database, 'a', DATE)

    with pytest.raises(errors.InvalidInput, match='are rated already'):
        _order(database, period_s=1800)


def test_one_change_waits_at_a_time_and_can_be_taken_back(database):
    with pytest.raises(errors.Conflict, match='before a processor has started'):
        _order(database, period_s=600)
    agreement.settle(database, TERMS, now=NOW)
    made = _order(database, period_s=600)
    with pytest.raises(errors.Conflict, match='waits already'):
        _order(database, period_s=1800)

    assert database.write(agreement.cancel) == made
    assert database.write(agreement.cancel) is None
    assert _order(database, period_s=1800).terms.period_s == 1800


@pytest.mark.parametrize('period_s', [600, 7200])
def test_a_change_moves_all_marks_so_that_the_next_periods_stay(any_database, period_s):
    """Those of scopes that nobody rates too, and those that follow each other on the way."""
    agreement.settle(any_database, TERMS, now=NOW)
    date = DATE - timedelta(days=30)
    begins = {f's{hour}': date + hour * HOUR for hour in range(-3, 1)}
    _order(any_database, period_s=period_s)
    _come(any_database, date)
    for name, begin in begins.items():
        # All but one belong to a fetcher that nobody asks any more.
        is_rated = begin == date
        _see(
            any_database,
            name,
            begin - HOUR,
            identity=IDENTITY if is_rated else IDENTITY._replace(fetcher=name),
            fetched_at=NOW if is_rated else NOW - timedelta(days=3),
        )

    assert any_database.write(agreement.take_effect)

    length = timedelta(seconds=period_s)
    assert {name: mark + length for name, mark in _marks(any_database).items()} == begins
    assert _read(any_database).current.terms.period_s == period_s
    assert not any_database.write(agreement.take_effect)


@pytest.mark.parametrize(
    ('values', 'waits'),
    [({}, True), ({'active': False}, False), ({'failure_count': 3}, False)],
)
def test_a_change_waits_for_what_is_rated(any_database, values, waits):
    """Not for a scope that is off, and not for one that a failure holds back."""
    agreement.settle(any_database, TERMS, now=NOW)
    _order(any_database, period_s=1800)
    date = DATE - timedelta(days=30)
    _come(any_database, date)
    _see(any_database, 'a', date - 2 * HOUR)
    if values:
        with any_database.writer() as connection:
            connection.execute(sa.update(tables.scopes).values(**values))

    assert any_database.write(agreement.take_effect) is not waits
    with any_database.reader() as connection:
        behind = agreement.list_behind(connection, agreement.read(connection), limit=5)
    assert behind == (['a'] if waits else [])


def test_a_change_waits_for_its_date(any_database):
    agreement.settle(any_database, TERMS, now=NOW)
    _order(any_database, period_s=1800)

    assert not any_database.write(agreement.take_effect)


def test_marks_in_the_future_are_counted(any_database):
    _see(any_database, 'a', NOW - HOUR)
    _see(any_database, 'b', NOW + 30 * 24 * HOUR, identity=IDENTITY._replace(fetcher='other'))

    with any_database.reader() as connection:
        assert agreement.count_future_marks(connection) == 1
