"""Two at once on one scope: whoever comes second waits, and sees what the first one left."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core import block
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables, upsert
from cloudkitty.processor import dryrun
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import resets, source_lag
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import v2
from cloudkitty.storage.v1.store import TableStorage
from cloudkitty.storage.v2.series.cells import Cell
from cloudkitty.storage.v2.series.faults import list_scopes
from cloudkitty.storage.v2.sql import SQLStorage, rebuild, unused_series, verify
from cloudkitty.tests import contention
from cloudkitty.tests.stored import keys, marks

HOUR = timedelta(hours=1)
MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'fake', 'fake')
# Each test starts threads: one that waits for ever is ended.
pytestmark = pytest.mark.timeout(120)


def at(hour):
    return MAY + hour * HOUR


def frame(hour, price='1', resource='x', project='a'):
    attributes = {'project_id': project, 'id': resource}
    return DataFrame(at(hour), at(hour + 1), {'cpu': [DataPoint('unit', 1, price, attributes, {})]})


@pytest.fixture
def storage(server_conf):
    """Scopes a and b, each rated up to the third hour."""
    opened = SQLStorage(server_conf)
    prepare(opened)
    yield opened
    opened.database.engine.dispose()


def prepare(opened):
    with opened.database.writer() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(sa.delete(table))
        scope_state.record_seen(
            connection, IDENTITY, ['a', 'b'], now=MAY, initial_mark=at(-1), final_mark=MAY
        )
    for name in 'ab':
        opened.commit([batch(opened, name, -1, 2)])


def batch(storage, name, after, upto, price='1'):
    frames = [frame(hour, price, project=name) for hour in range(after + 1, upto + 1)]
    return v2.ScopeBatch(keys(storage)[name], name, at(after), at(upto), frames)


@pytest.fixture
def rival(storage, server_conf):
    """Another process on the same database."""
    opened = SQLStorage(server_conf)
    yield opened
    opened.database.engine.dispose()


def price(storage, begin=MAY, end=JUNE, name='a'):
    """Return the price by roll-ups, which must be that of the points."""
    found = storage.total([], begin, end, filters={'project_id': name})['results']
    points = storage.retrieve(begin, end, {'project_id': name}, paginate=False)['dataframes']
    whole = sum(row['rate'] for row in found)
    assert whole == sum(point.price for part in points for _, point in part)
    return whole


def test_of_two_workers_that_store_the_same_periods_one_does(storage, rival):
    """The other one is told, and nothing is counted twice."""
    part = batch(storage, 'a', 2, 4)
    engine = storage.database.engine

    with contention.stopped_at(
        engine, 'INSERT INTO rated_frames', lambda: storage.commit([part])
    ) as first:
        second = contention.meanwhile(rival.database, lambda: rival.commit([part]))

    assert (first.result(), second.result(60)) == ([], [part])
    assert price(storage) == 5
    assert marks(storage)['a'] == at(4)


@pytest.mark.parametrize('first_adds', [True, False])
def test_sums_that_two_change_at_once_lose_nothing(storage, rival, first_adds):
    """The first one adds to a row and inserts one; or it deletes the row and inserts the other."""
    table = tables.rated_totals
    with storage.database.writer() as connection:
        old = connection.execute(sa.select(table)).first()
        connection.execute(sa.delete(table).where(table.c.scope_id != old.scope_id))
    metrics = (old.metric, 'new')

    def change(connection, amount, adds=True):
        if not adds:
            connection.execute(sa.delete(table).where(table.c.metric == old.metric))
        rows = [
            (old.scope_id, metric, old.day, amount, amount, amount)
            for metric in metrics[0 if adds else 1 :]
        ]
        upsert.add(connection, table, table.columns.keys(), rows)
        connection.execute(sa.text('SELECT 7'))

    with contention.stopped_at(
        storage.database.engine,
        'SELECT 7',
        lambda: storage.database.write(lambda connection: change(connection, 1, first_adds)),
    ) as first:
        second = contention.meanwhile(
            rival.database,
            lambda: rival.database.write(lambda connection: change(connection, 10)),
        )
    first.result()
    second.result(60)

    with storage.database.reader() as connection:
        found = connection.execute(sa.select(table.c.metric, table.c.price, table.c.points))
        assert {metric: (price, points) for metric, price, points in found} == {
            old.metric: (old.price + 11, old.points + 11) if first_adds else (10, 10),
            'new': (11, 11),
        }


def test_of_two_workers_of_version_1_that_store_the_same_periods_one_does(server_conf):
    first_store, second_store = TableStorage(server_conf), TableStorage(server_conf)
    first_store.init()
    prepare(first_store)
    part = batch(first_store, 'a', 2, 4)

    with contention.stopped_at(
        first_store.database.engine,
        'INSERT INTO rated_data_frames',
        lambda: first_store.commit([part]),
    ) as first:
        second = contention.meanwhile(second_store.database, lambda: second_store.commit([part]))

    assert (first.result(), second.result(60)) == ([], [part])
    assert price(first_store) == 5
    for store in (first_store, second_store):
        store.database.engine.dispose()


def test_a_worker_that_stores_the_first_points_of_a_day_holds_up_nobody(storage, rival):
    """The other one's points are stored before those of the first, which are not lost."""
    storage.fold(JUNE)
    parts = [batch(storage, name, 2, 25) for name in 'ab']

    with contention.stopped_at(
        storage.database.engine,
        'INSERT INTO rated_series_months',
        lambda: storage.commit(parts[:1]),
    ) as first:
        second = contention.meanwhile(rival.database, lambda: rival.commit(parts[1:]))
        assert second.done()

    assert (first.result(), second.result()) == ([], [])
    assert [price(storage, name=name) for name in 'ab'] == [26, 26]


@pytest.mark.parametrize('hour', [1, 7])
def test_points_that_two_push_into_one_period_are_all_kept(storage, rival, hour):
    """Whether the scope had any in there before or not."""
    storage.push([frame(1, '5', 'w')])
    before = price(storage)

    with contention.stopped_at(
        storage.database.engine,
        'INSERT INTO rated_frames',
        lambda: storage.push([frame(hour, '10', 'y')]),
    ) as first:
        second = contention.meanwhile(rival.database, lambda: rival.push([frame(hour, '100', 'z')]))

    first.result()
    second.result(60)
    assert price(storage) == before + 110


@pytest.fixture
def unused(storage):
    """The series of scope a has no points any more; it is removed by the function."""
    storage.push([frame(0, project='z')])
    storage.delete(filters={'project_id': 'a'})
    assert count_series(storage) == 3

    def remove():
        assert unused_series.UnusedSeries(storage.database, storage.id_cache).step(MAY) is False

    return remove


def count_series(storage):
    """Return how many series there are, and make sure that all that points need are."""
    with storage.database.reader() as connection:
        known = set(connection.scalars(sa.select(tables.rated_series.c.id)))
        for stored in connection.scalars(sa.select(tables.rated_frames.c.block)):
            assert known.issuperset(block.decode(stored)[0])
    return len(known)


@pytest.mark.parametrize('is_cached', [True, False])
def test_a_worker_that_waits_while_its_series_is_removed_makes_it_again(
    storage, rival, unused, is_cached
):
    """Whether it has the id in its cache, or sees the row as when its transaction began."""
    if is_cached:
        assert rival.commit([batch(rival, 'a', 2, 3)]) == []
        storage.delete(filters={'project_id': 'a'})
    after = 3 if is_cached else 2

    with contention.stopped_at(
        storage.database.engine, 'DELETE FROM rated_series', unused
    ) as first:
        second = contention.meanwhile(
            rival.database, lambda: rival.commit([batch(rival, 'a', after, after + 1)])
        )
        assert not second.done()

    first.result()
    assert second.result(60) == []
    assert count_series(storage) == 3
    assert price(storage) == 1


def test_a_series_that_is_used_meanwhile_stays(storage, rival, unused):
    with contention.stopped_at(
        rival.database.engine,
        'INSERT INTO rated_frames',
        lambda: rival.commit([batch(rival, 'a', 2, 3)]),
    ) as first:
        second = contention.meanwhile(storage.database, unused)
        assert not second.done()

    assert first.result() == []
    second.result(60)
    assert count_series(storage) == 3
    assert price(storage) == 1


@pytest.mark.parametrize('filters', [{'project_id': 'a'}, None])
def test_a_deletion_and_a_push_do_not_mix(storage, rival, filters):
    """Sums are those of the points, whatever came first."""
    with contention.stopped_at(
        storage.database.engine,
        'DELETE FROM rated_frames',
        lambda: storage.delete(filters=filters),
    ) as first:
        second = contention.meanwhile(rival.database, lambda: rival.push([frame(1, '9')], 'a'))

    first.result()
    second.result(60)
    assert price(storage) == 9


def test_a_deletion_of_all_and_a_worker_do_not_mix(storage, rival):
    """Both add what is missing to the sums by series, and only one of them may."""
    rival.conf.set_override('fold_periods', 1, 'storage')
    part = batch(rival, 'a', 2, 4, '7')
    with contention.stopped_at(
        storage.database.engine, 'DELETE FROM rated_frames', lambda: storage.delete(begin=at(1))
    ) as first:
        second = contention.meanwhile(rival.database, lambda: rival.commit([part]))

    first.result()
    assert second.result(60) == []
    assert price(storage) == 1 + 7 + 7
    for name in 'ab':
        (scope,) = scopes_of(storage, name)
        assert [str(fault) for fault in verify.check(storage.database, scope)] == []


def scopes_of(storage, name):
    with storage.database.reader() as connection:
        return list_scopes(connection, [name])


def test_a_reset_waits_for_a_commit_and_takes_what_it_stored(storage, rival):
    key = keys(storage)['a']
    storage.database.write(lambda connection: resets.order(connection, [key], MAY, now=JUNE))
    part = batch(storage, 'a', 2, 4)

    with contention.stopped_at(
        storage.database.engine, 'INSERT INTO rated_frames', lambda: storage.commit([part])
    ) as first:
        second = contention.meanwhile(
            rival.database, lambda: rival.reset(resets.Reset(key, 'a', MAY))
        )

    assert (first.result(), second.result(60)) == ([], True)
    assert (price(storage), marks(storage)['a']) == (1, MAY)


def test_of_two_workers_that_replace_the_same_periods_one_does(storage, rival):
    storage.database.write(
        lambda connection: scope_reprocessing.create(
            connection, ['a'], identity=IDENTITY, window=Period(MAY, at(2)), reason='test'
        )
    )
    with storage.database.reader() as connection:
        (task,) = scope_reprocessing.list_tasks(connection)[1]

    def order(value):
        return v2.Replacement(task.id, None, at(1), batch(storage, 'a', -1, 1, value))

    ours, theirs = order('3'), order('7')
    with contention.stopped_at(
        storage.database.engine, 'INSERT INTO rated_frames', lambda: storage.replace([ours])
    ) as first:
        second = contention.meanwhile(rival.database, lambda: rival.replace([theirs]))

    assert (first.result(), second.result(60)) == ([], [theirs])
    assert price(storage) == 3 + 3 + 1


def test_of_two_dry_runs_of_one_task_one_counts(storage, rival):
    """Two workers that compare the same periods do not add their prices twice."""
    storage.database.write(
        lambda connection: scope_reprocessing.create(
            connection,
            ['a'],
            identity=IDENTITY,
            window=Period(MAY, at(2)),
            reason='test',
            is_dry_run=True,
        )
    )
    with storage.database.reader() as connection:
        (task,) = scope_reprocessing.list_tasks(connection)[1]
    one = v2.Replacement(task.id, None, at(1), batch(storage, 'a', -1, 1, '3'))

    def compare(store):
        return dryrun.record(store.database, [one], store.rated_prices, length=HOUR)

    with contention.stopped_at(
        storage.database.engine,
        'INSERT INTO reprocessing_prices',
        lambda: compare(storage),
    ) as first:
        second = contention.meanwhile(rival.database, lambda: compare(rival))

    assert (first.result(), second.result(60)) == ([], [one])
    with storage.database.reader() as connection:
        assert scope_reprocessing.list_prices(connection, [task.id]) == {task.id: {'cpu': (2, 6)}}


def test_a_second_order_to_rate_a_time_again_waits_and_is_refused(storage, rival):
    """It does not slip through while the first one is not committed."""

    def order(connection):
        scope_reprocessing.create(
            connection, ['a'], identity=IDENTITY, window=Period(MAY, at(2)), reason='test'
        )

    with storage.database.writer() as connection:
        order(connection)
        second = contention.meanwhile(rival.database, lambda: rival.database.write(order))
        assert not second.done()

    with pytest.raises(errors.InvalidInput, match='of this time: a$'):
        second.result(60)
    with storage.database.reader() as connection:
        assert scope_reprocessing.list_tasks(connection)[0] == 1


def test_the_second_of_two_orders_to_set_back_waits_and_counts(storage, rival):
    key = keys(storage)['a']

    def order(mark):
        return lambda connection: resets.order(connection, [key], mark, now=JUNE)

    with storage.database.writer() as connection:
        order(MAY)(connection)
        second = contention.meanwhile(rival.database, lambda: rival.database.write(order(at(1))))
        assert not second.done()

    second.result(60)
    with storage.database.reader() as connection:
        assert resets.list_pending(connection, IDENTITY) == [resets.Reset(key, 'a', at(1))]


def test_an_order_to_rate_again_waits_for_a_reset(storage, rival):
    """Afterwards the scope is not rated that far any more, and the order is refused."""
    key = keys(storage)['a']
    storage.database.write(lambda connection: resets.order(connection, [key], MAY, now=JUNE))
    window = Period(at(1), at(2))

    with contention.stopped_at(
        storage.database.engine,
        'UPDATE cloudkitty_storage_states',
        lambda: storage.reset(resets.Reset(key, 'a', MAY)),
    ):
        second = contention.meanwhile(
            rival.database,
            lambda: rival.database.write(
                lambda connection: scope_reprocessing.create(
                    connection, ['a'], identity=IDENTITY, window=window, reason='x'
                )
            ),
        )

    with pytest.raises(errors.InvalidInput, match='not rated up to'):
        second.result(60)


def test_an_import_waits_for_a_worker(storage, rival):
    """It replaces what the worker stored; the sums are those of the points."""
    part = batch(storage, 'a', 2, 4)
    cell = Cell('a', 0, frame(3, '50'))

    with contention.stopped_at(
        storage.database.engine, 'INSERT INTO rated_frames', lambda: storage.commit([part])
    ) as first:
        second = contention.meanwhile(
            rival.database,
            lambda: list(rival.cells.write([cell])),
        )

    assert (first.result(), second.result(60)) == ([], [1])
    assert price(storage) == 4 + 50


def test_a_rebuild_waits_for_a_worker(storage, rival):
    """What it makes right is made of all that is there then."""
    storage.conf.set_override('fold_periods', 1, 'storage')
    storage.id_cache.clear()
    prepare(storage)
    part = batch(storage, 'a', 2, 4)
    with storage.database.writer() as connection:
        assert connection.execute(sa.update(tables.rated_days).values(points=77)).rowcount
    (scope,) = scopes_of(storage, 'a')

    # By now the sums by series and day are changed.
    with contention.stopped_at(
        storage.database.engine, 'INSERT INTO rated_series_months', lambda: storage.commit([part])
    ) as first:
        second = contention.meanwhile(
            rival.database, lambda: list(rebuild.rebuild_days(rival.database, scope))
        )

    assert first.result() == []
    second.result(60)
    assert [str(fault) for fault in verify.check(rival.database, scope)] == []


def test_the_second_of_two_that_record_a_lag_knows_of_the_first(storage, rival):
    """So it is told once that a metric lags more."""
    lag = source_lag.Lag(source_lag.HELD, MAY, at(1), at(2))

    def record(connection, found):
        return source_lag.record(connection, IDENTITY, {'cpu': found}, newest={}, defined=['cpu'])

    storage.database.write(lambda connection: record(connection, lag))
    late = lag._replace(state=source_lag.LATE)

    with storage.database.writer() as connection:
        assert len(record(connection, late)) == 1
        second = contention.meanwhile(
            rival.database,
            lambda: rival.database.write(lambda connection: record(connection, late)),
        )
        assert not second.done()

    assert second.result(60) == []
