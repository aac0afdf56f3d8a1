"""Errors become HTTP answers, here and nowhere else.

Below /v1 the body is a WSME fault, elsewhere `{"message": text}`. The text of an internal error
never leaves: it is logged under the request id that the answer carries.
"""

import logging

import orjson
import webob
import webob.exc
from wsme import exc as wsme_exc

from cloudkitty import errors

LOG = logging.getLogger(__name__)

TEXT_LENGTH_MAX = 2000
INTERNAL = 'Internal Server Error'
TEXTS = {
    404: 'The requested URL was not found on the server.',
    405: errors.MethodNotAllowed.text,
    413: 'The request is too large.',
}


def build(environ: dict, status: int, text: str, allow: list[str] | None = None) -> webob.Response:
    """Return the answer for an error of *status*."""
    path = environ.get('PATH_INFO', '')
    if path == '/v1' or path.startswith('/v1/'):
        body = {'faultcode': 'Server' if status >= 500 else 'Client', 'faultstring': text,
                'debuginfo': None}
    else:
        body = {'message': text}
    response = webob.Response(status=status, content_type='application/json', charset=None,
                              body=orjson.dumps(body))
    if allow:
        response.allow = allow
    return response


def render(environ: dict, error: Exception) -> webob.Response:
    """Return the answer for *error*, logged if it is ours."""
    status, text = describe(error)
    if status >= 500:
        # A caller may have put the end of a line into the path.
        LOG.error('%s %s %r failed.', environ.get('openstack.request_id', '-'),
                  environ.get('REQUEST_METHOD'), environ.get('PATH_INFO'),
                  exc_info=(type(error), error, error.__traceback__))
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
    if not 400 <= status < 500:
        return 500, INTERNAL
    if len(text) > TEXT_LENGTH_MAX:
        # It repeats what was sent.
        text = f'{text[:TEXT_LENGTH_MAX]}...'
    return status, text.encode('utf-8', 'backslashreplace').decode()


def _allowed(error):
    if isinstance(error, errors.MethodNotAllowed):
        return error.facts.get('allow')
    return getattr(error, 'allow', None)


class Faults:
    """Middleware: what the parts below raise or answer without JSON becomes a fault."""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        head = []
        try:
            body = self.application(environ, lambda *given: head.append(given))
            status, headers = head[0][:2]
            if status < '400':
                start_response(*head[0])
                return body
            response = webob.Response(status=status, headerlist=headers, app_iter=body)
            if response.content_type != 'application/json':
                response = build(environ, response.status_int,
                                 TEXTS.get(response.status_int, response.status[4:]))
        except Exception as error:  # The last line before the web server.
            response = render(environ, error)
        return response(environ, start_response)
