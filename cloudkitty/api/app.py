"""The WSGI application: a pecan application for v1 and v2, inside one tuple of middleware."""

import pecan
import pecan.routing
from keystonemiddleware import opts as keystone_opts
from oslo_config import cfg
from oslo_middleware import cors, http_proxy_to_wsgi, request_id, sizelimit
from oslo_policy import opts as policy_opts

from cloudkitty import conf as configuration
from cloudkitty import db, rpc, storage
from cloudkitty import policy as policies
from cloudkitty.api import faults, figures, hooks, middleware, rest, root
from cloudkitty.db import migration
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.storage import v2 as storage_v2

# Outermost first. Each takes the application inside it and the service's configuration.
MIDDLEWARE = (
    figures.counted,
    middleware.cross_origin,
    middleware.proxy_headers,
    request_id.RequestId,
    middleware.LogContext,
    middleware.HealthMount,
    lambda application, conf: faults.Faults(application),
    middleware.AddressCheck,
    middleware.BodyLimit,
)
# The token check comes last: health and CORS preflights need no token.
AUTHENTICATION = {'noauth': (), 'keystone': (middleware.TokenCheck,)}


class Application(pecan.Pecan):
    """pecan, without what it finds out about our controllers anew with each request."""

    def route(self, req, node, path):
        try:
            return rest.descend(node, path.split('/')[1:], req)
        except pecan.routing.NonCanonicalPath as exc:
            return exc.controller, exc.remainder

    def invoke_controller(self, controller, args, kwargs, state):
        if rest.answers_by_itself(controller):
            controller(*args, **kwargs)
        else:
            super().invoke_controller(controller, args, kwargs, state)


def load(conf: cfg.ConfigOpts):
    """Return the application with the database and the storage that *conf* names.

    :raises ConfigurationError: *conf* is wrong, or the database is not ready.
    """
    database = db.Database(conf)
    migration.check(database)
    # A server may fork after loading; its children must not share a connection.
    database.engine.dispose()
    return build(conf, database=database, storage=storage.get_driver(conf))


def library_options(conf: cfg.ConfigOpts) -> list[tuple[str, list[cfg.Opt]]]:
    """Return the options of the libraries around the application, by section."""
    token_options = (keystone_opts.list_auth_token_opts()
                     if conf.auth_strategy == 'keystone' else [])
    return [('cors', cors.OPTS), ('oslo_middleware', [*http_proxy_to_wsgi.OPTS, *sizelimit.OPTS]),
            ('healthcheck', middleware.HEALTH_OPTS), *policy_opts.list_opts(), *token_options]


def build(conf: cfg.ConfigOpts, *, database: db.Database, storage: storage_v2.BaseStorage):
    """Return the WSGI application that serves *database* and *storage*.

    :raises ConfigurationError: an option of the libraries or the policy file is wrong.
    """
    for group, options in library_options(conf):
        configuration.register_driver(conf, group, options)
    services = hooks.Services(conf, database, storage, policies.Policy(conf),
                              ModuleSet(conf, database), rpc.Bus(conf))
    application = Application(
        root.RootController(), hooks=[hooks.ContextHook(services), hooks.FaultHook()],
        request_cls=hooks.Request, default_renderer='json', force_canonical=False,
        guess_content_type_from_ext=False)
    for wrap in reversed((*MIDDLEWARE, *AUTHENTICATION[conf.auth_strategy])):
        application = wrap(application, conf)
    return application
