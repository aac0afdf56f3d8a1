"""A metric that the source refuses is left out of a period only after it was refused for long."""

import dataclasses
from datetime import timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import tables
from cloudkitty.scopes import refusals
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import fakes
from cloudkitty.tests.unit.processor import test_worker
from cloudkitty.tests.unit.processor.test_coverage import NotingStorage, notes
from cloudkitty.tests.unit.processor.test_worker import HOUR, IDENTITY, START, pool  # noqa: F401

LAG_MAX = 4 * HOUR
MONTH = 30 * 24
MINUTE = timedelta(minutes=1)


class Bench(test_worker.Bench):
    """A catch-up of a month; the source refuses what *refuses* tells: (metric, scope id, hour)."""

    def __init__(self, database, pool, folder):  # noqa: F811
        super().__init__(database, pool, folder)
        self.settings = dataclasses.replace(
            self.settings, lag_max_s=LAG_MAX // timedelta(seconds=1), batch_periods=240
        )
        self.collector = fakes.FakeCollector({'cpu': 'cpu', 'ram': 'ram'}, self._usage)
        self.storage = NotingStorage(database)
        self.clock.now = START + (MONTH + 1) * HOUR
        self.refuses = lambda metric, scope_id, hour: False
        self.error = errors.CollectError(collector='fake', reason='duplicate series {node="m1"}')

    def _usage(self, metric, scope_id, at):
        if self.refuses(metric, scope_id, (at - START) // HOUR):
            raise self.error
        return 1

    def turns(self, duration, *, every=20 * MINUTE):
        """Let a new worker do a turn again and again, for so long."""
        end = self.clock.now + duration
        while self.clock.now <= end:
            self.worker().turn()
            self.clock.now += every


@pytest.fixture
def bench(database, pool, tmp_path, caplog):  # noqa: F811
    caplog.set_level('INFO', 'cloudkitty')
    return Bench(database, pool, tmp_path / 'locks')


def rows(bench):
    with bench.database.reader() as connection:
        ids = connection.execute(sa.select(tables.scopes.c.id)).scalars().all()
        found = refusals.list_refusals(connection, ids)
    return {(one.metric, (one.begin - START) // HOUR, (one.end - START) // HOUR) for one in found}


def test_a_short_refusal_leaves_nothing_out_of_old_periods(bench):
    """In a catch-up all periods are old: those that are refused for a while wait."""
    bench.refuses = lambda metric, scope_id, hour: metric == 'cpu' and hour >= 2
    bench.turns(LAG_MAX - HOUR)
    assert bench.hours() == {'a': 2, 'b': 2, 'c': 2}
    assert rows(bench) == {('cpu', 2, 3)}

    bench.refuses = lambda metric, scope_id, hour: False
    bench.clock.now += 11 * MINUTE
    bench.worker().turn()

    assert min(bench.hours().values()) >= MONTH
    assert notes(bench) == []
    assert rows(bench) == set()


def test_a_long_refusal_is_left_out_and_noted(bench, caplog):
    """Other scopes and metrics go on; the log has why."""
    bench.refuses = lambda *place: place == ('cpu', 'b', 5)
    bench.turns(LAG_MAX - 30 * MINUTE)
    assert bench.hours()['b'] == 5
    assert 'duplicate series' in bench.scopes()['b'].failure_reason

    bench.turns(HOUR)

    assert bench.hours()['b'] == bench.hours()['a'] > MONTH
    assert notes(bench, 'b') == [(5, 6, 'refused by the source: cpu')]
    assert notes(bench, 'a') == []
    assert 'duplicate series {node="m1"}' in caplog.text
    assert rows(bench) == set()


def test_a_refusal_that_goes_on_need_not_last_again(bench):
    """Not in the next period either, until one is answered: then it begins anew."""
    bench.refuses = lambda metric, scope_id, hour: (
        (metric, scope_id) == ('cpu', 'b') and (5 <= hour < 30 or hour == 40)
    )
    # In one turn so many periods as may fail are left out.
    bench.turns(LAG_MAX + 90 * MINUTE)

    assert notes(bench, 'b') == [(5, 30, 'refused by the source: cpu')]
    assert bench.hours()['b'] == 40

    bench.turns(LAG_MAX + 30 * MINUTE)

    assert notes(bench, 'b')[1:] == [(40, 41, 'refused by the source: cpu')]
    assert bench.hours()['b'] == bench.hours()['a']


def test_a_source_that_nobody_asked_may_have_answered(bench):
    """Two refusals that are far apart are not one that lasted."""
    bench.refuses = lambda *place: place == ('cpu', 'b', 5)
    bench.worker().turn()
    bench.clock.now += 10 * HOUR

    bench.worker().turn()

    assert bench.hours()['b'] == 5
    assert notes(bench, 'b') == []


def test_a_metric_that_waits_for_another_keeps_its_time(bench):
    """The first one is left out when the second one, which began later, has lasted too."""
    refused = {('cpu', 5)}
    bench.refuses = lambda metric, scope_id, hour: (metric, hour) in refused and scope_id == 'b'
    bench.turns(LAG_MAX - HOUR)
    refused.add(('ram', 5))
    bench.turns(LAG_MAX - HOUR)
    assert bench.hours()['b'] == 5

    refused.discard(('ram', 5))
    bench.clock.now += 11 * MINUTE
    bench.worker().turn()

    assert notes(bench, 'b') == [(5, 6, 'refused by the source: cpu')]
    assert bench.hours()['b'] == bench.hours()['a']


def test_a_metric_that_is_no_longer_defined_is_forgotten(bench):
    bench.refuses = lambda *place: place == ('cpu', 'b', 5)
    bench.worker().turn()
    assert rows(bench) == {('cpu', 5, 6)}
    bench.collector = fakes.FakeCollector({'ram': 'ram'})
    bench.clock.now += 20 * MINUTE

    bench.worker().turn()

    assert rows(bench) == set()


def test_refusals_are_stored_on_each_database(any_database):
    """Times and names come back; a new row replaces the old one; a scope that is gone has none."""

    def seen(connection):
        return scope_state.record_seen(
            connection, IDENTITY, ['a'], now=START, initial_mark=START, final_mark=START
        )

    any_database.write(seen)
    with any_database.reader() as connection:
        key = connection.execute(sa.select(tables.scopes.c.id)).scalar_one()
    rest = (START, START + HOUR, START + 2 * HOUR, START + 3 * HOUR)
    one, other, lost = (
        refusals.Refusal(state_id, metric, *rest)
        for state_id, metric in ((key, 'cpu'), (key, 'Ü' * 255), (key + 1, 'cpu'))
    )
    newer = one._replace(seen=START + 4 * HOUR)

    for old, new in (([], [one, other, lost]), ([], [newer])):
        any_database.write(lambda connection: refusals.replace(connection, old, new))  # noqa: B023
        with any_database.reader() as connection:
            found = refusals.list_refusals(connection, [key, key + 1])
        assert sorted(found) == [new[0], other]

    any_database.write(lambda connection: refusals.replace(connection, [newer, other], []))
    with any_database.reader() as connection:
        assert refusals.list_refusals(connection, [key]) == []
