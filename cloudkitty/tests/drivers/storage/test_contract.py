"""The contract every storage driver keeps; ours on every database."""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import db, errors, timeframe
from cloudkitty.dataframe import DataFrame, DataPoint
from cloudkitty.db import models, scopes
from cloudkitty.storage.v2 import ScopeBatch
from cloudkitty.storage.v2.sql import SQLStorage

HOUR = timedelta(hours=1)
MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)


def point(project, qty='1', price='0', **groupby):
    return DataPoint('unit', qty, price, {'project_id': project, **groupby}, {'flavor': 'small'})


def frame(begin, usage):
    return DataFrame(begin, begin + HOUR, usage)


@pytest.fixture
def storage(any_database, any_conf):
    opened = SQLStorage(any_conf)
    yield opened
    opened.database.engine.dispose()


@pytest.fixture
def two_projects(storage):
    """Three hours of two projects; a volume only in the first."""
    for hour in range(3):
        begin = MAY + hour * HOUR
        storage.push([frame(begin, {
            'instance': [point('a', 1, '0.5', id='i1'), point('a', 2, '1.5', id='i2')],
            'volume': [point('a', 10, '0.01', id='v')]})], 'a')
        storage.push([frame(begin, {'instance': [point('b', 4, '2', id='i3')]})], 'b')
    return storage


def test_a_push_is_read_back_whole(storage):
    """Every part of a point survives, description and types of attributes included."""
    stored = DataPoint('GiB', '12345678901234567890.123456789', '1e-28',
                       {'project_id': 'a', 'n': 1, 'flag': True, 'none': None},
                       {'tags': ['x', 'y'], 'name': "O'Brien \\ \"%_ é 名"}, 'what it is')

    storage.push([frame(MAY, {'volume': [stored]})], 'a')

    answer = storage.retrieve(MAY, JUNE)
    (only,) = answer['dataframes']
    (found,) = only.usage['volume']
    assert answer['total'] == 1
    assert (only.start, only.end) == (MAY, MAY + HOUR)
    assert found.series.metadata == stored.metadata
    assert found.series.groupby == stored.groupby
    assert (found.unit, found.description) == ('GiB', 'what it is')
    assert (found.qty, found.price) == (stored.qty, stored.price)
    assert found.groupby == {**stored.groupby, **timeframe.calendar_of(MAY)}


def test_pushing_twice_changes_nothing(two_projects):
    before = two_projects.total(['type'], MAY, JUNE)

    two_projects.push([frame(MAY, {
        'instance': [point('a', 1, '0.5', id='i1'), point('a', 2, '1.5', id='i2')],
        'volume': [point('a', 10, '0.01', id='v')]})], 'a')

    assert two_projects.total(['type'], MAY, JUNE) == before
    assert two_projects.retrieve(MAY, JUNE)['total'] == 12


def test_another_push_replaces_the_period(two_projects):
    two_projects.push([frame(MAY, {'volume': [point('a', 1, 1, id='new')]})], 'a')

    assert two_projects.total(['type'], MAY, MAY + HOUR, filters={'project_id': 'a'}) == {
        'total': 1, 'results': [{'begin': MAY, 'end': MAY + HOUR, 'qty': 1, 'rate': 1,
                                 'type': 'volume'}]}
    assert totals(two_projects, ['id'], filters={'type': 'volume'}) == [
        ('new', 1, 1), ('v', 20, Decimal('0.02'))]


def test_pushed_frames_stand_beside_rated_ones(two_projects):
    """A frame without an owner belongs to the scopes its points name, and rating again keeps it."""
    extra = frame(MAY, {'credit': [point('a', 1, '-1', id='c'), point('b', 1, '-2', id='c')]})
    two_projects.push([extra])
    two_projects.push([extra])
    two_projects.push([frame(MAY, {'credit': [point('a', 1, '-5', id='d')]})])
    two_projects.push([frame(MAY, {})], 'a')

    assert totals(two_projects, ['project_id', 'id'], filters={'type': 'credit'}) == [
        ('a', 'c', 1, -1), ('a', 'd', 1, -5), ('b', 'c', 1, -2)]


def totals(storage, groupby, begin=MAY, end=JUNE, **kwargs):
    answer = storage.total(groupby, begin, end, **kwargs)
    assert answer['total'] == len(answer['results'])
    names = [{'time-d': 'day_of_the_year', 'time-m': 'month', 'time-y': 'year',
              'time-w': 'week_of_the_year'}.get(name, name) for name in groupby if name != 'time']
    return [(*(row[name] for name in names), row['qty'], row['rate']) for row in answer['results']]


@pytest.mark.parametrize('groupby, rows', [
    ([], [(51, Decimal('12.03'))]),
    (['type'], [('instance', 21, 12), ('volume', 30, Decimal('0.03'))]),
    (['project_id'], [('a', 39, Decimal('6.03')), ('b', 12, 6)]),
    (['type', 'project_id'], [('instance', 'a', 9, 6), ('instance', 'b', 12, 6),
                              ('volume', 'a', 30, Decimal('0.03'))]),
    (['id'], [('i1', 3, Decimal('1.5')), ('i2', 6, Decimal('4.5')), ('i3', 12, 6),
              ('v', 30, Decimal('0.03'))]),
    (['nowhere'], [('', 51, Decimal('12.03'))]),
    (['flavor'], [('', 51, Decimal('12.03'))]),
    (['time-d', 'time-m', 'time-y', 'time-w'],
     [('122', '5', '2024', '17', 51, Decimal('12.03'))]),
    (['time'], [(17, Decimal('4.01'))] * 3),
])
@pytest.mark.parametrize('begin, end', [(MAY, JUNE), (MAY - HOUR, MAY + 3 * HOUR),
                                        (MAY, MAY + timedelta(days=2))])
def test_groupings(two_projects, groupby, rows, begin, end):
    """Whole months, whole days and parts of days give the same sums."""
    assert totals(two_projects, groupby, begin, end) == rows


@pytest.mark.parametrize('filters, metrics, price', [
    ({'project_id': 'b'}, None, 6),
    ({'project_id': ['a', 'b']}, 'instance', 12),
    ({'project_id': ['a', 'c']}, ['volume', 'instance'], Decimal('6.03')),
    ({'id': ['i1', 'v']}, None, Decimal('1.53')),
    ({'id': 'i1', 'project_id': 'b'}, None, None),
    ({'flavor': 'small'}, None, Decimal('12.03')),
    ({'flavor': 'large'}, None, None),
    ({'type': 'volume'}, None, Decimal('0.03')),
    ({'month': '5', 'day_of_the_year': '122'}, None, Decimal('12.03')),
    ({'month': '6'}, None, None),
    ({'missing': ''}, None, Decimal('12.03')),
    ({'project_id': []}, None, None),
    ({'project_id': 'A'}, None, None),
    ({'project_id': 'a '}, None, None),
    ({'project_id': "a' OR '1'='1"}, None, None),
    ({"x' OR 1=1 --": 'a'}, None, None),
])
@pytest.mark.parametrize('end', [JUNE, MAY + 3 * HOUR])
def test_filters(two_projects, filters, metrics, price, end):
    """Values are compared exactly; sums and points choose alike."""
    answer = two_projects.total([], MAY, end, metrics, filters)
    points = two_projects.retrieve(MAY, end, filters, metrics)

    prices = [found.price for part in points['dataframes'] for _, found in part]
    assert [row['rate'] for row in answer['results']] == ([] if price is None else [price])
    assert sum(prices) == (price or 0)
    assert points['total'] == len(prices)


def test_pages_of_sums(two_projects):
    """Any page is a part of the whole, and total counts all rows."""
    whole = two_projects.total(['id', 'type'], MAY, JUNE)['results']
    for end, (offset, limit) in itertools.product(
            (JUNE, MAY + 5 * HOUR), ((0, 2), (2, 2), (3, 9), (4, 1), (9, 1))):
        page = two_projects.total(['id', 'type'], MAY, end, offset=offset, limit=limit)
        assert page['total'] == 4
        assert ([row['id'] for row in page['results']]
                == [row['id'] for row in whole[offset:offset + limit]])


@pytest.mark.parametrize('filters', [None, {'project_id': 'a'}, {'flavor': 'small'}])
def test_pages_of_points(two_projects, filters):
    """Pages put together are the whole, in the order of time."""
    whole = list(flat(two_projects.retrieve(MAY, JUNE, filters, paginate=False)))
    pages = []
    for offset in range(0, len(whole), 2):
        page = two_projects.retrieve(MAY, JUNE, filters, offset=offset, limit=2)
        assert page['total'] == len(whole)
        pages += flat(page)

    assert sorted(pages, key=repr) == sorted(whole, key=repr)
    assert [at for at, *_ in pages] == sorted(at for at, *_ in pages)
    assert two_projects.retrieve(MAY, JUNE, filters, offset=99)['dataframes'] == []


def flat(answer):
    for part in answer['dataframes']:
        for name, found in part:
            yield part.start, name, found.groupby['id'], found.price


def test_custom_fields_look_at_points_where_they_must(two_projects):
    answer = two_projects.total(
        ['type'], MAY, JUNE,
        custom_fields='MAX(qty) AS top, count(price) AS n, mean(qty) AS "mean qty", sum(flavor)')

    assert answer['results'][0] == {'begin': MAY, 'end': JUNE, 'top': 4, 'n': 9, 'sum': None,
                                    'mean qty': Decimal('2.333333333333333333333333333'),
                                    'type': 'instance'}


def test_deletion_is_exact(two_projects):
    """Frames of the scope that begin in the span go, roll-ups follow, all else stays."""
    two_projects.delete(MAY + HOUR, MAY + 2 * HOUR, {'project_id': 'a'})
    assert totals(two_projects, ['project_id']) == [('a', 26, Decimal('4.02')), ('b', 12, 6)]

    two_projects.delete(MAY, None, {'project_id': ['a']})
    two_projects.delete(None, MAY, None)
    two_projects.delete(filters={'project_id': 'unknown'})
    assert totals(two_projects, ['project_id']) == [('b', 12, 6)]
    with two_projects.database.reader() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(
            models.rated_days)).scalar() == 1

    with pytest.raises(errors.InvalidInput, match='project_id and time only'):
        two_projects.delete(filters={'id': 'i3'})


def test_a_point_that_names_another_scope_is_that_scopes(storage):
    """A rating module may move a point; it is billed to the scope it names, and found there."""
    storage.push([frame(MAY, {'instance': [point('a', 1, 1, id='x'),
                                           point('b', 1, 5, id='y')]})], 'a')

    assert totals(storage, ['project_id']) == [('a', 1, 1), ('b', 1, 5)]
    found = list(flat(storage.retrieve(MAY, JUNE, {'project_id': 'b'})))
    assert [resource for *_, resource, _ in found] == ['y']
    storage.delete(filters={'project_id': 'a'})
    assert totals(storage, ['project_id']) == []


def test_calendar_attributes_of_a_source_with_its_own_zone_stay(storage):
    own = point('a', 1, 1, month='4')
    same = point('a', 2, 2, **timeframe.calendar_of(MAY))
    storage.push([frame(MAY, {'instance': [own, same]})], 'a')

    assert totals(storage, ['time-m']) == [('4', 1, 1), ('5', 2, 2)]
    assert totals(storage, ['time-m'], end=MAY + HOUR) == [('4', 1, 1), ('5', 2, 2)]
    assert totals(storage, [], filters={'month': '5'}) == [(2, 2)]
    with storage.database.reader() as connection:
        assert connection.execute(sa.select(models.rated_attributes.c.name).where(
            models.rated_attributes.c.name.in_(timeframe.CALENDAR_KEYS))).scalars().all() == [
                'month']


def test_one_series_object_may_say_something_else_on_another_day(storage):
    """What its calendar attributes mean depends on the period each point is in."""
    may_first = point('a', 1, 1, day_of_the_year='122')
    storage.push([DataFrame(begin, begin + HOUR, {'instance': [may_first]})
                  for begin in (MAY, MAY + 24 * HOUR)], 'a')

    assert totals(storage, ['time-d'], filters={'day_of_the_year': '122'}) == [('122', 2, 2)]
    with storage.database.reader() as connection:
        assert len(connection.execute(sa.select(models.rated_series.c.id)).all()) == 2


def test_numbers_beyond_the_columns_are_refused_whole(storage):
    with pytest.raises(errors.InvalidInput, match='27 digits before the point'):
        storage.push([frame(MAY, {'instance': [point('a', '1e27', 1), point('a', 1, 1)]})], 'a')

    assert storage.retrieve(MAY, JUNE)['total'] == 0


class TestCommit:
    """Points, roll-ups and marks go together or not at all."""

    @pytest.fixture
    def batch(self, storage):
        start = MAY - HOUR
        identity = scopes.Identity('project_id', 'fetcher', 'collector')
        with storage.database.writer() as connection:
            scopes.record_seen(connection, identity, ['a', 'b'], now=MAY, initial_mark=start,
                               final_mark=MAY)
            _, rows = scopes.list_scopes(connection)
        return [ScopeBatch(row.id, row.scope_id, start, MAY + HOUR,
                           [frame(MAY, {'cpu': [point(row.scope_id, 1, 1)]})]) for row in rows]

    def test_marks_advance(self, storage, batch):
        assert storage.commit(batch) == []

        with storage.database.reader() as connection:
            _, rows = scopes.list_scopes(connection)
        assert [row.mark for row in rows] == [MAY + HOUR] * 2
        assert totals(storage, ['project_id']) == [('a', 1, 1), ('b', 1, 1)]

    def test_a_moved_mark_stops_its_scope_only(self, storage, batch):
        """What another worker stored is neither doubled nor replaced."""
        other = batch[0]._replace(frames=[frame(MAY, {'cpu': [point('a', 7, 7)]})])
        assert storage.commit([other]) == []

        assert storage.commit(batch) == [batch[0]]
        assert totals(storage, ['project_id']) == [('a', 7, 7), ('b', 1, 1)]
        assert storage.commit(batch) == batch

    def test_an_error_leaves_nothing(self, storage, batch):
        broken = batch[1]._replace(frames=[frame(MAY, {'cpu': [point('b', '1e30', 1)]})])

        with pytest.raises(errors.InvalidInput):
            storage.commit([batch[0], broken])

        assert storage.retrieve(MAY, JUNE)['total'] == 0
        assert storage.commit(batch) == []
        assert storage.retrieve(MAY, JUNE)['total'] == 2


def test_two_processes_share_series(storage, any_conf):
    """Each has its own cache of numbers; what one made, the other uses."""
    other = SQLStorage(any_conf)
    for hour, writer in enumerate((storage, other, storage, other)):
        writer.push([frame(MAY + hour * HOUR, {'cpu': [point('a', 1, 1, id='x')]})], 'a')

    assert totals(other, ['id']) == [('x', 4, 4)]
    assert isinstance(other.database, db.Database)
    other.database.engine.dispose()


@pytest.mark.parametrize('any_conf', ['postgresql', 'mariadb'], indirect=True)
def test_a_server_that_lost_what_it_had_confirmed_confuses_nobody(storage, any_database):
    """As one that takes over from one that died: it never saw some of the numbers of series."""
    usage = [frame(MAY, {'instance': [point('a', id='i1')]})]
    storage.push(usage, 'a')
    with any_database.writer() as connection:
        for table in reversed(models.metadata.sorted_tables):
            connection.execute(sa.delete(table))
        _end_other_connections(connection)

    storage.push(usage, 'a')

    assert storage.total(['id'], MAY, JUNE)['results'] == [
        {'begin': MAY, 'end': JUNE, 'id': 'i1', 'qty': 1, 'rate': 0}]


def _end_other_connections(connection):
    if connection.dialect.name == 'postgresql':
        connection.execute(sa.text(
            'SELECT pg_terminate_backend(pid) FROM pg_stat_activity '
            'WHERE datname = current_database() AND pid <> pg_backend_pid()'))
        return
    others = connection.execute(sa.text(
        'SELECT id FROM information_schema.processlist '
        'WHERE db = database() AND id <> connection_id()')).scalars().all()
    for number in others:
        connection.execute(sa.text(f'KILL {number}'))
