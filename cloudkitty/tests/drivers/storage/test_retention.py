"""What is too old goes in small steps; sums stay right, whatever is stored or deleted meanwhile."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import resets, source_gaps
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v1.store import TableStorage
from cloudkitty.storage.v2 import Replacement, ScopeBatch
from cloudkitty.storage.v2.series.faults import list_scopes
from cloudkitty.storage.v2.sql import SQLStorage, rebuild, retention, unused_series, verify
from cloudkitty.tests.stored import keys, marks

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
APRIL = datetime(2024, 4, 1, tzinfo=UTC)
MAY = datetime(2024, 5, 1, tzinfo=UTC)
END = datetime(2024, 5, 5, tzinfo=UTC)
KEPT_FROM = datetime(2024, 5, 3, tzinfo=UTC)
NOW = datetime(2024, 5, 13, 7, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'fetcher', 'collector')
STEP = 6 * HOUR


@pytest.fixture
def storage(any_database, any_conf, monkeypatch):
    """Four points a day of a and b from 29 April to 4 May, and a credit that was pushed."""
    monkeypatch.setattr(retention, 'ROWS_AT_ONCE', 5)
    any_conf.set_override('period', 6 * 3600, 'collect')
    any_conf.set_override('retention_period', 10 * 24, 'storage')
    opened = SQLStorage(any_conf)
    for name in 'ab':
        opened.push([frame(begin, name) for begin in begins(MAY - 2 * DAY, END)], name)
    opened.push(
        [
            DataFrame(
                MAY, MAY + STEP, {'credit': [DataPoint('EUR', 1, '-0.25', {'project_id': 'a'}, {})]}
            )
        ]
    )
    with any_database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, ['a', 'b'], now=MAY, initial_mark=END - STEP, final_mark=MAY
        )
    yield opened
    opened.database.close()


def begins(begin, end):
    return [begin + number * STEP for number in range((end - begin) // STEP)]


def frame(begin, name, price='0.1'):
    return DataFrame(
        begin,
        begin + STEP,
        {'cpu': [DataPoint('u', 1, price, {'project_id': name, 'id': f'{name}-{begin.day}'}, {})]},
    )


def expire(storage):
    """Move the cut-off and, an hour later, remove everything; return the number of steps."""
    assert storage.expire(NOW) is False
    assert storage.expire(NOW + HOUR / 2) is False
    steps = 1
    while storage.expire(NOW + HOUR):
        steps += 1
    return steps


def prices(storage, groups=('project_id',), begin=APRIL, end=END):
    return {
        tuple(row[name] for name in groups): row['rate']
        for row in storage.total(list(groups), begin, end)['results']
    }


def old_frames(storage):
    with storage.database.reader() as connection:
        return connection.scalar(
            sa.select(sa.func.count())
            .select_from(tables.rated_frames)
            .where(tables.rated_frames.c.begin < KEPT_FROM.replace(tzinfo=None))
        )


def faults(storage):
    with storage.database.reader() as connection:
        found = list_scopes(connection, None)
    return [str(fault) for scope in found for fault in verify.check(storage.database, scope)]


def test_points_go_and_sums_stay(storage):
    before = [prices(storage, groups) for groups in (('project_id',), ('id',), ('type',))]

    # 33 frames, 5 at a time.
    assert expire(storage) == 7

    assert old_frames(storage) == 0
    assert [prices(storage, groups) for groups in (('project_id',), ('id',), ('type',))] == before
    points = storage.retrieve(APRIL, END)
    assert (points['total'], points['dataframes'][0].start) == (16, KEPT_FROM)
    assert faults(storage) == []
    assert storage.expire(NOW + 2 * HOUR) is False


def test_nobody_sees_points_that_are_about_to_go(storage):
    """From the moment the retention cut-off has moved answers are those of afterwards."""
    storage.expire(NOW)
    questions = [
        lambda: storage.retrieve(APRIL, END, limit=3),
        lambda: storage.total(['time'], APRIL, END),
        lambda: storage.total(['type'], APRIL, END, custom_fields='max(qty)'),
        lambda: storage.total(['type'], MAY + HOUR, END),
    ]
    before = [ask() for ask in questions]

    expire(storage)

    assert [ask() for ask in questions] == before
    assert before[0]['total'] == 16


def test_without_the_option_everything_stays(storage):
    storage.conf.clear_override('retention_period', 'storage')

    assert storage.expire(NOW) is storage.expire(NOW + DAY) is False

    assert storage.retrieve(APRIL, END)['total'] == 49


@pytest.mark.parametrize('is_gone', [False, True])
def test_a_period_without_points_is_neither_pushed_nor_rated_again(storage, is_gone):
    """Nothing could be taken off its sums, which would count it twice."""
    before = prices(storage)
    storage.expire(NOW)
    if is_gone:
        expire(storage)
    old = KEPT_FROM - STEP
    for owner in ('a', None):
        with pytest.raises(errors.InvalidInput, match=r'kept from 2024-05-03T00:00:00'):
            storage.push([frame(old, 'a', '7')], owner)
    storage.database.write(
        lambda connection: scope_reprocessing.create(
            connection,
            ['a'],
            identity=IDENTITY,
            window=Period(old, KEPT_FROM + STEP),
            reason='test',
        )
    )
    with storage.database.reader() as connection:
        (task,) = scope_reprocessing.list_tasks(connection)[1]

    assert (
        storage.replace(
            [
                Replacement(
                    task.id,
                    None,
                    KEPT_FROM,
                    ScopeBatch(
                        keys(storage)['a'],
                        'a',
                        old - STEP,
                        KEPT_FROM,
                        [frame(old, 'a', '7'), frame(KEPT_FROM, 'a', '7')],
                    ),
                )
            ]
        )
        == []
    )

    assert prices(storage) == {**before, ('a',): before['a',] + Decimal('6.9')}
    with storage.database.reader() as connection:
        (task,) = scope_reprocessing.list_tasks(connection)[1]
    assert (task.current, task.kept_periods) == (KEPT_FROM, 1)
    assert faults(storage) == []


@pytest.mark.parametrize(
    'mark, expected', [(APRIL, KEPT_FROM - STEP), (KEPT_FROM + STEP, KEPT_FROM + STEP)]
)
def test_a_reset_ends_where_points_begin(storage, mark, expected):
    expire(storage)
    before = prices(storage)['a',]
    key = keys(storage)['a']
    storage.database.write(lambda connection: resets.order(connection, [key], mark, now=NOW))

    assert storage.reset(resets.Reset(key, 'a', mark)) is True

    assert marks(storage)['a'] == expected
    gone = (END - STEP - expected) // STEP
    assert prices(storage)['a',] == before - gone * Decimal('0.1')
    again = ScopeBatch(
        key,
        'a',
        expected,
        END - STEP,
        [frame(begin, 'a') for begin in begins(expected + STEP, END)],
    )
    assert storage.commit([again]) == []
    assert prices(storage)['a',] == before
    assert faults(storage) == []


def test_a_scope_that_is_late_gets_its_sums(storage):
    """It was not rated while its points would have been kept."""
    expire(storage)
    with storage.database.writer() as connection:
        scope_state.record_seen(
            connection, IDENTITY, ['a', 'b', 'c'], now=MAY, initial_mark=APRIL, final_mark=MAY
        )
    part = ScopeBatch(
        keys(storage)['c'],
        'c',
        APRIL,
        KEPT_FROM,
        [frame(KEPT_FROM - STEP, 'c', 2), frame(KEPT_FROM, 'c', 3)],
    )

    assert storage.commit([part]) == []
    assert storage.commit([part]) == [part]

    assert prices(storage)['c',] == 5
    assert storage.retrieve(APRIL, END, {'project_id': 'c'})['total'] == 1
    assert faults(storage) == []


def test_deletion_takes_whole_days_of_sums(storage):
    expire(storage)
    storage.delete(MAY - DAY, MAY + DAY + HOUR, {'project_id': 'a'})

    # 29 April and 2 to 4 May stay.
    assert prices(storage) == {('a',): 16 * Decimal('0.1'), ('b',): 24 * Decimal('0.1')}
    assert faults(storage) == []
    storage.delete()
    assert prices(storage) == {}
    assert faults(storage) == []


def test_sums_go_by_months(storage):
    """Never those of a month that has points."""
    storage.conf.set_override('rollup_retention_period', 1, 'storage')
    storage.push([frame(MAY - DAY, 'b')], 'a')
    assert [row['rate'] for row in storage.total(['time-m'], APRIL, END)['results']] == [
        Decimal('1.6'),
        Decimal('2.95'),
    ]
    expire(storage)

    assert [row['month'] for row in storage.total(['time-m'], APRIL, END)['results']] == ['5']
    assert prices(storage) == {('a',): Decimal('1.35'), ('b',): Decimal('1.6')}
    with storage.database.reader() as connection:
        for table in (tables.rated_days, tables.rated_totals):
            assert connection.scalar(sa.select(sa.func.min(table.c.day))) == MAY.date()
    assert faults(storage) == []


def test_series_go_with_their_last_sums(storage, monkeypatch):
    """And their attributes; those that are in sums, or in points without sums yet, stay."""
    monkeypatch.setattr(unused_series, 'SERIES_AT_ONCE', 3)
    storage.conf.set_override('rollup_retention_period', 10 * 24, 'storage')
    part = ScopeBatch(keys(storage)['a'], 'a', END - STEP, END, [frame(END, 'a')])
    storage.conf.set_override('fold_periods', 100, 'storage')
    assert storage.commit([part]) == []
    # The series with the last id always stays.
    credit = DataPoint('EUR', 1, 0, {'project_id': 'b'}, {})
    storage.push([DataFrame(END, END + STEP, {'credit': [credit]})])

    def found():
        with storage.database.reader() as connection:
            names = set(
                connection.scalars(
                    sa.select(tables.rated_attributes.c.value).where(
                        tables.rated_attributes.c.name == 'id'
                    )
                )
            )
            assert connection.scalar(
                sa.select(sa.func.count()).select_from(tables.rated_series)
            ) == 2 + len(names)
            return names

    kept = {f'{name}-{day}' for name in 'ab' for day in (1, 2, 3, 4)} | {'a-5'}
    assert found() == kept | {f'{name}-{day}' for name in 'ab' for day in (29, 30)}
    before = prices(storage, end=END + DAY, begin=MAY)

    expire(storage)

    assert found() == kept
    assert prices(storage, end=END + DAY, begin=MAY) == before
    # Whoever has them in memory makes them again.
    again = DataFrame(END + STEP, END + 2 * STEP, frame(MAY - DAY, 'a').usage)
    assert storage.commit([part._replace(mark=END, new_mark=END + STEP, frames=[again])]) == []
    assert found() == kept | {'a-30'}
    with storage.database.reader() as connection:
        scopes = list_scopes(connection, None)
    assert not [fault for scope in scopes for fault in verify.check(storage.database, scope)]


def test_rebuild_keeps_sums_without_points(storage):
    expire(storage)
    before = prices(storage)
    with storage.database.writer() as connection:
        connection.execute(sa.delete(tables.rated_totals))
        connection.execute(sa.delete(tables.rated_series_months))
        found = list_scopes(connection, None)

    for make in (rebuild.rebuild_days, rebuild.rebuild_totals):
        assert [
            outcome.left
            for scope in found
            for outcome in make(storage.database, scope)
            if outcome.left
        ] == []

    assert faults(storage) == []
    assert prices(storage) == before


def test_rows_of_version_1_go(any_database, any_conf):
    any_conf.set_override('retention_period', 10 * 24, 'storage')
    store = TableStorage(any_conf)
    store.init()
    store.push([frame(begin, 'a') for begin in begins(MAY, END)], 'a')

    assert store.expire(NOW) is False

    points = store.retrieve(APRIL, END)
    assert (points['total'], points['dataframes'][0].start) == (8, KEPT_FROM)
    store.database.close()


def test_disuse_of_the_time_that_is_gone_is_forgotten(storage, monkeypatch):
    """Of every source, in small steps; not what somebody explained, or has to."""
    monkeypatch.setattr(retention, 'GAPS_AT_ONCE', 2)
    states = (*[source_gaps.UNUSED] * 5, source_gaps.NOTED)
    gaps = [
        source_gaps.Gap('cpu', APRIL + n * DAY, APRIL + n * DAY + HOUR, state, 'sign')
        for n, state in enumerate(states)
    ]
    late = gaps[0]._replace(begin=KEPT_FROM - HOUR, end=KEPT_FROM + HOUR)
    storage.database.write(
        lambda connection: source_gaps.record(
            connection, IDENTITY, {'cpu': [*gaps, late]}, Period(APRIL, END)
        )
    )

    expire(storage)

    with storage.database.reader() as connection:
        assert source_gaps.list_gaps(connection, IDENTITY) == [gaps[-1], late]
