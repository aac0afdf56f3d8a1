"""The fetcher and a real Keystone with 200 projects."""

import logging
from typing import NamedTuple

import pytest

from cloudkitty import errors, fetcher
from cloudkitty.tests import faults, services
from cloudkitty.tests.keystone import PAGE_SIZE

PROJECTS = 200
USER = 'rater'
PLAIN = 'plain'


class Tenants(NamedTuple):
    """Ids of projects by the reason why user `rater` has the role on them, or has it not.

    :ivar disabled: also in the others.
    """

    direct: list[str]
    group: list[str]
    inherited: list[str]
    implied: list[str]
    other_case: list[str]
    none: list[str]
    disabled: list[str]

    @property
    def rated(self):
        return {*self.direct, *self.group, *self.inherited, *self.implied}


def _make_tenants(keystone):
    made = keystone.ask('POST', 'domains', json={'domain': {'name': 'tenants'}})
    domain_id = made['domain']['id']
    ids = keystone.add_projects((f'tenant-{number}' for number in range(15)), domain='default')
    inherited = keystone.add_projects(
        (f'heir-{number}' for number in range(15, PROJECTS)), domain=domain_id
    )
    found = Tenants(
        ids[:3], ids[3:6], inherited, ids[6:8], ids[8:10], ids[10:], [ids[0], ids[3], inherited[0]]
    )
    roles = [keystone.role_id(name) for name in ('rating', 'billing', 'Rating')]
    keystone.ask('PUT', f'roles/{roles[1]}/implies/{roles[0]}')
    group_id = keystone.ask('POST', 'groups', json={'group': {'name': 'raters'}})['group']['id']
    user, plain = (f'users/{keystone.user_id(name)}' for name in (USER, PLAIN))
    for whose, project_ids, role in (
        (f'groups/{group_id}', found.group, roles[0]),
        (user, found.direct, roles[0]),
        (user, found.implied, roles[1]),
        (user, found.other_case, roles[2]),
        (plain, found.direct, roles[0]),
        (plain, ids[10:12], roles[2]),
    ):
        for project_id in project_ids:
            keystone.ask('PUT', f'projects/{project_id}/{whose}/roles/{role}')
    for whose in (user, plain):
        keystone.ask('PUT', f'groups/{group_id}/{whose}')
    keystone.ask(
        'PUT', f'OS-INHERIT/domains/{domain_id}/{user}/roles/{roles[0]}/inherited_to_projects'
    )
    for project_id in found.disabled:
        keystone.ask('PATCH', f'projects/{project_id}', json={'project': {'enabled': False}})
    return found


@pytest.fixture(scope='session')
def tenants(cloud):
    """The projects; `rater` may read what the system has, `plain` is a service user."""
    cloud.keystone.grant('service', user=PLAIN, project='service')
    cloud.keystone.grant('reader', user=USER)
    return _make_tenants(cloud.keystone)


SYSTEM = {'username': USER, 'password': USER, 'system_scope': 'all'}
PROJECT = {
    'username': PLAIN,
    'password': PLAIN,
    'project_name': 'service',
    'project_domain_id': 'default',
}


def write(folder, url, scope, **options):
    """Return the path of a configuration file."""
    lines = {
        'auth_type': 'password',
        'auth_url': url,
        'user_domain_id': 'default',
        'timeout': 20,
        **scope,
        **options,
    }
    path = folder / 'cloudkitty.conf'
    path.write_text(
        '[fetcher_keystone]\n' + ''.join(f'{name} = {value}\n' for name, value in lines.items())
    )
    return path


@pytest.fixture
def build(conf, tmp_path):
    """Return what builds the driver that is the default."""

    def build(url, scope=SYSTEM, **options):
        conf(
            [],
            project='cloudkitty',
            default_config_files=[str(write(tmp_path, url, scope, **options))],
        )
        return fetcher.get_driver(conf)

    return build


@pytest.fixture
def proxy(cloud):
    """A server that counts requests and passes them on to Keystone."""
    with faults.FaultyServer(faults.forward(cloud.keystone.url)) as server:
        yield server


def url_of(server):
    return f'http://{server.address}/v3'


def test_projects_with_the_effective_role_are_listed(cloud, tenants, build):
    """Through a group, a domain or another role as well; Rating is another role."""
    found = build(cloud.keystone.url).get_tenants()

    assert len(found) == len(set(found)) == PROJECTS - 7
    assert set(found) == tenants.rated


def test_names_are_those_of_keystone(cloud, tenants, build):
    """With a system role those of all projects; else Keystone tells the user's own."""
    everything = build(cloud.keystone.url).get_names()
    own = build(cloud.keystone.url, PROJECT).get_names()

    assert len(everything) > PROJECTS
    assert everything[cloud.keystone.project_id('alpha')] == 'alpha'
    assert 0 < len(own) < len(everything)
    assert own.items() <= everything.items()


def test_groups_are_the_domain_and_the_tags(cloud, tenants, build):
    """Of every project that has a name."""
    fetcher = build(cloud.keystone.url)
    groups = fetcher.get_groups()

    assert groups.keys() == fetcher.get_names().keys()
    assert groups[cloud.keystone.project_id('alpha')] == [('domain', 'default')]


def test_disabled_projects_are_left_out_when_told(cloud, tenants, build):
    found = build(cloud.keystone.url, ignore_disabled_tenants=True).get_tenants()

    assert set(found) == tenants.rated - {*tenants.disabled}


@pytest.mark.parametrize(
    'options, is_disabled_in', [({}, True), ({'ignore_disabled_tenants': True}, False)]
)
def test_without_the_role_every_project_is_listed(cloud, tenants, build, options, is_disabled_in):
    found = set(build(cloud.keystone.url, ignore_rating_role=True, **options).get_tenants())

    assert len(found) > PROJECTS - len(tenants.disabled) > PAGE_SIZE
    assert found >= {*tenants.none, *tenants.other_case, cloud.keystone.project_id('alpha')}
    assert (set(tenants.disabled) <= found) == is_disabled_in


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, ['roles', 'role_assignments']),
        ({'ignore_disabled_tenants': True}, ['roles', 'role_assignments', *['projects'] * 3]),
        ({'ignore_rating_role': True}, ['projects'] * 3),
    ],
)
def test_the_number_of_requests_is_that_of_the_pages(proxy, tenants, build, options, expected):
    """The token is kept for the next time; assignments have no pages."""
    driver = build(url_of(proxy), **options)
    driver.get_tenants()
    first = len(proxy.requests)

    driver.get_tenants()

    assert [request.path for request in proxy.requests[first:]] == [
        f'/v3/{name}' for name in expected
    ]


def test_a_plain_service_user_gets_the_projects_that_are_enabled(cloud, tenants, build, caplog):
    """At the price of a request for each; said once."""
    driver = build(cloud.keystone.url, PROJECT)

    found = driver.get_tenants()

    assert set(found) == {*tenants.direct, *tenants.group} - {*tenants.disabled}
    assert driver.get_tenants() == found
    assert [
        record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING
    ] == [
        'The user of [fetcher_keystone] may not list role assignments: the roles of '
        'each project are requested one by one, and disabled projects are skipped'
    ]


def test_a_plain_service_user_cannot_list_every_project(cloud, tenants, build):
    driver = build(cloud.keystone.url, PROJECT, ignore_rating_role=True)

    with pytest.raises(errors.FetcherError, match=r"'keystone': .*/v3/projects: HTTP status 403"):
        driver.get_tenants()


def test_an_application_credential_that_can_list_nothing_is_told_so(cloud, tenants, build):
    made = cloud.keystone.add_credential(PLAIN, project='service', name='fetcher')
    driver = build(
        cloud.keystone.url,
        {
            'auth_type': 'v3applicationcredential',
            'application_credential_id': made['id'],
            'application_credential_secret': made['secret'],
        },
    )

    with pytest.raises(errors.FetcherError, match='which no application credential does'):
        driver.get_tenants()


@pytest.mark.parametrize('scope', [PROJECT, SYSTEM])
def test_a_revoked_token_is_replaced(cloud, tenants, proxy, build, scope):
    """Whether the user may list assignments or not."""
    driver = build(url_of(proxy), scope)
    found = driver.get_tenants()
    for token in {seen.headers.get('X-Auth-Token') for seen in proxy.requests} - {None}:
        cloud.keystone.revoke(token)

    assert driver.get_tenants() == found


def test_a_token_revoked_while_projects_are_listed_is_replaced(cloud, tenants, proxy, build):
    """It is not the end of all those that come after."""
    driver = build(url_of(proxy), PROJECT)
    found = driver.get_tenants()
    forward, seen = proxy.answer, []

    def revoking(handler, asked):
        if asked.path == '/v3/auth/tokens':
            seen.append(asked)
            if len(seen) == 3:
                cloud.keystone.revoke(driver._client.token())
        forward(handler, asked)

    proxy.answer = revoking

    assert driver.get_tenants() == found
    assert len(seen) > len(found) + 3


@pytest.mark.parametrize('name, scope', [(USER, SYSTEM), (PLAIN, PROJECT)])
def test_a_user_who_lost_the_password_is_a_failure_until_it_is_back(
    cloud, tenants, build, name, scope
):
    driver = build(cloud.keystone.url, scope)
    found = driver.get_tenants()
    place = f'users/{cloud.keystone.user_id(name)}'
    cloud.keystone.ask('PATCH', place, json={'user': {'password': 'another'}})
    driver._client.forget_token()

    with pytest.raises(errors.FetcherError, match=r'HTTP 401'):
        driver.get_tenants()

    cloud.keystone.ask('PATCH', place, json={'user': {'password': name}})
    wait_for(driver, found)


def wait_for(driver, found):
    """Wait until *driver* lists *found*: a change revokes what is issued in its second, too."""

    def is_back():
        try:
            return driver.get_tenants() == found
        except errors.FetcherError:
            return False

    services.wait_until(is_back, deadline_s=30, what='the list after the password is back')


def test_a_changed_password_is_never_an_empty_list(cloud, tenants, build):
    """It makes tokens invalid, which Keystone notices here and there only."""
    driver = build(cloud.keystone.url, PROJECT)
    found = driver.get_tenants()
    place = f'users/{cloud.keystone.user_id(PLAIN)}'
    cloud.keystone.ask('PATCH', place, json={'user': {'password': 'another'}})

    with pytest.raises(errors.FetcherError):
        driver.get_tenants()

    cloud.keystone.ask('PATCH', place, json={'user': {'password': PLAIN}})
    wait_for(driver, found)


def test_a_keystone_that_is_gone_is_a_failure_until_it_is_back(cloud, tenants, build):
    driver = build(cloud.keystone.url, timeout=2)
    found = driver.get_tenants()

    cloud.keystone.hold()
    with pytest.raises(errors.FetcherError, match='no answer in time'):
        driver.get_tenants()
    cloud.keystone.resume()
    assert driver.get_tenants() == found

    cloud.keystone.kill()
    with pytest.raises(errors.FetcherError, match='Unable to establish connection'):
        driver.get_tenants()
    cloud.keystone.start()
    assert driver.get_tenants() == found


@pytest.mark.parametrize(
    'answer',
    [
        faults.text('<html>', status=500),
        faults.text('<html>'),
        faults.reset,
        faults.truncated,
        faults.drip,
        faults.as_json({'roles': None}),
        faults.as_json({'roles': [None]}),
        faults.as_json([]),
        faults.as_json({'roles': []}),
        faults.as_json({'roles': [{'name': 'x'}]}),
        faults.as_json({'roles': [], 'links': {'next': 'http://127.0.0.1:9/v3/roles?marker=1'}}),
        faults.as_json({'roles': [{'id': '1', 'name': 'rating'}], 'truncated': True}),
    ],
)
def test_garbage_is_a_failure_never_an_empty_list(proxy, tenants, build, answer):
    driver = build(url_of(proxy), timeout=1)
    forward = proxy.answer
    driver.get_tenants()
    proxy.answer = answer

    with pytest.raises(errors.FetcherError) as caught:
        driver.get_tenants()

    assert '\n' not in str(caught.value)
    proxy.answer = forward
    assert driver.get_tenants()


def test_no_secret_is_in_an_error(proxy, tenants, build):
    wrong = build(url_of(proxy).replace('//', '//name:hidden@'), password='secret-word')

    with pytest.raises(errors.FetcherError) as caught:
        wrong.get_tenants()

    assert 'hidden' not in str(caught.value)
    assert 'secret-word' not in str(caught.value)


@pytest.mark.parametrize('version', ['2', '2.0', '4'])
def test_other_versions_are_refused(build, version):
    with pytest.raises(
        errors.ConfigurationError, match=r'\[fetcher_keystone\]keystone_version: .*3'
    ):
        build('http://127.0.0.1:9', keystone_version=version)
