"""Which projects count, whatever their number and their spelling."""

import pytest

from cloudkitty import errors
from cloudkitty.clients import openstack
from cloudkitty.fetcher.keystone import KeystoneFetcher

LISTS = {
    # A Keystone on MariaDB finds what differs in case only, too.
    'roles': [{'id': 'r1', 'name': 'RATING'}, {'id': 'r2', 'name': 'rating'}],
    'role_assignments': [
        {'scope': {'project': {'id': 'on'}}},
        {'scope': {'domain': {'id': 'default'}}},
        {'scope': {'project': {'id': 'off'}}},
        {'scope': {'project': {'id': 'on'}}},
    ],
    'projects': [
        {'id': 'on', 'enabled': True},
        {'id': 'off', 'enabled': False},
        {'id': 'other', 'enabled': True},
    ],
}


@pytest.fixture
def asked(monkeypatch):
    """Let Keystone answer from LISTS; return the (path, parameters) that are asked for."""
    seen = []

    def pages(self, path, parameters, key):
        seen.append((path, dict(parameters)))
        return iter(LISTS[key])

    monkeypatch.setattr(openstack.Client, 'pages', pages)
    monkeypatch.setattr(openstack.Client, 'user_id', lambda self: 'me')
    return seen


@pytest.fixture
def build(conf, tmp_path):
    """Return what makes a fetcher with options; nothing is asked yet."""

    def _build(**options):
        lines = {'auth_type': 'none', 'endpoint': 'http://127.0.0.1:9', **options}
        path = tmp_path / 'cloudkitty.conf'
        path.write_text(
            '[fetcher_keystone]\n' + ''.join(f'{name} = {value}\n' for name, value in lines.items())
        )
        conf([], project='cloudkitty', default_config_files=[str(path)])
        return KeystoneFetcher(conf)

    return _build


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, ['off', 'on']),
        ({'ignore_disabled_tenants': True}, ['on']),
        ({'ignore_rating_role': True}, ['off', 'on', 'other']),
        ({'ignore_rating_role': True, 'ignore_disabled_tenants': True}, ['on', 'other']),
    ],
)
def test_projects_count_by_role_and_state(asked, build, options, expected):
    """Each is listed once, and what is a role on a domain names none."""
    assert build(**options).get_tenants() == expected


def test_the_role_is_the_one_that_is_spelled_so(asked, build):
    build().get_tenants()

    assert asked == [
        ('roles', {'name': 'rating'}),
        ('role_assignments', {'user.id': 'me', 'role.id': 'r2', 'effective': ''}),
    ]


def test_without_the_role_nobody_vanishes(asked, build, monkeypatch):
    monkeypatch.setitem(LISTS, 'roles', [{'id': 'r1', 'name': 'RATING'}])

    with pytest.raises(errors.FetcherError, match='Keystone has no role named rating'):
        build().get_tenants()
