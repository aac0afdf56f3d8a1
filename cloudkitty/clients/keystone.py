"""Sessions with a Keystone token, for drivers whose source asks for one.

The options are those of keystoneauth: `auth_type`, `auth_section` and whatever the chosen plugin
wants, `cafile`, `certfile`, `keyfile`, `insecure`, `timeout` and the other session options.
"""

from keystoneauth1 import exceptions, loading, session
from oslo_config import cfg

from cloudkitty import errors

TIMEOUT_S = 60
CONNECT_RETRIES = 3


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
    try:
        auth = loading.load_auth_from_conf_options(conf, group)
        if auth is None:
            raise errors.ConfigurationError(
                reason=f'[{group}]auth_type is missing: the source asks for a Keystone token')
        return loading.load_session_from_conf_options(conf, group, auth=auth)
    except (exceptions.ClientException, cfg.Error) as exc:
        raise errors.ConfigurationError(reason=f'[{group}]: {exc}') from exc
