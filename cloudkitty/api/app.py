"""The WSGI application: a pecan application for v1 and v2, wrapped in middleware."""

import functools
import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime

import pecan
import pecan.routing
from keystonemiddleware import opts as keystone_opts
from oslo_config import cfg
from oslo_middleware import cors, http_proxy_to_wsgi, request_id, sizelimit
from oslo_policy import opts as policy_opts

from cloudkitty import conf as configuration
from cloudkitty import db, rpc, storage, ui
from cloudkitty import policy as policies
from cloudkitty.api import basic_auth, faults, hooks, middleware, paste, rest, root, telemetry
from cloudkitty.api.concurrency import CallLimiter
from cloudkitty.billing.statements import Statements
from cloudkitty.db import migration
from cloudkitty.explain import Explainer
from cloudkitty.rating.modules import ModuleSet
from cloudkitty.storage import v2 as storage_v2
from cloudkitty.usage import intake
from cloudkitty.usage.receiving import Receiver

LOG = logging.getLogger(__name__)

# Environment variable: configuration files, separated by colons, instead of the default ones.
FILES_VARIABLE = 'CLOUDKITTY_CONFIG_FILES'


class Application(pecan.Pecan):
    """pecan, without its repeated inspection of our controllers in each request."""

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


def build_wsgi_app(environment: Mapping[str, str] = os.environ):
    """Return the application for the configuration files.

    :raises ConfigurationError: see load().
    """
    return load(load_configuration(environment))


def load_configuration(environment: Mapping[str, str] = os.environ) -> cfg.ConfigOpts:
    """Return the configuration of a web server's process, whose arguments are not ours.

    :raises ConfigurationError: it is wrong.
    """
    files = [path for path in environment.get(FILES_VARIABLE, '').split(os.pathsep) if path]
    return configuration.load([], files=files or None)


# Names that WSGI scripts of existing deployments import.
load_app = setup_app = build_wsgi_app


def app_factory(global_config: Mapping[str, str], **local_conf: str):
    """Return build_wsgi_app() to PasteDeploy; the middleware is in it, with the token check.

    :param global_config, local_conf: options of a paste file, which are ignored.
    """
    return build_wsgi_app()


def load(conf: cfg.ConfigOpts):
    """Return the application with the database and the storage that *conf* names.

    :raises ConfigurationError: *conf* is wrong, or the database is not ready.
    """
    database = db.Database(conf)
    migration.check(database)
    # A server may fork after loading; its children must not share a connection.
    database.close()
    return build(conf, database=database, storage=storage.get_driver(conf))


def library_options(conf: cfg.ConfigOpts) -> list[tuple[str, list[cfg.Opt]]]:
    """Return the options of the libraries around the application, by section, with our defaults."""
    configuration.set_library_defaults()
    token_options = keystone_opts.list_auth_token_opts() if conf.auth_strategy == 'keystone' else []
    return [
        ('cors', cors.OPTS),
        ('oslo_middleware', [*http_proxy_to_wsgi.OPTS, *sizelimit.OPTS]),
        ('healthcheck', middleware.HEALTH_OPTS),
        *policy_opts.list_opts(),
        *token_options,
    ]


def build(conf: cfg.ConfigOpts, *, database: db.Database, storage: storage_v2.BaseStorage):
    """Return the WSGI application that serves *database* and *storage*.

    :raises ConfigurationError: an option of the libraries or the policy file is wrong.
    """
    for group, options in library_options(conf):
        configuration.register_driver(conf, group, options)
    former = paste.read(conf)
    if former.explain():
        LOG.warning('%s', former.explain())
    modules = ModuleSet(conf, database)
    services = hooks.Services(
        conf,
        database,
        storage,
        policies.Policy(conf),
        modules,
        Explainer(conf, modules, storage),
        rpc.Bus(conf),
        Statements(conf, database, storage, lambda: datetime.now(UTC)),
        CallLimiter.of(conf),
        intake.Intake.of(conf, database),
        Receiver(conf, database, lambda: datetime.now(UTC)),
    )
    application = Application(
        root.RootController(),
        hooks=[hooks.ContextHook(services), hooks.FaultHook()],
        request_cls=hooks.Request,
        default_renderer='json',
        force_canonical=False,
        guess_content_type_from_ext=False,
    )
    for wrap in reversed(_middleware(conf, database, former)):
        application = wrap(application, conf)
    return application


def _middleware(conf, database, former):
    """Return the middleware factories, outermost first.

    Each takes the application that it wraps and the service's configuration.

    :param former: what a paste file of an earlier release says.
    """
    return (
        telemetry.counted,
        middleware.cross_origin,
        middleware.proxy_headers,
        request_id.RequestId,
        middleware.LogContext,
        functools.partial(
            middleware.HealthMount, check=database.check, disable_file=former.disable_file
        ),
        ui.mount,
        lambda application, conf: faults.Faults(application),
        middleware.AddressCheck,
        middleware.BodyLimit,
        *_authentication(conf, former),
    )


def _authentication(conf, former):
    """Return the token check, innermost: health checks and CORS preflights need no token."""
    if conf.auth_strategy == 'noauth':
        return ()
    paths = former.public_paths
    check = functools.partial(
        middleware.TokenCheck, public_paths=middleware.PUBLIC_PATHS if paths is None else paths
    )
    if conf.metering.http_users_file is None:
        return (check,)
    return (
        lambda application, conf: basic_auth.BasicAuth(application, check(application, conf), conf),
    )
