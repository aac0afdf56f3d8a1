"""Version discovery, and the way to v1 and v2."""

import pecan
import pecan.routing
import webob.exc

from cloudkitty import errors
from cloudkitty.api import hooks, rest
from cloudkitty.api.v1 import root as v1
from cloudkitty.api.v2 import root as v2

METHODS = rest.with_derived(['GET'])


class RootController:
    """`/`."""

    def __init__(self):
        self._versions = {'v1': v1.V1Controller(), 'v2': v2.V2Controller()}

    @pecan.expose()
    def _route(self, segments, request):
        name, *rest_of_path = segments or ['']
        if name in self._versions:
            if any(rest_of_path):
                return pecan.routing.lookup_controller(self._versions[name], rest_of_path, request)
            request.version = name
            return self._discovery(request, self.show_version)
        if not any(segments):
            return self._discovery(request, self.list_versions)
        raise webob.exc.HTTPNotFound()

    def _discovery(self, request, show):
        if request.method == 'OPTIONS':
            return self.options, []
        if request.method != 'GET':
            raise errors.MethodNotAllowed(allow=METHODS)
        return show, []

    @pecan.expose(content_type=hooks.JSON_TYPE)
    def options(self):
        return rest.respond_options(METHODS)

    @pecan.expose(content_type=hooks.JSON_TYPE)
    def list_versions(self):
        return rest.respond({'versions': [version('v1'), version('v2')]})

    @pecan.expose(content_type=hooks.JSON_TYPE)
    def show_version(self):
        return rest.respond(version(pecan.request.version))


def version(name: str) -> dict:
    """Return the discovery entry of a version, with the URL the caller knows the service by."""
    status = {'v1': 'CURRENT', 'v2': 'EXPERIMENTAL'}[name]
    href = f'{pecan.request.application_url.rstrip("/")}/{name}'
    return {'id': name, 'links': [{'href': href, 'rel': 'self'}], 'status': status}
