"""cloudkitty-processor: rate what the scopes used."""

import sys

from cloudkitty import conf as configuration
from cloudkitty.processor import service


def main() -> None:
    """Entry point of the command."""
    configuration.run(_main)


def _main():
    service.serve(configuration.load(sys.argv[1:]))
