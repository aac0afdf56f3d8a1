"""What a WSGI server loads: `cloudkitty.wsgi.api:application`.

The server's own arguments are not ours. CLOUDKITTY_CONFIG_FILES names configuration files,
separated by colons, instead of those on the search path.
"""

import os
import sys
from collections.abc import Mapping

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.api import app
from cloudkitty.doctor import options, start


def _environment() -> Mapping[str, str]:
    """Return the environment with what uWSGI's option `env` adds.

    A uWSGI that runs inside Python reads its file after Python has read the environment.
    """
    try:
        import uwsgi
    except ImportError:
        return os.environ
    texts = uwsgi.opt.get('env', [])
    texts = texts if isinstance(texts, list) else [texts]
    return dict(os.environ) | dict(text.decode().split('=', 1) for text in texts if b'=' in text)


def _load_or_exit():
    try:
        conf = app.load_configuration(_environment())
        options.warn(conf)
        start.warn_of_definitions(conf)
        return app.load(conf)
    except errors.ServiceError as exc:
        print(f'cloudkitty-api: {configuration.explain_error(exc)}', file=sys.stderr)
        sys.exit(1)


application = _load_or_exit()
