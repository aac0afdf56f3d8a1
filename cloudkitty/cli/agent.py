"""cloudkitty-agent: measure what resources use, and send it to the metering of the service."""

import sys

from oslo_config import cfg

from cloudkitty import conf as configuration
from cloudkitty import pollster
from cloudkitty.agent import service
from cloudkitty.cli import manual

NAMESPACE_OPT = cfg.StrOpt(
    'namespace',
    choices=pollster.NAMESPACES,
    required=True,
    help='compute: measure the instances on this node. central: measure the resources that '
    'services of the cloud list.',
)


def main() -> None:
    """Entry point of the command."""
    manual.run(_main, MANUAL)


def _main():
    conf = cfg.CONF
    conf.register_cli_opt(NAMESPACE_OPT)
    configuration.load(sys.argv[1:], conf=conf)
    service.serve(conf, conf.namespace)


MANUAL = manual.Manual(
    'Measure the usage of resources at regular intervals, until SIGTERM.',
    (
        '--namespace compute --config-file /etc/cloudkitty/cloudkitty.conf',
        '--namespace central',
    ),
)
