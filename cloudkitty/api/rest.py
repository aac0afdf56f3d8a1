"""Exposes controllers: REST routing of pecan and arguments of WSME, without their defects.

v1 controllers are pecan RestControllers whose methods carry expose(); see doc/source/contributor.
"""

import contextlib
import functools
import inspect
import io
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pecan
import pecan.rest
import pecan.routing
import pecan.util
import webob.exc
import wsme
import wsme.api
import wsme.rest.args
import wsme.rest.json
import wsme.runtime
from wsme import exc as wsme_exc
from wsme import types as wtypes

from cloudkitty import errors
from cloudkitty.api import hooks, render, tables
from cloudkitty.core import dataframe

REST_METHODS = {
    'GET': ('get', 'get_one', 'get_all'),
    'POST': ('post',),
    'PUT': ('put',),
    'PATCH': ('patch',),
    'DELETE': ('delete',),
}
# Bytes.
ANSWER_SIZE_MAX = 64 * 2**20


def authorize(rule: str, target: dict | None = None) -> None:
    """Raise Forbidden unless the policy *rule* allows the current request.

    :param target: object of the action; None: the caller's own project. A caller without a project
        matches that, too, but then sees no data.
    :raises Forbidden: the rule denies it.
    """
    caller = pecan.request.caller
    if target is None:
        target = {'project_id': str(caller.project_id)}
    pecan.request.services.policy.authorize(caller, rule, target)


def respond(value, status: int = 200, location: str | None = None, *, is_empty: bool = False):
    """Answer the current request with *value* as JSON; 204 has no body.

    :param location: absolute URL for the Location header.
    :param is_empty: there is no body with another status either.
    """
    response = pecan.response
    response.status = status
    if location:
        response.location = location
    if status == 204 or is_empty:
        response.content_type = None
        response.body = b''
    else:
        response.content_type = hooks.JSON_TYPE
        response.charset = None
        body = dataframe.to_json(value)
        _check_size(len(body))
        response.body = body
    return response


class Tagged(NamedTuple):
    """A value with an entity tag, which a client may have cached.

    :ivar tag: unique among all values under the same URL, for all callers.
    """

    value: Any
    tag: str


class Blob(NamedTuple):
    """A file.

    :ivar name: suggested file name.
    """

    body: bytes
    media_type: str
    name: str


def respond_tagged(tagged: Tagged, status: int):
    """Answer the current request with a value, or 304 if the client has it cached."""
    response = pecan.response
    if tagged.tag in pecan.request.if_none_match:
        respond(None, 304, is_empty=True)
    elif isinstance(tagged.value, Blob):
        respond_blob(tagged.value)
    else:
        respond(tagged.value, status)
    response.etag = tagged.tag
    # It depends on the token, and must be revalidated each time.
    response.headers['Cache-Control'] = 'private, no-cache'
    response.headers['Vary'] = 'X-Auth-Token'
    return response


def respond_blob(blob: Blob):
    """Answer the current request with a file, which browsers save instead of showing it."""
    response = pecan.response
    _check_size(len(blob.body))
    response.content_type = blob.media_type
    response.content_disposition = f'attachment; filename="{blob.name}"'
    response.headers['X-Content-Type-Options'] = 'nosniff'
    response.body = blob.body
    return response


def respond_csv(table: tables.CSVTable):
    """Answer the current request with a CSV file."""
    response = pecan.response
    body = io.BytesIO()
    for part in tables.encode(table):
        body.write(part)
        _check_size(body.tell())
    response.content_type = tables.CSV_TYPE
    response.charset = 'utf-8'
    response.content_disposition = f'attachment; filename="{table.name}.csv"'
    response.body = body.getvalue()
    return response


def _check_size(size):
    if size > ANSWER_SIZE_MAX:
        raise errors.InvalidInput(
            reason=f'The answer has {size >> 20} MiB, more than {ANSWER_SIZE_MAX >> 20}: '
            'ask for a smaller page or a shorter time'
        )


def limited(is_slow: bool) -> contextlib.AbstractContextManager:
    """Return a context manager that limits how many slow requests of a project run at once.

    :raises TooManyCalls: its project has too many such requests.
    """
    if not is_slow:
        return contextlib.nullcontext()
    caller = pecan.request.caller
    return pecan.request.services.call_limiter.acquire(caller.project_id or caller.user_id)


def location_of(identifier: str | None = None) -> str:
    """Return the URL of this request's path, or of a member of that collection."""
    url = pecan.request.path_url
    return url if identifier is None else f'{url.rstrip("/")}/{identifier}'


def answering(method):
    """Expose a method that answers with respond() and needs no rendering by pecan."""
    pecan.expose(content_type=hooks.JSON_TYPE)(method)
    method.answers_by_itself = True
    return method


def answers_by_itself(method) -> bool:
    """Return whether *method* was exposed with answering()."""
    return getattr(method, 'answers_by_itself', False)


class Node:
    """A controller that does its own routing with _route()."""

    _route: Callable[..., tuple[Callable, list[str]]]


def descend(controller, segments: list[str], request) -> tuple[Callable, list[str]]:
    """Return the method for the path *segments* below *controller*, and the remaining segments.

    A Node is called directly: pecan inspects attributes and signatures in each request.
    """
    if isinstance(controller, Node):
        return controller._route(segments, request)
    return pecan.routing.lookup_controller(controller, segments, request)


class Controller(Node, pecan.rest.RestController):
    """A v1 resource: get_one, get_all, post, put, delete, and children as attributes."""

    @pecan.expose()
    def _route(self, args, request=None):
        child = self._lookup_child(args[0]) if args else None
        if isinstance(child, Node):
            return child._route(args[1:], request)
        try:
            return super()._route(args, request)
        except webob.exc.HTTPMethodNotAllowed as exc:
            allow = self.allowed()
            # pecan answers 405 if it finds no method.
            if any(args) and not allow:
                raise errors.NotFound(
                    reason='The requested URL was not found on the server.'
                ) from exc
            raise errors.MethodNotAllowed(allow=allow) from exc

    def _get_args_for_controller(self, controller):
        # Methods exposed with expose() check their arguments themselves.
        return [] if answers_by_itself(controller) else super()._get_args_for_controller(controller)

    def _lookup_child(self, remainder):
        return None if remainder.startswith('_') else super()._lookup_child(remainder)

    def _handle_options(self, method, remainder, request):
        child = self._lookup_child(remainder[0]) if remainder else None
        if child and not inspect.ismethod(child):
            return descend(child, remainder[1:], request)
        if not self.allowed():
            pecan.abort(405)
        return self.options, []

    @answering
    def options(self, *parents):
        return respond_options(self.allowed())

    def mounts(self) -> Mapping[str, object]:
        """Return the controllers below this one by path; `{name}` in it is an argument of theirs.

        To be overridden by controllers that do not route by attributes.
        """
        return children_of(self)

    def allowed(self) -> list[str]:
        """Return the methods of this resource."""
        return with_derived(
            [method for method, names in REST_METHODS.items() if self._find_controller(*names)]
        )


def children_of(controller) -> Mapping[str, object]:
    """Return the controllers that are attributes of another one, by name."""
    return {
        name: child
        for name, child in inspect.getmembers(controller)
        if not name.startswith('_') and hasattr(child, '_route')
    }


def with_derived(methods: list[str]) -> list[str]:
    """Return *methods* and those that follow from them (HEAD, OPTIONS), sorted."""
    derived = ['OPTIONS'] * bool(methods) + ['HEAD'] * ('GET' in methods)
    return sorted({*methods, *derived})


def respond_options(methods: list[str]):
    """Answer OPTIONS."""
    pecan.response.allow = methods
    return respond({'methods': methods})


def expose(*types, rule: str | None = None, is_slow: bool = False, **options):
    """Expose a method: WSME signature, arguments from path, query and body, JSON answer.

    Takes the arguments of wsmeext.pecan.wsexpose: return type, argument types, body=, status_code=;
    and is_empty=True for a response without a body. The method returns a value of the return type,
    any object that has its attributes, or a wsme.api.Response.

    :param rule: policy rule, checked before any argument is parsed.
    :param is_slow: whether it may take long and counts against the limit of api/concurrency.

    Source: doc/source/contributor/compatibility/rest-v1.rst, "Arguments".
    """
    signature = wsme.signature(*types, **options)

    def decorate(method):
        signature(method)
        definition = wsme.api.FunctionDefinition.get(method)
        definition.resolve_types(wsme.types.registry)

        @functools.wraps(method)
        def answer(self, *args, **kwargs):
            if rule is not None:
                authorize(rule)
            with limited(is_slow):
                result = method(self, **_arguments(definition, args, kwargs))
                return _answer(definition, result)

        answer.rule = rule
        answering(answer)
        pecan.util._cfg(answer)['argspec'] = _path_arguments(method, 'body' in options)
        return answer

    return decorate


def _path_arguments(method, has_body):
    """Return the arguments that path segments can set: all but the body."""
    spec = inspect.getfullargspec(method)
    if not has_body:
        return spec
    return spec._replace(args=spec.args[:-1], defaults=(spec.defaults or ())[:-1] or None)


def _answer(definition, result):
    status, datatype = definition.status_code, definition.return_type
    if isinstance(result, wsme.api.Response):
        status = result.status_code or status
        if not isinstance(result.return_type, wtypes.UnsetType):
            datatype = result.return_type
        result = result.obj
    if status == 204 or (datatype is None and result is None and status == 200):
        return respond(None, 204)
    form = None if datatype is None else render.renderer(datatype)(result)
    return respond(form, status, is_empty=definition.extra_options.get('is_empty', False))


def _arguments(definition, args, kwargs):
    """Return the arguments by name: path, overridden by query or body."""
    request = pecan.request
    wrong = (ValueError, TypeError, AttributeError, ArithmeticError)
    try:
        from_path = wsme.rest.args.args_from_args(definition, args, kwargs)
        from_query = wsme.rest.args.args_from_params(definition, request.params)
    except wrong as exc:
        raise errors.InvalidInput(reason=f'Invalid argument: {exc}') from exc
    given = wsme.rest.args.combine_args(
        definition, (from_query, ((), _body_arguments(definition, request)))
    )
    _, merged = wsme.rest.args.combine_args(definition, (from_path, given), allow_override=True)
    wsme.runtime.check_arguments(definition, (), merged)
    if definition.body_type is not None and merged.get(definition.arguments[-1].name) is None:
        raise wsme_exc.MissingArgument(definition.arguments[-1].name)
    for argument in definition.arguments:
        if argument.name in merged:
            merged[argument.name] = _validated(
                argument.name, argument.datatype, merged[argument.name]
            )
    return merged


def read_json(request, *, is_required: bool = False):
    """Return the JSON body of *request*, None if it is empty.

    :param is_required: refuse an empty body, or one without the JSON content type.
    :raises UnsupportedMediaType: the content type is another one.
    :raises InvalidInput: it is no JSON.
    """
    if not request.body and not is_required:
        return None
    if request.content_type != hooks.JSON_TYPE:
        raise errors.UnsupportedMediaType(media_type=request.content_type)
    try:
        return request.json
    except ValueError as exc:
        raise errors.InvalidInput(reason='Request is not in valid JSON format') from exc


def _body_arguments(definition, request):
    form = read_json(request)
    if not request.body:
        return {}
    if definition.body_type is not None:
        name = definition.arguments[-1].name
        if form is None:
            raise wsme_exc.InvalidInput(name, None, 'Mandatory field missing.')
        return {name: _converted(name, definition.body_type, form)}
    if not isinstance(form, dict):
        raise wsme_exc.ClientSideError('Request must be a JSON dict')
    types = {argument.name: argument.datatype for argument in definition.arguments}
    unknown = [name for name in form if name not in types]
    if unknown:
        raise wsme_exc.UnknownArgument(', '.join(unknown))
    return {name: _converted(name, types[name], value) for name, value in form.items()}


def _converted(name, datatype, value):
    if wtypes.iscomplex(datatype) and not isinstance(value, dict):
        raise wsme_exc.InvalidInput(name, value, 'A JSON object is expected.')
    try:
        converted = wsme.rest.json.fromjson(datatype, value)
        _check_mandatory(datatype, converted)
        return converted
    except wsme_exc.UnknownAttribute as exc:
        exc.add_fieldname(name)
        raise
    except (ValueError, TypeError, AttributeError, ArithmeticError) as exc:
        raise wsme_exc.InvalidInput(name, value, str(exc)) from exc


def _check_mandatory(datatype, converted):
    """Refuse null for mandatory arguments; WSME only checks that the name is given."""
    if isinstance(datatype, wtypes.ArrayType):
        for item in converted or ():
            if item is None:
                raise ValueError('A list must not hold null.')
            _check_mandatory(datatype.item_type, item)
    elif wtypes.iscomplex(datatype):
        for attribute in wtypes.list_attributes(datatype):
            value = getattr(converted, attribute.key)
            if attribute.mandatory and value is None:
                raise wsme_exc.InvalidInput(attribute.name, None, 'Mandatory field missing.')
            if value is not wtypes.Unset:
                _check_mandatory(attribute.datatype, value)


def _validated(name, datatype, value):
    try:
        return wtypes.validate_value(datatype, value)
    except (ValueError, TypeError) as exc:
        raise wsme_exc.InvalidInput(name, value, str(exc)) from exc
