"""The default driver keeps the contract on every database, and what only it promises."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from cloudkitty import db, errors
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.db import tables
from cloudkitty.storage.v2.sql import SQLStorage, rollups
from cloudkitty.tests.conformance import storage as conformance
from cloudkitty.tests.conformance.storage import HOUR, JUNE, MAY, flat, frame, point, totals


@pytest.fixture
def storage(any_database, any_conf):
    opened = SQLStorage(any_conf)
    yield opened
    opened.database.engine.dispose()


class TestSQLStorage(conformance.StorageContract):
    """All of the contract."""

    def test_deletion_takes_roll_ups_along(self, two_projects):
        two_projects.delete(filters={'project_id': 'a'})

        with two_projects.database.reader() as connection:
            assert (
                connection.execute(
                    sa.select(sa.func.count()).select_from(tables.rated_days)
                ).scalar()
                == 1
            )
        with pytest.raises(errors.InvalidInput, match='project_id and time only'):
            two_projects.delete(filters={'id': 'i3'})

    def test_an_error_leaves_nothing(self, storage):
        batch = [
            conformance.ScopeBatch(
                conformance.state(storage, name, MAY - HOUR),
                name,
                MAY - HOUR,
                MAY + HOUR,
                [frame(MAY, {'cpu': [point(name, number, 1)]})],
            )
            for name, number in (('a', '1'), ('b', '1e30'))
        ]

        with pytest.raises(errors.InvalidInput):
            storage.commit(batch)

        assert storage.retrieve(MAY, JUNE)['total'] == 0
        assert storage.commit(batch[:1]) == []
        assert storage.retrieve(MAY, JUNE)['total'] == 1


def test_a_month_whose_first_day_is_empty_has_a_sum(storage):
    """Days that hold nothing are no days without a month."""
    storage.push([frame(MAY + timedelta(days=9), {'cpu': [point('a', 1, 2)]})], 'a')

    assert totals(storage, ['time-m', 'time-y']) == [('5', '2024', 1, 2)]


def test_a_point_that_names_another_scope_is_that_scopes(storage):
    """A rating module may move a point; it is billed to the scope it names, and found there."""
    storage.push(
        [frame(MAY, {'instance': [point('a', 1, 1, id='x'), point('b', 1, 5, id='y')]})], 'a'
    )

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
        assert connection.execute(
            sa.select(tables.rated_attributes.c.name).where(
                tables.rated_attributes.c.name.in_(timeframe.CALENDAR_KEYS)
            )
        ).scalars().all() == ['month']


def test_one_series_object_may_say_something_else_on_another_day(storage):
    """What its calendar attributes mean depends on the period each point is in."""
    may_first = point('a', 1, 1, day_of_the_year='122')
    storage.push(
        [
            DataFrame(begin, begin + HOUR, {'instance': [may_first]})
            for begin in (MAY, MAY + 24 * HOUR)
        ],
        'a',
    )

    assert totals(storage, ['time-d'], filters={'day_of_the_year': '122'}) == [('122', 2, 2)]
    with storage.database.reader() as connection:
        assert len(connection.execute(sa.select(tables.rated_series.c.id)).all()) == 2


def test_one_series_object_may_say_something_else_in_the_next_batch(storage):
    """How the batch before was laid out is no help then."""
    may_second = point('a', 1, 1, day_of_the_year='123')
    for day in (1, 0, 2):
        begin = MAY + day * 24 * HOUR
        storage.push([DataFrame(begin, begin + HOUR, {'instance': [may_second]})], 'a')

    assert totals(storage, ['time-d'], filters={'day_of_the_year': '123'}) == [('123', 3, 3)]
    with storage.database.reader() as connection:
        assert len(connection.execute(sa.select(tables.rated_series.c.id)).all()) == 2


def test_numbers_beyond_the_columns_are_refused_whole(storage):
    with pytest.raises(errors.InvalidInput, match='20 digits before the point'):
        storage.push([frame(MAY, {'instance': [point('a', '1e20', 1), point('a', 1, 1)]})], 'a')

    assert storage.retrieve(MAY, JUNE)['total'] == 0


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
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(sa.delete(table))
        _end_other_connections(connection)

    storage.push(usage, 'a')

    assert storage.total(['id'], MAY, JUNE)['results'] == [
        {'begin': MAY, 'end': JUNE, 'id': 'i1', 'qty': 1, 'rate': 0}
    ]


def _end_other_connections(connection):
    if connection.dialect.name == 'postgresql':
        connection.execute(
            sa.text(
                'SELECT pg_terminate_backend(pid) FROM pg_stat_activity '
                'WHERE datname = current_database() AND pid <> pg_backend_pid()'
            )
        )
        return
    others = (
        connection.execute(
            sa.text(
                'SELECT id FROM information_schema.processlist '
                'WHERE db = database() AND id <> connection_id()'
            )
        )
        .scalars()
        .all()
    )
    for number in others:
        connection.execute(sa.text(f'KILL {number}'))


@pytest.mark.parametrize('count, is_kept', [(rollups.KEPT_NAMES_MAX, True), (32, False)])
def test_statements_with_many_names_are_not_kept(storage, count, is_kept):
    """Each takes a megabyte, and callers can make up any number of them."""
    storage.push([frame(MAY, {'cpu': [point('a', 1, 2)]})], 'a')
    kept = []

    @sa.event.listens_for(storage.database.engine, 'before_cursor_execute')
    def note(connection, cursor, statement, parameters, context, is_many):
        kept.append('compiled_cache' not in context.execution_options)

    names = [f'a{number}' for number in range(count)]
    storage.total(groupby=names, begin=MAY, end=JUNE)
    storage.retrieve(MAY, JUNE, dict.fromkeys(names, ''))

    assert set(kept) == {is_kept}
