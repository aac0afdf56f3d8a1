"""What a WSGI server loads: `cloudkitty.wsgi.api:application`.

The server's own arguments are not ours. CLOUDKITTY_CONFIG_FILES names configuration files,
separated by colons, instead of those on the search path.
"""

import os
import sys

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.api import app

FILES_VARIABLE = 'CLOUDKITTY_CONFIG_FILES'


def load(environment=os.environ):
    """Return the application as the configuration files describe it.

    :raises ConfigurationError: see app.load().
    """
    files = [path for path in environment.get(FILES_VARIABLE, '').split(os.pathsep) if path]
    return app.load(configuration.load([], files=files or None))


def _load_or_exit():
    try:
        return load()
    except errors.ServiceError as exc:
        print(f'cloudkitty-api: {exc}', file=sys.stderr)
        sys.exit(1)


application = _load_or_exit()
