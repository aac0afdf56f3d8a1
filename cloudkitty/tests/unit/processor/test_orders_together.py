"""Several orders, inactive times and ends at once: the bench of the tests of orders."""

import dataclasses

import pytest
from oslo_db import exception as db_exception

from cloudkitty import pipeline
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.processor import dryrun
from cloudkitty.processor import resets as resetting
from cloudkitty.rating import skip
from cloudkitty.scopes import admin as scope_admin
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import Replacement, ScopeBatch
from cloudkitty.tests.unit.processor.test_orders import (  # noqa: F401
    HOUR,
    at,
    bench,
    counts,
    pool,
    switch,
)


def old_and_new(bench, number):  # noqa: F811
    """Return what the periods of a dry run cost and would, by metric."""
    task = bench.tasks()[number]
    with bench.storage.database.reader() as connection:
        return scope_reprocessing.list_prices(connection, [task.id])[task.id]


def test_resets_and_tasks_get_their_turn_together(bench):  # noqa: F811
    """A part of each in every round: neither waits until the other is done."""
    seen = []
    reset, replace = bench.storage.reset, bench.storage.replace

    def reset_and_order_another(order):
        seen.append('reset')
        if seen.count('reset') < 5:
            bench.order_reset(at(20 - len(seen)), 'c')
        return reset(order)

    def note(replacements):
        seen.append('replace')
        return replace(replacements)

    bench.reset = reset_and_order_another
    bench.storage.replace = note
    bench.order_reset(at(20), 'b')
    bench.order_task(0, 18, 'a')

    bench.worker().turn()

    assert seen[:4] == ['reset', 'replace', 'reset', 'replace']
    assert bench.is_over() == [True]


def test_two_orders_for_one_scope_do_not_share_a_batch(bench):  # noqa: F811
    """Two dry runs of the same periods tell the same, each for itself."""
    bench.order_task(2, 6, 'a', is_dry_run=True)
    bench.order_task(2, 6, 'a', is_dry_run=True)

    bench.worker().turn()

    assert bench.is_over() == [True, True]
    assert old_and_new(bench, 0) == old_and_new(bench, 1) == {'cpu': (4, 12)}


def test_a_dry_run_and_an_order_for_one_time_do_not_share_a_batch(bench):  # noqa: F811
    """Whichever comes first: what is stored changes for the scope of the order alone."""
    bench.order_task(2, 6, 'a', is_dry_run=True)
    bench.order_task(2, 6, 'b')
    bench.order_task(8, 12, 'b')
    bench.order_task(8, 12, 'a', is_dry_run=True)

    bench.worker().turn()

    assert bench.is_over() == [True] * 4
    assert bench.hourly('a') == [1] * 24
    assert bench.hourly('b') == [1] * 2 + [3] * 4 + [1] * 2 + [3] * 4 + [1] * 12
    assert old_and_new(bench, 0) == old_and_new(bench, 3) == {'cpu': (4, 12)}


@pytest.mark.parametrize('first, end', [(0, 1), (0, 7), (5, 6), (17, 23), (22, 23)])
def test_a_task_ends_with_its_last_period(bench, first, end):  # noqa: F811
    """Whatever part of a batch it is."""
    bench.order_task(first, end, 'a')

    bench.worker().turn()

    assert bench.hourly() == [1] * first + [3] * (end - first) + [1] * (24 - end)
    assert bench.is_over() == [True]


def test_a_window_that_ends_within_a_period_is_over(bench):  # noqa: F811
    """The period that begins in it is rated again as a whole."""
    bench.order_task(2, 4.5, 'a')

    bench.worker().turn()

    assert bench.hourly() == [1] * 2 + [3] * 3 + [1] * 19
    assert bench.is_over() == [True]


def test_a_window_without_a_period_that_ends_at_the_mark_is_over(bench):  # noqa: F811
    bench.order_task(22.5, 23, 'a')

    bench.worker().turn()

    assert bench.hourly() == [1] * 24
    assert bench.is_over() == [True]


def test_a_reset_that_fails_holds_no_other_of_its_shard(bench):  # noqa: F811
    """Whichever comes first."""
    bench.settings = dataclasses.replace(bench.settings, shards=1)

    def reset(order):
        if order.scope_id == 'b':
            raise KeyError('strange')
        return bench.storage.reset(order)

    bench.reset = reset
    bench.order_reset(at(20), 'a', 'b', 'c')

    bench.worker().turn()

    assert [bench.hourly(name)[22] for name in 'abc'] == [3, 1, 3]


def test_points_that_are_skipped_now_go_when_a_period_is_rated_again(bench):  # noqa: F811
    """They would not be stored if the period was rated for the first time."""
    one = bench.worker()
    job = one._background_jobs[1]
    job._pipeline = dataclasses.replace(
        job._pipeline, skips=skip.SkipFilter("datapoint['rating']['price'] == 3", {})
    )
    bench.order_task(2, 4, 'a')

    one.turn()

    assert bench.hourly() == [1] * 2 + [0] * 2 + [1] * 20
    assert bench.is_over() == [True]


@pytest.mark.parametrize('error', pipeline.UNUSABLE)
def test_a_database_that_is_gone_ends_the_turn_of_resets(bench, error):  # noqa: F811
    """It says nothing about the order: the next one would fail too."""
    tried = []

    def reset(order):
        tried.append(order)
        raise error(reason='gone') if error.__module__ == 'cloudkitty.errors' else error()

    bench.reset = reset
    bench.order_reset(at(20), 'a', 'b', 'c')

    with pytest.raises(error):
        bench.worker().turn()

    assert len(tried) == 1
    assert isinstance(bench.worker()._background_jobs[0], resetting.Resets)


def test_a_dry_run_counts_each_period_once(bench):  # noqa: F811
    """Of two workers that took the same periods the later one adds nothing."""
    bench.order_task(2, 6, 'a', is_dry_run=True)
    (task,) = bench.tasks()
    scope = bench.scopes()['a']

    def frame(hour):
        point = DataPoint('x', '1', '5', {'project_id': 'a'}, {})
        return DataFrame(at(hour), at(hour + 1), {'cpu': [point]})

    def take(current, first, upto):
        batch = ScopeBatch(
            scope.id, 'a', at(first - 1), at(upto), [frame(hour) for hour in range(first, upto + 1)]
        )
        one = Replacement(task.id, current, at(upto), batch)
        database = bench.storage.database
        return dryrun.record(database, [one], bench.storage.rated_prices, length=HOUR), one

    assert take(None, 2, 3)[0] == []
    late, one = take(None, 2, 3)
    assert late == [one]
    assert take(at(3), 4, 5)[0] == []
    assert old_and_new(bench, 0) == {'cpu': (4, 20)}


def test_setting_a_scope_on_that_is_on_changes_nothing(bench):  # noqa: F811
    """No time of it counts as inactive; nor does it end a time in which it is off."""
    before = bench.scopes()['a']
    switch(bench, True, 26)
    assert bench.scopes()['a'] == before
    switch(bench, False, 27)
    switch(bench, False, 28)
    assert bench.scopes()['a'].toggled_at == at(27)
    switch(bench, True, 29)
    bench.now = at(31)

    bench.worker().turn()

    assert counts(bench, range(24, 31)) == [1, 1, 1, 0, 0, 1, 1]


def test_inactive_times_are_those_of_each_scope(bench):  # noqa: F811
    """Two scopes that were off at different times, in one batch with one that never was."""
    database = bench.storage.database
    for name, begin, end in (('a', 25, 26), ('b', 24, 27)):
        scope_admin.update(database, name, now=at(begin), active=False)
        scope_admin.update(database, name, now=at(end), active=True)
    bench.now = at(28)

    bench.worker().turn()

    found = {
        name: [
            (frame.start - at(0)) // HOUR
            for frame in bench.storage.retrieve(at(24), at(99), {'project_id': name})['dataframes']
        ]
        for name in 'abc'
    }
    assert found == {'a': [24, 26, 27], 'b': [27], 'c': [24, 25, 26, 27]}


def test_a_pause_moves_no_mark_that_moved_meanwhile(bench):  # noqa: F811
    """Another worker rated the scope on between reading its mark and moving it over the pause."""
    switch(bench, False, 24)
    switch(bench, True, 26)
    bench.now = at(30)
    scope = bench.scopes()['a']
    one = bench.worker()
    database, write = bench.storage.database, bench.storage.database.write

    def write_late(change):
        if change.__qualname__.startswith('Worker._skip_inactive_time'):
            write(lambda connection: scope_state.advance(connection, {scope.id: at(28)}))
        return write(change)

    database.write = write_late
    one._batches([scope.id])

    assert bench.scopes()['a'].mark == at(28)


def test_a_scope_that_was_off_and_vanishes_is_rated_to_its_end(bench):  # noqa: F811
    """The pause ends a batch before the scope does, or after; nothing comes after its end."""
    switch(bench, False, 25)
    switch(bench, True, 26)
    bench.now = at(28)
    bench.fetcher.scope_ids = ('b', 'c')
    one = bench.worker()
    one._discovery.refresh()
    bench.now = at(40)

    one.turn()

    assert counts(bench, range(24, 34)) == [1, 0, 1, 1] + [0] * 6
    assert bench.scopes()['a'].final_mark == at(27)


def test_a_failure_of_the_store_is_told_and_nothing_is_lost(bench):  # noqa: F811
    """One scope that cannot be stored anew holds back its own task alone."""
    replace = bench.storage.replace

    def fail(replacements):
        if any(one.batch.scope_id == 'b' for one in replacements):
            raise db_exception.DBDataError(ValueError('too large'))
        return replace(replacements)

    bench.storage.replace = fail
    bench.order_task(2, 4, 'a', 'b', 'c')

    bench.worker().turn()

    assert bench.is_over() == [True, False, True]
    assert [bench.hourly(name)[2] for name in 'abc'] == [3, 1, 3]
    assert [task.failure_count for task in bench.tasks()] == [None, 1, None]
