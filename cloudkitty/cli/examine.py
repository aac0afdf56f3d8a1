"""cloudkitty-status doctor: what is wrong with this deployment, and what to do."""

import argparse
import json
import logging
from collections.abc import Sequence

import prettytable
from oslo_config import cfg

from cloudkitty import doctor
from cloudkitty.doctor import Finding

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
        default=doctor.TOTAL_LIMIT_S,
        metavar='SECONDS',
        help='time limit for all checks, also if one hangs; default: %(default)s',
    )
    parser.set_defaults(run=run)


def _seconds(text):
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number above 0 and up to 3600')
    return number


def run(conf: cfg.ConfigOpts, arguments: argparse.Namespace) -> int:
    """Print what was found, gravest first; return the exit status."""
    # It imports all of the API and the processor, which would double the time of every command.
    from cloudkitty.doctor import examination
    from cloudkitty.doctor.site import Site

    if not conf.debug:
        # The findings say the same.
        logging.disable(logging.CRITICAL)
    found = sorted(
        examination.examine(Site(conf), total_limit_s=arguments.timeout),
        key=lambda one: -one.severity,
    )
    subjects = [check.subject for check in examination.CHECKS]
    print(_json(subjects, found) if arguments.json else _table(subjects, found))
    return max((int(one.severity) for one in found), default=0)


def _json(subjects: Sequence[str], found: Sequence[Finding]) -> str:
    findings = [{**one._asdict(), 'severity': one.severity.name.lower()} for one in found]
    return json.dumps({'examined': subjects, 'findings': findings})


def _table(subjects: Sequence[str], found: Sequence[Finding]) -> str:
    if not found:
        return f'Nothing is wrong with {", ".join(subjects)}.'
    table = prettytable.PrettyTable(
        ['', 'About', 'What is wrong', 'What to do'],
        hrules=prettytable.HRuleStyle.ALL,
        align='l',
        max_width=WIDTH,
    )
    for one in found:
        table.add_row([one.severity.name.title(), one.subject, one.what, one.remedy])
    return table.get_string()
