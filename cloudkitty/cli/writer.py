"""cloudkitty-writer: report files of what is rated."""

import sys
from collections import Counter
from datetime import UTC, datetime

from oslo_config import cfg

from cloudkitty import db, storage
from cloudkitty.billing.statements import Statements
from cloudkitty.cli import argument_types, manual
from cloudkitty.core import timeframe
from cloudkitty.db import migration
from cloudkitty.write_orchestrator import (
    DIFFERENT,
    FAILED,
    MISSING,
    UNCHANGED,
    WRITTEN,
    WriteOrchestrator,
    months,
)

GENERATE = (
    'Write the files of [output]pipeline to [output]basepath, for each scope, statement and month '
    'whose content has changed, and then a manifest of each month. Exit status 1 if a file cannot '
    'be written. With --check nothing is written; each file that would change is printed, and the '
    'exit status is 1 if there is one.'
)
LIST = 'List the scopes that have rated data.'
FAULTY = 1  # exit status
# What a check counts, and what makes the exit status FAULTY.
CHECKED = (UNCHANGED, DIFFERENT, MISSING, FAILED)
FAULTS = (DIFFERENT, MISSING, FAILED)


def main() -> None:
    """Entry point of the command."""
    manual.run(_main, MANUAL)


def _main():
    conf = cfg.CONF
    manual.run_commands(MANUAL, conf, results=True)
    migration.check(db.Database(conf))
    return conf.command.run(conf, conf.command)


def _add_commands(subparsers):
    for name, run, text in (('generate', _generate, GENERATE), ('tenants_list', _list, LIST)):
        parser = subparsers.add_parser(name, help=text.partition('. ')[0], description=text)
        parser.set_defaults(run=run)
        parser.add_argument(
            '--begin',
            metavar='TIME',
            type=argument_types.moment,
            help='from the month of this time on (ISO 8601, UTC); default: the current month',
        )
        parser.add_argument(
            '--end',
            metavar='TIME',
            type=argument_types.moment,
            help='only periods that begin before TIME',
        )
        if name == 'generate':
            chosen = parser.add_mutually_exclusive_group()
            chosen.add_argument('--tenant', metavar='ID', help='only this scope; default: all')
            chosen.add_argument(
                '--account',
                metavar='ID',
                action='append',
                help='only statements of this account; may be given repeatedly',
            )
            parser.add_argument(
                '--writer',
                metavar='FORMAT',
                action='append',
                help='only this one of [output]pipeline; may be given repeatedly',
            )
            parser.add_argument(
                '--check', action='store_true', help='compare the files, and write nothing'
            )


def _spans(arguments):
    now = datetime.now(UTC)
    return months(arguments.begin or now, arguments.end or timeframe.month_at(now).end)


def _scopes(conf, spans):
    """Return the ids of the scopes with rated data, sorted."""
    if not spans:
        return []
    rows = storage.get_driver(conf).total(
        [conf.collect.scope_key], spans[0].begin, spans[-1].end, paginate=False
    )['results']
    return [row[conf.collect.scope_key] for row in rows if row[conf.collect.scope_key]]


def _list(conf, arguments):
    print('Tenant list:')
    for scope_id in _scopes(conf, _spans(arguments)):
        print(scope_id)


def _generate(conf, arguments):
    spans = _spans(arguments)
    orchestrator = open_orchestrator(conf)
    if arguments.writer:
        orchestrator.select(arguments.writer)
    counts = Counter()
    for span in spans:
        for outcome in _files(conf, orchestrator, span, arguments):
            counts[outcome.state] += 1
            if outcome.state not in (WRITTEN, UNCHANGED):
                print(f'{outcome.name}: {outcome.reason or outcome.state}', file=sys.stderr)
        if not arguments.check:
            is_whole = span == timeframe.month_at(span.begin)
            is_all = is_whole and not (arguments.tenant or arguments.account or arguments.writer)
            orchestrator.finish(span, is_all=is_all)
    if not arguments.check:
        for name in orchestrator.expire():
            print(f'{name}: removed, see [output]keep_months', file=sys.stderr)
    states = CHECKED if arguments.check else (WRITTEN, UNCHANGED, FAILED)
    print(', '.join(f'{counts[state]} {state}' for state in states))
    return FAULTY if any(counts[state] for state in FAULTS) else 0


def open_orchestrator(conf):
    """Return what writes the files, of statements too if billing is on."""
    database = db.Database(conf)

    def clock():
        return datetime.now(UTC)

    service = None
    if conf.billing.enabled:
        service = Statements(conf, database, storage.get_driver(conf), clock)
    return WriteOrchestrator(conf, database, clock, service)


def _files(conf, orchestrator, span, arguments):
    """Yield what becomes of the files of a month."""
    month = f'{span.begin:%Y-%m}'
    if not arguments.account:
        scope_ids = [arguments.tenant]
        if not arguments.tenant:
            # A scope whose usage was deleted has files that say otherwise.
            scope_ids = sorted({*_scopes(conf, [span]), *orchestrator.scopes(month)})
        work = orchestrator.check if arguments.check else orchestrator.generate
        for scope_id in scope_ids:
            yield from work(scope_id, span)
    if not arguments.tenant:
        work = orchestrator.generate_statements
        if arguments.check:
            work = orchestrator.check_statements
        yield from work(month, arguments.account)


MANUAL = manual.Manual(
    'Write report files of rated data.',
    (
        'generate --begin 2026-10-01 --end 2026-11-01',
        'generate --check',
    ),
    _add_commands,
)
