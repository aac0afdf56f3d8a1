"""`/v1/rating`: modules and their configuration."""

import logging
import pkgutil

import pecan
import pecan.routing
import webob.exc

from cloudkitty import errors, plugins, rating
from cloudkitty.api import hooks, rest

LOG = logging.getLogger(__name__)


class ModuleConfigController:
    """Mounts the `config_controller` of every rating module under the module's name."""

    def __init__(self):
        self._controllers = {name: _controller_of(name, module)
                             for name, module in plugins.load_all(rating.NAMESPACE).items()}

    @pecan.expose()
    def _route(self, segments, request):
        """Authorise all that lies below, then go on to the module's controller."""
        rest.authorize('rating:module_config')
        segments = segments or ['']
        name = segments[0]
        if not name:
            raise errors.MethodNotAllowed(allow=[])
        if name not in self._controllers:
            raise webob.exc.HTTPNotFound()
        controller = self._controllers[name]
        if controller is None and any(segments[1:]):
            raise webob.exc.HTTPNotFound()
        if controller is None:
            raise errors.Conflict(reason='Module is not configurable')
        return pecan.routing.lookup_controller(controller, segments[1:], request)


def _controller_of(name, module):
    """Return an instance of the module's controller, None if it has none or cannot be loaded."""
    if isinstance(module, Exception):
        LOG.error('Rating module %s cannot be configured: %s', name, module)
        return None
    controller = module.config_controller
    if isinstance(controller, str):
        controller = pkgutil.resolve_name(controller)
    return controller() if controller else None


class RatingController(rest.Controller):
    """`/v1/rating`."""

    def __init__(self, services: hooks.Services):
        self.module_config = ModuleConfigController()
