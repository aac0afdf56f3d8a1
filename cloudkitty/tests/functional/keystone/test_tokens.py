"""Who gets what with tokens of a real Keystone."""

from datetime import UTC, datetime, timedelta

import pytest
import requests

LIFE = timedelta(seconds=5)
SPAN = 'begin=2019-01-01&end=2019-02-01'
ADMIN_PATHS = (
    '/v1/rating/modules',
    '/v1/rating/module_config/hashmap/services',
    '/v1/report/tenants',
    '/v1/collector/mappings',
    '/v2/scope',
    '/v2/rating/modules',
)
OWN_PATHS = (
    f'/v1/report/total?{SPAN}',
    f'/v1/report/summary?{SPAN}',
    f'/v1/storage/dataframes?{SPAN}',
    f'/v2/summary?{SPAN}',
    f'/v2/dataframes?{SPAN}',
)
OPEN_PATHS = ('/v1/info/metrics', '/v1/info/config')
PATHS = (*ADMIN_PATHS, *OWN_PATHS, *OPEN_PATHS)


@pytest.fixture(scope='module')
def tokens(cloud):
    """A token of each kind."""
    keystone = cloud.keystone
    for scope in {}, {'domain': 'default'}, {'project': 'alpha'}:
        keystone.grant('admin', user='dora', **scope)
    return {
        'admin': keystone.token('admin', project='admin'),
        'alice': keystone.token('alice', project='alpha'),
        'bob': keystone.token('bob', project='beta'),
        'carol': keystone.token('carol', project='gamma'),
        'unscoped': keystone.token('dora'),
        'system': keystone.token('dora', system='all'),
        'domain': keystone.token('dora', domain='default'),
    }


def _ids(cloud):
    return [cloud.keystone.project_id(name) for name in ('alpha', 'beta')]


@pytest.mark.parametrize('path', ['/', '/v1', '/v2', '/healthcheck'])
def test_some_paths_need_no_token(cloud, path):
    assert cloud.get(path).status_code == 200


@pytest.mark.parametrize('token', [None, '', 'garbage', 'gAAAAABmT1234', 'x' * 4000, '../users'])
def test_without_a_valid_token_the_answer_is_401(cloud, token):
    """It says where to get one."""
    for path in PATHS:
        answer = cloud.get(path, token)

        assert answer.status_code == 401, path
        assert answer.headers['WWW-Authenticate'] == (f'Keystone uri="{cloud.keystone.url}/v3"')
        assert answer.headers['X-OpenStack-Request-Id'].startswith('req-')


def test_a_token_that_was_revoked_is_401(cloud):
    token = cloud.keystone.token('alice', project='alpha')
    cloud.keystone.revoke(token)

    assert cloud.get('/v2/summary', token).status_code == 401


def test_a_token_that_expires_is_401_from_then_on(cloud):
    """Also one that was good, and is remembered, a moment before."""
    end = datetime.now(UTC).replace(microsecond=0) + LIFE
    token = cloud.keystone.passing_token('alice', project='alpha', end=end)

    statuses = [cloud.get('/v2/summary', token).status_code]
    while datetime.now(UTC) < end:
        status = cloud.get('/v2/summary', token).status_code
        # An answer that comes afterwards may be either.
        if datetime.now(UTC) < end:
            statuses.append(status)

    assert len(statuses) > 1
    assert set(statuses) == {200}
    assert cloud.get('/v2/summary', token).status_code == 401


def test_an_application_credential_may_be_limited_to_a_path(cloud):
    """What its access rules do not name is 401."""
    token = cloud.keystone.restricted_token('alice', project='alpha', path='/v2/summary')

    assert cloud.get(f'/v2/summary?{SPAN}', token).status_code == 200
    for path in OWN_PATHS[:-2]:
        assert cloud.get(path, token).status_code == 401, path


def test_an_administrator_reads_everything(cloud, tokens):
    for path in PATHS:
        assert cloud.get(path, tokens['admin']).status_code == 200, path


@pytest.mark.parametrize('scope', ['system', 'domain'])
def test_a_token_of_another_scope_is_403(cloud, tokens, scope):
    """Even of an administrator, and for reading; it says which rule."""
    for path in PATHS:
        answer = cloud.get(path, tokens[scope])

        assert answer.status_code == 403, path
        assert "Policy doesn't allow" in answer.text


def test_an_unscoped_token_reads_nothing_that_belongs_to_somebody(cloud, tokens):
    for path in (*ADMIN_PATHS, *OWN_PATHS):
        assert cloud.get(path, tokens['unscoped']).status_code == 403, path


@pytest.mark.parametrize('user', ['alice', 'carol'])
def test_members_and_readers_do_not_administrate(cloud, tokens, user):
    for path in ADMIN_PATHS:
        assert cloud.get(path, tokens[user]).status_code == 403, path
    for path in OPEN_PATHS:
        assert cloud.get(path, tokens[user]).status_code == 200, path
    answer = requests.put(
        f'{cloud.api.url}/v1/rating/modules/hashmap',
        timeout=30,
        headers={'X-Auth-Token': tokens[user]},
        json={'enabled': True},
    )
    assert answer.status_code == 403


@pytest.mark.parametrize('user, total', [('alice', '0.6'), ('bob', '1.5'), ('carol', '0')])
def test_v1_shows_a_project_its_own_cost(cloud, tokens, user, total):
    alpha, beta = _ids(cloud)
    own = {'alice': alpha, 'bob': beta, 'carol': None}[user]
    token = tokens[user]

    assert cloud.get(f'/v1/report/total?{SPAN}', token).json() == total
    summary = cloud.get(f'/v1/report/summary?{SPAN}&groupby=tenant_id', token).json()['summary']
    assert [(row['tenant_id'], row['rate']) for row in summary] == ([(own, total)] if own else [])
    frames = cloud.get(f'/v1/storage/dataframes?{SPAN}', token).json()['dataframes']
    assert {frame['tenant_id'] for frame in frames} == ({own} if own else set())


def test_v1_refuses_what_belongs_to_others(cloud, tokens):
    _, beta = _ids(cloud)

    for path in (
        f'/v1/report/total?{SPAN}&tenant_id={beta}',
        f'/v1/report/total?{SPAN}&all_tenants=true',
        f'/v1/report/summary?{SPAN}&tenant_id={beta}',
        f'/v1/report/summary?{SPAN}&all_tenants=true&groupby=tenant_id',
        f'/v1/storage/dataframes?{SPAN}&tenant_id={beta}',
    ):
        assert cloud.get(path, tokens['alice']).status_code == 403, path
        assert cloud.get(path, tokens['admin']).status_code == 200, path


def test_v2_shows_a_project_its_own_rows_whatever_it_asks_for(cloud, tokens):
    alpha, beta = _ids(cloud)
    path = f'/v2/summary?{SPAN}&groupby=project_id'

    def rows(user, extra=''):
        table = cloud.get(path + extra, tokens[user]).json()
        return sorted(
            (row[table['columns'].index('project_id')], row[table['columns'].index('rate')])
            for row in table['results']
        )

    assert rows('alice') == [(alpha, 0.6)]
    assert rows('bob') == [(beta, 1.5)]
    assert rows('admin') == sorted([(alpha, 0.6), (beta, 1.5)])
    assert rows('alice', f'&filters=project_id:{beta}') in ([], [(alpha, 0.6)])
    for user, owners in (('alice', {alpha}), ('bob', {beta}), ('admin', {alpha, beta})):
        frames = cloud.get(f'/v2/dataframes?{SPAN}', tokens[user]).json()['dataframes']
        assert {
            point['groupby']['project_id']
            for frame in frames
            for points in frame['usage'].values()
            for point in points
        } == owners
    assert cloud.get(f'/v2/dataframes?{SPAN}', tokens['carol']).status_code == 404


def test_identity_headers_of_a_caller_are_not_believed(cloud, tokens):
    """Only what the token says counts."""
    alpha, beta = _ids(cloud)
    headers = {
        'X-Roles': 'admin',
        'X-Project-Id': beta,
        'X-Tenant-Id': beta,
        'X-Role': 'admin',
        'X-User-Id': 'root',
        'X-Is-Admin-Project': 'True',
        'X-Identity-Status': 'Confirmed',
        'Openstack-System-Scope': 'all',
    }

    assert cloud.get('/v2/scope', headers=headers).status_code == 401
    assert cloud.get('/v2/scope', tokens['alice'], headers=headers).status_code == 403
    frames = cloud.get(f'/v1/storage/dataframes?{SPAN}', tokens['alice'], headers=headers).json()
    assert {frame['tenant_id'] for frame in frames['dataframes']} == {alpha}


def test_who_makes_a_rule_is_written_down(cloud, tokens):
    """It is the user of the token."""
    rules = f'{cloud.api.url}/v1/rating/module_config/hashmap'
    headers = {'X-Auth-Token': tokens['admin']}
    service = requests.post(
        f'{rules}/services', headers=headers, timeout=30, json={'name': 'audited'}
    ).json()
    try:
        mapping = requests.post(
            f'{rules}/mappings',
            headers=headers,
            timeout=30,
            json={'service_id': service['service_id'], 'cost': '1'},
        ).json()
    finally:
        requests.delete(f'{rules}/services/{service["service_id"]}', headers=headers, timeout=30)

    assert mapping['created_by'] == cloud.keystone.user_id('admin')
