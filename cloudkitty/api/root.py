"""Version discovery, and the root of v1 and v2."""

import functools

import pecan
import webob.exc

from cloudkitty import errors
from cloudkitty.api import openapi, rest, schemas
from cloudkitty.api.v1 import root as v1
from cloudkitty.api.v2 import root as v2

METHODS = rest.with_derived(['GET'])
_LINK = schemas.form(href=schemas.TEXT, rel=schemas.TEXT)
_VERSION = schemas.form(id=schemas.TEXT, status=schemas.TEXT, links=schemas.listing(_LINK))
_RESOURCE = schemas.form(href=schemas.TEXT, methods=schemas.listing(schemas.TEXT))
_CONTENTS = schemas.form(**_VERSION['properties'], resources=schemas.listing(_RESOURCE))
# Public paths with the schemas of their responses.
DISCOVERY = {
    '/': schemas.form(versions=schemas.listing(_VERSION)),
    '/v1': _VERSION,
    '/v2': _CONTENTS,
    f'/{openapi.PATH}': {'type': 'object'},
}


class RootController(rest.Node):
    """`/`."""

    def __init__(self):
        self._versions = {'v1': v1.V1Controller(), 'v2': v2.V2Controller()}

    @pecan.expose()
    def _route(self, segments, request):
        name, *rest_of_path = segments or ['']
        if name in self._versions:
            if any(rest_of_path):
                return rest.descend(self._versions[name], rest_of_path, request)
            request.version = name
            return self._discovery(request, self.show_version)
        if name == openapi.PATH and not any(rest_of_path):
            return self._discovery(request, self.show_description)
        if not any(segments):
            return self._discovery(request, self.list_versions)
        raise webob.exc.HTTPNotFound()

    def _discovery(self, request, show):
        if request.method == 'OPTIONS':
            return self.options, []
        if request.method != 'GET':
            raise errors.MethodNotAllowed(allow=METHODS)
        return show, []

    @rest.answering
    def options(self):
        return rest.respond_options(METHODS)

    @rest.answering
    def list_versions(self):
        return rest.respond({'versions': [version('v1'), version('v2')]})

    @rest.answering
    def show_version(self):
        name = pecan.request.version
        return rest.respond(version(name) if name == 'v1' else contents_of_v2())

    @rest.answering
    def show_description(self):
        return rest.respond(
            {**self.description, 'servers': [{'url': pecan.request.application_url.rstrip('/')}]}
        )

    @functools.cached_property
    def description(self) -> dict:
        """The OpenAPI description of the service."""
        return openapi.build(self._versions['v1'], v2.ROUTES, DISCOVERY)


def version(name: str) -> dict:
    """Return the discovery entry of a version, with the URL that the caller used."""
    status = {'v1': 'CURRENT', 'v2': 'EXPERIMENTAL'}[name]
    href = f'{pecan.request.application_url.rstrip("/")}/{name}'
    return {'id': name, 'links': [{'href': href, 'rel': 'self'}], 'status': status}


def contents_of_v2() -> dict:
    """Return the discovery entry of v2 with all its resources."""
    shown = version('v2')
    base = pecan.request.application_url.rstrip('/')
    shown['links'].append({'href': f'{base}/{openapi.PATH}', 'rel': 'describedby'})
    shown['resources'] = [
        {'href': base + path, 'methods': rest.with_derived(sorted(methods))}
        for path, methods in openapi.paths_of_v2(v2.ROUTES).items()
    ]
    return shown
