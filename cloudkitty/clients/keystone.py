"""Keystone sessions for drivers whose source requires a token.

The options are those of keystoneauth: `auth_type`, `auth_section` and those of the chosen plugin,
`cafile`, `certfile`, `keyfile`, `insecure`, `timeout` and the other session options.
"""

import io

import requests
import urllib3
from keystoneauth1 import exceptions, loading, session
from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.clients import answers
from cloudkitty.clients.head_timeout import limit_heads

TIMEOUT_S = 60
ANSWER_SIZE_MAX_BYTES = 512 * 2**20
# Size of the connection pool: that many threads of a worker send requests at once.
POOL_SIZE = 16


def _session_options():
    options = loading.get_session_conf_options()
    for option in options:
        # Without a timeout, a source that hangs would block its worker for ever.
        if option.dest == 'timeout':
            option.default = TIMEOUT_S
            option.help = f'{option.help} 0 is not allowed: a source that hangs must not hang us.'
            option.type = cfg.types.Integer(min=1)
    return options


OPTS = [*_session_options(), *loading.get_auth_common_conf_options()]


def load_session(conf: cfg.ConfigOpts, group: str) -> session.Session:
    """Return a session for the section *group*, in which OPTS are registered; no I/O.

    The session gets a token on the first request, and a new one after a token was refused.

    :raises ConfigurationError: no auth_type is given, or an option of the plugin is missing.
    """
    register_auth_section(conf, group)
    try:
        auth = loading.load_auth_from_conf_options(conf, group)
        if auth is None:
            raise errors.ConfigurationError(
                reason=f'[{group}]auth_type is missing: this driver authenticates with Keystone'
            )
        loaded = loading.load_session_from_conf_options(conf, group, auth=auth)
    except (exceptions.ClientException, cfg.Error) as exc:
        raise errors.ConfigurationError(reason=f'[{group}]: {exc}') from exc
    for scheme in ('http://', 'https://'):
        loaded.session.mount(
            scheme,
            _BoundedAdapter(
                tls_ciphers=loaded.tls_ciphers,
                tls_min_version=loaded.tls_min_version,
                pool_maxsize=POOL_SIZE,
            ),
        )
    return loaded


def register_auth_section(conf: cfg.ConfigOpts, group: str) -> None:
    """Register the options of the section that `auth_section` of *group* names, if it names one.

    The libraries read that section before they register any options.
    """
    section = conf[group].auth_section
    if section:
        conf.register_opts(loading.get_auth_common_conf_options(), section)


def plugin_options(options: list[cfg.Opt]) -> list[cfg.Opt]:
    """Return the further options of a section with *options*, for the sample file.

    They depend on `auth_type`; these are the ones of passwords, which nearly everybody uses.
    """
    if any(option.dest == 'auth_type' for option in options):
        return loading.get_auth_plugin_conf_options('password')
    return []


class _BoundedAdapter(session.TCPKeepAliveAdapter):
    """Reads a response, its body unless it is streamed, with a total timeout and a size limit."""

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, **options)
        limit_heads(self)

    def send(self, request, stream=False, timeout=None, **arguments):
        response = super().send(request, stream=stream, timeout=timeout, **arguments)
        if not stream:
            try:
                response.raw = io.BytesIO(_read(response.raw, timeout))
            except (urllib3.exceptions.ReadTimeoutError, answers.AnswerTooSlow) as exc:
                raise requests.ReadTimeout(exc, request=request) from exc
            except answers.AnswerTooLarge as exc:
                # Not a kind of error that is retried.
                raise requests.RequestException(exc, request=request) from exc
            except urllib3.exceptions.HTTPError as exc:
                raise requests.ConnectionError(exc, request=request) from exc
        return response


def _read(raw, timeout_s):
    try:
        body = answers.read(raw, size_max=ANSWER_SIZE_MAX_BYTES, timeout_s=timeout_s)
    except BaseException:
        raw.close()
        raise
    raw.release_conn()
    return body
