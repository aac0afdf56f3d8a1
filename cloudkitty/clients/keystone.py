"""Sessions with a Keystone token, for drivers whose source asks for one.

The options are those of keystoneauth: `auth_type`, `auth_section` and whatever the chosen plugin
wants, `cafile`, `certfile`, `keyfile`, `insecure`, `timeout` and the other session options.
"""

import io

import requests
import urllib3
from keystoneauth1 import exceptions, loading, session
from oslo_config import cfg

from cloudkitty import errors
from cloudkitty.clients import answers

TIMEOUT_S = 60
ANSWER_SIZE_MAX_BYTES = 512 * 2**20
# Connections kept open; that many threads of a worker ask at once.
POOL_SIZE = 16


def _session_options():
    options = loading.get_session_conf_options()
    for option in options:
        # Without one, a source that hangs would hold its worker for ever.
        if option.dest == 'timeout':
            option.default = TIMEOUT_S
            option.help = f'{option.help} 0 is not allowed: a source that hangs must not hang us.'
            option.type = cfg.types.Integer(min=1)
    return options


OPTS = [*_session_options(), *loading.get_auth_common_conf_options()]


def load_session(conf: cfg.ConfigOpts, group: str) -> session.Session:
    """Return a session as the section *group* says, in which OPTS are registered; no I/O.

    A request through it gets a token when it needs one, and a new one when it was refused.

    :raises ConfigurationError: no auth_type is given, or an option of the plugin is missing.
    """
    if conf[group].auth_section:
        # A section that nobody may have read so far, keystone_authtoken for one.
        conf.register_opts(loading.get_auth_common_conf_options(), conf[group].auth_section)
    try:
        auth = loading.load_auth_from_conf_options(conf, group)
        if auth is None:
            raise errors.ConfigurationError(
                reason=f'[{group}]auth_type is missing: the source asks for a Keystone token')
        loaded = loading.load_session_from_conf_options(conf, group, auth=auth)
    except (exceptions.ClientException, cfg.Error) as exc:
        raise errors.ConfigurationError(reason=f'[{group}]: {exc}') from exc
    for scheme in ('http://', 'https://'):
        loaded.session.mount(scheme, _BoundedAdapter(
            tls_ciphers=loaded.tls_ciphers, tls_min_version=loaded.tls_min_version,
            pool_maxsize=POOL_SIZE))
    return loaded


def plugin_options(options: list[cfg.Opt]) -> list[cfg.Opt]:
    """Return what a section with *options* takes besides, for the sample file.

    The options depend on `auth_type`; shown are those of passwords, which nearly everybody uses.
    """
    if any(option.dest == 'auth_type' for option in options):
        return loading.get_auth_plugin_conf_options('password')
    return []


class _BoundedAdapter(session.TCPKeepAliveAdapter):
    """Reads an answer, unless it is to be streamed, within the timeout and up to a size."""

    def send(self, request, stream=False, timeout=None, **arguments):
        response = super().send(request, stream=stream, timeout=timeout, **arguments)
        if not stream:
            try:
                response.raw = io.BytesIO(_read(response.raw, timeout))
            except (urllib3.exceptions.ReadTimeoutError, answers.AnswerTooSlow) as exc:
                raise requests.ReadTimeout(exc, request=request) from exc
            except answers.AnswerTooLarge as exc:
                # No kind of error that is worth another try.
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
