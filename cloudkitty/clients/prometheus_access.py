"""Access to the HTTP API of a Prometheus: direct, or by a proxy that requires a Keystone token."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import ClassVar
from urllib import parse

import requests
import urllib3
from keystoneauth1 import exceptions, session
from oslo_config import cfg
from requests import adapters

from cloudkitty import errors
from cloudkitty.clients import urls
from cloudkitty.clients.head_timeout import limit_heads

LOG = logging.getLogger(__name__)

OPTS = [
    cfg.StrOpt(
        'prometheus_url',
        default='',
        # It may contain a password.
        secret=True,
        help='Base URL of the Prometheus API, up to and with /api/v1.',
    ),
    cfg.StrOpt(
        'prometheus_user',
        help='User for basic authentication; used only together with the password.',
    ),
    cfg.StrOpt('prometheus_password', secret=True, help='Password for basic authentication.'),
    cfg.StrOpt(
        'prometheus_token', secret=True, help='Bearer token to send in place of user and password.'
    ),
    cfg.StrOpt(
        'prometheus_token_file',
        help='File that holds the bearer token; read again for each request, so that a '
        'token that is renewed, as in Kubernetes, stays valid.',
    ),
    cfg.StrOpt(
        'cafile',
        help='File of CA certificates to check the certificate of the server '
        'with, instead of those of the system.',
    ),
    cfg.StrOpt(
        'certfile',
        help='Client certificate (PEM) for servers that require one; the file may contain the '
        'key, too.',
    ),
    cfg.StrOpt('keyfile', help='File of the key, PEM without a password, of certfile.'),
    cfg.BoolOpt(
        'insecure',
        default=False,
        help='Whether to accept any certificate of the server; ignored if cafile is set.',
    ),
    cfg.FloatOpt(
        'timeout',
        default=60,
        min=0,
        help='Seconds to wait for a connection, for the begin of an answer, and for the '
        'rest of it; 0 waits for ever.',
    ),
]

RETRIES_MAX = 2
REDIRECTS_MAX = 3
BACKOFF_S = 0.2
RETRIED_STATUSES = (429, *range(500, 600))


class AccessFailed(Exception):
    """There was no response; the text is one short line without secrets."""


class Direct:
    """The server itself, or a proxy with basic auth, a bearer token or a client certificate.

    :cvar login_hint: advice for operators when it refuses the credentials.
    :cvar takes_ranges: whether it supports range queries.
    :cvar takes_bodies: whether it supports queries in the body of a request.
    :cvar extra_parameters: parameters of each request besides the query.
    :param group: section of the configuration that holds OPTS, for messages.
    :param options: that section.
    :param pool_size: size of the connection pool.
    :raises ConfigurationError: an option is missing or invalid.
    """

    login_hint = 'check prometheus_user, prometheus_password and prometheus_token'
    takes_ranges = True
    takes_bodies = True
    # VictoriaMetrics aligns the bounds of a range and caches responses unless `nocache` is set. Its
    # cluster version and Thanos return partial responses when a part of their stores is down: the
    # rest would never be rated. Other servers ignore these parameters.
    extra_parameters: ClassVar[dict[str, str]] = {
        'nocache': '1',
        'deny_partial_response': '1',
        'partial_response': 'false',
    }

    def __init__(self, group: str, options: cfg.ConfigOpts.GroupAttr, *, pool_size: int = 1):
        self._url = _checked_url(group, options.prometheus_url)
        self.name = urls.hide_login(self._url)
        self.timeout_s = options.timeout or None
        self._verify = _checked_verify(group, options)
        self._token_file = None
        self._session = _Session()
        self._session.cert = _checked_certificate(group, options)
        self._log_in(group, options)
        retry = urllib3.Retry(
            total=RETRIES_MAX,
            read=1,
            redirect=False,
            allowed_methods=None,
            status_forcelist=RETRIED_STATUSES,
            raise_on_status=False,
            backoff_factor=BACKOFF_S,
            respect_retry_after_header=False,
        )
        for scheme in ('http://', 'https://'):
            adapter = adapters.HTTPAdapter(
                pool_connections=1, pool_maxsize=pool_size, max_retries=retry
            )
            limit_heads(adapter)
            self._session.mount(scheme, adapter)

    def _log_in(self, group, options):
        token, token_file = options.prometheus_token, options.prometheus_token_file
        login = bool(options.prometheus_user and options.prometheus_password)
        if sum(map(bool, (login, token, token_file))) > 1:
            raise errors.ConfigurationError(
                reason=f'[{group}]: only one of prometheus_user with prometheus_password, '
                'prometheus_token and prometheus_token_file can be used'
            )
        # Setting any of them also keeps requests from using ~/.netrc.
        if login:
            self._session.auth = (
                options.prometheus_user.encode(),
                options.prometheus_password.encode(),
            )
        elif token:
            self._session.auth = _Bearer(lambda: _checked_token(token, 'prometheus_token'))
        elif token_file:
            self._session.auth = _Bearer(lambda: _read_token(token_file))

    @contextlib.contextmanager
    def open(self, method: str, path: str, **arguments) -> Iterator[requests.Response]:
        """Yield the response to a request, with its body unread.

        :param path: path below /api/v1.
        :param arguments: those of requests.request().
        :raises AccessFailed: there is none.
        """
        try:
            # verify is passed per request: REQUESTS_CA_BUNDLE would override that of the session.
            with self._session.request(
                method,
                f'{self._url}/{path}',
                stream=True,
                verify=self._verify,
                timeout=self.timeout_s,
                **arguments,
            ) as response:
                yield response
        except (requests.RequestException, urllib3.exceptions.HTTPError) as exc:
            raise AccessFailed(_cause(exc)) from exc
        except OSError as exc:
            # The file of the token or of a certificate is missing.
            reason = f'{exc.filename}: {exc.strerror}' if exc.filename else _cause(exc)
            raise AccessFailed(reason) from exc


class _Session(requests.Session):
    """Follows few redirects, and none to another host, which must not stand in for the source."""

    def __init__(self):
        super().__init__()
        self.max_redirects = REDIRECTS_MAX

    def get_redirect_target(self, resp):
        target = super().get_redirect_target(resp)
        host = parse.urlsplit(parse.urljoin(resp.url, target or '')).hostname
        return target if host == parse.urlsplit(resp.url).hostname else None


class _Bearer(requests.auth.AuthBase):
    """Sends the bearer token that *get* returns."""

    def __init__(self, get):
        self._get = get

    def __call__(self, request):
        request.headers['Authorization'] = f'Bearer {self._get()}'
        return request


class Proxied:
    """A proxy that requires a Keystone token and is listed in the catalog.

    :param keystone: a session with credentials, see clients.keystone.
    :param endpoint: filter for the catalog: service_type, interface, region_name.
    """

    login_hint = "check the user's roles"
    # Aetos only supports `query`, without unknown parameters and without a body.
    takes_ranges = False
    takes_bodies = False
    extra_parameters: ClassVar[dict[str, str]] = {}

    def __init__(self, keystone: session.Session, endpoint: dict[str, str | None]):
        self.name = endpoint['service_type']
        self.timeout_s = keystone.timeout
        self._session = keystone
        self._endpoint = endpoint

    @contextlib.contextmanager
    def open(self, method: str, path: str, **arguments) -> Iterator[requests.Response]:
        """Yield the response to a request, with its body unread; see Direct."""
        try:
            with self._session.request(
                f'/api/v1/{path}',
                method,
                endpoint_filter=self._endpoint,
                raise_exc=False,
                redirect=False,
                stream=True,
                connect_retries=RETRIES_MAX,
                status_code_retries=RETRIES_MAX,
                connect_retry_delay=BACKOFF_S,
                status_code_retry_delay=BACKOFF_S,
                retriable_status_codes=list(RETRIED_STATUSES),
                **arguments,
            ) as response:
                yield response
        except (
            exceptions.ClientException,
            requests.RequestException,
            urllib3.exceptions.HTTPError,
        ) as exc:
            raise AccessFailed(_cause(exc)) from exc


def _checked_url(group, url):
    if not urls.is_address(url, '/api/v1'):
        shown = repr(urls.hide_login(url)) if url else 'not set'
        raise errors.ConfigurationError(
            reason=f'[{group}]prometheus_url is {shown}; allowed: a URL up to and with /api/v1, '
            'such as http://127.0.0.1:9090/api/v1'
        )
    return url.rstrip('/')


def _checked_verify(group, options):
    _check_file(group, options, 'cafile')
    if options.insecure and not options.cafile:
        # Logged once here, instead of once per request.
        LOG.warning('[%s]insecure: the certificate of the server is not checked.', group)
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return options.cafile or not options.insecure


def _checked_certificate(group, options):
    """Return the argument `cert` of requests: a path, paths of certificate and key, or None."""
    if options.keyfile and not options.certfile:
        raise errors.ConfigurationError(reason=f'[{group}]keyfile is set, but certfile is not')
    for name in ('certfile', 'keyfile'):
        _check_file(group, options, name)
    return (options.certfile, options.keyfile) if options.keyfile else options.certfile


def _check_file(group, options, name):
    if options[name] and not os.path.exists(options[name]):
        raise errors.ConfigurationError(reason=f'[{group}]{name}: there is no file {options[name]}')


def _read_token(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        return _checked_token(file.read().strip(), path)


def _checked_token(token, where):
    # A line break is invalid in a header, and the resulting error would show the token.
    if not token.isascii() or not token.isprintable() or not token:
        raise AccessFailed(f'{where} holds no token')
    return token


def _cause(exc):
    """Return one short line: the innermost error has the reason, the outer ones repeat the URL."""
    if isinstance(exc, exceptions.ConnectionError) and exc.__cause__ is None:
        exc = exc.__context__ or exc
    if isinstance(exc, (requests.Timeout, exceptions.ConnectTimeout)):
        return 'no answer in time'
    inner = exc.args[0] if exc.args else exc
    inner = getattr(inner, 'reason', None) or inner
    return f'{type(exc).__name__}: {" ".join(str(inner).split())[:300]}'
