"""cloudkitty-status doctor: what is wrong with this deployment, and what to do."""

import argparse
import json
import logging
from collections.abc import Sequence

import prettytable
from oslo_config import cfg

from cloudkitty.doctor import Finding, examination
from cloudkitty.doctor.site import Site

HELP = (
    'check for problems that keep this deployment from working, or make it charge wrong amounts: '
    'configuration, database, locks, bus, Keystone, source, definitions, prices, progress. Nothing '
    'is changed; it may run beside the service. Exit status 0: nothing was found, 1: warnings, 2: '
    'errors, 255: it cannot run'
)
# Columns of text.
WIDTH = 60


def add_command(subparsers) -> None:
    """Declare the command and its arguments."""
    parser = subparsers.add_parser('doctor', help=HELP, description=HELP)
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.add_argument(
        '--timeout',
        type=_seconds,
        default=examination.TOTAL_LIMIT_S,
        metavar='SECONDS',
        help='time limit for all checks, also if one hangs; default: %(default)s',
    )
    parser.set_defaults(run=run)


def _seconds(text):
    number = float(text)
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError('allowed: a number up to 3600')
    return number


def run(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Print what was found, gravest first; return the exit status."""
    if not conf.debug:
        # The findings say the same.
        logging.disable(logging.CRITICAL)
    found = sorted(
        examination.examine(Site(conf), total_limit_s=arguments.timeout),
        key=lambda one: -one.severity,
    )
    print(_json(found) if arguments.json else _table(found))
    return max((int(one.severity) for one in found), default=0)


def _json(found: Sequence[Finding]) -> str:
    examined = [check.subject for check in examination.CHECKS]
    findings = [{**one._asdict(), 'severity': one.severity.name.lower()} for one in found]
    return json.dumps({'examined': examined, 'findings': findings})


def _table(found: Sequence[Finding]) -> str:
    if not found:
        subjects = ', '.join(check.subject for check in examination.CHECKS)
        return f'Nothing is wrong with {subjects}.'
    table = prettytable.PrettyTable(
        ['', 'About', 'What is wrong', 'What to do'],
        hrules=prettytable.HRuleStyle.ALL,
        align='l',
        max_width=WIDTH,
    )
    for one in found:
        table.add_row([one.severity.name.title(), one.subject, one.what, one.remedy])
    return table.get_string()
