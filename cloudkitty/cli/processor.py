"""cloudkitty-processor: rate what the scopes used."""

import sys

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.cli import manual
from cloudkitty.doctor import start
from cloudkitty.processor import master


def main() -> None:
    """Entry point of the command."""
    manual.run(_main, MANUAL)


def _main():
    arguments = sys.argv[1:]
    conf = configuration.load(arguments)
    start.warn(conf)
    master.serve(conf, lambda: configuration.read(arguments, conf=cfg.ConfigOpts()))


MANUAL = manual.Manual(
    'Collect and rate the usage of scopes, period by period, until SIGTERM.',
    ('--config-file /etc/cloudkitty/cloudkitty.conf',),
)
