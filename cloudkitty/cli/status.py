"""cloudkitty-status: is a month final, is all well, what is agreed on, can this release start?"""

import sys

import prettytable
from oslo_config import cfg

from cloudkitty import completeness, db, storage
from cloudkitty.cli import agreeing, examine, gaps, manual, rehearse, samples
from cloudkitty.core import timeframe
from cloudkitty.db import migration

FINAL = 0
NOT_FINAL = 1
ERROR = 255
# Scopes in the table.
ROWS_MAX = 100


def main() -> None:
    manual.run(_main, MANUAL, failure=ERROR)


def _main():
    conf = cfg.CONF
    manual.run_commands(MANUAL, conf, results=True)
    return conf.command.run(conf, conf.command)


def _add_commands(subparsers):
    text = (
        'tell whether all of a month (UTC) is rated; exit status 0: it is final, 1: it is not, '
        '255: the check failed'
    )
    parser = subparsers.add_parser('complete', help=text, description=text)
    parser.add_argument('--month', required=True, metavar='YYYY-MM', help='for example 2026-10')
    parser.add_argument(
        '--scope',
        action='append',
        metavar='SCOPE_ID',
        help='only this scope, including its periods without stored usage; may be repeated',
    )
    parser.set_defaults(run=_complete)
    gaps.add_commands(subparsers)
    examine.add_command(subparsers)
    samples.add_command(subparsers)
    text = (
        'check configuration and database before this release is started; exit status 0: no '
        'problems, 1: there are warnings, 2: it does not start, 255: the check failed'
    )
    parser = subparsers.add_parser('upgrade', help=text, description=text)
    parser.add_argument('what', choices=['check'], help='what to do')
    parser.add_argument('--json', action='store_true', help='print JSON instead of a table')
    parser.set_defaults(run=_check_upgrade)
    text = (
        'rate the last periods again, without storing them, and compare their prices with the '
        'stored ones; exit status 0: no difference, 1: there are differences, 255: unknown'
    )
    parser = subparsers.add_parser('rehearse', help=text, description=text)
    rehearse.add_arguments(parser)
    parser.set_defaults(run=rehearse.run)
    agreeing.add_command(subparsers)


def _check_upgrade(conf, arguments):
    # It imports the options of the whole service.
    from cloudkitty.cli import upgrade_check

    return upgrade_check.run(conf, is_json=arguments.json)


def _complete(conf, arguments):
    window = timeframe.month_named(arguments.month)
    database = db.Database(conf)
    migration.check(database)
    with database.reader() as connection:
        answer = completeness.examine(
            connection,
            conf,
            completeness.Query(
                window,
                arguments.scope,
                None if arguments.scope else False,
                limit=None if arguments.scope else ROWS_MAX,
            ),
        )
    missing = set(arguments.scope or ()) - {entry.scope.scope_id for entry in answer.entries}
    for scope_id in sorted(missing):
        print(f'No scope is named {scope_id}.', file=sys.stderr)
    if missing:
        return ERROR
    if answer.entries:
        print(_table(answer.entries))
    if arguments.scope:
        store = storage.get_driver(conf)
        for entry in answer.entries:
            _print_ranges(entry, completeness.list_empty(store, conf, entry, window, answer.agreed))
    for name in answer.not_measured:
        print(f'Collector {name}: whether samples are missing is not measured.')
    print(_sentence(arguments.month, answer))
    return FINAL if answer.is_final else NOT_FINAL


def _table(entries):
    table = prettytable.PrettyTable(
        ['Scope', 'Rated until', 'State', 'Since', 'Reason'], align='l', max_width=60
    )
    for entry in entries:
        since = entry.status.since
        table.add_row(
            [
                entry.scope.scope_id,
                timeframe.render(entry.rated_until),
                entry.status.state,
                since and timeframe.render(since) or '',
                entry.status.reason,
            ]
        )
    return table


def _print_ranges(entry, empty):
    for begin, end, what in [
        *((*note[1:3], f'rated with {note.reason}') for note in entry.late),
        *((*span, 'it was off') for span in entry.inactive),
        *((*span, 'nothing is stored') for span in empty),
    ]:
        print(
            f'{entry.scope.scope_id}: {timeframe.render(begin)} to {timeframe.render(end)}: {what}'
        )


def _sentence(month, answer):
    """Return whether *month* is final, with one reason a line."""
    if answer.is_final:
        return f'{month} is final.'
    reasons = [f'{answer.not_final} scopes are not'] if answer.not_final else []
    if answer.reason:
        reasons.append(answer.reason)
    if answer.rated_until:
        reasons.append(f'everything is rated until {timeframe.render(answer.rated_until)}')
    return '\n  '.join([f'{month} is not final:', *reasons])


MANUAL = manual.Manual(
    'Check the deployment, whether a month is final, and whether an upgrade can begin.',
    (
        'doctor',
        'complete --month 2026-10',
        'upgrade check',
        'rehearse --hours 72',
        'sample metrics.yml',
    ),
    _add_commands,
)
