"""What happens around every controller: identity, services, well-formed input, faults."""

import json
from typing import NamedTuple

import pecan
import pecan.hooks
from oslo_config import cfg

from cloudkitty import context, dataframe, db, errors, policy, rpc
from cloudkitty.api import faults, middleware
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.storage import v2 as storage_v2

METHODS = ('GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE')
JSON_TYPE = 'application/json'


class Services(NamedTuple):
    """What controllers work with; each request carries it as `request.services`.

    :ivar modules: the installed rating modules.
    :ivar bus: tells the processors what changed, after it was written.
    """

    conf: cfg.ConfigOpts
    database: db.Database
    storage: storage_v2.BaseStorage
    policy: policy.Policy
    modules: ModuleSet
    bus: rpc.Bus


class Request(pecan.Request):
    """A request whose JSON is read once, numbers as exact decimals.

    Adds `services` (Services) and `caller` (context.RequestContext), set by ContextHook.
    """

    @property
    def params(self):
        """Query parameters only: a body is JSON, never a form."""
        return self.GET

    @property
    def json(self):
        """The body; raises ValueError if it is not JSON."""
        if 'cloudkitty.json' not in self.environ:
            self.environ['cloudkitty.json'] = parse_json(self.body)
        return self.environ['cloudkitty.json']


def parse_json(body: bytes):
    """Return what *body* says; a number with a fraction or an exponent is a Decimal.

    :raises ValueError: no JSON, or text that cannot be stored (NUL, half a surrogate pair).
    """
    try:
        text = body.decode('utf-8')
        form = json.loads(text, parse_float=dataframe.to_decimal, parse_constant=_refuse)
    except RecursionError as exc:
        raise ValueError('too deep') from exc
    except errors.InvalidInput as exc:
        raise ValueError(str(exc)) from exc
    except UnicodeDecodeError as exc:
        # pecan would log a traceback of this one.
        raise ValueError('not UTF-8') from exc
    # Only an escape can bring in what UTF-8 cannot carry.
    if '\0' in text or '\\u' in text:
        _check_texts(form)
    return form


def _refuse(constant):
    raise ValueError(f'{constant} is no JSON number')


def _check_texts(form):
    waiting = [form]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting.extend(part)
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, str) and middleware.BROKEN_TEXT.search(part):
            raise ValueError('text with a character that cannot be stored')


class ContextHook(pecan.hooks.PecanHook):
    """Hands over services and caller, and refuses requests no controller can understand."""

    priority = 1

    def __init__(self, services: Services):
        self.services = services

    def on_route(self, state):
        request = state.request
        request.services = self.services
        request.caller = context.from_environ(
            request.environ, auth_strategy=self.services.conf.auth_strategy)
        # Everything is answered in JSON, whatever the caller prefers.
        request.environ['HTTP_ACCEPT'] = request.pecan['content_type'] = JSON_TYPE
        if request.method not in METHODS:
            raise errors.MethodNotAllowed(allow=METHODS)
        # pecan would take the method from this parameter.
        if '_method' in request.GET:
            raise errors.InvalidInput(reason='Unknown argument: "_method"')
        if request.method == 'HEAD':
            request.environ['cloudkitty.method'] = 'HEAD'
            request.method = 'GET'

    def after(self, state):
        """Turn the request back into the HEAD it was: the answer then goes without its body."""
        environ = state.request.environ
        environ['REQUEST_METHOD'] = environ.get('cloudkitty.method', environ['REQUEST_METHOD'])


class FaultHook(pecan.hooks.PecanHook):
    """Answers errors; also those that a foreign controller turned into an answer itself."""

    priority = 100

    def on_error(self, state, error):
        return faults.render(state.request.environ, error)

    def after(self, state):
        if state.response.status_int >= 500:
            state.response = faults.build(state.request.environ, 500, faults.INTERNAL)
