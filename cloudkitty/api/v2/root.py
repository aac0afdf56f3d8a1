"""`/v2`: one table of endpoints."""

import pecan
import webob.exc

from cloudkitty import errors
from cloudkitty.api import hooks, rest, tables
from cloudkitty.api.parameters import read_body, read_query
from cloudkitty.api.v2 import (
    audit,
    billing,
    budgets,
    completeness,
    credits,
    dataframes,
    explain,
    forecast,
    lines,
    me,
    meters,
    modules,
    operator,
    samples,
    scopes,
    statements,
    summary,
    tasks,
    usage,
    whatif,
)
from cloudkitty.api.v2.endpoint import Endpoint

# Endpoints by path and method; a `*` takes any one segment.
ROUTES: dict[tuple[str, ...], dict[str, Endpoint]] = (
    audit.ROUTES
    | billing.ROUTES
    | budgets.ROUTES
    | completeness.ROUTES
    | credits.ROUTES
    | dataframes.ROUTES
    | explain.ROUTES
    | forecast.ROUTES
    | lines.ROUTES
    | me.ROUTES
    | meters.ROUTES
    | modules.ROUTES
    | operator.ROUTES
    | scopes.ROUTES
    | statements.ROUTES
    | summary.ROUTES
    | tasks.ROUTES
    | usage.ROUTES
    | whatif.ROUTES
)
for _path, _methods in samples.ROUTES.items():
    ROUTES[_path] = ROUTES.get(_path, {}) | _methods


def match(segments: list[str]) -> tuple[dict[str, Endpoint], list[str]]:
    """Return the endpoints of a path by method, and its variable segments.

    :raises HTTPNotFound: no endpoint has this path.
    """
    for pattern, endpoints in ROUTES.items():
        if len(pattern) == len(segments) and all(
            known in ('*', given) for known, given in zip(pattern, segments, strict=True)
        ):
            return endpoints, [
                given for known, given in zip(pattern, segments, strict=True) if known == '*'
            ]
    raise webob.exc.HTTPNotFound()


class V2Controller(rest.Node):
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

    @rest.answering
    def options(self):
        return rest.respond_options(rest.with_derived(list(pecan.request.endpoints)))

    @rest.answering
    def answer(self):
        """Authorise, read the parameters, let the endpoint answer."""
        request = pecan.request
        endpoint = request.endpoints[request.method]
        rest.authorize(endpoint.rule)
        with rest.limited(endpoint.is_slow):
            return self._answer(request, endpoint)

    @staticmethod
    def _answer(request, endpoint):
        parameters = read_query(request.GET, endpoint.parameters)
        if endpoint.body is not None:
            parameters |= read_body(rest.read_json(request, is_required=True), endpoint.body)
        limit_max = request.services.conf.api.limit_max
        if parameters.get('limit', 0) > limit_max:
            raise errors.InvalidInput(reason=f'limit must not be above {limit_max}')
        if endpoint.tabulate is not None and tables.prefers_csv(request.environ[hooks.ACCEPT]):
            if 'limit' not in request.GET:
                parameters['limit'] = None
            return rest.respond_csv(endpoint.tabulate(request, *request.segments, **parameters))
        answer = endpoint.handle(request, *request.segments, **parameters)
        if isinstance(answer, rest.Tagged):
            return rest.respond_tagged(answer, endpoint.status)
        return rest.respond(answer, endpoint.status)
