"""Errors that reach the outermost part of the application, whoever raised them."""

import pytest
import webob
import webob.exc

from cloudkitty import errors
from cloudkitty.api import faults

SECRET = 'http://10.0.0.7: password'


def _answer(path, error):
    def fail(environ, start_response):
        raise error

    return webob.Request.blank(path).get_response(faults.Faults(fail))


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError(SECRET),
        errors.ConfigurationError(reason=SECRET),
        errors.SourceError(reason=SECRET),
        webob.exc.HTTPInternalServerError(SECRET),
        webob.exc.HTTPServiceUnavailable(SECRET),
        webob.exc.HTTPMovedPermanently(SECRET),
    ],
)
def test_the_text_of_what_is_no_fault_of_the_caller_stays_inside(error, caplog):
    """It is in the log."""
    for path, told in (
        ('/v1/x', {'faultcode': 'Server', 'faultstring': faults.INTERNAL, 'debuginfo': None}),
        ('/v2/x', {'message': faults.INTERNAL}),
    ):
        answer = _answer(path, error)

        assert (answer.status_int, answer.json) == (500, told)
        assert SECRET not in answer.text
    assert SECRET in caplog.text


@pytest.mark.parametrize(
    'error, status, text',
    [
        (errors.InvalidInput(reason='a'), 400, 'a'),
        (errors.NotFound(reason='b'), 404, 'b'),
        (errors.Conflict(reason='c' * 2001), 409, 'c' * 2000 + '...'),
        (errors.Conflict(reason='c' * 2000), 409, 'c' * 2000),
        (errors.InvalidInput(reason='half \ud800'), 400, 'half \\ud800'),
        (webob.exc.HTTPUnauthorized('d'), 401, 'd'),
    ],
)
def test_the_text_of_what_is_one_is_told(error, status, text):
    answer = _answer('/v2/x', error)

    assert (answer.status_int, answer.json) == (status, {'message': text})
