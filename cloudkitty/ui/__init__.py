"""The web page: static files that read the REST API, served below /ui by the API's process."""

import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import whitenoise
from oslo_config import cfg

from cloudkitty.ui import login

PREFIX = '/ui'
STATIC = Path(__file__).parent / 'static'
INDEX = 'index.html'
# Replaced in the index by the folder of this version's files.
BASE = '{base}'
# What a page may load and where it may send data: this service and nothing else.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'; "
    "require-trusted-types-for 'script'"
)
HEADERS = {
    'Content-Security-Policy': CSP,
    'Cross-Origin-Opener-Policy': 'same-origin',
    'Referrer-Policy': 'no-referrer',
    'X-Content-Type-Options': 'nosniff',
}
METHODS = ('GET', 'HEAD')


class Pages:
    """WSGI middleware that answers what lies below /ui; everything else passes.

    All files lie in a folder named after their content, so that browsers may keep them for ever
    and never mix those of two versions.

    :param keystone: answers requests for a token.
    :param protocols: of Keystone's single sign-on, which the page offers.
    """

    def __init__(
        self,
        application,
        keystone: login.Keystone,
        folder: Path = STATIC,
        protocols: Sequence[str] = (),
    ):
        self._application = application
        self._keystone = keystone
        base = f'{PREFIX}/{_digest(folder)}'
        facts = {'keystone': keystone.url, 'sso': ' '.join(protocols)} if protocols else {}
        self._page = (folder / INDEX).read_text().replace(BASE, base)
        self._index = self._with(facts)
        self._facts = facts
        self._log_in = {
            ('POST', login.PATH): _responder(keystone.answer),
            ('DELETE', login.PATH): _responder(keystone.revoke),
            ('GET', login.PROJECTS_PATH): _responder(keystone.projects),
            ('POST', login.SSO_PATH): self._answer_sso,
        }
        self._files = whitenoise.WhiteNoise(
            application,
            root=folder,
            prefix=base,
            allow_all_origins=False,
            add_headers_function=_add_headers,
            immutable_file_test=lambda path, url: True,
        )

    def __call__(self, environ, start_response):
        path = environ.get('PATH_INFO', '')
        answer = self._log_in.get((environ['REQUEST_METHOD'], path.removeprefix(PREFIX)))
        if answer is not None and path.startswith(PREFIX):
            return answer(environ, start_response)
        if path.rstrip('/') != PREFIX:
            return self._files(environ, start_response)
        if environ['REQUEST_METHOD'] not in METHODS:
            return self._application(environ, start_response)
        if path == PREFIX:
            location = f'{environ.get("SCRIPT_NAME", "")}{PREFIX}/'
            start_response('308 Permanent Redirect', [('Location', location), *HEADERS.items()])
            return [b'']
        return self._answer_index(environ, start_response)

    def _with(self, facts: Mapping[str, str]) -> bytes:
        """Return the index with what a script finds in the data of its body."""
        data = ''.join(f' data-{name}="{html.escape(value)}"' for name, value in facts.items())
        return self._page.replace('<body>', f'<body{data}>').encode()

    def _answer_sso(self, environ, start_response) -> Iterable[bytes]:
        """Answer Keystone's form with the page; the token is in no address and in no store."""
        token, answer = self._keystone.take(environ)
        if not token:
            return _respond(answer, start_response)
        body = self._with({**self._facts, 'token': token})
        start_response('200 OK', [*HEADERS.items(), *_describe('text/html; charset=utf-8', body)])
        return [body]

    def _answer_index(self, environ, start_response) -> Iterable[bytes]:
        tag = f'"{hashlib.sha256(self._index).hexdigest()[:16]}"'
        headers = [*HEADERS.items(), ('ETag', tag), ('Cache-Control', 'no-cache')]
        if environ.get('HTTP_IF_NONE_MATCH') == tag:
            start_response('304 Not Modified', headers)
            return [b'']
        headers += [
            ('Content-Type', 'text/html; charset=utf-8'),
            ('Content-Length', str(len(self._index))),
        ]
        start_response('200 OK', headers)
        return [b'' if environ['REQUEST_METHOD'] == 'HEAD' else self._index]


def mount(application, conf: cfg.ConfigOpts):
    """Return *application* with the page, unchanged unless the operator enabled it."""
    if not conf.ui.enabled:
        return application
    is_secured = conf.auth_strategy == 'keystone'
    url = conf.keystone_authtoken.www_authenticate_uri if is_secured else None
    protocols = conf.ui.sso_protocols if is_secured else []
    return Pages(application, login.Keystone(url), protocols=protocols)


def _responder(ask):
    return lambda environ, start_response: _respond(ask(environ), start_response)


def _describe(kind: str, body: bytes) -> list[tuple[str, str]]:
    """Return the headers of an answer for one reader."""
    return [
        ('Content-Type', kind),
        ('Content-Length', str(len(body))),
        ('Cache-Control', 'no-store'),
    ]


def _respond(answer: login.Answer, start_response) -> Iterable[bytes]:
    headers = [*HEADERS.items(), *_describe(login.JSON_TYPE, answer.body)]
    if answer.token:
        headers.append((login.TOKEN, answer.token))
    start_response(answer.status, headers)
    return [answer.body]


def _add_headers(headers, path: str, url: str) -> None:
    for name, value in HEADERS.items():
        headers[name] = value


def _digest(folder: Path) -> str:
    content = hashlib.sha256()
    for path in sorted(folder.rglob('*')):
        if path.is_file():
            content.update(str(path.relative_to(folder)).encode() + b'\0' + path.read_bytes())
    return content.hexdigest()[:16]
