"""HTTP basic authentication for publishers without Keystone support, on one path only."""

import hashlib
import hmac
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import webob
from oslo_config import cfg
from oslo_middleware import basic_auth, exceptions

from cloudkitty import errors

PATH = '/v2/samples'
# Key in the WSGI environ: the authenticated user.
PUBLISHER = 'cloudkitty.publisher'
ROLE = 'metering'
CHALLENGE = 'Basic realm="cloudkitty"'
# bcrypt takes as long as a request; a password that was right is not checked again for so long.
REMEMBERED_S = 60
REMEMBERED_MAX = 100
HEADER_LENGTH_MAX = 1000


class BasicAuth:
    """Lets publishers past the token check.

    :param application: the application without the token check.
    :param checked: the same behind it, for everybody else.
    :raises ConfigurationError: the file of the users cannot be used.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        checked: Callable[..., Any],
        conf: cfg.ConfigOpts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._application = application
        self._checked = checked
        self._path = conf.metering.http_users_file
        self._clock = clock
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        # What is remembered cannot be tried out elsewhere.
        self._salt = secrets.token_bytes(32)
        try:
            basic_auth.validate_auth_file(self._path)
        except exceptions.ConfigInvalid as exc:
            raise errors.ConfigurationError(reason=f'[metering]http_users_file: {exc}') from exc

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        header = environ.get('HTTP_AUTHORIZATION', '')
        is_basic = header[:6].lower() == 'basic '
        if environ.get('PATH_INFO', '').rstrip('/') != PATH or not is_basic:
            return self._checked(environ, start_response)
        user = self._user_of(header) if environ['REQUEST_METHOD'] == 'POST' else None
        if user is None:
            return _refused(environ, start_response)
        # Those that a token would have brought; whatever the caller sent as such counts nothing.
        for name in [name for name in environ if name.startswith(('HTTP_X_', 'keystone.'))]:
            if not name.startswith(('HTTP_X_OPENSTACK_REQUEST_ID', 'HTTP_X_FORWARDED')):
                del environ[name]
        environ['HTTP_X_ROLES'] = ROLE
        environ[PUBLISHER] = user
        return self._application(environ, start_response)

    def _user_of(self, header: str) -> str | None:
        """Return the authenticated user; None: the credentials are not accepted."""
        if len(header) > HEADER_LENGTH_MAX:
            return None
        try:
            changed_at = str(os.stat(self._path).st_mtime_ns)
            user, password = basic_auth.parse_token(header[6:].strip())
            key = hmac.new(self._salt, f'{changed_at}:{header}'.encode(), hashlib.sha256).digest()
            if self._remembered.get(key, 0) < self._clock():
                basic_auth.authenticate(self._path, user, password)
                self._remember(key)
        except (OSError, ValueError, webob.exc.HTTPException):
            return None
        return user

    def _remember(self, key: bytes) -> None:
        self._remembered[key] = self._clock() + REMEMBERED_S
        while len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)


def _refused(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
    answer = webob.Response(status=401, json_body={'message': 'User name or password is wrong.'})
    answer.headers['WWW-Authenticate'] = CHALLENGE
    return answer(environ, start_response)
