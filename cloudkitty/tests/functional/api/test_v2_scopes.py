"""What GET /v2/scope says of scopes that are behind, and to whom; who creates one at once."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import webob

from cloudkitty.api import app
from cloudkitty.scopes import source_lag
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import services
from cloudkitty.tests.functional.api import conftest, world
from cloudkitty.tests.functional.api.described import Described

FIRST = datetime(2026, 10, 1, 12, 30, tzinfo=UTC)
REASON = "metric cpu: Collector 'prometheus': http://10.0.0.7:9090: down"


def get(application, path, **headers):
    return webob.Request.blank(path, headers=headers).get_response(application)


@pytest.fixture
def failing(database, known_scopes):
    """p1 has failed twice, p2 is up to date, p3 is off."""
    with database.reader() as connection:
        found = scope_state.list_scopes(connection)[1]
    now = datetime.now(UTC)
    with database.writer() as connection:
        for minutes in (0, 5):
            scope_state.record_failure(
                connection,
                {found[0].id: found[0].mark},
                REASON,
                now=FIRST + timedelta(minutes=minutes),
                retry_at=FIRST + timedelta(minutes=10),
            )
        scope_state.advance(connection, {found[1].id: now - timedelta(hours=1)})


@pytest.fixture
def proxied(tmp_path, conf, database, storage, failing, metrics_file):
    """The application, with a policy that lets readers list scopes."""
    path = tmp_path / 'policy.yaml'
    path.write_text('"scope:get_state": "rule:project_reader_or_admin"\n')
    return Described(conftest.behind_a_proxy(conf, database, storage, path))


def test_a_scope_tells_its_lag_and_its_trouble(noauth, failing):
    """Since the first failure, not the last; a scope that waits or is off has no lag."""
    behind, up_to_date, inactive = get(noauth, '/v2/scope').json['results']

    # Its mark is 2019-01-01T00:00, so the period after it was due at 03:00.
    expected = (datetime.now(UTC) - datetime(2019, 1, 1, 3, tzinfo=UTC)).total_seconds()
    assert expected - 60 < behind['lag'] <= expected
    assert behind['failure'] == REASON
    assert behind['failing_since'] == '2026-10-01T12:30:00+00:00'
    assert behind['next_retry'] == '2026-10-01T12:40:00+00:00'
    for scope in (up_to_date, inactive):
        assert [scope[name] for name in ('lag', 'failure', 'failing_since', 'next_retry')] == [
            0,
            '',
            None,
            None,
        ]


def test_others_than_admins_see_their_own_scope(proxied):
    """And not the names of servers in the text of a failure."""
    reader = {'X-Roles': 'reader', 'X-Project-Id': 'p1'}
    for path in ('/v2/scope', '/v2/scope?scope_id=p2', '/v2/scope?scope_id=p1,p2&active=1'):
        (scope,) = get(proxied, path, **reader).json['results']
        assert (scope['scope_id'], scope['failing_since']) == ('p1', '2026-10-01T12:30:00+00:00')
        assert scope['failure'] == 'Rating fails; the operator sees why.'

    assert get(proxied, '/v2/scope', **{'X-Roles': 'reader'}).status_int == 404
    admin = get(proxied, '/v2/scope', **{'X-Roles': 'admin', 'X-Project-Id': 'p9'}).json
    assert [scope['failure'] for scope in admin['results']] == [REASON, '', '']


@pytest.mark.parametrize(
    'state, newest, expected',
    [
        (source_lag.HELD, 2, 'metric cpu: the source has no data after 2019-01-01T02:00:00+00:00'),
        (source_lag.HELD, 3, ''),
        (source_lag.LATE, 2, ''),
        (source_lag.NOWHERE, None, ''),
    ],
)
def test_a_scope_tells_that_it_waits_for_the_source(
    noauth, database, failing, state, newest, expected
):
    """As long as its next period, which ends at 02:00 plus one hour here, needs later data."""
    lag = source_lag.Lag(state, newest and datetime(2019, 1, 1, newest, tzinfo=UTC), FIRST, FIRST)
    with database.writer() as connection:
        scope_state.advance(connection, {1: datetime(2019, 1, 1, 1, tzinfo=UTC)})
        source_lag.record(connection, conftest.IDENTITY, {'cpu': lag}, newest={}, defined=['cpu'])

    found = get(noauth, '/v2/scope').json['results']

    assert [scope['held'] for scope in found] == [expected, '', '']


# How many wait for a lock of somebody else. What InnoDB tells of locks is no news to whoever asks
# more often than ten times a second.
WAITING = {
    'postgresql': "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
    'AND datname = current_database()',
    'mysql': 'SELECT count(*) FROM information_schema.processlist '
    "WHERE db = database() AND info LIKE 'INSERT%'",
}


def test_of_two_callers_one_creates_a_scope(any_conf, any_database):
    """The other one waits for the first, and then is told that there is one."""
    any_conf.set_override('auth_strategy', 'noauth')
    application = app.build(any_conf, database=any_database, storage=None)
    body = {'scope_id': 'new', 'last_processed_timestamp': '2019-01-01'}
    answers = []

    def create():
        answers.append(
            webob.Request.blank(
                '/v2/scope', method='POST', json=body, content_type='application/json'
            ).get_response(application)
        )

    other = threading.Thread(target=create)
    statement = WAITING.get(any_database.engine.dialect.name)
    with any_database.writer() as connection:
        scope_state.record_seen(
            connection,
            scope_state.Identity.of(any_conf),
            ['new'],
            now=FIRST,
            initial_mark=FIRST,
            final_mark=FIRST,
        )
        other.start()
        if statement:
            services.wait_until(
                lambda: answers or _scalar(any_database, statement),
                deadline_s=60,
                what='the other caller',
            )
    other.join(60)

    assert [answer.status_int for answer in answers] == [409], answers
    with any_database.reader() as connection:
        assert scope_state.list_scopes(connection)[0] == 1


def _scalar(database, statement):
    with database.reader() as connection:
        return connection.scalar(sa.text(statement))


def test_a_reset_says_what_it_leaves(noauth):
    """Points that were pushed after that time; nothing is said if there are none."""
    body = {
        'dataframes': [
            {
                'period': {'begin': '2019-01-01T05:00:00Z', 'end': '2019-01-01T06:00:00Z'},
                'usage': {
                    'fee': [
                        {
                            'vol': {'unit': 'EUR', 'qty': 1},
                            'rating': {'price': 1},
                            'groupby': {'project_id': 'p1', 'id': name},
                            'metadata': {},
                        }
                        for name in 'ab'
                    ]
                },
            }
        ]
    }
    assert world.call(noauth, '/v2/dataframes', 'POST', json=body).status_int == 204

    answers = {
        (scope_id, state): world.call(
            noauth, '/v2/scope', 'PUT', json={'scope_id': scope_id, 'state': state}
        ).json
        for scope_id in ('p1', 'p2', 'p1,p2')
        for state in ('2019-01-01T00:00:00Z', '2019-01-01T05:00:00Z')
    }

    told = {key for key, answer in answers.items() if answer == {'kept_pushed_points': 2}}
    assert told == {(scope_id, '2019-01-01T00:00:00Z') for scope_id in ('p1', 'p1,p2')}
    assert [answers[key] for key in answers if key not in told] == [{}] * 4
