"""Damage in ClickHouse is found, and what derives from the points is made right."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import clickhouse_tables, tables
from cloudkitty.storage.v2.clickhouse import folding
from cloudkitty.storage.v2.series.faults import list_scopes
from cloudkitty.tests.clickhouse import empty
from cloudkitty.tests.conformance.storage import HOUR, JUNE, MAY, frame, point, state, totals
from cloudkitty.tests.drivers.storage.test_clickhouse_folding import fold

pytestmark = pytest.mark.xdist_group('clickhouse')
DAY = timedelta(days=1)


@pytest.fixture
def storage(clickhouse, conf, database):
    """Three days of two scopes, which are folded, and one row that is not committed."""
    with empty(conf, clickhouse.url) as opened:
        for scope in 'ab':
            for day in range(3):
                push(opened, scope, MAY + day * DAY, day)
                push(opened, scope, MAY + day * DAY + HOUR, '0.1', 'y')
            state(opened, scope, MAY + 2 * DAY + HOUR)
        opened.push([frame(MAY, {'credit': [point('a', 1, -1, id='p')]})])
        fold(opened)
        push(opened, 'a', MAY + DAY, 5)
        yield opened


def push(storage, scope, begin, price, *ids):
    points = [point(scope, 1, price, id=one) for one in ('x', *ids)]
    storage.push([frame(begin, {'cpu': points})], scope)


def number(storage, scope):
    with storage.database.reader() as connection:
        return storage.id_cache.find_scopes(connection, [scope])[scope]


def told(storage, begin=None, end=None, scope_ids=None):
    with storage.database.reader() as connection:
        chosen = list_scopes(connection, scope_ids)
    return '\n'.join(str(one) for scope in chosen for one in storage.verify(scope, begin, end))


def left(storage):
    """Repair everything; return what cannot be made right."""
    with storage.database.reader() as connection:
        chosen = list_scopes(connection, None)
    return '\n'.join(
        str(fault)
        for repair in storage.repairs
        for scope in chosen
        for outcome in repair(scope)
        for fault in outcome.left
    )


def answers(storage):
    return [totals(storage, groups, MAY, JUNE) for groups in ([], ['id', 'project_id'], ['time-d'])]


def insert(storage, table, values):
    name = f'{storage.body.all[0].database}.{table}'
    storage.body.all[0].client.execute(f'INSERT INTO {name} SELECT {values}')


def day_row(storage, day, change):
    """Write the sums of a day of scope a again, as a committed revision, with a change."""
    (ticket,) = storage._writer.begin([[]])
    name = f'{storage.body.all[0].database}.days'
    storage.body.all[0].client.execute(
        f'INSERT INTO {name} SELECT * REPLACE ({ticket.revision} AS revision, '
        f'{int(ticket.until.timestamp())} AS until, {change}) FROM (SELECT * FROM {name} '
        f"WHERE scope = {number(storage, 'a')} AND day = '{day:%Y-%m-%d}' "
        'ORDER BY revision DESC LIMIT 1)'
    )
    storage.database.write(
        lambda connection: connection.execute(
            sa.delete(clickhouse_tables.revisions).where(
                clickhouse_tables.revisions.c.id == ticket.revision
            )
        )
    )


def test_nothing_is_wrong_with_what_is_not_committed(storage):
    """Nor with days that changed since they were folded."""
    whole = answers(storage)
    (ticket,) = storage._writer.begin([[number(storage, 'a')]])
    insert(
        storage,
        'frames',
        f"{number(storage, 'a')}, toDateTime64('{MAY:%Y-%m-%d %H:%M:%S}', 6, 'UTC'), 0, "
        f"{ticket.revision}, toDateTime64('{JUNE:%Y-%m-%d %H:%M:%S}', 6, 'UTC'), "
        f'{int(ticket.until.timestamp())}, [999999], [7], [7]',
    )

    assert told(storage) == ''
    assert left(storage) == ''
    assert answers(storage) == whole


# What is done to the sums of a day.
CHANGES = [
    "arrayMap(n -> n + toDecimal256('1e-28', 38), prices) AS prices",
    'arrayMap(n -> n * 2, quantities) AS quantities',
    'arrayMap(n -> n + 1, counts) AS counts',
    '[ids[1]] AS ids, [prices[1]] AS prices, [quantities[1]] AS quantities, [counts[1]] AS counts',
    'arrayPushBack(ids, 888) AS ids, arrayPushBack(prices, toDecimal256(7, 38)) AS prices, '
    'arrayPushBack(quantities, toDecimal256(7, 38)) AS quantities, '
    'arrayPushBack(counts, toUInt64(0)) AS counts',
]


def test_wrong_sums_are_found_and_made_anew(storage):
    whole = answers(storage)
    for change in CHANGES:
        day_row(storage, MAY + 2 * DAY, change)

        text = told(storage)
        assert text.startswith('days: scope_id '), change
        assert f'day {MAY + 2 * DAY:%Y-%m-%d}' in text
        assert told(storage, scope_ids=['b']) == ''
        assert told(storage, begin=JUNE) == told(storage, end=MAY - DAY) == ''
        assert left(storage) == ''
        assert told(storage) == '', change
        assert answers(storage) == whole, change


def test_a_day_that_has_no_points_any_more(storage):
    """Its sums are found, and removed."""
    storage.delete(MAY + 2 * DAY, MAY + 3 * DAY, {'project_id': 'a'})
    assert told(storage) == ''
    with storage.database.writer() as connection:
        connection.execute(sa.delete(clickhouse_tables.unfolded_days))
    assert 'must not be there' in told(storage)

    assert left(storage) == ''
    assert told(storage) == ''
    assert totals(storage, [], MAY + 2 * DAY, MAY + 3 * DAY, filters={'project_id': 'a'}) == []


def test_wrong_sums_are_not_read_while_they_are_made_anew(storage, monkeypatch):
    """A repair that dies leaves every answer right."""
    whole = answers(storage)
    day_row(storage, MAY + 2 * DAY, 'arrayMap(n -> n * 2, prices) AS prices')
    assert answers(storage) != whole

    def killed(*arguments):
        raise ConnectionError

    monkeypatch.setattr(folding, '_fold', killed)
    with pytest.raises(ConnectionError):
        left(storage)
    monkeypatch.undo()
    assert answers(storage) == whole
    fold(storage, datetime.now(UTC) + HOUR)
    assert (told(storage), answers(storage)) == ('', whole)


def test_series_are_compared_with_those_of_sql(storage):
    """One that is missing is written; of one that says something else verify tells."""
    whole = answers(storage)
    name = f'{storage.body.all[0].database}.series'
    storage.body.all[0].client.execute(
        f"ALTER TABLE {name} DELETE WHERE groupby['id'] = 'y'", mutations_sync=2
    )
    assert answers(storage) != whole
    assert told(storage).count('series: scope_id') == 2

    assert left(storage) == ''
    assert (told(storage), answers(storage)) == ('', whole)
    storage.body.all[0].client.execute(
        f"ALTER TABLE {name} UPDATE metric = 'other' WHERE groupby['id'] = 'p'", mutations_sync=2
    )
    assert 'its content is not that of rated_series' in told(storage)
    assert 'its content is not that of rated_series' in left(storage)


DAMAGE = [
    ('end', "toDateTime64('2000-01-01 00:00:00', 6, 'UTC')", 'ends at 2000-01-01'),
    ('end', 'begin + toIntervalMinute(90)', 'a time is rated twice'),
    ('ids', '[424242]', 'points refer to series 424242, which is not one of this scope'),
    ('prices', '[1, 2]', '1 ids, 1 quantities and 2 prices'),
]


def test_damaged_frames_are_told(storage):
    push(storage, 'b', MAY + 5 * HOUR, 1)
    push(storage, 'b', MAY + 6 * HOUR, 1)
    name = f'{storage.body.all[0].database}.frames'
    for column, value, text in DAMAGE:
        storage.body.all[0].client.execute(
            f'ALTER TABLE {name} UPDATE {column} = {value} WHERE scope = {number(storage, "b")} '
            f"AND begin = toDateTime64('{MAY + 5 * HOUR:%Y-%m-%d %H:%M:%S}', 6, 'UTC')",
            mutations_sync=2,
        )
        assert text in told(storage)
    assert DAMAGE[-1][-1] in left(storage)


def test_progress_is_compared(storage):
    """Rated periods after the mark; and the end of the last one, by which overlaps are found."""
    with storage.database.writer() as connection:
        connection.execute(
            sa.update(tables.scopes)
            .where(tables.scopes.c.identifier == 'a')
            .values(last_processed_timestamp=timeframe.to_naive(MAY))
        )
        connection.execute(
            sa.update(clickhouse_tables.latest).values(rated_until=timeframe.to_naive(MAY + HOUR))
        )
    text = told(storage)
    assert '5 rated periods begin after that' in text
    assert text.count('rated_latest: scope_id') == 2
    assert 'rated periods begin after that' in left(storage)
    assert 'rated_latest' not in told(storage)


def test_a_sql_database_that_is_older_is_told(storage):
    """It would give revisions again: rows of before would be taken for those of after."""
    with storage.database.writer() as connection:
        connection.execute(sa.update(clickhouse_tables.counter).values(last=3))
    assert 'is older than ClickHouse' in told(storage)
