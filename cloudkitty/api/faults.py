"""Conversion of errors to HTTP responses, in this one place.

Below /v1 the body is a WSME fault, elsewhere `{"message": text}`. The text of an internal error is
never sent: it is logged under the request id that the response has.
"""

import logging

import orjson
import webob
import webob.exc
from oslo_db import exception as db_exception
from sqlalchemy import exc as sa_exc
from wsme import exc as wsme_exc

from cloudkitty import errors

LOG = logging.getLogger(__name__)

TEXT_LENGTH_MAX = 2000
# Value of Retry-After in seconds, by status.
RETRY_AFTER_S = {429: 1, 503: 5}
INTERNAL = 'Internal Server Error'
# Key in the environ of a request that failed because the database is down.
AWAY = 'cloudkitty.database_away'
# Likewise for an error whose text tells what the service lacks.
TOLD = 'cloudkitty.told'
# Errors of the service whose text a caller may read.
_TOLD = (errors.DatabaseAway, errors.NotInstalled)
TEXTS = {
    404: 'The requested URL was not found on the server.',
    405: errors.MethodNotAllowed.text,
    413: 'The request is too large.',
}


def build(
    environ: dict,
    status: int,
    text: str,
    *,
    allow: list[str] | None = None,
) -> webob.Response:
    """Return the response for an error of *status*."""
    path = environ.get('PATH_INFO', '')
    if path == '/v1' or path.startswith('/v1/'):
        body = {
            'faultcode': 'Server' if status >= 500 else 'Client',
            'faultstring': text,
            'debuginfo': None,
        }
    else:
        body = {'message': text}
    response = webob.Response(
        status=status, content_type='application/json', charset=None, body=orjson.dumps(body)
    )
    if allow:
        response.allow = allow
    if status in RETRY_AFTER_S:
        response.headers['Retry-After'] = str(RETRY_AFTER_S[status])
    return response


def render(environ: dict, error: Exception) -> webob.Response:
    """Return the response for *error*; log it if it is internal."""
    if is_away(error):
        # One line without traceback: operators see the state of the database elsewhere.
        LOG.error(
            '%s %s %r: the database does not answer: %s',
            environ.get('openstack.request_id', '-'),
            environ.get('REQUEST_METHOD'),
            environ.get('PATH_INFO'),
            errors.describe(error),
        )
        environ[AWAY] = True
        error = errors.DatabaseAway()
    environ[TOLD] = isinstance(error, _TOLD)
    status, text = describe(error)
    if status == 500:
        # A caller may have put a line break into the path.
        LOG.error(
            '%s %s %r failed.',
            environ.get('openstack.request_id', '-'),
            environ.get('REQUEST_METHOD'),
            environ.get('PATH_INFO'),
            exc_info=(type(error), error, error.__traceback__),
        )
    return build(environ, status, text, allow=_allowed(error))


def describe(error: Exception) -> tuple[int, str]:
    """Return the HTTP status of *error* and the text that a caller may read."""
    if isinstance(error, webob.exc.HTTPException):
        status = error.status_int
        text = TEXTS.get(status) or str(error.detail or error.title)
    elif isinstance(error, wsme_exc.ClientSideError):
        status, text = error.code, str(error.faultstring)
    elif isinstance(error, errors.ServiceError):
        status, text = error.code, str(error)
    else:
        status, text = 500, INTERNAL
    if not (400 <= status < 500 or isinstance(error, _TOLD)):
        return 500, INTERNAL
    if len(text) > TEXT_LENGTH_MAX:
        # The text repeats the input.
        text = f'{text[:TEXT_LENGTH_MAX]}...'
    return status, text.encode('utf-8', 'backslashreplace').decode()


def is_away(error: BaseException | None) -> bool:
    """Return whether *error* or one of its causes is an unreachable database."""
    while error is not None:
        if isinstance(error, (db_exception.DBConnectionError, sa_exc.TimeoutError)):
            return True
        # Without a statement there was no connection.
        if isinstance(error, sa_exc.OperationalError) and error.statement is None:
            return True
        error = error.__cause__
    return False


def _allowed(error):
    if isinstance(error, errors.MethodNotAllowed):
        return error.facts.get('allow')
    return getattr(error, 'allow', None)


class Faults:
    """Middleware that converts exceptions and non-JSON errors of inner parts to faults.

    A read that hit a dead connection is retried once, by when the pool has new connections.
    """

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        again = dict(environ) if environ['REQUEST_METHOD'] in ('GET', 'HEAD') else None
        response = self._ask(environ)
        if again is not None and environ.get(AWAY):
            response = self._ask(again)
        return response(environ, start_response)

    def _ask(self, environ):
        head = []
        try:
            body = self.application(environ, lambda *given: head.append(given))
            status, headers = head[0][:2]
            response = webob.Response(status=status, headerlist=list(headers), app_iter=body)
            if status < '400':
                return response
            if response.content_type != 'application/json':
                response = build(
                    environ,
                    response.status_int,
                    TEXTS.get(response.status_int, response.status[4:]),
                )
        except Exception as error:  # The last exception handler before the web server.
            response = render(environ, error)
        return response
