"""What GET /v2/scope says of scopes that are behind, and to whom."""

from datetime import UTC, datetime, timedelta

import pytest
import webob

from cloudkitty.db import lags, scopes
from cloudkitty.tests.functional.api import conftest
from cloudkitty.tests.functional.api.described import Described

FIRST = datetime(2026, 10, 1, 12, 30, tzinfo=UTC)
REASON = "metric cpu: Collector 'prometheus': http://10.0.0.7:9090: down"


def get(application, path, **headers):
    return webob.Request.blank(path, headers=headers).get_response(application)


@pytest.fixture
def failing(database, known_scopes):
    """p1 has failed twice, p2 is up to date, p3 is off."""
    with database.reader() as connection:
        found = scopes.list_scopes(connection)[1]
    now = datetime.now(UTC)
    with database.writer() as connection:
        for minutes in (0, 5):
            scopes.record_failure(connection, {found[0].id: found[0].mark}, REASON,
                                  now=FIRST + timedelta(minutes=minutes),
                                  retry_at=FIRST + timedelta(minutes=10))
        scopes.advance(connection, {found[1].id: now - timedelta(hours=1)})


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
            0, '', None, None]


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


@pytest.mark.parametrize('state, newest, expected', [
    (lags.HELD, 2, 'metric cpu: the source has no data after 2019-01-01T02:00:00+00:00'),
    (lags.HELD, 3, ''), (lags.LATE, 2, ''), (lags.NOWHERE, None, ''),
])
def test_a_scope_tells_that_it_waits_for_the_source(conf, noauth, database, failing, state,
                                                    newest, expected):
    """As long as its next period, which ends at 02:00 plus one hour here, needs later data."""
    conf.set_override('backend', 'source', 'fetcher')
    conf.set_override('collector', 'prometheus', 'collect')
    lag = lags.Lag(state, newest and datetime(2019, 1, 1, newest, tzinfo=UTC), FIRST, FIRST)
    with database.writer() as connection:
        scopes.advance(connection, {1: datetime(2019, 1, 1, 1, tzinfo=UTC)})
        lags.record(connection, conftest.IDENTITY, {'cpu': lag}, newest={}, defined=['cpu'])

    found = get(noauth, '/v2/scope').json['results']

    assert [scope['held'] for scope in found] == [expected, '', '']
