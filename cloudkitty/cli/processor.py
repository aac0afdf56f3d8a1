"""cloudkitty-processor: rate what the scopes used."""

import sys

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty.processor import master


def main() -> None:
    """Entry point of the command."""
    configuration.run(_main)


def _main():
    arguments = sys.argv[1:]
    master.serve(configuration.load(arguments),
                 lambda: configuration.read(arguments, conf=cfg.ConfigOpts()))
