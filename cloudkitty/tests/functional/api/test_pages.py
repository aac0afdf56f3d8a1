"""Pages of every list: bounds of offset and limit, totals, and what is larger than a page inside.

Code below the API reads and writes in parts of 200, 500 or 1000 rows; each list here has more.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from cloudkitty.api import root
from cloudkitty.audit import snapshots, trail
from cloudkitty.billing import ledger
from cloudkitty.billing.documents import Documents
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.scopes import resets
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional.api import world

BEGIN = datetime(2019, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
COUNT = 1203
LIMIT_MAX = 2000
WINDOW = 'begin=2019-01-01&end=2019-04-01'
# A list, and what tells one of its entries from the others, in the order of the list.
LISTS = {
    '/v2/scope': ('results', lambda row: row['scope_id']),
    '/v2/completeness?month=2019-01': ('results', lambda row: row['scope_id']),
    '/v2/task/reprocesses?order=asc': ('results', lambda row: row['scope_id']),
    f'/v2/summary?{WINDOW}&groupby=id': ('results', lambda row: row[4]),
    f'/v2/summary?{WINDOW}&groupby=time&filters=type:hours': ('results', lambda row: row[0]),
    f'/v2/dataframes?{WINDOW}&filters=type:hours': (
        'dataframes',
        lambda frame: frame['period']['begin'],
    ),
    '/v2/billing/accounts?month=2019-01': ('results', lambda row: row['id']),
    # The newest comes first.
    '/v2/statements': ('results', lambda row: -int(row['number'].rpartition('-')[2])),
    '/v2/rating/rules': ('results', lambda row: row['value']),
    '/v2/audit?kind=hashmap_group': ('results', lambda row: row['after']['name']),
}
# These say 404 instead of an empty page.
CSV = ('/v2/summary', '/v2/dataframes')
# Lists of pushed usage, see test_meters.py; tasks of one scope.
ELSEWHERE = {
    '/v2/meters',
    '/v2/resources',
    '/v2/resources/{resource_id}',
    '/v2/samples',
    '/v2/task/reprocesses/{scope_id}',
    '/v2/usage/late',
    '/v2/usage/producers',
    '/v2/usage/rejects',
}
NEVER_EMPTY = ('/v2/scope',)


def _names(count=COUNT):
    return [f's{number:04}' for number in range(count)]


def _points(made):
    """Push one hour of many resources, and many hours of one."""
    resources = [DataPoint('u', 1, 1, {'project_id': 'p1', 'id': name}, {}) for name in _names()]
    frames = [DataFrame(BEGIN, BEGIN + HOUR, {'instance': resources})]
    point = DataPoint('u', 1, 1, {'project_id': 'p2', 'id': 's0000'}, {})
    frames += [
        DataFrame(begin, begin + HOUR, {'hours': [point]})
        for begin in (BEGIN + HOUR * number for number in range(COUNT))
    ]
    made.storage.push(frames)


def _orders(made):
    with made.database.writer() as connection:
        scope_state.record_seen(
            connection,
            scope_state.Identity.of(made.conf),
            _names(),
            now=BEGIN,
            initial_mark=BEGIN,
            final_mark=BEGIN,
        )
        scope_reprocessing.create(
            connection,
            None,
            identity=scope_state.Identity.of(made.conf),
            window=Period(BEGIN - HOUR, BEGIN),
            reason='r',
            is_dry_run=True,
        )
        prices = {'cpu': scope_reprocessing.Prices(Decimal(1), Decimal(2))}
        scope_reprocessing.add_prices(connection, {number + 1: prices for number in range(COUNT)})


def _changes(made):
    groups = {snapshots.Key(snapshots.GROUP, name): {'name': name} for name in reversed(_names())}
    with made.database.writer() as connection:
        trail.record(connection, trail.Actor(), before={}, after=groups, now=BEGIN)


def _rules(made):
    rule = {'cost': Decimal(1), 'map_type': 'flat', 'name': '', 'created_by': '', 'start': BEGIN}
    with made.database.writer() as connection:
        service, field = (
            connection.execute(sa.insert(table).values(values)).inserted_primary_key[0]
            for table, values in (
                (tables.hashmap_services, {'service_id': 'instance', 'name': 'instance'}),
                (tables.hashmap_fields, {'field_id': 'id', 'name': 'id', 'service_id': 1}),
            )
        )
        assert service == 1
        connection.execute(
            sa.insert(tables.hashmap_mappings),
            [
                {**rule, 'mapping_id': name, 'value': name, 'field_id': field}
                for name in reversed(_names())
            ],
        )


def _accounts(made):
    document = {
        'plans': {'p': {'currency': 'EUR', 'items': []}},
        'accounts': {name: {'name': name, 'scopes': [name], 'plan': 'p'} for name in _names()},
    }
    made.conf.set_override('enabled', True, 'billing')
    Documents(made.database).apply(document, '2019-01', actor=trail.Actor(), now=BEGIN)


def _statements(made):
    zero = Decimal(0)
    sums = dict.fromkeys(('list_price', 'net', 'tax', 'total'), zero)
    with made.database.writer() as connection:
        for number, name in enumerate(_names()):
            entry = ledger.Entry(
                number=f'CK-2019-{number:06}',
                account=name,
                month='2018-01',
                revision=1,
                sequence=1,
                voids=None,
                owner=name,
                version=1,
                currency='EUR',
                digest='',
                previous=None,
                closed_at=BEGIN,
                author=None,
                **sums,
            )
            ledger.add(connection, [ledger.Content(entry, {}, [])])


@pytest.fixture(scope='module')
def made(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('pages'), sqlite_template) as opened:
        opened.conf.set_override('limit_max', LIMIT_MAX, 'api')
        _points(opened)
        _orders(opened)
        _changes(opened)
        _rules(opened)
        _accounts(opened)
        _statements(opened)
        yield opened


@pytest.fixture(scope='module')
def application(made):
    return made.noauth()


def _page(application, path, **page):
    marks = ''.join(f'&{name}={value}' for name, value in page.items())
    whole = path + (marks if '?' in path else marks.replace('&', '?', 1))
    return world.call(application, whole)


def _read(path, answer):
    assert answer.status_int == 200, answer.text
    member, name_of = LISTS[path]
    return answer.json['total'], [name_of(row) for row in answer.json[member]]


@pytest.fixture(scope='module')
def whole(application):
    """Every entry of each list, in order."""
    return {path: _read(path, _page(application, path, limit=LIMIT_MAX))[1] for path in LISTS}


def test_every_list_with_pages_is_read():
    """A new one belongs into the table above."""
    described = {
        path
        for path, methods in root.RootController().description['paths'].items()
        for parameter in methods.get('get', {}).get('parameters', ())
        if parameter['name'] == 'limit'
    }

    read = {path.partition('?')[0] for path in LISTS}
    assert described == read | ELSEWHERE


@pytest.mark.parametrize('path', LISTS)
def test_the_largest_page_has_all(whole, path):
    """All once, and in order."""
    assert len(whole[path]) == COUNT
    assert whole[path] == sorted(set(whole[path]))


@pytest.mark.parametrize('path', LISTS)
@pytest.mark.parametrize(
    'page, begin, end',
    [
        ({}, 0, 100),
        ({'offset': 0, 'limit': 1}, 0, 1),
        ({'offset': 1, 'limit': 1}, 1, 2),
        ({'limit': 201}, 0, 201),
        ({'offset': 199, 'limit': 2}, 199, 201),
        ({'offset': 499, 'limit': 502}, 499, 1001),
        ({'offset': 999, 'limit': 2}, 999, 1001),
        ({'offset': 1150}, 1150, COUNT),
        ({'offset': COUNT - 1, 'limit': 2}, COUNT - 1, COUNT),
        ({'offset': COUNT - 1, 'limit': LIMIT_MAX}, COUNT - 1, COUNT),
    ],
)
def test_a_page_is_a_part_of_the_whole(application, whole, path, page, begin, end):
    """The total is that of all pages; a page has 100 entries unless it says something else."""
    total, found = _read(path, _page(application, path, **page))

    assert total == COUNT
    assert found == whole[path][begin:end]


@pytest.mark.parametrize('path', LISTS)
def test_past_the_end_is_nothing(application, path):
    for offset in (COUNT, COUNT + 1, 2**31 - 1):
        answer = _page(application, path, offset=offset)
        if path in NEVER_EMPTY:
            assert answer.status_int == 404
        else:
            assert _read(path, answer) == (COUNT, [])


@pytest.mark.parametrize('path', LISTS)
@pytest.mark.parametrize(
    'page',
    [
        {'limit': 0},
        {'limit': -1},
        {'limit': LIMIT_MAX + 1},
        {'limit': ''},
        {'limit': '1.0'},
        {'limit': '1e1'},
        {'offset': -1},
        {'offset': 2**31},
        {'offset': ''},
        {'offset': 'all'},
    ],
)
def test_a_page_that_is_none_is_refused(application, path, page):
    answer = _page(application, path, **page)

    assert answer.status_int == 400, answer.text
    assert next(iter(page)) in answer.json['message']


def test_prices_of_a_dry_run_are_those_of_each_task(application):
    """However many tasks a page has."""
    answer = _page(application, '/v2/task/reprocesses', limit=LIMIT_MAX).json

    assert {tuple(map(str, task['prices'])) for task in answer['results']} == {
        (str({'type': 'cpu', 'old': 1.0, 'new': 2.0}),)
    }


def test_the_newest_order_comes_first(application, whole):
    """Unless the oldest is asked for."""
    _, found = _read(
        '/v2/task/reprocesses?order=asc', _page(application, '/v2/task/reprocesses', limit=3)
    )

    assert found == whole['/v2/task/reprocesses?order=asc'][:-4:-1]


def test_a_reset_is_ordered_for_all_scopes_that_match(application, made):
    """However many they are, and for no others."""
    other = scope_state.Identity('project_id', 'other', 'gnocchi')
    with made.database.writer() as connection:
        # Processors are at work for both.
        for identity in (scope_state.Identity.of(made.conf), other):
            scope_state.claim_fetch(connection, identity, seen=None, now=datetime.now(UTC))
        scope_state.record_seen(
            connection,
            other,
            ['x1', 's0000'],
            now=BEGIN,
            initial_mark=BEGIN,
            final_mark=BEGIN,
        )

    for chosen, expected in (
        ({'all_scopes': True, 'fetcher': 'keystone'}, _names()),
        ({'scope_id': ['x1'], 'fetcher': 'other'}, ['x1']),
    ):
        body = {'state': '2018-12-01', **chosen}
        answer = world.call(application, '/v2/scope', 'PUT', json=body)
        assert answer.status_int == 202, answer.text
        with made.database.reader() as connection:
            identity = scope_state.Identity.of(made.conf)._replace(fetcher=chosen['fetcher'])
            found = resets.list_pending(connection, identity)
            count = connection.scalar(sa.select(sa.func.count()).select_from(tables.resets))
        assert sorted(order.scope_id for order in found) == expected
        assert {order.mark for order in found} == {datetime(2018, 12, 1, tzinfo=UTC)}
        assert count == len(expected)
        with made.database.writer() as connection:
            connection.execute(tables.resets.delete())
    with made.database.writer() as connection:
        state_ids = [row.id for row in scope_state.list_scopes(connection, fetcher=['other'])[1]]
        connection.execute(tables.resets.delete())
        connection.execute(tables.scopes.delete().where(tables.scopes.c.id.in_(state_ids)))


@pytest.mark.parametrize('path', [path for path in LISTS if path.split('?')[0] in CSV])
def test_a_file_has_all_rows_without_a_limit(application, whole, path):
    """A header and a line for each row; with a limit it is a page of them."""
    lines = world.call(application, path, Accept='text/csv').text.splitlines()
    page = world.call(application, f'{path}&offset=200&limit=300', Accept='text/csv')

    assert len(lines) == 1 + COUNT
    assert page.text.splitlines() == [lines[0], *lines[201:501]]


def test_a_file_of_too_many_points_is_refused(made, application):
    made.conf.set_override('limit_max', COUNT - 1, 'api')
    try:
        answer = world.call(
            application, f'/v2/dataframes?{WINDOW}&filters=type:hours', Accept='text/csv'
        )
    finally:
        made.conf.set_override('limit_max', LIMIT_MAX, 'api')

    assert answer.status_int == 400
    assert f'{COUNT} points match, more than {COUNT - 1}' in answer.json['message']
