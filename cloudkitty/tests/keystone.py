"""A real Keystone on loopback, with the identities the tests want."""

import base64
import contextlib
import os
import sqlite3
import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import requests

from cloudkitty.core import timeframe
from cloudkitty.tests import peers, services

REGION = 'RegionOne'
# It gives no more projects at once.
PAGE_SIZE = 100
# Who may do what where; the password of each is the name. The role admin implies the others.
GRANTS = (
    ('cloudkitty', 'service', 'service'),
    ('alice', 'alpha', 'member'),
    ('bob', 'beta', 'member'),
    ('carol', 'gamma', 'reader'),
)
CONFIGURATION = """
[DEFAULT]
public_endpoint = {url}
max_db_limit = {page_size}
[database]
connection = sqlite:///{folder}/keystone.sqlite
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/receipts
[credential]
key_repository = {folder}/credential
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
[auth]
methods = password,token,application_credential,{protocol}
[{protocol}]
remote_id_attribute = HTTP_OIDC_ISS
[federation]
trusted_dashboard = {page}
sso_callback_template = {folder}/sso.html
"""
# What Keystone answers with after single sign-on; the one that it ships does the same.
SSO_FORM = """<!doctype html><title>Keystone</title>
<form id="sso" method="post" action="$host"><input type="hidden" name="token" value="$token"></form>
<script>document.getElementById('sso').submit()</script>
"""
# Single sign-on: its protocol, and who vouches for users. The module of a web server that would ask
# them sets these headers; in tests the browser does.
PROTOCOL = 'openid'
ISSUER = 'https://issuer.example'


def sso_headers(user: str) -> dict[str, str]:
    """Return what the web server in front of Keystone says once *user* has logged in."""
    return {'OIDC-ISS': ISSUER, 'OIDC-SUB': user}


AUTH_TOKEN = """
[keystone_authtoken]
auth_type = password
auth_url = {url}/v3
www_authenticate_uri = {url}/v3
username = cloudkitty
password = cloudkitty
project_name = service
user_domain_id = default
project_domain_id = default
"""


class Keystone(peers.WsgiPeer):
    """Keystone on SQLite, with fernet tokens.

    One process, since its cache, without which a token check takes half a second, is its own.
    """

    program = 'keystone'
    ready_path = '/v3'
    application = 'keystone.wsgi.api:application'

    def __init__(self, folder: Path):
        super().__init__(folder, peers.environment('keystone'))
        self._ids: dict[tuple[str, str], str] = {}
        # Where a service with a page may listen, which Keystone has to know beforehand.
        self.page_port = services.free_port()

    @property
    def auth_token_options(self) -> str:
        """The section of a configuration file that lets keystonemiddleware ask here."""
        return AUTH_TOKEN.format(url=self.url)

    def environment(self):
        return {**super().environment(), 'OS_KEYSTONE_CONFIG_FILES': self._file}

    @property
    def _file(self):
        return f'{self.folder}/keystone.conf'

    def prepare(self):
        (self.folder / 'keystone.conf').write_text(
            CONFIGURATION.format(
                url=self.url,
                folder=self.folder,
                page_size=PAGE_SIZE,
                protocol=PROTOCOL,
                page=f'http://127.0.0.1:{self.page_port}/ui/sso',
            )
        )
        (self.folder / 'sso.html').write_text(SSO_FORM)
        made_for = self.folder / 'made-for'
        if made_for.exists() and made_for.read_text() == self.url:
            return
        for name in ('fernet', 'receipts', 'credential'):
            _make_keys(self.folder / name)
        manage = ('keystone-manage', '--config-file', self._file)
        self.run(*manage, 'db_sync')
        interfaces = [
            word
            for interface in ('public', 'internal', 'admin')
            for word in (f'--bootstrap-{interface}-url', f'{self.url}/v3')
        ]
        self.run(
            *manage,
            'bootstrap',
            '--bootstrap-password',
            'admin',
            '--bootstrap-region-id',
            REGION,
            *interfaces,
        )
        made_for.write_text(self.url)

    def start(self):
        super().start()
        self._admin_token = self.token('admin', project='admin')
        for user, project, role in GRANTS:
            self.grant(role, user=user, project=project)

    def add_issuer(self) -> None:
        """Let users log in by single sign-on, those that Keystone has under the same name."""
        federation = 'OS-FEDERATION'
        provider = f'{federation}/identity_providers/tests'
        user = {'name': '{0}', 'type': 'local', 'domain': {'id': 'default'}}
        rules = [{'local': [{'user': user}], 'remote': [{'type': 'HTTP_OIDC_SUB'}]}]
        for path, form in (
            (provider, {'identity_provider': {'remote_ids': [ISSUER], 'enabled': True}}),
            (f'{federation}/mappings/tests', {'mapping': {'rules': rules}}),
            (f'{provider}/protocols/{PROTOCOL}', {'protocol': {'mapping_id': 'tests'}}),
        ):
            self.ask('PUT', path, json=form)

    def token(self, user: str, **scope: str) -> str:
        """Return a new token of *user*.

        :param scope: project=NAME, domain=ID, system='all', or nothing for an unscoped token.
        """
        identity = {
            'methods': ['password'],
            'password': {'user': {'name': user, 'domain': {'id': 'default'}, 'password': user}},
        }
        wanted: dict | str = 'unscoped'
        for kind, name in scope.items():
            wanted = {
                kind: {
                    'project': {'name': name, 'domain': {'id': 'default'}},
                    'domain': {'id': name},
                    'system': {'all': True},
                }[kind]
            }
        return self._log_in(identity, scope=wanted)

    def _log_in(self, identity, **scope):
        answer = requests.post(
            f'{self.url}/v3/auth/tokens', timeout=30, json={'auth': {'identity': identity, **scope}}
        )
        answer.raise_for_status()
        return answer.headers['X-Subject-Token']

    def restricted_token(self, user: str, *, project: str, path: str) -> str:
        """Return a token of an application credential that may only GET *path* of our API."""
        return self._credential_token(
            user,
            project,
            name=path,
            access_rules=[{'service': 'rating', 'method': 'GET', 'path': path}],
        )

    def passing_token(self, user: str, *, project: str, end: datetime) -> str:
        """Return a token that is good until *end*, UTC: it ends with its application credential."""
        until = timeframe.to_naive(end).isoformat()
        return self._credential_token(user, project, name=until, expires_at=until)

    def add_credential(self, user: str, *, project: str, **facts) -> dict[str, str]:
        """Return the id and the secret of a new application credential."""
        owner = self.token(user, project=project)
        made = self.ask(
            'POST',
            f'users/{self.user_id(user)}/application_credentials',
            headers={'X-Auth-Token': owner},
            json={'application_credential': facts},
        )
        return {name: made['application_credential'][name] for name in ('id', 'secret')}

    def _credential_token(self, user, project, **facts):
        credential = self.add_credential(user, project=project, **facts)
        return self._log_in(
            {'methods': ['application_credential'], 'application_credential': credential}
        )

    def revoke(self, token: str) -> None:
        """Make *token* invalid at once."""
        self.ask('DELETE', 'auth/tokens', headers={'X-Subject-Token': token})

    def project_id(self, name: str) -> str:
        return self._ensure('project', name, domain_id='default')

    def user_id(self, name: str) -> str:
        return self._ensure('user', name, domain_id='default', password=name)

    def role_id(self, name: str) -> str:
        return self._ensure('role', name)

    def grant(
        self, role: str, *, user: str, project: str | None = None, domain: str | None = None
    ) -> None:
        """Give *user* the *role* on a project, a domain (its id), or the whole system."""
        where = 'system'
        if project:
            where = f'projects/{self.project_id(project)}'
        elif domain:
            where = f'domains/{domain}'
        self.ask('PUT', f'{where}/users/{self.user_id(user)}/roles/{self.role_id(role)}')

    def add_projects(self, names: Iterable[str], *, domain: str) -> list[str]:
        """Add new projects to *domain* (its id) and return their ids.

        Into the database at once: the API takes a quarter of a second for each on a busy machine.
        """
        rows = [(uuid.uuid4().hex, name, '{}', True, domain, domain, False) for name in names]
        with contextlib.closing(sqlite3.connect(self.folder / 'keystone.sqlite')) as database:
            with database:
                database.executemany(
                    'INSERT INTO project (id, name, extra, enabled, domain_id, parent_id, '
                    'is_domain) VALUES (?, ?, ?, ?, ?, ?, ?)',
                    rows,
                )
        return [project_id for project_id, *_ in rows]

    def announce(
        self, url: str, *, name: str = 'cloudkitty', kind: str = 'rating', region: str = REGION
    ) -> None:
        """Put a service into the catalog, only there in *region*; as a rule ours."""
        service_id = self._ensure('service', name, type=kind)
        self.ask('PUT', f'regions/{region}', json={'region': {}}, ignored_status=409)
        facts = {'service_id': service_id, 'region_id': region}
        for old in self.ask('GET', 'endpoints', params=facts)['endpoints']:
            self.ask('DELETE', f'endpoints/{old["id"]}')
        for interface in ('public', 'internal', 'admin'):
            self.ask(
                'POST',
                'endpoints',
                json={'endpoint': {**facts, 'interface': interface, 'url': url}},
            )

    def _ensure(self, kind, name, **facts):
        """Return the id of the thing of that name; it is made when it is missing."""
        if (kind, name) not in self._ids:
            found = self.ask('GET', f'{kind}s', params={'name': name})[f'{kind}s']
            if not found:
                found = [self.ask('POST', f'{kind}s', json={kind: {'name': name, **facts}})[kind]]
            self._ids[kind, name] = found[0]['id']
        return self._ids[kind, name]

    def ask(self, method, path, headers=None, ignored_status=None, **arguments):
        answer = requests.request(
            method,
            f'{self.url}/v3/{path}',
            timeout=30,
            headers={'X-Auth-Token': self._admin_token, **(headers or {})},
            **arguments,
        )
        if answer.status_code != ignored_status:
            answer.raise_for_status()
        return answer.json() if answer.content else None


def _make_keys(folder):
    """Make a repository of a staged and a primary key, as keystone-manage does in 2 seconds."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for name in ('0', '1'):
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
