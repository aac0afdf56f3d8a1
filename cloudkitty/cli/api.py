"""cloudkitty-api: a small server for development. In production use a WSGI server."""

import signal
import sys

import waitress

from cloudkitty import conf as configuration
from cloudkitty import errors
from cloudkitty.api import app
from cloudkitty.cli import manual
from cloudkitty.doctor import options, start


def serve() -> None:
    """Serve on [api]host and [api]port until SIGTERM or SIGINT."""
    conf = configuration.load(sys.argv[1:])
    options.warn(conf)
    start.warn_of_definitions(conf)
    application = app.load(conf)
    try:
        server = waitress.create_server(
            application,
            host=conf.api.host,
            port=conf.api.port,
            threads=conf.api.threads,
            ident='cloudkitty',
        )
    except OSError as exc:
        raise errors.ConfigurationError(
            reason=f'[api]host, [api]port: cannot listen on {conf.api.host}:{conf.api.port}: '
            f'{exc.strerror}'
        ) from exc
    signal.signal(signal.SIGTERM, _stop)
    print(f'cloudkitty-api listens on http://{conf.api.host}:{conf.api.port}', flush=True)
    server.run()
    server.close()


def _stop(signum, frame):
    sys.exit(0)


def main() -> None:
    """Entry point of the command."""
    manual.run(serve, MANUAL)


MANUAL = manual.Manual(
    'Serve the REST API; a small server for development. In production a WSGI server serves\n'
    'cloudkitty.wsgi.api:application.',
    ('--config-file /etc/cloudkitty/cloudkitty.conf',),
)
