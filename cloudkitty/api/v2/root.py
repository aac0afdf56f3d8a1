"""`/v2`: one table of endpoints."""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pecan
import webob.exc

from cloudkitty import errors
from cloudkitty.api import hooks, query, rest


class Endpoint(NamedTuple):
    """What answers one method of one path.

    :ivar handle: takes the request, the variable path segments, and the parameters by name;
        returns what is rendered as JSON.
    :ivar rule: policy rule, checked first.
    :ivar parameters: what the query string may hold.
    :ivar body: members of the JSON body; None: the method takes no body.
    :ivar status: HTTP status of success.
    """

    handle: Callable[..., Any]
    rule: str
    parameters: Mapping[str, query.Parameter] = types.MappingProxyType({})
    body: Mapping[str, query.Parameter] | None = None
    status: int = 200


# Endpoints by path and method; a `*` takes any one segment.
ROUTES: dict[tuple[str, ...], dict[str, Endpoint]] = {}


def match(segments: list[str]) -> tuple[dict[str, Endpoint], list[str]]:
    """Return the endpoints of a path by method, and its variable segments.

    :raises HTTPNotFound: no endpoint has this path.
    """
    for pattern, endpoints in ROUTES.items():
        if len(pattern) == len(segments) and all(
                known in ('*', given) for known, given in zip(pattern, segments, strict=True)):
            return endpoints, [given for known, given in zip(pattern, segments, strict=True)
                               if known == '*']
    raise webob.exc.HTTPNotFound()


class V2Controller:
    """Children of `/v2`."""

    @pecan.expose()
    def _route(self, segments, request):
        if segments[-1] == '':
            segments = segments[:-1]
        request.endpoints, request.segments = match(segments)
        if request.method == 'OPTIONS':
            return self.options, []
        if request.method not in request.endpoints:
            raise errors.MethodNotAllowed(allow=rest.with_derived(list(request.endpoints)))
        return self.answer, []

    @pecan.expose(content_type=hooks.JSON_TYPE)
    def options(self):
        return rest.respond_options(rest.with_derived(list(pecan.request.endpoints)))

    @pecan.expose(content_type=hooks.JSON_TYPE)
    def answer(self):
        """Authorise, read the parameters, let the endpoint answer."""
        request = pecan.request
        endpoint = request.endpoints[request.method]
        rest.authorize(endpoint.rule, {'project_id': request.caller.project_id})
        parameters = query.read_query(request.GET, endpoint.parameters)
        if endpoint.body is not None:
            parameters |= query.read_body(rest.read_json(request, is_required=True),
                                          endpoint.body)
        return rest.respond(endpoint.handle(request, *request.segments, **parameters),
                            endpoint.status)
