"""The driver clickhouse keeps the contract; what is not committed does not exist."""

import pathlib
import re
import types
from concurrent import futures
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty import db, errors
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame
from cloudkitty.core.scope_period import ScopePeriods
from cloudkitty.db import clickhouse_tables, tables
from cloudkitty.scopes import progress
from cloudkitty.storage import http
from cloudkitty.storage.v2 import ScopeBatch, clickhouse
from cloudkitty.storage.v2.clickhouse import ClickHouseStorage, conditions, literals, revisions
from cloudkitty.storage.v2.clickhouse.body import Where
from cloudkitty.storage.v2.clickhouse.revisions import Snapshot
from cloudkitty.storage.v2.clickhouse.writer import EVER, Stale
from cloudkitty.storage.v2.series.frame_rows import RATED, Frame, Part
from cloudkitty.tests import services
from cloudkitty.tests.clickhouse import configured, empty
from cloudkitty.tests.conformance import storage as conformance
from cloudkitty.tests.conformance.storage import (
    HOUR,
    JUNE,
    MAY,
    flat,
    frame,
    marks,
    point,
    state,
    totals,
)

pytestmark = pytest.mark.xdist_group('clickhouse')
HOSTILE = [
    "'",
    '\\',
    "\\'",
    'a\nb\tc',
    '\0',
    '\x07',
    '名 é',
    "') OR 1=1 --",
    '\\N',
    '{x:String}',
    '',
]


@pytest.fixture
def storage(clickhouse, conf, database):
    with empty(conf, clickhouse.url) as opened:
        yield opened


class TestClickHouseStorage(conformance.StorageContract):
    """All of the contract."""

    # That of all tests, whose schema is a copy of a file.
    @pytest.fixture
    def conf(self, conf):
        return conf

    def test_deletion_is_by_scope_and_time(self, two_projects):
        with pytest.raises(errors.InvalidInput, match='project_id and time only'):
            two_projects.delete(filters={'id': 'i3'})


@pytest.fixture
def batch(storage):
    key = state(storage, 'a', MAY - HOUR)
    return ScopeBatch(key, 'a', MAY - HOUR, MAY, [frame(MAY, {'cpu': [point('a', 1, 1, id='x')]})])


def parts(*batches):
    return [Part(RATED, one.usage) for one in batches]


def rows(storage):
    """Return the number of rows in ClickHouse, whether they exist or not."""
    return storage.body.all[0].client.rows(
        f'SELECT count() FROM {storage.body.all[0].database}.frames'
    )[0][0]


def test_what_died_between_insert_and_commit_is_invisible(storage, batch):
    storage._writer.write(parts(batch))

    assert rows(storage) == 1
    assert totals(storage, []) == []
    assert storage.retrieve(MAY, JUNE) == {'total': 0, 'dataframes': []}
    assert storage.commit([batch]) == []
    assert totals(storage, []) == [(1, 1)]
    assert rows(storage) == 2


def test_a_commit_that_is_refused_leaves_nothing_visible(storage, batch):
    """Another worker was first; its usage is neither replaced nor added to."""
    other = batch._replace(frames=[frame(MAY, {'cpu': [point('a', 7, 7, id='x')]})])
    assert storage.commit([other]) == []

    assert storage.commit([batch]) == [batch]

    assert totals(storage, []) == [(7, 7)]
    assert rows(storage) == 2


def test_a_transaction_that_fails_leaves_nothing_visible(storage, batch, monkeypatch):
    def lost(*arguments):
        raise ConnectionError

    monkeypatch.setattr(progress, 'advance', lost)
    with pytest.raises(ConnectionError):
        storage.commit([batch])
    monkeypatch.undo()

    assert totals(storage, []) == []
    assert marks(storage) == {'a': MAY - HOUR}
    assert storage.commit([batch]) == []
    assert totals(storage, []) == [(1, 1)]


def test_rows_that_arrive_after_all_is_over_change_nothing(storage, batch):
    """An insert of a worker that was taken for dead."""
    late = batch._replace(frames=[frame(MAY, {'cpu': [point('a', 7, 7, id='x')]})])
    (ticket,) = storage._writer.begin([storage._numbers(['a']).values()])
    assert storage.commit([batch]) == []

    storage._writer.write(parts(late), [ticket])

    assert totals(storage, []) == [(1, 1)]


def test_rows_that_are_there_twice_count_once(storage, conf):
    """Every total and page is as before; merges would remove the copies some day."""
    name = conf.storage_clickhouse.database
    for table in ('frames', 'series'):
        storage.body.all[0].client.execute(f'SYSTEM STOP MERGES {name}.{table}')
    for hour in range(6):
        for scope in ('a', 'b'):
            usage = {'cpu': [point(scope, 1, hour, id=one) for one in ('x', 'y')]}
            storage.push([frame(MAY + hour * HOUR, usage)], scope)
    storage.delete(MAY + 3 * HOUR, MAY + 5 * HOUR, {'project_id': 'a'})
    questions = [['id'], ['time-d', 'project_id'], ['time'], []]

    def answers():
        sums = [storage.total(groups, MAY, JUNE, filters={'id': 'x'}) for groups in questions]
        pages = [
            list(flat(storage.retrieve(MAY, JUNE, {'id': 'x'}, offset=offset, limit=4)))
            for offset in range(0, 12, 4)
        ]
        return sums, pages

    before = answers()
    for table in ('frames', 'series'):
        storage.body.all[0].client.execute(
            f'INSERT INTO {name}.{table} SELECT * FROM {name}.{table}'
        )

    assert rows(storage) == 2 * (12 + 2)
    assert answers() == before
    assert before[0][3]['results'][0]['qty'] == 10


def test_a_reader_sees_its_snapshot(storage, batch):
    """What is committed meanwhile is not there yet, what is removed meanwhile still is."""
    assert storage.commit([batch]) == []
    (open_ticket,) = storage._writer.begin([[1]])
    with storage._reader() as reader:
        storage.push([frame(MAY, {'cpu': [point('a', 5, 5, id='x')]})], 'a')
        storage.push([frame(MAY + HOUR, {'cpu': [point('a', 5, 5, id='x')]})], 'a')
        old = storage.body.keys(reader.snapshot, Where(MAY, JUNE))

    assert open_ticket.revision in reader.snapshot.open
    assert [row.begin for row in old] == [MAY]
    found = list(storage.body.points(reader.snapshot, Where(MAY, JUNE)))
    assert [one.columns[1] for one in found] == [[1]]
    assert totals(storage, []) == [(10, 10)]


def test_every_query_has_the_snapshot(storage, two_frames, monkeypatch):
    """And takes the newest row in the order of the key, of any number of copies."""
    asked = []
    client = storage.body.all[0].client
    monkeypatch.setattr(
        client,
        'rows',
        lambda statement, real=client.rows: asked.append(statement) or real(statement),
    )
    storage.total(['id', 'time-m'], MAY, JUNE, filters={'month': '5'})
    storage.total(['time'], MAY, JUNE, offset=9)
    storage.total(begin=MAY, end=JUNE, custom_fields='max(qty)')
    storage.retrieve(MAY, JUNE, {'id': 'x'})
    storage.retrieve(MAY, JUNE, offset=5)
    storage.count_pushed(['a'], MAY)
    storage.remove_pushed(['a'], MAY, JUNE, lambda connection, removed: None)
    storage.rated_prices('a', MAY, JUNE)

    read = [one for one in asked if '.frames' in one]
    assert len(read) >= 10
    for statement in read:
        assert statement.count('.frames') == statement.count('LIMIT 1 BY scope, begin, origin')
        assert statement.count('.frames') == statement.count('revision <= ')


def test_nothing_but_one_function_reads_a_table():
    """So no query can forget the snapshot, nor decide by max(revision) or FINAL."""
    package = pathlib.Path(clickhouse.__file__).parent
    text = '\n'.join(path.read_text() for path in package.glob('*.py'))

    # Another one returns a key, where a list of keys may end, whether its row exists or not.
    for table, count in (('frames', 2), ('days', 1)):
        assert len(re.findall(rf'FROM \{{self\.database\}}\.{table}', text)) == count
    assert not re.search(r'max\(revision\)|\bFINAL\b|argMax', text)


@pytest.fixture
def two_frames(storage):
    storage.push([frame(MAY, {'cpu': [point('a', 1, 2, id='x')]})], 'a')
    storage.push([frame(MAY, {'credit': [point('a', 1, -1, id='c')]})])


def test_a_push_that_is_overtaken_is_done_again(storage, monkeypatch):
    """Two merge points into one period: the points of both are there."""
    first = frame(MAY, {'credit': [point('a', 1, -1, id='c')]})
    second = frame(MAY, {'credit': [point('a', 1, -2, id='d')]})
    write = storage._writer.write

    def overtaken(*arguments):
        monkeypatch.undo()
        written = write(*arguments)
        storage.push([second])
        return written

    monkeypatch.setattr(storage._writer, 'write', overtaken)
    storage.push([first])

    assert totals(storage, ['id']) == [('c', 1, -1), ('d', 1, -2)]


def test_a_scope_that_changes_all_the_time_is_given_up(storage, monkeypatch):
    monkeypatch.setattr(storage.database, 'sleep', lambda seconds: None)
    monkeypatch.setattr(revisions, 'close', lambda connection, tickets, *more: list(tickets))

    with pytest.raises(errors.DatabaseAway):
        storage.push([frame(MAY, {'cpu': [point('a', 1, 2, id='x')]})], 'a')
    monkeypatch.undo()
    assert totals(storage, []) == []


def test_no_time_is_rated_twice(storage, batch):
    assert storage.commit([batch]) == []
    longer = DataFrame(MAY - HOUR, MAY + HOUR, {'cpu': [point('a', 1, 1)]})

    with pytest.raises(errors.PeriodsOverlap):
        storage.push([longer], 'a')

    assert totals(storage, [], MAY - HOUR) == [(1, 1)]


def test_numbers_of_all_digits_are_exact(storage):
    """27 digits before the point and 38 behind it, and their sums."""
    large = Decimal('9' * 27 + '.' + '9' * 38)
    (ticket,) = storage._writer.begin([storage._numbers(['a']).values()])
    begins = [MAY + hour * HOUR for hour in range(10)]
    storage.body.insert(
        (_frame(begin, [1, 2], [large, -large], [large, Decimal('1E-38')]), ticket)
        for begin in begins
    )
    seen = ticket.snapshot._replace(open=())

    points = list(storage.body.points(seen, Where(MAY, JUNE)))
    visible = storage.body.all[0].visible(seen, Where(MAY, JUNE), 'ids, prices')
    ((total,),) = storage.body.all[0].client.rows(
        f'SELECT sum(price) FROM ({visible}) ARRAY JOIN prices AS price'
    )

    assert [one.columns for one in points] == [
        ([1, 2], [large, -large], [large, Decimal('1E-38')])
    ] * 10
    assert total == '1' + '0' * 28


def _frame(begin, ids, quantities, prices):
    naive = timeframe.to_naive(begin)
    return Frame(1, RATED, naive, naive + HOUR, ids, quantities, prices, b'')


@pytest.mark.parametrize('number', ['1e27', '9' * 28, '-1e20'])
def test_numbers_with_more_digits_are_refused_whole(storage, number):
    with pytest.raises(errors.InvalidInput, match='digits before the point'):
        storage.push([frame(MAY, {'cpu': [point('a', number, 1), point('a', 1, 1)]})], 'a')

    assert storage.retrieve(MAY, JUNE)['total'] == 0


def test_a_time_that_clickhouse_has_not_is_refused(storage):
    begin = datetime(2300, 1, 1, tzinfo=UTC)

    with pytest.raises(errors.InvalidInput, match='from 1900 to 2299'):
        storage.push([DataFrame(begin, begin + HOUR, {'cpu': [point('a', 1, 1)]})], 'a')


def test_literals_are_read_as_they_are(storage):
    """Whatever text a caller gives, it stays text."""
    shown = ', '.join(map(literals.text, HOSTILE))

    (found,) = storage.body.all[0].client.rows(f'SELECT {shown}')

    assert found == HOSTILE


def test_hostile_attributes_are_found_and_grouped(storage):
    for hour, text in enumerate(HOSTILE):
        usage = [point('a', 1, hour, id=text.replace('\0', ' '), **{f'n{text}': 'x'})]
        storage.push([frame(MAY + hour * HOUR, {f'm{text}': usage})], 'a')

    for hour, text in enumerate(HOSTILE):
        assert totals(storage, [], filters={f'n{text}': 'x'}) == [(1, hour)]
        assert totals(storage, [f'n{text}'], metric_types=f'm{text}') == [('x', 1, hour)]
    assert [row[0] for row in totals(storage, ['id'])] == sorted(
        text.replace('\0', ' ') for text in HOSTILE
    )


def test_calendar_is_that_of_python(storage):
    """Every day of 80 years has the same week, day, month and year as in the other drivers."""
    names = ', '.join(conditions.CALENDAR.values())
    days = 80 * 366
    found = storage.body.all[0].client.rows(
        f"SELECT {names} FROM (SELECT toDate32('1970-01-01') + number AS day FROM numbers({days}))"
    )

    for number, row in enumerate(found):
        day = timeframe.EPOCH + timedelta(days=number)
        assert dict(zip(conditions.CALENDAR, row, strict=True)) == timeframe.calendar_of(day)


def test_own_calendar_of_a_source_takes_precedence(storage):
    own, same = point('a', 1, 1, month='4'), point('a', 2, 2)
    storage.push([frame(MAY, {'cpu': [own, same]})], 'a')

    assert totals(storage, ['time-m']) == [('4', 1, 1), ('5', 2, 2)]
    assert totals(storage, [], filters={'month': '5'}) == [(2, 2)]
    assert storage.retrieve(MAY, JUNE, {'month': '4'})['total'] == 1


def test_a_point_that_names_another_scope_is_that_scopes(storage):
    usage = [point('a', 1, 1, id='x'), point('b', 1, 5, id='y')]
    storage.push([frame(MAY, {'cpu': usage})], 'a')

    assert totals(storage, ['project_id']) == [('a', 1, 1), ('b', 1, 5)]
    assert [one for *_, one, _ in flat(storage.retrieve(MAY, JUNE, {'project_id': 'b'}))] == ['y']
    storage.delete(filters={'project_id': 'a'})
    assert totals(storage, ['project_id']) == []


def test_pushed_points_are_counted_and_removed_alone(storage, two_frames):
    noted = []

    assert storage.count_pushed(['a', 'unknown'], MAY - HOUR) == 1
    assert storage.rated_prices('a', MAY, JUNE) == {(MAY, 'cpu'): 2}
    removed = storage.remove_pushed(
        ['a'], MAY, JUNE, lambda connection, found: noted.append(dict(found))
    )

    assert removed == {'a': 1} == noted[0]
    assert totals(storage, ['type']) == [('cpu', 1, 2)]
    assert storage.count_pushed(['a'], MAY - HOUR) == 0


def test_many_points_are_read_in_parts(storage, monkeypatch):
    monkeypatch.setattr('cloudkitty.storage.v2.clickhouse.reader.POINTS_AT_ONCE', 3)
    for hour in range(9):
        storage.push(
            [frame(MAY + hour * HOUR, {'cpu': [point('a', hour, 1), point('b', 1, 1)]})], 'a'
        )

    answer = storage.total(['type'], MAY, JUNE, custom_fields='max(qty) AS top, count(qty) AS n')
    assert answer['results'] == [{'begin': MAY, 'end': JUNE, 'type': 'cpu', 'top': 8, 'n': 18}]


def test_changes_of_closed_months_are_noted(storage, conf, clickhouse):
    """What is stored, replaced and removed; so that statements are made again."""
    conf.set_override('enabled', True, 'billing')
    billed = ClickHouseStorage(conf)
    billed.push([frame(MAY, {'cpu': [point('a', 1, 1), point('b', 1, 1)]})], 'a')
    billed.push([frame(MAY, {'cpu': [point('a', 1, 1)]})], 'a')
    billed.delete(MAY, JUNE)

    with billed.database.reader() as connection:
        table = billed._writer.changes and tables.metadata.tables['billing_changes']
        found = connection.execute(sa.select(table.c.changes).order_by(table.c.scope_id)).scalars()
        assert list(found) == [3, 2]
    billed.database.engine.dispose()


# What is removed in the background.


def test_rows_of_dead_revisions_are_swept(storage, batch):
    """Not before nobody can write or commit them any more; what was committed stays."""
    now = datetime.now(UTC)
    storage._writer.write(parts(batch))
    assert storage.commit([batch]) == []

    assert storage.fold(now + revisions.LIFETIME) is False
    assert (rows(storage), seen(storage.database).open) == (2, (1,))

    storage.fold(now + 3 * revisions.LIFETIME)
    assert (rows(storage), seen(storage.database).open) == (1, ())
    assert totals(storage, []) == [(1, 1)]


def test_an_old_revision_is_neither_written_nor_committed(storage, batch, pauses):
    """A process that was held for a day cannot bring back what was swept."""
    (ticket,) = storage._writer.begin([storage._numbers(['a']).values()])
    written = storage._writer.write(parts(batch), [ticket])
    old = ticket._replace(until=datetime.now(UTC) - HOUR)

    with pytest.raises(errors.DatabaseAway):
        storage._writer.write(parts(batch), [old])
    with pytest.raises(errors.DatabaseAway):
        storage.body.insert_removal(old._replace(snapshot=Snapshot(9, ())), Where(MAY, JUNE))
    with pytest.raises(Stale):
        storage._close([written[0]._replace(ticket=old)])
    assert rows(storage) == 1


def test_months_past_their_retention_are_removed(storage, conf):
    """They are hidden at once, and removed an hour later."""
    storage.push([frame(MAY, {'cpu': [point('a', 1, 1)]})], 'a')
    storage.push([frame(JUNE, {'cpu': [point('a', 2, 2)]})], 'a')
    assert storage.expire(JUNE) is False
    conf.set_override('retention_period', 24, 'storage')
    now = JUNE + timedelta(days=20)

    assert storage.expire(now) is False
    assert totals(storage, [], MAY, now) == [(2, 2)]
    assert storage.expire(now + HOUR / 2) is False
    assert rows(storage) == 2
    assert storage.expire(now + HOUR) is False
    assert rows(storage) == 1
    assert totals(storage, [], MAY, now) == [(2, 2)]
    with pytest.raises(errors.InvalidInput, match='retention_period'):
        storage.push([frame(MAY, {'cpu': [point('a', 1, 1)]})], 'a')


# The servers.


@pytest.fixture
def pauses(monkeypatch):
    """Yield the seconds of each pause that was asked for; there is none."""
    asked = []
    monkeypatch.setattr(http.time, 'sleep', asked.append)
    return asked


def test_the_next_server_is_asked(storage, conf, clickhouse, pauses):
    """At once, and the one that answers is asked first from then on."""
    away = f'http://127.0.0.1:{services.free_port()}'
    conf.set_override('urls', [away, clickhouse.url], 'storage_clickhouse')
    other = ClickHouseStorage(conf)

    other.push([frame(MAY, {'cpu': [point('a', 1, 1)]})], 'a')

    assert totals(storage, []) == [(1, 1)]
    assert other.body.all[0].client._first == 1
    assert pauses == []
    other.database.engine.dispose()


def test_no_server_is_an_error_of_its_own(conf, database, caplog, pauses):
    """All are asked before each pause. Nothing says the password."""
    away = [f'http://127.0.0.1:{services.free_port()}' for _ in range(2)]
    configured(conf, None).set_override('urls', away, 'storage_clickhouse')
    conf.set_override('password', 's3cret', 'storage_clickhouse')
    storage = ClickHouseStorage(conf)

    with pytest.raises(errors.DatabaseAway):
        storage.total(begin=MAY, end=JUNE)

    asked = [url for line in caplog.messages for url in away if url in line]
    assert asked == away * http.ATTEMPTS_MAX
    assert pauses == [1, 2, 4]
    assert 's3cret' not in caplog.text
    storage.database.engine.dispose()


def test_a_refused_statement_is_told(storage, caplog):
    with pytest.raises(errors.DatabaseAway):
        storage.body.all[0].client.rows('SELECT nonsense')

    assert 'nonsense' in caplog.text


def test_replicas_are_brought_up_to_date_before_they_answer(storage, conf, monkeypatch):
    """A replica that cannot do that gives no answer; here none of them can."""
    conf.set_override('replicated', True, 'storage_clickhouse')

    with pytest.raises(errors.DatabaseAway):
        storage.total(begin=MAY, end=JUNE)
    conf.set_override('sync_before_read', False, 'storage_clickhouse')
    assert totals(storage, []) == []


# Revisions, on each database.


@pytest.fixture
def owner(any_database):
    with any_database.writer() as connection:
        return connection.execute(
            sa.insert(tables.rated_scopes).values(scope_key='project_id', identifier='a')
        ).inserted_primary_key[0]


def take(database, *groups):
    return database.write(lambda connection: revisions.begin(connection, groups, JUNE))


def give_back(database, ticket, until=types.MappingProxyType({})):
    """Close a revision; return it if it is not valid."""
    return database.write(lambda connection: revisions.close(connection, [ticket], until, JUNE))


def seen(database):
    with database.reader() as connection:
        return revisions.snapshot(connection)


def test_revisions_are_open_until_they_are_closed(any_database, owner):
    assert seen(any_database) == (0, ())
    first, second = take(any_database, [owner], [owner])
    assert (first.revision, second.revision) == (1, 2)
    assert seen(any_database) == (2, (1, 2))

    assert give_back(any_database, second, {owner: MAY}) == []
    assert seen(any_database) == (2, (1,))

    # Another has changed the scope since.
    assert give_back(any_database, first) == [first]
    assert seen(any_database) == (2, (1,))
    (third,) = take(any_database, [owner])
    assert third.states == {owner: (2, MAY)}
    assert third.snapshot == (3, (1, 3))


def test_a_revision_that_the_database_lost_is_not_closed(any_database, owner):
    (ticket,) = take(any_database, [owner])
    with any_database.writer() as connection:
        connection.execute(sa.delete(clickhouse_tables.revisions))

    assert give_back(any_database, ticket) == [ticket]


def test_a_part_is_written_in_columns(storage):
    """Several periods at once, some without one of the series."""
    frames = [
        frame(MAY + hour * HOUR, {'cpu': [point('a', 1, 1, id=f'i{n}') for n in range(hour + 1)]})
        for hour in range(3)
    ]
    written = storage._writer.write([Part(RATED, ScopePeriods.of_frames('a', frames))])
    storage._close(written)

    assert written[0].rated_until == MAY + 3 * HOUR
    assert totals(storage, ['id']) == [('i0', 3, 3), ('i1', 2, 2), ('i2', 1, 1)]
    assert isinstance(storage.database, db.Database)
    assert storage.body.keys(seen(storage.database), Where(*EVER))[0].points == 1


@pytest.mark.parametrize('any_conf', ['postgresql'], indirect=True)
def test_revisions_become_visible_in_their_order(any_database, owner):
    """Who takes numbers waits for who took some before, so that no snapshot lacks an open one."""
    with futures.ThreadPoolExecutor() as pool, any_database.writer() as first:
        assert [one.revision for one in revisions.begin(first, [[owner]], JUNE)] == [1]
        second = pool.submit(take, any_database, [owner])
        services.wait_until(
            lambda: _is_waiting(any_database), deadline_s=60, what='the second to wait'
        )
        assert not second.done()
        assert seen(any_database) == (0, ())
        first.commit()
        assert [one.revision for one in second.result(timeout=60)] == [2]
    assert seen(any_database) == (2, (1, 2))


@pytest.mark.parametrize('any_conf', ['postgresql'], indirect=True)
def test_rows_of_a_revision_that_is_being_closed_are_not_swept(any_database, owner):
    """A process may be suspended for days in the transaction that closes it."""
    (ticket,) = take(any_database, [owner])
    later = JUNE + 3 * revisions.LIFETIME
    with futures.ThreadPoolExecutor() as pool, any_database.writer() as closing:
        assert revisions.close(closing, [ticket], {}, JUNE) == []
        dead = pool.submit(
            any_database.write, lambda connection: revisions.find_dead(connection, later, 9)
        )
        services.wait_until(
            lambda: _is_waiting(any_database), deadline_s=60, what='the sweep to wait'
        )
        closing.commit()
        assert dead.result(timeout=60) == []


def _is_waiting(database):
    """Return whether a session waits for a lock in this database."""
    with database.reader() as connection:
        waiting = sa.text(
            'SELECT count(*) FROM pg_stat_activity '
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return connection.execute(waiting).scalar_one() > 0
