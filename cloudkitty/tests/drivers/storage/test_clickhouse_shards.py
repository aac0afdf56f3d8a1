"""The driver clickhouse keeps the contract on several shards, each of which has some scopes."""

import itertools

import pytest

from cloudkitty import errors
from cloudkitty.storage.v2.clickhouse import ClickHouseStorage, reader
from cloudkitty.storage.v2.clickhouse.body import Where
from cloudkitty.tests.clickhouse import configured, drop
from cloudkitty.tests.conformance.storage import HOUR, JUNE, MAY, flat, frame, point, totals
from cloudkitty.tests.drivers.storage import test_clickhouse
from cloudkitty.tests.drivers.storage.test_clickhouse import seen
from cloudkitty.tests.drivers.storage.test_clickhouse_folding import fold, from_points

pytestmark = pytest.mark.xdist_group('clickhouse')
SCOPES = ('a', 'b', 'c', 'd')
HOURS = 5


@pytest.fixture
def storage(clickhouse, conf, database):
    """Two shards; their databases are on one server."""
    configured(conf, clickhouse.url)
    conf.set_override('shards', [[clickhouse.url]] * 2, ClickHouseStorage.GROUP)
    opened = ClickHouseStorage(conf)
    opened.body.create()
    yield opened
    drop(opened)


class TestTwoShards(test_clickhouse.TestClickHouseStorage):
    """All of the contract."""


@pytest.fixture
def filled(storage):
    """Four scopes with two points in each of five periods, and points of others among them."""
    storage._numbers([*SCOPES, 'other'])
    for number, scope in enumerate(SCOPES, 1):
        frames = []
        for hour in range(HOURS):
            own = point(scope, 1, number, id=f'{scope}{hour}', department=f'd{number // 2}')
            frames.append(frame(MAY + hour * HOUR, {'cpu': [own, point('other', 1, 1, id='o')]}))
        storage.push(frames, scope)
    return storage


def rows(storage, table):
    """Return the distinct scopes of each shard."""
    column = {'frames': 'scope', 'series': 'owner'}[table]
    return [
        [
            scope
            for (scope,) in body.client.rows(
                f'SELECT DISTINCT {column} FROM {body.database}.{table} ORDER BY {column}'
            )
        ]
        for body in storage.body.all
    ]


def test_each_scope_is_on_one_shard(filled):
    numbers = filled._numbers([*SCOPES]).values()
    expected = [sorted(number for number in numbers if number % 2 == place) for place in (0, 1)]

    assert [len(one) for one in expected] == [2, 2]
    assert rows(filled, 'frames') == expected
    assert rows(filled, 'series') == expected


def test_sums_of_shards_are_added(filled):
    assert totals(filled, []) == [(40, 50 + 20)]
    assert totals(filled, ['department'], metric_types='cpu') == [
        ('', 20, 20),
        ('d0', 5, 5),
        ('d1', 10, 25),
        ('d2', 5, 20),
    ]
    answer = filled.total(['id', 'time'], MAY, JUNE, offset=3, limit=2)
    everything = filled.total(['id', 'time'], MAY, JUNE)
    assert answer['total'] == everything['total'] == 25
    assert answer['results'] == everything['results'][3:5]
    assert totals(filled, ['project_id'], filters={'project_id': ['b', 'other']}) == [
        ('b', 5, 10),
        ('other', 20, 20),
    ]


@pytest.mark.parametrize(
    ('filters', 'points'),
    [(None, 40), ({'project_id': 'other'}, 20), ({'project_id': ['a', 'c']}, 10)],
)
@pytest.mark.parametrize('large', [0, 2_000])
def test_pages_go_over_all_shards(filled, monkeypatch, filters, points, large):
    """In one order, without a gap, whatever their size and that of the periods."""
    monkeypatch.setattr(reader, 'PAGE_POINTS', large)
    whole = list(flat(filled.retrieve(MAY, JUNE, filters, limit=1000)))
    for size in (1, 3, 8, 9):
        parts = [
            filled.retrieve(MAY, JUNE, filters, offset=offset, limit=size)
            for offset in range(0, len(whole) + 1, size)
        ]
        assert [one for part in parts for one in flat(part)] == whole
        assert {part['total'] for part in parts} == {len(whole)}
    assert len(whole) == points


def test_frames_of_shards_are_in_one_order(filled):
    with filled.database.reader() as connection:
        snapshot = filled._reader_on(connection).snapshot
        keys = filled.body.keys(snapshot, Where(MAY, JUNE))
        points = list(filled.body.points(snapshot, Where(MAY, JUNE)))

    assert [row.begin for row in keys] == [
        MAY + hour * HOUR for hour in range(HOURS) for _ in SCOPES
    ]
    assert [(one.begin, one.scope) for one in points] == [(row.begin, row.scope) for row in keys]
    assert [(row.begin, row.scope) for row in keys] == sorted(
        (row.begin, row.scope) for row in keys
    )


def test_days_of_shards_are_folded(filled, monkeypatch):
    """Also those that change later, on the shard of their scope only."""
    groups = ['id', 'project_id']
    before = totals(filled, groups)
    fold(filled)
    assert totals(filled, groups) == before
    filled.push([frame(MAY, {'cpu': [point('b', 7, 7, id='b0')]})], 'b')
    changed = totals(filled, groups)
    fold(filled)

    assert changed != before
    assert totals(filled, groups) == changed
    stored = [
        body.client.rows(f'SELECT DISTINCT scope % 2 FROM {body.database}.days')
        for body in filled.body.all
    ]
    assert stored == [[[0]], [[1]]]
    sums = from_points(filled, monkeypatch)
    for body in filled.body.all:
        body.client.execute(f'TRUNCATE TABLE {body.database}.frames')
    assert totals(filled, groups) == changed
    assert sums


def test_what_nobody_committed_is_swept_from_all_shards(filled):
    (ticket,) = filled._writer.begin([filled._numbers(SCOPES).values()])
    filled._writer.remove(ticket, Where(MAY, JUNE, sorted(ticket.states)))
    assert seen(filled.database).open == (ticket.revision,)
    filled.body.remove_revisions([ticket.revision])

    left = [
        body.client.rows(f'SELECT count() FROM {body.database}.frames') for body in filled.body.all
    ]
    assert left == [[[2 * HOURS]], [[2 * HOURS]]]


@pytest.mark.parametrize('shards', [0, 1, 3])
def test_the_number_of_shards_cannot_change(filled, conf, clickhouse, shards):
    """What they have would seem to be gone."""
    conf.set_override('shards', [[clickhouse.url]] * shards, ClickHouseStorage.GROUP)
    other = ClickHouseStorage(conf)

    with pytest.raises(errors.ConfigurationError, match='_1_of_2, '):
        other.body.create()
    with pytest.raises(errors.DatabaseAway):
        other.total(begin=MAY, end=JUNE)
    other.database.engine.dispose()


def test_a_server_of_another_shard_is_refused(filled, monkeypatch):
    """As when the two lines are exchanged."""
    for body, other in itertools.pairwise([*filled.body.all, filled.body.all[0]]):
        found = [[other.database]]
        monkeypatch.setattr(body.client, 'rows_everywhere', lambda statement, own=found: [own])

    with pytest.raises(errors.ConfigurationError, match='has test_[0-9]+_2_of_2'):
        filled.body.create()
