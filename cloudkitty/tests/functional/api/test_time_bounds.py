"""The time a question is about: begin is part of it, end is not; this month by default."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty.api import root
from cloudkitty.audit import snapshots, trail
from cloudkitty.core import timeframe
from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional.api import world

HOUR = timedelta(hours=1)
DAY = datetime(2019, 1, 1, tzinfo=UTC)
# One period each hour; the quantity, and the project, tell which it was.
HOURS = range(3)
BOUNDS = [
    ('2019-01-01T00:00:00', '2019-01-01T01:00:00', {0}),
    ('2019-01-01T00:00:01', '2019-01-01T01:00:00', set()),
    ('2019-01-01T00:00:00', '2019-01-01T01:00:01', {0, 1}),
    ('2018-12-31T23:59:59', '2019-01-01T00:00:00', set()),
    ('2018-12-31T23:59:59', '2019-01-01T00:00:01', {0}),
    ('2019-01-01T01:00:00', '2019-01-01T02:00:00', {1}),
    ('2019-01-01T01:00:00Z', '2019-01-02', {1, 2}),
    ('2019-01-01', '2019-01-02', {0, 1, 2}),
    ('20190101', '20190101T02:00', {0, 1}),
    ('2019-01-01 01:00', '2019-01-01 01:59:59', {1}),
    ('2019-01-01T02:00:00+01:00', '2019-01-01T03:00:00+01:00', {1}),
    ('2018-12-31T20:00:00-05:00', '2018-12-31T21:00:00-05:00', {1}),
    ('2019-01-01T07:30:00+05:30', '2019-01-01T02:30:00', {2}),
    ('2019-01-01T02:00:00', '2019-01-01T02:00:00', set()),
    ('2019-01-02', '2019-01-01', set()),
]


def _by_time(answer):
    return {datetime.fromisoformat(row[0]).hour for row in answer['results']}


def _by_project(answer):
    return {int(row[4]) for row in answer['results']}


def _by_quantity(answer):
    return _bits(sum(row[2] for row in answer['results']))


def _bits(total):
    return {hour for hour in HOURS if int(total) & 2**hour}


def _frames(answer):
    return {datetime.fromisoformat(frame['period']['begin']).hour for frame in answer['dataframes']}


ROUTES = {
    '/v2/summary?groupby=time': _by_time,
    '/v2/summary?groupby=project_id': _by_project,
    '/v2/summary?filters=type:instance': _by_quantity,
    '/v2/dataframes?limit=10': _frames,
    '/v1/report/summary?groupby=tenant_id': lambda answer: {
        int(item['tenant_id']) for item in answer['summary']
    },
    '/v1/report/total?service=instance': lambda answer: _bits(float(answer)),
    '/v1/report/tenants?': lambda answer: set(map(int, answer)),
    '/v1/storage/dataframes?': lambda answer: {
        datetime.fromisoformat(frame['begin']).hour for frame in answer['dataframes']
    },
    '/v2/audit?kind=hashmap_group': lambda answer: {
        int(row['object_id']) for row in answer['results']
    },
}
RATED = [path for path in ROUTES if 'audit' not in path]


def _push(made, begin, number):
    """Push a period that costs what it uses, a power of two."""
    point = DataPoint('u', 2**number, 2**number, {'project_id': str(number)}, {})
    made.storage.push([DataFrame(begin, begin + HOUR, {'instance': [point]})])


@pytest.fixture(scope='module')
def made(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('bounds'), sqlite_template) as opened:
        for hour in HOURS:
            begin = DAY + hour * HOUR
            _push(opened, begin, hour)
            group = {snapshots.Key(snapshots.GROUP, str(hour)): {'name': 'g'}}
            with opened.database.writer() as connection:
                trail.record(connection, trail.Actor(), before={}, after=group, now=begin)
        yield opened


@pytest.fixture(scope='module')
def application(made):
    return made.noauth()


def _ask(application, path, **bounds):
    shown = ''.join(
        f'&{name}={value.replace("+", "%2B").replace(" ", "%20")}' for name, value in bounds.items()
    )
    answer = world.call(application, path + shown)
    if answer.status_int == 404:
        assert answer.json['message'] == 'No points match.'
        return set()
    assert answer.status_int == 200, answer.text
    return ROUTES[path](answer.json)


def test_every_route_with_a_span_is_asked():
    """A new one belongs into the table above."""
    described = {
        path
        for path, methods in root.RootController().description['paths'].items()
        for parameter in methods.get('get', {}).get('parameters', ())
        if parameter['name'] == 'begin'
    }

    # Usage that was pushed to the service itself: see test_meters.py.
    metering = {path for path in described if path.startswith(('/v2/meters', '/v2/resources'))}
    asked = {path.partition('?')[0] for path in ROUTES}
    assert described - metering == asked | {'/v2/completeness', '/v2/samples'}


@pytest.mark.parametrize('path', ROUTES)
def test_a_span_holds_what_begins_in_it(application, path):
    for begin, end, expected in BOUNDS:
        assert _ask(application, path, begin=begin, end=end) == expected, (begin, end)


@pytest.mark.parametrize('path', RATED)
def test_a_bound_that_is_not_given_is_that_of_this_month(application, path):
    """A begin of long ago reaches to the end of this month; an end of long ago leaves nothing."""
    # Who has ever been rated is asked for in one call.
    assert _ask(application, path) == (set(HOURS) if 'tenants' in path else set())
    assert _ask(application, path, begin='2019-01-01T01:00:00') == {1, 2}
    assert _ask(application, path, end='2019-01-01T01:00:00') == set()


def test_a_list_of_changes_has_no_bounds_of_its_own(application):
    path = '/v2/audit?kind=hashmap_group'

    assert _ask(application, path) == {0, 1, 2}
    assert _ask(application, path, begin='2019-01-01T01:00:00') == {1, 2}
    assert _ask(application, path, end='2019-01-01T01:00:00') == {0}


@pytest.mark.parametrize('path', ROUTES)
@pytest.mark.parametrize('bound', ['begin', 'end'])
@pytest.mark.parametrize('value', ['soon', '1546300800', '2019-13-01', '2019-01-01T25:00', ''])
def test_a_bound_that_is_no_time_is_refused(application, path, bound, value):
    assert world.call(application, f'{path}&{bound}={value}').status_int == 400


@pytest.mark.parametrize(
    'span, is_found',
    [
        ('begin=0001-01-01&end=9999-12-31T23:59:59', True),
        ('begin=2019-01-01&end=9999-12-31', True),
        ('begin=9999-12-31T12:00&end=9999-12-31T23:59:59', False),
        ('begin=9999-12-01&end=9999-12-31', False),
        ('begin=0001-01-01&end=0001-02-01', False),
        ('end=0001-01-01', False),
        ('begin=9999-12-31', False),
    ],
)
def test_a_span_may_reach_to_the_ends_of_the_calendar(application, span, is_found):
    """Nothing is rated there, and no arithmetic may fail on them."""
    for path in (
        '/v2/summary?',
        '/v2/summary?compare=previous&',
        '/v2/summary?groupby=time-y&',
        '/v2/dataframes?',
        '/v1/report/total?',
        '/v1/report/summary?',
        '/v1/report/tenants?',
        '/v1/storage/dataframes?',
    ):
        answer = world.call(application, f'{path}{span}')
        assert answer.status_int in ((200,) if is_found else (200, 404)), (path, answer.text)
    total = world.call(application, f'/v1/report/total?{span}').json
    assert (total not in ('0', None)) is is_found


@pytest.mark.parametrize('path', ['/v2/completeness', '/v2/forecast'])
def test_a_month_at_the_ends_of_the_calendar_is_refused(application, path):
    for month in ('0001-01', '9999-12'):
        assert world.call(application, f'{path}?month={month}').status_int == 400


def test_this_month_is_the_default(tmp_path, sqlite_template):
    """Its first and its last period, in UTC, and none of the months beside it."""
    month = timeframe.month_at(datetime.now(UTC))
    with world.opened(tmp_path, sqlite_template) as made:
        for number, begin in enumerate(
            (month.begin, month.end - HOUR, month.begin - HOUR, month.end)
        ):
            _push(made, begin, number)
        application = made.noauth()

        assert world.call(application, '/v1/report/total').json == '3'
        begin, end = (bound.strftime('%Y-%m-%dT%H:%M:%S') for bound in month)
        for span in (f'begin={begin}', f'end={end}'):
            assert world.call(application, f'/v1/report/tenants?{span}').json == ['0', '1'], span
        assert world.call(application, '/v1/report/tenants').json == ['0', '1', '2', '3']
        (item,) = world.call(application, '/v1/report/summary').json['summary']
        assert (item['begin'], item['end'], item['rate']) == (begin, end, '3.0')
        frames = world.call(application, '/v1/storage/dataframes').json['dataframes']
        assert [frame['tenant_id'] for frame in frames] == ['0', '1']
        assert world.call(application, '/v2/dataframes').json['total'] == 2
        (row,) = world.call(application, '/v2/summary').json['results']
        assert row == [*map(timeframe.render, month), 3.0, 3.0]
        complete = world.call(application, '/v2/completeness').json
        assert [complete['begin'], complete['end']] == [*map(timeframe.render, month)]


@pytest.mark.parametrize(
    'span, begin, end',
    [
        ('month=2019-02', '2019-02-01T00:00:00', '2019-03-01T00:00:00'),
        ('month=2019-12', '2019-12-01T00:00:00', '2020-01-01T00:00:00'),
        (
            'begin=2019-02-01T01:00:00%2B01:00&end=2019-03',
            '2019-02-01T00:00:00',
            '2019-03-01T00:00:00',
        ),
        # The longest: a leap year.
        ('begin=2020-01-01&end=2021-01-01', '2020-01-01T00:00:00', '2021-01-01T00:00:00'),
        ('begin=2019-01-01&end=2019-01-01T00:00:01', '2019-01-01T00:00:00', '2019-01-01T00:00:01'),
    ],
)
def test_a_span_that_may_be_complete(application, span, begin, end):
    answer = world.call(application, f'/v2/completeness?{span}')

    assert answer.status_int == 200, answer.text
    assert (answer.json['begin'], answer.json['end']) == (f'{begin}+00:00', f'{end}+00:00')


@pytest.mark.parametrize(
    'span',
    [
        'begin=2020-01-01&end=2021-01-01T00:00:01',
        'begin=2019-01-01&end=2019-01-01',
        'begin=2019-01-02&end=2019-01-01',
        'month=2019-02&begin=2019-02-01',
        'month=2019-02&end=2019-03-01',
        'month=2019-2',
        'begin=1969-12-31T23:59:59&end=1970-02',
        'begin=2999-12-31&end=3000-01-01',
    ],
)
def test_a_span_that_is_none(application, span):
    assert world.call(application, f'/v2/completeness?{span}').status_int == 400


def _scope(made):
    with made.database.writer() as connection:
        scope_state.record_seen(
            connection,
            scope_state.Identity.of(made.conf),
            ['p1'],
            now=DAY,
            initial_mark=DAY,
            final_mark=DAY,
        )


@pytest.mark.parametrize(
    'begin, end, status',
    [
        ('2018-12-31T00:00:00', '2019-01-01T00:00:00', 202),
        ('2018-12-31T01:00:00+01:00', '2018-12-31T01:00:00', 202),
        ('1970-01-01', '1970-01-02', 202),
        # An empty window is over at once.
        ('2018-12-31', '2018-12-31', 202),
        # Rated up to 2019-01-01T00:00, where the last period begins.
        ('2018-12-31T00:00:00', '2019-01-01T01:00:00', 400),
        ('2018-12-31T01:00:00', '2018-12-31T00:00:00', 400),
        ('2018-12-31T00:30:00', '2018-12-31T02:00:00', 400),
        ('2018-12-31T00:00:00', '2018-12-31T01:00:01', 400),
        ('1969-12-31T23:00:00', '1970-01-02', 400),
        ('2018-12-31', '3000-01-01', 400),
        ('2018-12-31', 'today', 400),
    ],
)
def test_a_window_of_a_task_has_whole_periods(tmp_path, sqlite_template, begin, end, status):
    with world.opened(tmp_path, sqlite_template) as made:
        _scope(made)
        body = {
            'scope_ids': 'p1',
            'reason': 'r',
            'start_reprocess_time': begin,
            'end_reprocess_time': end,
        }
        application = made.noauth()

        answer = world.call(application, '/v2/task/reprocesses', 'POST', json=body)

        assert answer.status_int == status, answer.text
        found = world.call(application, '/v2/task/reprocesses').json['results']
        windows = [(task['start_reprocess_time'], task['end_reprocess_time']) for task in found]
        window = (begin, end) if status == 202 else ()
        rendered = tuple(timeframe.render(timeframe.parse(bound)) for bound in window)
        assert windows == [rendered] * bool(window)
