"""`/v1/rating`: modules and their configuration."""

import logging
import pkgutil

import pecan
import webob.exc
from wsme import types as wtypes

from cloudkitty import errors, plugins, rating
from cloudkitty.api import modules, rest, types
from cloudkitty.api.v1 import quote

LOG = logging.getLogger(__name__)


class Module(wtypes.Base):
    """A rating module."""

    module_id = wtypes.wsattr(str, mandatory=True)
    description = wtypes.wsattr(str)
    enabled = wtypes.wsattr(types.boolean)
    hot_config = wtypes.wsattr(types.boolean, name='hot-config')
    priority = wtypes.wsattr(types.Integer())


class ModuleCollection(wtypes.Base):
    """The rating modules that are installed."""

    modules = [Module]


class ModulesController(rest.Controller):
    """`/v1/rating/modules`."""

    @rest.expose(ModuleCollection, rule='rating:list_modules')
    def get_all(self):
        return ModuleCollection(
            modules=[
                Module(**module._asdict()) for module in pecan.request.services.modules.describe()
            ]
        )

    @rest.expose(Module, str, rule='rating:get_module')
    def get_one(self, module_id):
        return Module(**modules.get_module(pecan.request.services, module_id)._asdict())

    @rest.expose(None, str, body=Module, rule='rating:update_module', status_code=302)
    def put(self, module_id, module):
        for name in ('enabled', 'priority'):
            if getattr(module, name) is None:
                raise errors.InvalidInput(
                    reason=f"Invalid input for field/attribute {name}. Value: 'None'. "
                    'A value is expected.'
                )
        modules.update_module(
            pecan.request.services,
            module_id,
            enabled=_given(module.enabled),
            priority=_given(module.priority),
        )
        # Clients follow it and send the same PUT again, up to 30 times.
        pecan.response.location = rest.location_of()


def _given(value):
    return None if value is wtypes.Unset else value


class ReloadController(rest.Controller):
    """`/v1/rating/reload_modules`."""

    @rest.expose(None, rule='rating:module_config', status_code=204)
    def get_all(self):
        modules.reload_modules(pecan.request.services)


class ModuleConfigController(rest.Node):
    """Mounts the `config_controller` of every rating module under the module's name."""

    rule = 'rating:module_config'

    def __init__(self):
        self._controllers = {
            name: _controller_of(name, module)
            for name, module in plugins.load_all(rating.NAMESPACE).items()
        }

    def mounts(self):
        return {name: controller for name, controller in self._controllers.items() if controller}

    @pecan.expose()
    def _route(self, segments, request):
        """Check the policy for everything below, then route to the module's controller."""
        rest.authorize(self.rule)
        name, *rest_of_path = segments or ['']
        if not name:
            raise errors.MethodNotAllowed(allow=[])
        if name not in self._controllers:
            raise webob.exc.HTTPNotFound()
        controller = self._controllers[name]
        if controller is not None:
            return rest.descend(controller, rest_of_path, request)
        if any(rest_of_path):
            raise webob.exc.HTTPNotFound()
        raise errors.Conflict(reason='Module is not configurable')


def _controller_of(name, module):
    """Return an instance of a module's controller, None if it has none or it cannot be loaded."""
    try:
        if isinstance(module, Exception):
            raise module
        controller = module.config_controller
        if isinstance(controller, str):
            controller = pkgutil.resolve_name(controller)
        return controller() if controller else None
    except Exception as exc:  # One broken module must not affect the others.
        LOG.error('The configuration of rating module %s cannot be served: %s', name, exc)
        return None


class RatingController(rest.Controller):
    """`/v1/rating`."""

    def __init__(self):
        self.modules = ModulesController()
        self.reload_modules = ReloadController()
        self.quote = quote.QuoteController()
        self.module_config = ModuleConfigController()
