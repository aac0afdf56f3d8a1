"""GET /v2/forecast: what a month will cost, and to whom it is told."""

from datetime import UTC, datetime, timedelta

import pytest

from cloudkitty.core.dataframe import DataFrame, DataPoint
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests.functional.api import world
from cloudkitty.tests.functional.api.described import Described

ADMIN = {'X_Roles': 'admin,member,reader', 'X_User_Id': 'u', 'X_Project_Id': 'office'}
READER = {'X_Roles': 'reader', 'X_User_Id': 'u', 'X_Project_Id': 'p1'}
DAY = timedelta(days=1)
# The year changes: days are told apart by their year.
BEGIN, UNTIL = datetime(2018, 12, 28, tzinfo=UTC), datetime(2019, 1, 11, tzinfo=UTC)
MONTH = '/v2/forecast?month=2019-01'


@pytest.fixture(scope='module')
def application(tmp_path_factory, sqlite_template):
    with world.opened(tmp_path_factory.mktemp('forecast'), sqlite_template) as made:
        for scope, price in (('p1', '2.5'), ('p2', '100')):
            point = DataPoint('vm', 1, price, {'project_id': scope}, {})
            days = (UNTIL - BEGIN).days
            frames = [
                DataFrame(begin, begin + DAY, {'instance': [point]})
                for begin in (BEGIN + n * DAY for n in range(days))
            ]
            made.storage.push(frames, scope)
        identity = scope_state.Identity.of(made.conf)
        mark = UNTIL - timedelta(seconds=made.conf.collect.period)
        with made.database.writer() as connection:
            scope_state.record_seen(
                connection, identity, ['p1'], now=UNTIL, initial_mark=mark, final_mark=UNTIL
            )
        yield Described(made.behind_a_proxy({}))


def test_a_month_goes_on_as_its_last_days_did(application):
    answer = world.call(application, f'{MONTH}&scope_id=p1', **ADMIN)

    assert answer.json == {
        'scope_id': 'p1',
        'month': '2019-01',
        'until': '2019-01-11T00:00:00+00:00',
        'method': 'mean of the last whole days',
        'days': 7,
        'spent': 25.0,
        'daily': 2.5,
        'expected': 77.5,
        'low': 77.5,
        'high': 77.5,
    }


def test_a_reader_sees_the_own_project_only(application):
    assert world.call(application, MONTH, **READER).json['expected'] == 77.5
    assert world.call(application, f'{MONTH}&scope_id=p2', **READER).status_int == 404
    nobody = {'X_Roles': 'reader', 'X_User_Id': 'u'}
    assert world.call(application, MONTH, **nobody).status_int in (403, 404)


def test_a_month_without_usage_has_none(application):
    answer = world.call(application, '/v2/forecast?month=2017-05&scope_id=p1', **ADMIN).json

    assert (answer['spent'], answer['expected'], answer['days']) == (0, None, 0)


@pytest.mark.parametrize('query', ['?month=2019-01', '?scope_id=p1&month=2019-13'])
def test_what_is_wrong_is_named(application, query):
    assert world.call(application, f'/v2/forecast{query}', **ADMIN).status_int == 400
