"""A real HTTP server that speaks as much of the Identity API as keystonemiddleware asks for."""

import contextlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

EXPIRES = '2099-01-01T00:00:00.000000Z'
SERVICE_TOKEN = 'service-token'


def _token(roles, **scope):
    return {
        'token': {
            'methods': ['password'],
            'issued_at': '2020-01-01T00:00:00.000000Z',
            'expires_at': EXPIRES,
            'audit_ids': ['audit'],
            'roles': [{'id': role, 'name': role} for role in roles],
            'user': {
                'id': 'user-1',
                'name': 'user',
                'domain': {'id': 'default', 'name': 'Default'},
            },
            **scope,
        }
    }


def _project(project_id):
    return {'id': project_id, 'name': project_id, 'domain': {'id': 'default', 'name': 'Default'}}


def _limited(service):
    """Return a token of an application credential that may list the scopes of one service."""
    rule = {'id': 'rule', 'service': service, 'method': 'GET', 'path': '/v2/scope'}
    kinds = ('rating', 'compute')
    return _token(
        ['admin', 'member', 'reader'],
        project=_project('admin'),
        catalog=[{'type': kind, 'name': kind, 'id': kind, 'endpoints': []} for kind in kinds],
        application_credential={'id': 'credential', 'restricted': True, 'access_rules': [rule]},
    )


TOKENS = {
    SERVICE_TOKEN: _token(['service'], project=_project('service')),
    'admin': _token(['admin', 'member', 'reader'], project=_project('admin')),
    'reader-p1': _token(['member', 'reader'], project=_project('p1')),
    'member-only-p1': _token(['member'], project=_project('p1')),
    'system-admin': _token(['admin', 'member', 'reader'], system={'all': True}),
    'service': _token(['service'], project=_project('service')),
    'system-service': _token(['service'], system={'all': True}),
    'domain-admin': _token(
        ['admin', 'member', 'reader'], domain={'id': 'default', 'name': 'Default'}
    ),
    'limited': _limited('rating'),
    'limited-elsewhere': _limited('compute'),
    'unscoped': _token([]),
    'unscoped-reader': _token(['reader']),
}


class _Identity(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def do_GET(self):
        if self.path.partition('?')[0].rstrip('/').endswith('/auth/tokens'):
            known = TOKENS.get(self.headers.get('X-Subject-Token'))
            self._answer(200 if known else 404, known or {'error': {'code': 404, 'message': 'no'}})
        else:
            self._answer(200, {'version': self._version()})

    def do_POST(self):
        self.rfile.read(int(self.headers.get('Content-Length', 0)))
        issued = _token(['service'], project=_project('service'))
        url = f'http://{self.headers["Host"]}/v3'
        issued['token']['catalog'] = [
            {
                'type': 'identity',
                'name': 'keystone',
                'id': 'i',
                'endpoints': [
                    {
                        'id': interface,
                        'interface': interface,
                        'region': 'R',
                        'region_id': 'R',
                        'url': url,
                    }
                    for interface in ('internal', 'public', 'admin')
                ],
            }
        ]
        self._answer(201, issued, {'X-Subject-Token': SERVICE_TOKEN})

    def _version(self):
        url = f'http://{self.headers["Host"]}/v3/'
        return {
            'id': 'v3.14',
            'status': 'stable',
            'updated': '2020-04-07T00:00:00Z',
            'links': [{'rel': 'self', 'href': url}],
            'media-types': [],
        }

    def _answer(self, status, form, headers=None):
        body = json.dumps(form).encode()
        self.send_response(status)
        for name, value in {
            'Content-Type': 'application/json',
            'Content-Length': str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Say nothing."""


@contextlib.contextmanager
def serve():
    """Yield the URL of a server that runs meanwhile."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), _Identity)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}/v3'
    server.shutdown()
    server.server_close()


def middleware_options(url: str, *, auth_section: str = 'keystone_authtoken') -> str:
    """Return a configuration file that lets keystonemiddleware ask the server at *url*.

    :param auth_section: where the credentials are.
    """
    return f"""
[keystone_authtoken]
www_authenticate_uri = {url}
auth_section = {auth_section}
[{auth_section}]
auth_type = password
auth_url = {url}
username = cloudkitty
password = secret
project_name = service
user_domain_id = default
project_domain_id = default
"""
