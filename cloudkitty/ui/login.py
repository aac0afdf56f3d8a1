"""Log-in of the web page: its request for a token, passed on to Keystone.

The page may talk to this service only. Nothing of a request is logged: it holds a password.
"""

import logging
import re
import threading
from typing import NamedTuple
from urllib import parse

import orjson
import requests

LOG = logging.getLogger(__name__)

PATH = '/auth/tokens'
PROJECTS_PATH = '/auth/projects'
# Where Keystone sends who has logged in with single sign-on, with a token in a form.
SSO_PATH = '/sso'
JSON_TYPE = 'application/json'
OK = '200 OK'
BODY_MAX = 16 * 2**10
ANSWER_MAX = 2**20
TIMEOUT_S = 30
# Requests under way at once; further ones are refused, so that threads stay for the API.
CALLS_MAX = 2
TOKEN = 'X-Subject-Token'
OWN_TOKEN = 'X-Auth-Token'
FORM_TYPE = 'application/x-www-form-urlencoded'
# A token goes into a header and a page: what is none of Keystone's is not passed on.
TOKEN_TEXT = re.compile(r'[A-Za-z0-9_.~=+/-]{1,8192}', re.ASCII)


class Answer(NamedTuple):
    """What the page is answered; *token* '' if there is none."""

    status: str
    body: bytes
    token: str = ''


class Keystone:
    """Passes requests for a token on to one Keystone.

    :param url: of the Identity API, with or without the version; '': log-in is not possible.
    """

    def __init__(self, url: str | None):
        base = (url or '').rstrip('/').removesuffix('/v3')
        self.url = base and f'{base}/v3'
        self._calls = threading.BoundedSemaphore(CALLS_MAX)

    def answer(self, environ) -> Answer:
        """Return Keystone's answer to the request, or why it was not passed on."""
        if not self.url:
            return _told('404 Not Found', '[keystone_authtoken]www_authenticate_uri is not set')
        body, refusal = _read(environ)
        if refusal:
            return refusal
        return self._call(lambda: self._pass_on(body))

    def projects(self, environ) -> Answer:
        """Return the projects for which the token of a request can be exchanged."""
        token = environ.get('HTTP_X_AUTH_TOKEN', '')
        if not self.url or not TOKEN_TEXT.fullmatch(token):
            return _told('401 Unauthorized', 'A token is expected.')
        return self._call(lambda: self._ask(PROJECTS_PATH, token))

    def revoke(self, environ) -> Answer:
        """Make the token of a request invalid."""
        token = environ.get('HTTP_X_AUTH_TOKEN', '')
        if not self.url or not TOKEN_TEXT.fullmatch(token):
            return _told('401 Unauthorized', 'A token is expected.')
        return self._call(lambda: self._ask(PATH, token, 'DELETE', {TOKEN: token}))

    def take(self, environ) -> tuple[str, Answer]:
        """Return the token of a form that Keystone has made a browser send; '' and why not.

        It is held against Keystone, and the form must come from a page of it: so nobody can log
        others in under a name of his own.
        """
        origin = environ.get('HTTP_ORIGIN', '')
        if not self.url or origin.lower() != _origin_of(self.url):
            return '', _told('403 Forbidden', 'The form does not come from Keystone.')
        if environ.get('CONTENT_TYPE', '').partition(';')[0].strip() != FORM_TYPE:
            return '', _told('415 Unsupported Media Type', f'{FORM_TYPE} is expected.')
        length = _length(environ)
        if not 0 < length <= BODY_MAX:
            return '', _told('413 Content Too Large', f'1 to {BODY_MAX} bytes are expected.')
        body = environ['wsgi.input'].read(length).decode('ascii', 'replace')
        (token, *others) = parse.parse_qs(body, max_num_fields=10).get('token', [''])
        if others or not TOKEN_TEXT.fullmatch(token):
            return '', _told('400 Bad Request', 'One token is expected.')
        answer = self._call(lambda: self._ask(PATH, token, 'GET', {TOKEN: token}))
        return (token if answer.status == OK else ''), answer

    def _ask(self, path, token, method='GET', headers=None):
        """Return Keystone's answer to a request with a token."""
        with requests.request(
            method,
            self.url + path,
            headers={'Accept': JSON_TYPE, OWN_TOKEN: token, **(headers or {})},
            timeout=TIMEOUT_S,
            allow_redirects=False,
            stream=True,
        ) as answer:
            content = answer.raw.read(ANSWER_MAX, decode_content=True)
            if answer.status_code in (200, 204):
                return Answer(OK, content or b'{}')
            # Of a token that is unknown, Keystone says 404.
            if answer.status_code in (401, 404):
                return _told('401 Unauthorized', 'Keystone refused the token.')
            return _told('502 Bad Gateway', f'Keystone answered {answer.status_code}.')

    def _call(self, ask):
        if not self._calls.acquire(blocking=False):
            return _told('429 Too Many Requests', 'Others are logging in. Try again.')
        try:
            return ask()
        except requests.RequestException as exc:
            # The text of an error may hold the request.
            LOG.warning('Log-in of the web page: Keystone: %s', type(exc).__name__)
            return _told('503 Service Unavailable', 'Keystone does not answer.')
        finally:
            self._calls.release()

    def _pass_on(self, body):
        with requests.post(
            self.url + PATH,
            data=body,
            headers={'Content-Type': JSON_TYPE, 'Accept': JSON_TYPE},
            timeout=TIMEOUT_S,
            allow_redirects=False,
            stream=True,
        ) as answer:
            content = answer.raw.read(ANSWER_MAX, decode_content=True)
            token = answer.headers.get(TOKEN, '')
            if answer.status_code == 201 and token:
                return Answer('201 Created', content, token)
            if answer.status_code == 401:
                return _told('401 Unauthorized', 'Keystone refused the log-in.')
            return _told('502 Bad Gateway', f'Keystone answered {answer.status_code}.')


def _read(environ):
    """Return the body of a request, and the refusal of one that is no request for a token."""
    if environ.get('CONTENT_TYPE', '').partition(';')[0].strip() != JSON_TYPE:
        return b'', _told('415 Unsupported Media Type', f'{JSON_TYPE} is expected.')
    length = _length(environ)
    if not 0 < length <= BODY_MAX:
        return b'', _told('413 Content Too Large', f'1 to {BODY_MAX} bytes are expected.')
    body = environ['wsgi.input'].read(length)
    try:
        form = orjson.loads(body)
    except orjson.JSONDecodeError:
        form = None
    if not isinstance(form, dict) or set(form) != {'auth'}:
        return b'', _told('400 Bad Request', 'A request for a token is expected.')
    return body, None


def _length(environ) -> int:
    try:
        return int(environ.get('CONTENT_LENGTH') or 0)
    except ValueError:
        return 0


def _origin_of(url: str) -> str:
    parts = parse.urlsplit(url)
    return f'{parts.scheme}://{parts.netloc}'.lower()


def _told(status, message):
    return Answer(status, orjson.dumps({'message': message}))
