"""Changes of scopes, and orders, on every database."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db import models, reprocess, resets, scope_changes, scopes
from cloudkitty.timeframe import Period

HOUR = timedelta(hours=1)
MAY = datetime(2024, 5, 1, tzinfo=UTC)
IDENTITY = scopes.Identity('project_id', 'fake', 'fake')
OTHER = scopes.Identity('project_id', 'other', 'fake')


def at(hour):
    return MAY + hour * HOUR


def add(database, *names, identity=IDENTITY):
    for name in names:
        scope_changes.create(database, name, identity, mark=at(10), active=True, now=MAY)


def test_a_scope_is_made_and_changed(any_database):
    made = scope_changes.create(any_database, 'Zürich 東京', IDENTITY, mark=at(1), active=False,
                                now=MAY)
    assert (made.mark, made.active, made.toggled_at) == (at(1), False, MAY)

    changed = scope_changes.update(any_database, 'Zürich 東京', now=at(2), active=True,
                                   fetcher='other', collector=None)

    assert (changed.active, changed.toggled_at, changed.fetcher, changed.collector) == (
        True, at(2), 'other', 'fake')
    with pytest.raises(errors.Conflict):
        scope_changes.create(any_database, 'Zürich 東京', IDENTITY, mark=MAY, active=True, now=MAY)
    with pytest.raises(errors.NotFound):
        scope_changes.update(any_database, 'zürich 東京', now=MAY, active=True)


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
        by_name = {scope.scope_id: scope.id for scope in scopes.list_scopes(connection)[1]}
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


def order(database, first, end, *names):
    database.write(lambda connection: reprocess.create(
        connection, names or None, window=Period(at(first), at(end)), reason='test'))


def find(database, now=MAY):
    with database.reader() as connection:
        ready = reprocess.find_ready(connection, IDENTITY, now=now, limit=9)
    return [(task.scope_id, task.current) for task, scope in ready.tasks
            if scope.scope_id == task.scope_id], ready.next_retry_at


def test_all_unfinished_tasks_are_looked_at_for_overlaps(any_database):
    add(any_database, 'a')
    for hour in range(10):
        order(any_database, hour, hour + 1, 'a')

    for first, end in ((0, 1), (0, 10), (9, 10), (3, 5)):
        with pytest.raises(errors.InvalidInput, match='already: a$'):
            order(any_database, first, end, 'a')


def test_a_task_goes_on_from_where_it_is_until_it_is_over(any_database):
    add(any_database, 'a', 'b')
    order(any_database, 2, 4)
    with any_database.reader() as connection:
        first, second = reprocess.list_tasks(connection, is_ascending=True)[1]
    assert find(any_database) == ([('a', None), ('b', None)], None)
    with any_database.writer() as connection:
        reprocess.touch(connection, [first.id], now=MAY)
    assert find(any_database) == ([('b', None), ('a', None)], None)

    with any_database.writer() as connection:
        assert reprocess.lock_tasks(connection, [second.id, first.id]) == {
            first.id: None, second.id: None}
        reprocess.record_failure(connection, {first.id: None}, 'down', now=MAY, retry_at=at(1))
        reprocess.advance(connection, {second.id: at(2)}, {second.id: 1})
    assert find(any_database) == ([('b', at(2))], at(1))
    assert find(any_database, now=at(1)) == ([('b', at(2)), ('a', None)], None)

    with any_database.writer() as connection:
        reprocess.advance(connection, {first.id: at(4), second.id: at(4)}, {second.id: 2})
        reprocess.record_failure(connection, {first.id: None, second.id: at(2)}, 'late', now=MAY,
                                 retry_at=at(1))
    assert find(any_database) == ([], None)
    with any_database.reader() as connection:
        total, tasks = reprocess.list_tasks(connection, scope_ids=['b'])
    assert (total, tasks[0].kept_periods, tasks[0].failure_reason) == (1, 3, None)
    order(any_database, 2, 4)


@pytest.mark.timeout(60)
@pytest.mark.parametrize('any_conf', ['postgresql', 'mariadb'], indirect=True)
def test_an_order_sees_what_was_ordered_while_it_was_made(any_database):
    """Though its transaction had read something before."""
    add(any_database, 'a', 'b')
    with any_database.writer() as connection:
        assert connection.execute(sa.select(models.tasks)).all() == []
        order(any_database, 1, 3)

        with pytest.raises(errors.InvalidInput, match='to be rated again in this time already'):
            reprocess.create(connection, None, window=Period(at(1), at(3)), reason='late')


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
