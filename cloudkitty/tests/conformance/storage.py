"""The contract of storage drivers.

A driver's test module has a class that inherits StorageContract, or those of its parts that the
driver promises, with a fixture `storage` that returns an empty, ready driver:

    class TestMine(StorageContract):
        @pytest.fixture
        def storage(self, conf):
            return MyStorage(conf)
"""

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import db, errors
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.db import migration
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import Replacement, ScopeBatch

HOUR = timedelta(hours=1)
MAY = datetime(2024, 5, 1, tzinfo=UTC)
JUNE = datetime(2024, 6, 1, tzinfo=UTC)
IDENTITY = scope_state.Identity('project_id', 'conformance', 'conformance')
COLUMNS = {
    'time-d': 'day_of_the_year',
    'time-w': 'week_of_the_year',
    'time-m': 'month',
    'time-y': 'year',
}
# What bounds may be: whole months, parts of days, whole days.
WINDOWS = [(MAY, JUNE), (MAY - HOUR, MAY + 3 * HOUR), (MAY, MAY + timedelta(days=2))]
CENT = Decimal('0.01')
GROUPINGS = [
    ([], [(51, 1203 * CENT)]),
    (['type'], [('instance', 21, 12), ('volume', 30, 3 * CENT)]),
    (['project_id'], [('a', 39, 603 * CENT), ('b', 12, 6)]),
    (
        ['type', 'project_id'],
        [('instance', 'a', 9, 6), ('instance', 'b', 12, 6), ('volume', 'a', 30, 3 * CENT)],
    ),
    (['id'], [('i1', 3, 150 * CENT), ('i2', 6, 450 * CENT), ('i3', 12, 6), ('v', 30, 3 * CENT)]),
    (['nowhere'], [('', 51, 1203 * CENT)]),
    (['unit'], [('unit', 51, 1203 * CENT)]),
    (['time-d', 'time-m', 'time-y', 'time-w'], [('122', '5', '2024', '17', 51, 1203 * CENT)]),
    (['time'], [(17, 401 * CENT)] * 3),
]
# Filters, metrics, and the price of what they let through; None: nothing.
FILTERS = [
    ({'project_id': 'b'}, None, 6),
    ({'project_id': ['a', 'b']}, 'instance', 12),
    ({'project_id': ['a', 'c']}, ['volume', 'instance'], 603 * CENT),
    ({'id': ['i1', 'v']}, None, 153 * CENT),
    ({'id': 'i1', 'project_id': 'b'}, None, None),
    ({'flavor': 'small'}, None, 1203 * CENT),
    ({'flavor': 'large'}, None, None),
    ({'unit': 'unit'}, None, 1203 * CENT),
    ({'unit': 'GiB'}, None, None),
    ({'type': 'volume'}, None, 3 * CENT),
    ({'month': '5', 'day_of_the_year': '122'}, None, 1203 * CENT),
    ({'month': '6'}, None, None),
    ({'missing': ''}, None, 1203 * CENT),
    ({'project_id': []}, None, None),
    ({'project_id': 'A'}, None, None),
    ({'project_id': 'a '}, None, None),
    ({'project_id': "a' OR '1'='1"}, None, None),
    ({"x' OR 1=1 --": 'a'}, None, None),
]


def point(project, qty='1', price='0', **groupby):
    """Return a point of a scope."""
    return DataPoint('unit', qty, price, {'project_id': project, **groupby}, {'flavor': 'small'})


def frame(begin, usage):
    """Return the frame of the hour that starts at *begin*."""
    return DataFrame(begin, begin + HOUR, usage)


def totals(storage, groupby, begin=MAY, end=JUNE, **kwargs):
    """Return the rows of total(), as tuples of group values, quantity and price."""
    answer = storage.total(groupby, begin, end, **kwargs)
    assert answer['total'] == len(answer['results'])
    names = [COLUMNS.get(name, name) for name in groupby if name != 'time']
    return [(*(row[name] for name in names), row['qty'], row['rate']) for row in answer['results']]


def flat(answer):
    """Yield (begin, metric, id, price) of each point of an answer of retrieve()."""
    for part in answer['dataframes']:
        for name, found in part:
            yield part.start, name, found.groupby['id'], found.price


class Contract:
    """What all parts need."""

    @pytest.fixture
    def conf(self, tmp_path):
        """A configuration whose [database] is an empty SQLite file with the schema."""
        loaded = configuration.load([], files=[], conf=cfg.ConfigOpts())
        loaded.set_override('connection', f'sqlite:///{tmp_path}/cloudkitty.sqlite', 'database')
        database = db.Database(loaded)
        migration.upgrade(database)
        database.engine.dispose()
        return loaded

    @pytest.fixture
    def two_projects(self, storage):
        """Three hours of two projects; a volume only in the first."""
        for hour in range(3):
            begin = MAY + hour * HOUR
            storage.push(
                [
                    frame(
                        begin,
                        {
                            'instance': [
                                point('a', 1, '0.5', id='i1'),
                                point('a', 2, '1.5', id='i2'),
                            ],
                            'volume': [point('a', 10, '0.01', id='v')],
                        },
                    )
                ],
                'a',
            )
            storage.push([frame(begin, {'instance': [point('b', 4, '2', id='i3')]})], 'b')
        return storage


class ReadingContract(Contract):
    """What is stored is found, summed and paged; storing it again changes nothing."""

    def test_init_may_be_done_again(self, two_projects):
        two_projects.init()
        two_projects.init()

        assert two_projects.retrieve(MAY, JUNE)['total'] == 12

    def test_a_point_is_read_back(self, storage):
        attributes = {'project_id': 'a', 'id': 'O\'Brien \\ "%_ é 名'}
        storage.push(
            [frame(MAY, {'volume': [DataPoint('GiB', '2.5', '0.25', attributes, {})]})], 'a'
        )

        answer = storage.retrieve(MAY, JUNE)

        (only,) = answer['dataframes']
        (found,) = only.usage['volume']
        assert answer['total'] == 1
        assert (only.start, only.end) == (MAY, MAY + HOUR)
        assert (found.unit, found.qty, found.price) == ('GiB', Decimal('2.5'), Decimal('0.25'))
        assert found.groupby == {**attributes, **timeframe.calendar_of(MAY)}

    def test_pushing_twice_changes_nothing(self, two_projects):
        before = two_projects.total(['type'], MAY, JUNE)

        two_projects.push(
            [
                frame(
                    MAY,
                    {
                        'instance': [point('a', 1, '0.5', id='i1'), point('a', 2, '1.5', id='i2')],
                        'volume': [point('a', 10, '0.01', id='v')],
                    },
                )
            ],
            'a',
        )

        assert two_projects.total(['type'], MAY, JUNE) == before
        assert two_projects.retrieve(MAY, JUNE)['total'] == 12

    def test_groupings(self, two_projects):
        """Whole months, whole days and parts of days give the same sums."""
        for (groupby, rows), (begin, end) in itertools.product(GROUPINGS, WINDOWS):
            assert totals(two_projects, groupby, begin, end) == rows, (groupby, begin, end)

    @pytest.mark.parametrize(('begin', 'end'), WINDOWS)
    def test_quantities_of_two_units_are_not_added(self, storage, begin, end):
        of_units = {
            unit: DataPoint(unit, qty, 1, {'project_id': 'a', 'id': 'v'}, {})
            for unit, qty in (('GiB', 3), ('MiB', 5))
        }
        for hour, unit in enumerate(('GiB', 'MiB', 'MiB')):
            storage.push([frame(MAY + hour * HOUR, {'volume': [of_units[unit]]})], 'a')

        expected = [('volume', 'GiB', 3, 1), ('volume', 'MiB', 10, 2)]
        assert totals(storage, ['type', 'unit'], begin, end) == expected
        assert totals(storage, ['unit'], begin, end, filters={'unit': 'MiB'}) == [('MiB', 10, 2)]

    def test_periods_are_chosen_by_their_begin(self, two_projects):
        assert totals(two_projects, [], MAY + HOUR, MAY + 2 * HOUR) == [(17, 401 * CENT)]
        assert totals(two_projects, [], MAY + 3 * HOUR, JUNE) == []
        assert two_projects.retrieve(MAY + HOUR, MAY + 2 * HOUR)['total'] == 4

    def test_filters(self, two_projects):
        """Values are compared exactly; sums and points choose alike."""
        for (filters, metrics, price), end in itertools.product(FILTERS, (JUNE, MAY + 3 * HOUR)):
            answer = two_projects.total([], MAY, end, metrics, filters)
            points = two_projects.retrieve(MAY, end, filters, metrics)

            prices = [found.price for part in points['dataframes'] for _, found in part]
            assert [row['rate'] for row in answer['results']] == (
                [] if price is None else [price]
            ), filters
            assert sum(prices) == (price or 0), filters
            assert points['total'] == len(prices), filters

    def test_pages_of_sums(self, two_projects):
        """Any page is a part of the whole, and total counts all rows."""
        whole = two_projects.total(['id', 'type'], MAY, JUNE)['results']
        for end, (offset, limit) in itertools.product(
            (JUNE, MAY + 5 * HOUR), ((0, 2), (2, 2), (3, 9), (4, 1), (9, 1))
        ):
            page = two_projects.total(['id', 'type'], MAY, end, offset=offset, limit=limit)
            assert page['total'] == 4
            assert [row['id'] for row in page['results']] == [
                row['id'] for row in whole[offset : offset + limit]
            ]

    def test_pages_of_points(self, two_projects):
        """Pages put together are the whole, in the order of time."""
        for filters in (None, {'project_id': 'a'}, {'flavor': 'small'}):
            whole = list(flat(two_projects.retrieve(MAY, JUNE, filters, paginate=False)))
            pages = []
            for offset in range(0, len(whole), 2):
                page = two_projects.retrieve(MAY, JUNE, filters, offset=offset, limit=2)
                assert page['total'] == len(whole)
                pages += flat(page)

            assert sorted(pages, key=repr) == sorted(whole, key=repr)
            assert [at for at, *_ in pages] == sorted(at for at, *_ in pages)
            assert two_projects.retrieve(MAY, JUNE, filters, offset=99)['dataframes'] == []

    def test_custom_fields(self, two_projects):
        answer = two_projects.total(
            ['type'],
            MAY,
            JUNE,
            custom_fields='MAX(qty) AS top, count(price) AS n, '
            'mean(qty) AS "mean qty", sum(nothing), count(flavor) AS named, '
            'min(flavor) AS first_name, last(unit) AS unit',
        )

        assert answer['results'][0] == {
            'begin': MAY,
            'end': JUNE,
            'top': 4,
            'n': 9,
            'sum': None,
            'named': 9,
            'first_name': 'small',
            'unit': 'unit',
            'type': 'instance',
            'mean qty': Decimal('2.333333333333333333333333333'),
        }

    def test_what_is_wrong_is_refused(self, storage):
        for wrong in ({'groupby': ['time-x']}, {'custom_fields': 'drop(qty)'}):
            with pytest.raises(errors.InvalidInput):
                storage.total(begin=MAY, end=JUNE, **wrong)

    @pytest.mark.parametrize('function', ['sum', 'mean', 'median'])
    def test_text_is_not_computed_with(self, two_projects, function):
        with pytest.raises(errors.InvalidInput, match='needs numbers'):
            two_projects.total(begin=MAY, end=JUNE, custom_fields=f'{function}(flavor)')


class AttributesContract(Contract):
    """Every part of a point survives, and what is metadata stays metadata."""

    def test_a_point_is_read_back_whole(self, storage):
        stored = DataPoint(
            'GiB',
            '2',
            '1',
            {'project_id': 'a', 'n': 1, 'flag': True, 'none': None},
            {'tags': ['x', 'y']},
            'what it is',
        )
        storage.push([frame(MAY, {'volume': [stored]})], 'a')

        (only,) = storage.retrieve(MAY, JUNE)['dataframes']

        (found,) = only.usage['volume']
        assert found.metadata == stored.metadata
        assert found.groupby == {**stored.groupby, **timeframe.calendar_of(MAY)}
        assert found.description == 'what it is'

    def test_metadata_is_no_group(self, two_projects):
        assert totals(two_projects, ['flavor']) == [('', 51, 1203 * CENT)]


class ExactnessContract(Contract):
    """Quantities and prices are decimals, whatever their size, and so are their sums."""

    def test_numbers_keep_every_digit(self, storage):
        large, small = Decimal('12345678901234567890.123456789'), Decimal('1e-28')
        storage.push(
            [
                frame(
                    MAY,
                    {
                        'volume': [
                            point('a', large, small, id='x'),
                            point('a', '0.1', '0.2', id='y'),
                        ]
                    },
                )
            ],
            'a',
        )

        assert totals(storage, ['id']) == [
            ('x', large, small),
            ('y', Decimal('0.1'), Decimal('0.2')),
        ]
        assert totals(storage, []) == [
            (Decimal('12345678901234567890.223456789'), Decimal('0.2000000000000000000000000001'))
        ]


class ReplacementContract(Contract):
    """A period can be stored anew, taken away, set back and rated again."""

    def test_another_push_replaces_the_period(self, two_projects):
        two_projects.push([frame(MAY, {'volume': [point('a', 1, 1, id='new')]})], 'a')

        assert two_projects.total(['type'], MAY, MAY + HOUR, filters={'project_id': 'a'}) == {
            'total': 1,
            'results': [{'begin': MAY, 'end': MAY + HOUR, 'qty': 1, 'rate': 1, 'type': 'volume'}],
        }
        assert totals(two_projects, ['id'], filters={'type': 'volume'}) == [
            ('new', 1, 1),
            ('v', 20, 2 * CENT),
        ]

    def test_deletion_is_exact(self, two_projects):
        """Frames of the scope that begin in the span go, all else stays."""
        two_projects.delete(MAY + HOUR, MAY + 2 * HOUR, {'project_id': 'a'})
        assert totals(two_projects, ['project_id']) == [('a', 26, 402 * CENT), ('b', 12, 6)]

        two_projects.delete(MAY, None, {'project_id': ['a']})
        two_projects.delete(None, MAY, None)
        two_projects.delete(filters={'project_id': 'unknown'})
        assert totals(two_projects, ['project_id']) == [('b', 12, 6)]

    def test_a_reset_removes_what_comes_after_and_nothing_else(self, two_projects):
        key = state(two_projects, 'a', MAY + 2 * HOUR)
        two_projects.database.write(
            lambda connection: resets.order(connection, [key], MAY, now=JUNE)
        )
        order = resets.Reset(key, 'a', MAY)

        assert two_projects.reset(order) is True
        assert two_projects.reset(order) is False

        assert totals(two_projects, ['project_id']) == [('a', 13, 201 * CENT), ('b', 12, 6)]
        assert marks(two_projects) == {'a': MAY}

    def test_periods_are_replaced_and_the_task_moves(self, two_projects):
        """A period without a frame keeps its data, one with an empty frame loses it."""
        key = state(two_projects, 'a', MAY + 5 * HOUR)
        two_projects.database.write(
            lambda connection: scope_reprocessing.create(
                connection,
                ['a'],
                identity=IDENTITY,
                window=Period(MAY, MAY + 3 * HOUR),
                reason='test',
            )
        )
        with two_projects.database.reader() as connection:
            (task,) = scope_reprocessing.list_tasks(connection)[1]
        batch = ScopeBatch(
            key,
            'a',
            MAY - HOUR,
            MAY + 2 * HOUR,
            [frame(MAY, {'volume': [point('a', 1, 5, id='new')]}), frame(MAY + HOUR, {})],
        )
        order = Replacement(task.id, None, MAY + 2 * HOUR, batch)

        assert two_projects.replace([order]) == []
        assert two_projects.replace([order]) == [order]

        assert totals(two_projects, ['id'], filters={'project_id': 'a'}) == [
            ('i1', 1, 50 * CENT),
            ('i2', 2, 150 * CENT),
            ('new', 1, 5),
            ('v', 10, CENT),
        ]
        with two_projects.database.reader() as connection:
            (task,) = scope_reprocessing.list_tasks(connection)[1]
        assert (task.current, task.kept_periods) == (MAY + 2 * HOUR, 1)


class PushedContract(Contract):
    """What was pushed over the API and what was rated do not touch each other."""

    def test_pushed_frames_stand_beside_rated_ones(self, two_projects):
        extra = frame(MAY, {'credit': [point('a', 1, '-1', id='c'), point('b', 1, '-2', id='c')]})
        two_projects.push([extra])
        two_projects.push([extra])
        two_projects.push([frame(MAY, {'credit': [point('a', 1, '-5', id='d')]})])
        two_projects.push([frame(MAY, {})], 'a')

        assert totals(two_projects, ['project_id', 'id'], filters={'type': 'credit'}) == [
            ('a', 'c', 1, -1),
            ('a', 'd', 1, -5),
            ('b', 'c', 1, -2),
        ]


class MarksContract(Contract):
    """Points and progress go together: a period is stored once, whoever tries."""

    @pytest.fixture
    def batch(self, storage):
        start = MAY - HOUR
        keys = {name: state(storage, name, start) for name in ('a', 'b')}
        return [
            ScopeBatch(
                keys[name], name, start, MAY + HOUR, [frame(MAY, {'cpu': [point(name, 1, 1)]})]
            )
            for name in ('a', 'b')
        ]

    def test_marks_advance(self, storage, batch):
        assert storage.commit(batch) == []

        assert marks(storage) == {'a': MAY + HOUR, 'b': MAY + HOUR}
        assert totals(storage, ['project_id']) == [('a', 1, 1), ('b', 1, 1)]

    def test_a_moved_mark_stops_its_scope_only(self, storage, batch):
        """What another worker stored is neither doubled nor replaced."""
        other = batch[0]._replace(frames=[frame(MAY, {'cpu': [point('a', 7, 7)]})])
        assert storage.commit([other]) == []

        assert storage.commit(batch) == [batch[0]]
        assert totals(storage, ['project_id']) == [('a', 7, 7), ('b', 1, 1)]
        assert storage.commit(batch) == batch

    def test_a_commit_that_broke_off_is_done_again(self, storage, batch):
        """A worker died after it stored the points and before it moved the mark."""
        storage.push(batch[0].frames, 'a')

        assert storage.commit(batch) == []
        assert totals(storage, ['project_id']) == [('a', 1, 1), ('b', 1, 1)]


class StorageContract(
    ReadingContract,
    AttributesContract,
    ExactnessContract,
    ReplacementContract,
    PushedContract,
    MarksContract,
):
    """All of it."""


def state(storage, scope_id, mark):
    """Make the row of a scope's progress and return its key."""
    with storage.database.writer() as connection:
        known = {scope.scope_id for scope in scope_state.list_scopes(connection)[1]}
        scope_state.record_seen(
            connection, IDENTITY, known | {scope_id}, now=JUNE, initial_mark=mark, final_mark=JUNE
        )
        return next(
            scope.id
            for scope in scope_state.list_scopes(connection)[1]
            if scope.scope_id == scope_id
        )


def marks(storage):
    """Return the marks by scope."""
    with storage.database.reader() as connection:
        return {scope.scope_id: scope.mark for scope in scope_state.list_scopes(connection)[1]}
