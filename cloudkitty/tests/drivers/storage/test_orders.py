"""What a store changes together with marks and tasks: resets, replacements; on every database."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import v2
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests.stored import keys, marks

HOUR = timedelta(hours=1)
MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'fake', 'fake')
HOURS = 30


class TwoSteps(SQLStorage):
    """A store that does what those outside the SQL database do."""

    reset = v2.BaseStorage.reset
    replace = v2.BaseStorage.replace


def at(hour):
    return MAY + hour * HOUR


def frame(hour, price='1', project='a'):
    return DataFrame(
        at(hour), at(hour + 1), {'cpu': [DataPoint('unit', 1, price, {'project_id': project}, {})]}
    )


@pytest.fixture(params=[SQLStorage, TwoSteps])
def storage(request, any_database, any_conf):
    """Rated hours of a and b, and a credit of a in each that was pushed; both are rated so far."""
    opened = request.param(any_conf)
    with any_database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, ['a', 'b'], now=MAY, initial_mark=at(-1), final_mark=MAY
        )
    for name, key in keys(opened).items():
        opened.commit(
            [
                v2.ScopeBatch(
                    key,
                    name,
                    at(-1),
                    at(HOURS - 1),
                    [frame(hour, project=name) for hour in range(HOURS)],
                )
            ]
        )
    yield opened
    opened.database.engine.dispose()


@pytest.fixture
def credits(storage):
    """A pushed point in each of the hours of a."""
    storage.push(
        [
            DataFrame(
                at(hour),
                at(hour + 1),
                {'credit': [DataPoint('EUR', 1, '-0.25', {'project_id': 'a'}, {})]},
            )
            for hour in range(HOURS)
        ]
    )


def prices(storage, begin=MAY, end=JUNE):
    rows = storage.total(['type', 'project_id'], begin, end)['results']
    return {(row['type'], row['project_id']): row['rate'] for row in rows}


def order(storage, mark, name='a'):
    key = keys(storage)[name]
    storage.database.write(lambda connection: resets.order(connection, [key], mark, now=JUNE))
    return resets.Reset(key, name, mark)


@pytest.mark.parametrize(
    'wanted, hours', [(at(10), 11), (at(10) + timedelta(minutes=59), 11), (at(-5), 0), (at(28), 29)]
)
def test_a_reset_removes_what_comes_after_and_nothing_else(storage, wanted, hours):
    reset = order(storage, wanted)

    assert storage.reset(reset) is True

    assert prices(storage).get(('cpu', 'a'), 0) == hours
    assert prices(storage)['cpu', 'b'] == HOURS
    assert marks(storage) == {
        'a': max(at(hours - 1), at(-5)) if hours else at(-5),
        'b': at(HOURS - 1),
    }
    assert storage.reset(reset) is False
    assert prices(storage).get(('cpu', 'a'), 0) == hours


def test_an_order_that_was_replaced_is_not_carried_out(storage):
    old = order(storage, at(3))
    new = order(storage, at(20))

    assert storage.database.write(
        lambda connection: resets.list_pending(connection, IDENTITY, limit=9)
    ) == [new]
    if type(storage) is SQLStorage:
        assert storage.reset(old) is False
        assert prices(storage)['cpu', 'a'] == HOURS
    assert storage.reset(new) is True
    assert prices(storage)['cpu', 'a'] == 21


@pytest.mark.parametrize('storage', [SQLStorage], indirect=True)
def test_pushed_points_survive_a_reset(storage, credits):
    """They would not be rated again. Only this store can tell them from rated ones."""
    storage.reset(order(storage, at(9)))

    assert prices(storage) == {
        ('cpu', 'a'): 10,
        ('cpu', 'b'): HOURS,
        ('credit', 'a'): HOURS * Decimal('-0.25'),
    }


def task(storage, first, end, name='a'):
    storage.database.write(
        lambda connection: scope_reprocessing.create(
            connection, [name], identity=IDENTITY, window=Period(at(first), at(end)), reason='test'
        )
    )
    with storage.database.reader() as connection:
        return scope_reprocessing.list_tasks(connection)[1][0]


def replacement(storage, one, frames, *, after, upto, current=None):
    batch = v2.ScopeBatch(keys(storage)[one.scope_id], one.scope_id, at(after), at(upto), frames)
    return v2.Replacement(one.id, current, at(upto), batch)


def get_task(storage, task_id):
    with storage.database.reader() as connection:
        return next(
            one for one in scope_reprocessing.list_tasks(connection)[1] if one.id == task_id
        )


def test_periods_are_replaced_and_the_task_moves(storage, credits):
    """A period without a frame keeps its data, one with an empty frame loses it."""
    one = task(storage, 2, 6)
    empty = DataFrame(at(4), at(5), {})

    late = storage.replace(
        [replacement(storage, one, [frame(2, '3'), empty, frame(5, '3')], after=1, upto=5)]
    )

    assert late == []
    hourly = [prices(storage, at(hour), at(hour + 1)).get(('cpu', 'a'), 0) for hour in range(1, 7)]
    assert hourly == [1, 3, 1, 0, 3, 1]
    assert prices(storage)['cpu', 'a'] == HOURS + 2 + 2 - 1
    assert prices(storage)['cpu', 'b'] == HOURS
    found = get_task(storage, one.id)
    assert (found.current, found.kept_periods) == (at(5), 1)
    if type(storage) is SQLStorage:
        assert prices(storage)['credit', 'a'] == HOURS * Decimal('-0.25')


def test_a_task_that_moved_meanwhile_replaces_nothing(storage):
    one = task(storage, 2, 6)
    first = replacement(storage, one, [frame(2, '3')], after=1, upto=2)
    assert storage.replace([first]) == []

    again = first._replace(batch=first.batch._replace(frames=[frame(2, '9')]))
    assert storage.replace([again]) == [again]

    assert prices(storage, at(2), at(3))['cpu', 'a'] == 3
    assert get_task(storage, one.id).current == at(2)


def test_a_scope_that_was_set_back_is_not_overtaken(storage):
    """Its periods are rated by then with the rules of today anyway."""
    one = task(storage, 2, 6)
    storage.reset(order(storage, at(3)))
    whole = replacement(storage, one, [frame(hour, '3') for hour in range(2, 6)], after=1, upto=5)

    assert storage.replace([whole]) == [whole]

    assert prices(storage)['cpu', 'a'] == 4
    assert get_task(storage, one.id).current is None


def test_one_late_task_does_not_hold_the_others(storage):
    ours, theirs = task(storage, 2, 4, 'a'), task(storage, 2, 4, 'b')
    with storage.database.writer() as connection:
        connection.execute(
            sa.update(tables.tasks)
            .where(tables.tasks.c.id == theirs.id)
            .values(current_reprocess_time=datetime(2024, 5, 1, 2))
        )
    parts = [
        replacement(storage, one, [frame(2, '3', one.scope_id)], after=1, upto=2)
        for one in (ours, theirs)
    ]

    assert storage.replace(parts) == [parts[1]]

    assert prices(storage) == {('cpu', 'a'): HOURS + 2, ('cpu', 'b'): HOURS}


@pytest.mark.parametrize('upto, is_late', [(HOURS - 1, False), (HOURS, True)])
def test_the_last_rated_period_can_be_replaced(storage, upto, is_late):
    """The period of the mark, and none after it; pushed points beside it are not counted."""
    one = task(storage, HOURS - 3, HOURS - 1)
    # One beside a rated period, and one where there is none.
    credits = [pushed(HOURS - 1), pushed(HOURS - 1.5)]
    storage.push(credits if type(storage) is SQLStorage else [])
    order = replacement(
        storage, one, [frame(HOURS - 2, '3')], after=HOURS - 3, upto=upto, current=None
    )

    assert storage.replace([order]) == ([order] if is_late else [])

    assert prices(storage)['cpu', 'a'] == HOURS + (0 if is_late else 2)
    assert get_task(storage, one.id).kept_periods == (0 if is_late else 1)


def pushed(hour):
    credit = DataPoint('EUR', 1, '-0.25', {'project_id': 'a'}, {})
    return DataFrame(at(hour), at(hour + 1), {'credit': [credit]})


def test_a_scope_that_is_gone_is_not_stored(storage):
    """Nothing says how far it is; the other scopes of the batch are stored."""
    known = keys(storage)
    parts = [
        v2.ScopeBatch(key, name, at(HOURS - 1), at(HOURS), [frame(HOURS, '5', name)])
        for key, name in ((known['a'], 'a'), (9999, 'gone'), (known['b'], 'b'))
    ]

    assert storage.commit(parts) == [parts[1]]

    assert prices(storage, at(HOURS)) == {('cpu', 'a'): 5, ('cpu', 'b'): 5}
    assert marks(storage) == {'a': at(HOURS), 'b': at(HOURS)}
