"""pecan hooks around every controller: identity, services, well-formed input, faults."""

import json
from typing import NamedTuple

import pecan
import pecan.hooks
from oslo_config import cfg

from cloudkitty import context, db, errors, policy, rpc
from cloudkitty.api import faults, middleware
from cloudkitty.api.concurrency import CallLimiter
from cloudkitty.billing.statements import Statements
from cloudkitty.core import bounds
from cloudkitty.explain import Explainer
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.storage import v2 as storage_v2
from cloudkitty.usage.intake import Intake
from cloudkitty.usage.receiving import Receiver

METHODS = ('GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'PATCH', 'DELETE')
JSON_TYPE = 'application/json'
# Member of the WSGI environ: the Accept header of the caller.
ACCEPT = 'cloudkitty.accept'
# Key of the WSGI environment: how much usage of projects was refused, by the option that limits it.
REFUSED_USAGE = 'cloudkitty.refused_usage'


class Services(NamedTuple):
    """Dependencies of controllers, available as `request.services`.

    :ivar modules: the installed rating modules.
    :ivar explainer: explains prices.
    :ivar bus: notifies the processors of changes after they are stored.
    :ivar statements: the statements of accounts.
    :ivar call_limiter: limits concurrent slow calls, see api/concurrency.
    :ivar intake: stores usage that is pushed.
    :ivar receiver: stores metering messages.
    """

    conf: cfg.ConfigOpts
    database: db.Database
    storage: storage_v2.BaseStorage
    policy: policy.Policy
    modules: ModuleSet
    explainer: Explainer
    bus: rpc.Bus
    statements: Statements
    call_limiter: CallLimiter
    intake: Intake
    receiver: Receiver


class Request(pecan.Request):
    """A request whose JSON is parsed once, with exact decimals.

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
    """Return the parsed *body*; numbers with a fraction or an exponent are Decimal.

    :raises ValueError: no JSON, or text that cannot be stored (NUL, half a surrogate pair).
    :raises InvalidInput: too many levels, or a number with too many digits.
    """
    try:
        text = body.decode('utf-8')
        form = json.loads(
            text, parse_float=bounds.to_decimal, parse_int=_integer, parse_constant=_refuse
        )
    except RecursionError as exc:
        raise ValueError('too deep') from exc
    except UnicodeDecodeError as exc:
        # pecan would log a traceback of this error.
        raise ValueError('not UTF-8') from exc
    if bounds.is_deeper(form, bounds.DEPTH_MAX):
        raise errors.InvalidInput(
            reason=f'The body has more than {bounds.DEPTH_MAX} levels of objects and lists'
        )
    # Only an escape sequence can contain what UTF-8 cannot encode.
    if '\0' in text or '\\u' in text:
        _check_texts(form)
    return form


def _integer(text):
    return int(bounds.to_decimal(text))


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
    """Adds services and caller to requests, and refuses requests that no controller can handle."""

    priority = 1

    def __init__(self, services: Services):
        self.services = services

    def on_route(self, state):
        request = state.request
        request.services = self.services
        request.caller = context.from_environ(
            request.environ, auth_strategy=self.services.conf.auth_strategy
        )
        # To pecan all responses are JSON, whatever the Accept header says.
        request.environ[ACCEPT] = request.environ.get('HTTP_ACCEPT')
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
        """Restore the method HEAD, so that the response is sent without its body."""
        environ = state.request.environ
        environ['REQUEST_METHOD'] = environ.get('cloudkitty.method', environ['REQUEST_METHOD'])


class FaultHook(pecan.hooks.PecanHook):
    """Converts errors to faults, including error responses that third-party controllers return."""

    priority = 100

    def on_error(self, state, error):
        return faults.render(state.request.environ, error)

    def after(self, state):
        is_told = state.request.environ.get(faults.TOLD)
        if state.response.status_int >= 500 and not is_told:
            state.response = faults.build(state.request.environ, 500, faults.INTERNAL)
