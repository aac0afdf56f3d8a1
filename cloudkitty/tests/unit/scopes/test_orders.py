"""Changes of scopes, and orders, on every database."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import admin as scope_admin
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state

HOUR = timedelta(hours=1)
MAY = datetime(2024, 5, 1, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'fake', 'fake')
OTHER = scope_state.Identity('project_id', 'other', 'fake')


def at(hour):
    return MAY + hour * HOUR


def add(database, *names, identity=IDENTITY):
    for name in names:
        scope_admin.create(database, name, identity, mark=at(10), active=True, now=MAY)


def test_a_scope_is_made_and_changed(any_database):
    made = scope_admin.create(
        any_database, 'Zürich 東京', IDENTITY, mark=at(1), active=False, now=MAY
    )
    assert (made.mark, made.active, made.toggled_at) == (at(1), False, MAY)

    changed = scope_admin.update(
        any_database, 'Zürich 東京', now=at(2), active=True, fetcher='other', collector=None
    )

    assert (changed.active, changed.toggled_at, changed.fetcher, changed.collector) == (
        True,
        at(2),
        'other',
        'fake',
    )
    with pytest.raises(errors.Conflict):
        scope_admin.create(any_database, 'Zürich 東京', IDENTITY, mark=MAY, active=True, now=MAY)
    with pytest.raises(errors.NotFound):
        scope_admin.update(any_database, 'zürich 東京', now=MAY, active=True)


@pytest.mark.timeout(60)
def test_of_callers_that_make_the_same_scope_one_succeeds(any_database):
    barrier, ended = threading.Barrier(3), []

    def make():
        barrier.wait(30)
        try:
            add(any_database, 'a')
            ended.append('made')
        except errors.Conflict:
            ended.append('conflict')

    threads = [threading.Thread(target=make) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ended) == ['conflict', 'conflict', 'made']


def test_resets_are_of_one_kind_of_scopes_and_the_last_one_counts(any_database):
    add(any_database, 'a', 'b')
    add(any_database, 'c', identity=OTHER)
    with any_database.writer() as connection:
        by_name = {scope.scope_id: scope.id for scope in scope_state.list_scopes(connection)[1]}
        resets.order(connection, by_name.values(), at(1), now=MAY)
        resets.order(connection, [by_name['a']], at(2), now=at(1))

    with any_database.reader() as connection:
        pending = resets.list_pending(connection, IDENTITY, limit=9)
        assert [tuple(one)[1:] for one in pending] == [('b', at(1)), ('a', at(2))]
        assert resets.list_pending(connection, IDENTITY, limit=1) == pending[:1]
    with any_database.writer() as connection:
        assert not resets.finish(connection, pending[1]._replace(mark=at(1)))
        assert resets.finish(connection, pending[1])
        assert not resets.finish(connection, pending[1])


def order(database, first, end, *names, is_dry_run=False, identity=IDENTITY):
    database.write(
        lambda connection: scope_reprocessing.create(
            connection,
            names or None,
            identity=identity,
            window=Period(at(first), at(end)),
            reason='test',
            is_dry_run=is_dry_run,
        )
    )


def find(database, now=MAY):
    with database.reader() as connection:
        ready = scope_reprocessing.find_ready(connection, IDENTITY, now=now, limit=9)
    return [
        (task.scope_id, task.current)
        for task, scope in ready.tasks
        if scope.scope_id == task.scope_id
    ], ready.next_retry_at


def test_all_unfinished_tasks_are_looked_at_for_overlaps(any_database):
    add(any_database, 'a')
    for hour in range(10):
        order(any_database, hour, hour + 1, 'a')

    for first, end in ((0, 1), (0, 10), (9, 10), (3, 5)):
        with pytest.raises(errors.InvalidInput, match='of this time: a$'):
            order(any_database, first, end, 'a')


def test_what_is_done_of_a_task_is_in_nobodys_way(any_database):
    """Only the rest of it must not be ordered again."""
    add(any_database, 'a')
    order(any_database, 0, 10, 'a')
    with any_database.writer() as connection:
        ((task, _),) = scope_reprocessing.find_ready(connection, IDENTITY, now=MAY, limit=9).tasks
        scope_reprocessing.advance(connection, {task.id: at(5)}, {})

    order(any_database, 0, 5, 'a')

    with pytest.raises(errors.InvalidInput, match='of this time: a$'):
        order(any_database, 5, 7, 'a')


def test_a_row_of_a_former_fetcher_is_not_looked_at(any_database):
    """It may stay active with a mark of long ago; only the configured scope is rated again."""
    for identity, hour, names in ((IDENTITY, 10, {'a'}), (OTHER, 1, {'a', 'gone'})):
        with any_database.writer() as connection:
            scope_state.record_seen(
                connection, identity, names, now=MAY, initial_mark=at(hour), final_mark=MAY
            )

    order(any_database, 2, 4)

    assert find(any_database) == ([('a', None)], None)
    with pytest.raises(errors.InvalidInput, match='1 scope is unknown or not active: gone'):
        order(any_database, 2, 4, 'gone')


def test_a_dry_run_and_an_order_do_not_hinder_each_other(any_database):
    """Before or after each other, of the same time; a second real order is refused."""
    add(any_database, 'a', 'b')
    order(any_database, 2, 4, 'a', is_dry_run=True)
    order(any_database, 2, 4, 'a')
    order(any_database, 2, 4, 'a', is_dry_run=True)
    order(any_database, 2, 4, 'b')

    with pytest.raises(errors.InvalidInput, match='of this time: a, b$'):
        order(any_database, 3, 5, 'a', 'b')
    with any_database.reader() as connection:
        tasks = scope_reprocessing.list_tasks(connection, is_ascending=True)[1]
    assert [(task.scope_id, task.is_dry_run) for task in tasks] == [
        ('a', True),
        ('a', False),
        ('a', True),
        ('b', False),
    ]


def test_only_what_is_rated_can_be_ordered_again(any_database):
    """Up to the mark, which is the begin of the last rated period, and no further."""
    add(any_database, 'a')
    order(any_database, 8, 10, 'a')

    for first, end in ((9, 11), (10, 11), (11, 12)):
        with pytest.raises(errors.InvalidInput, match='not rated up to 2024-05-01T1.* yet: a$'):
            order(any_database, first, end, 'a')


def test_orders_for_unknown_or_inactive_scopes_are_refused_whole(any_database):
    """Nothing is ordered for the others; without names all active scopes are meant."""
    add(any_database, 'a', 'b', 'off')
    scope_admin.update(any_database, 'off', now=at(1), active=False)

    for names in (('a', 'c'), ('a', 'off'), ('b', 'c', 'off')):
        with pytest.raises(errors.InvalidInput, match='unknown or not active'):
            order(any_database, 2, 4, *names)
    assert find(any_database) == ([], None)
    order(any_database, 2, 4)
    assert find(any_database) == ([('a', None), ('b', None)], None)
    for name in 'ab':
        scope_admin.update(any_database, name, now=at(1), active=False)
    with pytest.raises(errors.NotFound):
        order(any_database, 6, 8)


def test_tasks_are_those_of_one_kind_of_scopes(any_database):
    """A worker does not work on those of another fetcher, though the scopes have one name."""
    add(any_database, 'a')
    add(any_database, 'b', identity=OTHER)
    for identity in (IDENTITY, OTHER):
        order(any_database, 2, 4, identity=identity)

    for identity, name in ((IDENTITY, 'a'), (OTHER, 'b')):
        with any_database.reader() as connection:
            ready = scope_reprocessing.find_ready(connection, identity, now=MAY, limit=9)
            assert [task.scope_id for task, _ in ready.tasks] == [name]
            everything = scope_reprocessing.list_unfinished(
                connection, identity, Period(at(0), at(9))
            )
            assert [task.scope_id for task, _ in everything] == [name]
    third = IDENTITY._replace(collector='third')
    with any_database.reader() as connection:
        assert scope_reprocessing.find_ready(connection, third, now=MAY, limit=9).tasks == []


def test_a_task_can_begin_when_its_first_period_is_rated(any_database):
    """A scope that was set back meanwhile has to come that far again, and no further."""
    add(any_database, 'a')
    order(any_database, 4, 8, 'a')
    (scope,) = every_scope(any_database)

    for hour, expected in ((3, []), (4, [('a', None)]), (9, [('a', None)])):
        with any_database.writer() as connection:
            scope_state.advance(connection, {scope.id: at(hour)})
        assert find(any_database)[0] == expected, hour
    with any_database.reader() as connection:
        (task,) = scope_reprocessing.list_tasks(connection)[1]
    with any_database.writer() as connection:
        scope_reprocessing.advance(connection, {task.id: at(5)}, {})
    for hour, expected in ((5, []), (6, [('a', at(5))])):
        with any_database.writer() as connection:
            scope_state.advance(connection, {scope.id: at(hour)})
        assert find(any_database)[0] == expected, hour


def every_scope(database):
    with database.reader() as connection:
        return scope_state.list_scopes(connection)[1]


def test_a_task_goes_on_from_where_it_is_until_it_is_over(any_database):
    add(any_database, 'a', 'b')
    order(any_database, 2, 4)
    with any_database.reader() as connection:
        first, second = scope_reprocessing.list_tasks(connection, is_ascending=True)[1]
    assert find(any_database) == ([('a', None), ('b', None)], None)
    with any_database.writer() as connection:
        scope_reprocessing.touch(connection, [first.id], now=MAY)
    assert find(any_database) == ([('b', None), ('a', None)], None)

    with any_database.writer() as connection:
        assert scope_reprocessing.lock_tasks(connection, [second.id, first.id]) == {
            first.id: None,
            second.id: None,
        }
        scope_reprocessing.record_failure(
            connection, {first.id: None}, 'down', now=MAY, retry_at=at(1)
        )
        scope_reprocessing.advance(connection, {second.id: at(2)}, {second.id: 1})
    assert find(any_database) == ([('b', at(2))], at(1))
    assert find(any_database, now=at(1)) == ([('b', at(2)), ('a', None)], None)

    with any_database.writer() as connection:
        scope_reprocessing.advance(connection, {first.id: at(4), second.id: at(4)}, {second.id: 2})
        scope_reprocessing.record_failure(
            connection, {first.id: None, second.id: at(2)}, 'late', now=MAY, retry_at=at(1)
        )
    assert find(any_database) == ([], None)
    with any_database.reader() as connection:
        total, tasks = scope_reprocessing.list_tasks(connection, scope_ids=['b'])
    assert (total, tasks[0].kept_periods, tasks[0].failure_reason) == (1, 3, None)
    order(any_database, 2, 4)


@pytest.mark.timeout(60)
@pytest.mark.parametrize('any_conf', ['postgresql', 'mariadb'], indirect=True)
def test_an_order_sees_what_was_ordered_while_it_was_made(any_database):
    """Though its transaction had read something before."""
    add(any_database, 'a', 'b')
    with any_database.writer() as connection:
        assert connection.execute(sa.select(tables.tasks)).all() == []
        order(any_database, 1, 3)

        with pytest.raises(errors.InvalidInput, match='part of an unfinished task of this time'):
            scope_reprocessing.create(
                connection, None, identity=IDENTITY, window=Period(at(1), at(3)), reason='late'
            )


def test_of_orders_at_the_same_time_one_succeeds(any_database):
    add(any_database, 'a', 'b')
    barrier, ended = threading.Barrier(3), []

    def ask():
        barrier.wait(30)
        try:
            order(any_database, 1, 3)
            ended.append('ordered')
        except errors.InvalidInput:
            ended.append('refused')

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ended) == ['ordered', 'refused', 'refused']
