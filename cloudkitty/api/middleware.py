"""WSGI middleware: validation of URLs, health check, token check and its public paths."""

import importlib.util
import logging
import re
from collections.abc import Callable, Iterable, Mapping

import webob
import webob.exc
from keystoneauth1 import exceptions as keystone_exceptions
from keystonemiddleware import auth_token
from keystonemiddleware import exceptions as middleware_exceptions
from oslo_config import cfg
from oslo_middleware import cors, healthcheck, http_proxy_to_wsgi, request_id, sizelimit
from oslo_middleware.healthcheck import opts as healthcheck_opts

from cloudkitty import context, errors
from cloudkitty.clients import keystone

LOG = logging.getLogger(__name__)

SERVICE_TYPE = 'rating'
PUBLIC_PATHS = ('', '/v1', '/v2', '/openapi.json')
DISABLE_FILE = '/etc/cloudkitty/healthcheck_disable'
HEALTH_OPTS = [*healthcheck_opts.HEALTHCHECK_OPTS, *healthcheck_opts.DISABLE_BY_FILE_OPTS]

# Most parameters of a query string, which must not take long to parse.
PARAMETERS_MAX = 1000
HOST = re.compile(r'[A-Za-z0-9._~%:\[\]-]{0,300}', re.ASCII)
# Half of a surrogate pair, or NUL: no database can store them.
BROKEN_TEXT = re.compile('[\0\ud800-\udfff]')


def cross_origin(application, conf: cfg.ConfigOpts):
    """Return *application* with the library's CORS, unchanged if no other origin is allowed."""
    return cors.CORS(application, conf) if conf.cors.allowed_origin else application


def proxy_headers(application, conf: cfg.ConfigOpts):
    """Return *application* with proxy headers applied if that is enabled, else ignored."""
    if not conf.oslo_middleware.enable_proxy_headers_parsing:
        return OwnScheme(application)
    return http_proxy_to_wsgi.HTTPProxyToWSGI(application, conf)


class OwnScheme:
    """Restores the scheme of the server: uWSGI takes it from any X-Forwarded-Proto header."""

    def __init__(self, application):
        self.application = application

    def __call__(self, environ, start_response):
        if 'HTTP_X_FORWARDED_PROTO' in environ:
            is_secure = environ.get('HTTPS', '').lower() in ('on', '1', 'true')
            environ['wsgi.url_scheme'] = 'https' if is_secure else 'http'
        return self.application(environ, start_response)


class AddressCheck:
    """Refuses URLs that no controller can handle; faults.Faults renders the error."""

    def __init__(self, application, conf: cfg.ConfigOpts):
        self.application = application

    def __call__(self, environ, start_response):
        if _is_cut(environ):
            raise webob.exc.HTTPRequestURITooLong('The URL is longer than the server takes.')
        # They are part of every link in responses.
        if environ['wsgi.url_scheme'] not in ('http', 'https'):
            raise errors.InvalidInput(reason='The scheme of the URL is neither http nor https.')
        if not HOST.fullmatch(environ.get('HTTP_HOST', '')):
            raise errors.InvalidInput(reason='The header Host names no host.')
        request = webob.Request(environ)
        if request.query_string.count('&') >= PARAMETERS_MAX:
            raise errors.InvalidInput(reason=f'More than {PARAMETERS_MAX} parameters are given')
        try:
            texts = [request.path_info, *request.GET.keys(), *request.GET.values()]
        except UnicodeError as exc:
            raise errors.InvalidInput(reason='The URL is not valid UTF-8.') from exc
        if any(BROKEN_TEXT.search(text) for text in texts):
            raise errors.InvalidInput(reason='The URL holds a character that cannot be stored.')
        # pecan traverses the path with getattr(); Python's own attributes are not resources.
        if any(
            segment.startswith('__') and segment.endswith('__')
            for segment in request.path_info.split('/')
        ):
            raise errors.NotFound(reason='The requested URL was not found on the server.')
        return self.application(environ, start_response)


def _is_cut(environ):
    """Return whether the server truncated the path or the query.

    uWSGI does so silently if its buffer is full; without its query a request for one scope and one
    day would return all scopes and the month.
    """
    target = environ.get('REQUEST_URI', '').partition('#')[0]
    path, _, asked = target.partition('?')
    query = environ.get('QUERY_STRING', '')
    if query != asked and asked.startswith(query):
        return True
    return path not in ('', '/') and not (environ.get('SCRIPT_NAME') or environ.get('PATH_INFO'))


class BodyLimit:
    """Applies the library's limit to requests that have a body; most have none."""

    def __init__(self, application, conf: cfg.ConfigOpts):
        self.application = application
        self.limiter = sizelimit.RequestBodySizeLimiter(application, conf)

    def __call__(self, environ, start_response):
        length = environ.get('CONTENT_LENGTH')
        # A body without a length can only be read if the server marks its end.
        is_empty = length == '0' or (not length and not environ.get('wsgi.input_terminated'))
        return (self.application if is_empty else self.limiter)(environ, start_response)


class LogContext:
    """Adds the request id to every line that is logged during a request."""

    def __init__(self, application, conf: cfg.ConfigOpts):
        self.application = application

    def __call__(self, environ, start_response):
        with context.logged(environ[request_id.ENV_REQUEST_ID]):
            return self.application(environ, start_response)


class HealthMount:
    """Serves /healthcheck: 200, or 503 while the operator's file exists or the database is down.

    :param check: raises DatabaseUnavailable.
    :param disable_file: default of [healthcheck]disable_by_file_path.
    """

    def __init__(
        self,
        application,
        conf: cfg.ConfigOpts,
        check: Callable[[], None],
        disable_file: str | None = None,
    ):
        self._check = check
        conf.set_default('backends', ['disable_by_file'], group='healthcheck')
        conf.set_default('disable_by_file_path', disable_file or DISABLE_FILE, group='healthcheck')
        self.application = application
        self.healthcheck = healthcheck.Healthcheck(None, conf)

    def __call__(self, environ, start_response):
        path = environ.get('PATH_INFO', '')
        if path == '/healthcheck' or path.startswith('/healthcheck/'):
            # The library's response to HEAD differs from that to GET.
            request = webob.Request({**environ, 'REQUEST_METHOD': 'GET'})
            answer = request.get_response(self.healthcheck)
            if answer.status_int < 400:
                try:
                    self._check()
                except errors.DatabaseUnavailable as exc:
                    LOG.error('/healthcheck: %s', exc)
                    answer = webob.Response(
                        status=503, content_type='text/plain', text='DATABASE DOES NOT ANSWER'
                    )
            return answer(environ, start_response)
        return self.application(environ, start_response)


class TokenCheck:
    """Applies keystonemiddleware to everything except the public paths.

    :raises ConfigurationError: [keystone_authtoken] does not say how to reach Keystone.
    """

    def __init__(
        self, application, conf: cfg.ConfigOpts, public_paths: Iterable[str] = PUBLIC_PATHS
    ):
        self.application = application
        self.public_paths = frozenset(public_paths)
        _check_cache(conf.keystone_authtoken)
        # Access rules of application credentials are matched by service type.
        conf.set_default('service_type', SERVICE_TYPE, group='keystone_authtoken')
        keystone.register_auth_section(conf, 'keystone_authtoken')
        try:
            self.auth_token = auth_token.AuthProtocol(application, {'oslo_config_config': conf})
        except (
            keystone_exceptions.ClientException,
            middleware_exceptions.ConfigurationError,
            cfg.Error,
        ) as exc:
            raise errors.ConfigurationError(reason=f'[keystone_authtoken]: {exc}') from exc

    def __call__(self, environ, start_response):
        if environ.get('PATH_INFO', '').rstrip('/') in self.public_paths:
            return self.application(environ, start_response)
        return self.auth_token(environ, start_response)


class AuthTokenMiddleware(TokenCheck):
    """The token check under the name used in existing paste files."""

    @classmethod
    def factory(
        cls, global_config: Mapping[str, str], acl_public_routes: str = '', **local_conf: str
    ):
        """Return a filter for PasteDeploy: a function of the application.

        :param acl_public_routes: paths that need no token, separated by commas.
        :param global_config, local_conf: other options of a paste file, which are ignored.
        """
        paths = [path.strip().rstrip('/') for path in acl_public_routes.split(',')]
        public_paths = paths if acl_public_routes.strip() else PUBLIC_PATHS
        return lambda application: cls(application, cfg.CONF, public_paths)


def _check_cache(options):
    """Raise ConfigurationError if memcached is configured and its client library is missing.

    keystonemiddleware only imports it with the first token, and then fails with every token.
    """
    is_binary = options.memcache_tls_enabled or options.memcache_sasl_enabled
    module, package = (
        ('bmemcached', 'python-binary-memcached')
        if is_binary
        else ('memcache', 'python-memcached (the extra memcached of cloudkitty)')
    )
    if options.memcached_servers and importlib.util.find_spec(module) is None:
        raise errors.ConfigurationError(
            reason=f'[keystone_authtoken]memcached_servers: install the Python package {package}'
        )
