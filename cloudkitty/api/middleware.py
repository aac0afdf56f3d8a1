"""WSGI middleware of our own: addresses, health, and the paths that need no token."""

import importlib.util
import re
from collections.abc import Iterable

import webob
from keystoneauth1 import exceptions as keystone_exceptions
from keystonemiddleware import auth_token
from keystonemiddleware import exceptions as middleware_exceptions
from oslo_config import cfg
from oslo_middleware import cors, healthcheck, http_proxy_to_wsgi, request_id, sizelimit
from oslo_middleware.healthcheck import opts as healthcheck_opts

from cloudkitty import context, errors

SERVICE_TYPE = 'rating'
PUBLIC_PATHS = ('', '/v1', '/v2', '/openapi.json')
DISABLE_FILE = '/etc/cloudkitty/healthcheck_disable'
HEALTH_OPTS = [*healthcheck_opts.HEALTHCHECK_OPTS, *healthcheck_opts.DISABLE_BY_FILE_OPTS]

# Half of a surrogate pair, or NUL: no database takes them.
BROKEN_TEXT = re.compile('[\0\ud800-\udfff]')


def cross_origin(application, conf: cfg.ConfigOpts):
    """Return *application* with the library's CORS, as it is if no other origin is allowed."""
    return cors.CORS(application, conf) if conf.cors.allowed_origin else application


def proxy_headers(application, conf: cfg.ConfigOpts):
    """Return *application* with the headers of proxies believed, as it is if they are not."""
    if not conf.oslo_middleware.enable_proxy_headers_parsing:
        return application
    return http_proxy_to_wsgi.HTTPProxyToWSGI(application, conf)


class AddressCheck:
    """Refuses a URL that no controller can understand; the error goes to faults.Faults."""

    def __init__(self, application, conf: cfg.ConfigOpts):
        self.application = application

    def __call__(self, environ, start_response):
        request = webob.Request(environ)
        try:
            texts = [request.path_info, *request.GET.keys(), *request.GET.values()]
        except UnicodeError as exc:
            raise errors.InvalidInput(reason='The URL is not valid UTF-8.') from exc
        if any(BROKEN_TEXT.search(text) for text in texts):
            raise errors.InvalidInput(reason='The URL holds a character that cannot be stored.')
        # pecan walks the path with getattr(); Python's own attributes are not resources.
        if any(segment.startswith('__') and segment.endswith('__')
               for segment in request.path_info.split('/')):
            raise errors.NotFound(reason='The requested URL was not found on the server.')
        return self.application(environ, start_response)


class BodyLimit:
    """The library's limit, for requests that have a body; most have none."""

    def __init__(self, application, conf: cfg.ConfigOpts):
        self.application = application
        self.limiter = sizelimit.RequestBodySizeLimiter(application, conf)

    def __call__(self, environ, start_response):
        length = environ.get('CONTENT_LENGTH')
        # Without a length, a body can only be read from a server that marks its end.
        is_empty = length == '0' or (not length and not environ.get('wsgi.input_terminated'))
        return (self.application if is_empty else self.limiter)(environ, start_response)


class LogContext:
    """Every line logged for a request carries its id, whoever logs it."""

    def __init__(self, application, conf: cfg.ConfigOpts):
        self.application = application

    def __call__(self, environ, start_response):
        with context.logged(environ[request_id.ENV_REQUEST_ID]):
            return self.application(environ, start_response)


class HealthMount:
    """Answers /healthcheck: 200, or 503 while the operator's file exists."""

    def __init__(self, application, conf: cfg.ConfigOpts):
        conf.set_default('backends', ['disable_by_file'], group='healthcheck')
        conf.set_default('disable_by_file_path', DISABLE_FILE, group='healthcheck')
        self.application = application
        self.healthcheck = healthcheck.Healthcheck(None, conf)

    def __call__(self, environ, start_response):
        path = environ.get('PATH_INFO', '')
        if path == '/healthcheck' or path.startswith('/healthcheck/'):
            # The library has another answer to HEAD than to GET.
            question = webob.Request({**environ, 'REQUEST_METHOD': 'GET'})
            return question.get_response(self.healthcheck)(environ, start_response)
        return self.application(environ, start_response)


class TokenCheck:
    """keystonemiddleware in front of everything but the public paths.

    :raises ConfigurationError: [keystone_authtoken] does not say how to reach Keystone.
    """

    def __init__(self, application, conf: cfg.ConfigOpts,
                 public_paths: Iterable[str] = PUBLIC_PATHS):
        self.application = application
        self.public_paths = frozenset(public_paths)
        _check_cache(conf.keystone_authtoken)
        # What a token may call, if an application credential says so, is told by service type.
        conf.set_default('service_type', SERVICE_TYPE, group='keystone_authtoken')
        try:
            self.auth_token = auth_token.AuthProtocol(application, {'oslo_config_config': conf})
        except (keystone_exceptions.ClientException, middleware_exceptions.ConfigurationError,
                cfg.Error) as exc:
            raise errors.ConfigurationError(reason=f'[keystone_authtoken]: {exc}') from exc

    def __call__(self, environ, start_response):
        if environ.get('PATH_INFO', '').rstrip('/') in self.public_paths:
            return self.application(environ, start_response)
        return self.auth_token(environ, start_response)


def _check_cache(options):
    """Do nothing if the library that reaches the operator's memcached is installed.

    keystonemiddleware looks for it with the first token, and fails with each.
    """
    is_binary = options.memcache_tls_enabled or options.memcache_sasl_enabled
    module, package = (('bmemcached', 'python-binary-memcached') if is_binary
                       else ('memcache', 'python-memcached'))
    if options.memcached_servers and importlib.util.find_spec(module) is None:
        raise errors.ConfigurationError(
            reason=f'[keystone_authtoken]memcached_servers: install the Python package {package}')
