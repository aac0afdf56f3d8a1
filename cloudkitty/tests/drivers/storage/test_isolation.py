"""Scopes, metrics, scope keys and marks do not mix, though caches and tables are shared."""

import itertools
from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import errors
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.db import tables
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage import v2
from cloudkitty.storage.v1.store import TableStorage
from cloudkitty.storage.v2.series import dump, retention_cutoff, series_ids
from cloudkitty.storage.v2.sql import SQLStorage
from cloudkitty.tests.drivers.storage import foreign
from cloudkitty.tests.drivers.storage.questions import (
    DAY,
    HOUR,
    IDENTITY,
    JUNE,
    MAY,
    check,
    frame,
    point,
    prices,
    stored,
)
from cloudkitty.tests.stored import keys, marks
from cloudkitty.writer import ScopeProgress


def test_scopes_with_the_same_attributes_do_not_mix(sql):
    """Nor do metrics, whatever the order of their points, and though caches know them."""
    shared = {'flavor': 'm1'}
    for hour in range(3):
        for name, price in (('a', 1), ('b', 10)):
            found = [
                DataPoint('u', 1, price * (place + 2), {'id': one}, shared)
                for place, one in enumerate('xy')
            ]
            found = found[::-1] if hour == 1 else found
            begin = MAY + hour * HOUR
            sql.push([DataFrame(begin, begin + HOUR, {'cpu': found, 'ram': found[:1]})], name)

    assert prices(sql, ['project_id', 'type', 'id']) == {
        ('a', 'cpu', 'x'): 6,
        ('a', 'cpu', 'y'): 9,
        ('a', 'ram', 'x'): 4,
        ('a', 'ram', 'y'): 3,
        ('b', 'cpu', 'x'): 60,
        ('b', 'cpu', 'y'): 90,
        ('b', 'ram', 'x'): 40,
        ('b', 'ram', 'y'): 30,
    }
    assert check(sql) == []


def test_a_point_that_two_scopes_hold_is_kept_apart(sql):
    """Both hold a point of a third scope: what is set back or deleted of one stays of the other."""
    for name in 'ab':
        sql.push([frame(MAY, point('c', 5, 'same'))], name)
    assert prices(sql, ['project_id']) == {('c',): 10}

    sql.delete(filters={'project_id': 'a'})

    assert prices(sql, ['project_id']) == {('c',): 5}
    assert check(sql) == []


def test_scopes_of_two_scope_keys_do_not_mix(sql, conf):
    """What was stored under another scope key is nobody's, and stays."""
    sql.push([frame(MAY, point('a', 1))], 'a')
    conf.set_override('scope_key', 'namespace', 'collect')
    other = SQLStorage(conf)
    other.push([DataFrame(MAY, MAY + HOUR, {'cpu': [DataPoint('u', 1, 10, {}, {})]})], 'a')

    for end in (JUNE, MAY + HOUR):
        assert prices(other, ['namespace'], MAY, end) == {('',): 1, ('a',): 10}
        assert prices(sql, ['project_id'], MAY, end) == {('a',): 1, ('',): 10}
        assert prices(other, (), MAY, end, filters={'namespace': 'a'}) == {(): 10}
        assert prices(sql, (), MAY, end, filters={'project_id': 'a'}) == {(): 1}
    other.delete(filters={'namespace': 'a'})
    assert prices(sql, ['project_id']) == {('a',): 1}
    other.database.engine.dispose()


def test_numbers_of_a_transaction_that_failed_are_not_used(sql):
    """A series that was new in it is written again by the next one."""
    table = tables.rated_months

    @sa.event.listens_for(sql.database.engine, 'before_cursor_execute')
    def fail(connection, cursor, statement, *rest):
        if f'INSERT INTO {table.name}' in statement and fail.is_on:
            raise db_exception.DBDataError(ValueError('strange'))

    fail.is_on = True
    with pytest.raises(errors.InvalidInput):
        sql.push([frame(MAY, point('a', 1))], 'a')
    fail.is_on = False

    sql.push([frame(MAY, point('a', 2))], 'a')

    assert prices(sql, ['id']) == {('x',): 2}
    assert check(sql) == []


def test_a_full_cache_changes_nothing(sql, conf, monkeypatch):
    """It is emptied, and filled anew."""
    monkeypatch.setattr(series_ids, 'KNOWN_MAX', 5)
    resources = [f'r{number}' for number in range(12)]
    for hour, name in itertools.product(range(2), ('a', 'b', 'c', 'd', 'e', 'f', 'g')):
        begin = MAY + hour * HOUR
        sql.push([frame(begin, *(point(name, 1, one) for one in resources[:4]))], name)
        known = sql.id_cache
        assert len(known._scopes) <= 5 and len(known._entries) <= 5
        assert sum(map(len, known._series.values())) <= 5
    reader = SQLStorage(conf)
    for begin, end in ((MAY, MAY + HOUR), (MAY + HOUR, MAY + 2 * HOUR), (MAY, MAY + 2 * HOUR)):
        count = (end - begin) // HOUR
        for store in (sql, reader):
            assert len(stored(store, begin, end)) == 28 * count
            assert prices(store, ['id'], begin, end) == {(one,): 7 * count for one in resources[:4]}
    reader.database.engine.dispose()
    sql.id_cache.clear()
    with sql.database.reader() as connection:
        ids = connection.execute(sa.select(tables.rated_series.c.id)).scalars().all()[:6]
        # Of the second four two are known, and the other two do not fit beside what is known.
        for wanted in (ids[:4], ids[2:]):
            assert set(sql.id_cache.entries(connection, wanted)) == set(wanted)


def test_an_import_sets_no_mark_back(sql):
    """Nor does it touch scopes of another fetcher."""
    with sql.database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, ['a', 'b'], now=MAY, initial_mark=MAY, final_mark=MAY
        )

    def state(name, mark, fetcher='fake'):
        return ScopeProgress(name, 'project_id', fetcher, 'fake', mark, True)

    changed = dump.write_states(
        sql.database,
        [
            state('a', MAY - HOUR),
            state('b', MAY + HOUR),
            state('c', MAY),
            state('a', MAY + DAY, 'another'),
        ],
    )

    assert changed == 3
    with sql.database.reader() as connection:
        found = scope_state.list_scopes(connection)[1]
    assert sorted((one.scope_id, one.fetcher, one.mark) for one in found) == [
        ('a', 'another', MAY + DAY),
        ('a', 'fake', MAY),
        ('b', 'fake', MAY + HOUR),
        ('c', 'fake', MAY),
    ]


def test_frames_after_the_mark_are_a_fault(sql):
    """Rated ones alone: they would be rated again. Credits may be for any time."""
    with sql.database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, ['a'], now=MAY, initial_mark=MAY, final_mark=MAY
        )
    sql.push([frame(MAY, point('a', 1))], 'a')
    sql.push(
        [
            DataFrame(MAY + HOUR / 2, MAY + 2 * HOUR, {'credit': [point('a', -1)]}),
            frame(MAY + DAY, point('a', -1), metric='credit'),
        ]
    )
    assert check(sql) == []

    sql.push([frame(MAY + HOUR, point('a', 1))], 'a')

    (fault,) = check(sql)
    assert '1 rated periods begin after that, the first at 2024-05-01 01:00:00' in fault


def test_the_horizon_only_moves_on(sql):
    """A longer retention brings no points back, so it makes no sums without points."""
    for day in (date(2024, 5, 3), date(2024, 5, 5), date(2024, 5, 4)):
        sql.database.write(lambda connection, day=day: retention_cutoff.move(connection, day, MAY))

    with sql.database.reader() as connection:
        assert retention_cutoff.read(connection).day == date(2024, 5, 5)
    sql.push([frame(datetime(2024, 5, 5, tzinfo=UTC), point('a', 1))], 'a')
    with pytest.raises(errors.InvalidInput, match='2024-05-05T00:00:00'):
        sql.push([frame(datetime(2024, 5, 4, 23, tzinfo=UTC), point('a', 1))], 'a')


def test_pushed_points_survive_a_reset_of_version_1(conf, database):
    """And points of other scopes do."""
    store = TableStorage(conf)
    store.init()
    with store.database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, ['a', 'b'], now=MAY, initial_mark=MAY - HOUR, final_mark=MAY
        )
    for name in 'ab':
        frames = [frame(MAY + hour * HOUR, point(name, 1)) for hour in range(3)]
        store.commit([v2.ScopeBatch(keys(store)[name], name, MAY - HOUR, MAY + 2 * HOUR, frames)])
    store.push([frame(MAY + 2 * HOUR, point('a', 10, 'c'), metric='credit')])
    order = resets.Reset(keys(store)['a'], 'a', MAY)
    store.database.write(
        lambda connection: resets.order(connection, [order.state_id], MAY, now=JUNE)
    )

    assert store.reset(order) is True

    assert prices(store, ['project_id']) == {('a',): 11, ('b',): 3}
    assert marks(store) == {'a': MAY, 'b': MAY + 2 * HOUR}
    store.database.engine.dispose()


def test_equal_points_are_both_stored_by_interface_1(conf, database):
    """Two points that nothing tells apart are two, and are sent once each."""
    store = foreign.MemoryV1(conf).as_v2()
    twins = frame(MAY, point('a', 1), point('a', 1))

    store.push([frame(MAY, point('a', 1))], 'a')
    store.push([twins], 'a')
    store.push([twins], 'a')

    assert prices(store, ['project_id']) == {('a',): 2}
    assert store.retrieve(MAY, JUNE)['total'] == 2
