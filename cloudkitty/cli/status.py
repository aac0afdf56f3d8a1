"""cloudkitty-status: is a month final?"""

import sys

import prettytable
from oslo_config import cfg

from cloudkitty import completeness, db, storage, timeframe
from cloudkitty import conf as configuration
from cloudkitty.db import migration

FINAL = 0
NOT_FINAL = 1
ERROR = 255
# Scopes in the table.
ROWS_MAX = 100


def main() -> None:
    configuration.run(_main, failure=ERROR)


def _main():
    conf = cfg.CONF
    conf.register_cli_opt(cfg.SubCommandOpt('command', title='commands', handler=_add_commands))
    configuration.load(sys.argv[1:], conf=conf)
    return conf.command.run(conf, conf.command)


def _add_commands(subparsers):
    text = ('say whether everything of a month (UTC) is rated; exit status 0: it is final, '
            '1: it is not, 255: nobody knows')
    parser = subparsers.add_parser('complete', help=text, description=text)
    parser.add_argument('--month', required=True, metavar='YYYY-MM', help='for example 2026-10')
    parser.add_argument('--scope', action='append', metavar='SCOPE_ID',
                        help='only this scope, with its periods for which nothing is stored; may '
                             'be repeated')
    parser.set_defaults(run=_complete)


def _complete(conf, arguments):
    window = timeframe.month_named(arguments.month)
    database = db.Database(conf)
    migration.check(database)
    with database.reader() as connection:
        answer = completeness.examine(connection, conf, completeness.Question(
            window, arguments.scope, None if arguments.scope else False,
            limit=None if arguments.scope else ROWS_MAX))
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
            _print_ranges(entry, completeness.list_empty(store, conf, entry, window))
    print(_sentence(arguments.month, answer))
    return FINAL if answer.is_final else NOT_FINAL


def _table(entries):
    table = prettytable.PrettyTable(['Scope', 'Rated until', 'State', 'Since', 'Reason'],
                                    align='l', max_width=60)
    for entry in entries:
        since = entry.status.since
        table.add_row([entry.scope.scope_id, timeframe.render(entry.rated_until),
                       entry.status.state, since and timeframe.render(since) or '',
                       entry.status.reason])
    return table


def _print_ranges(entry, empty):
    for begin, end, what in [*((*note[1:3], f'rated with {note.reason}') for note in entry.late),
                             *((*span, 'it was off') for span in entry.inactive),
                             *((*span, 'nothing is stored') for span in empty)]:
        print(f'{entry.scope.scope_id}: {timeframe.render(begin)} to {timeframe.render(end)}: '
              f'{what}')


def _sentence(month, answer):
    if answer.is_final:
        return f'{month} is final.'
    reasons = [f'{answer.not_final} scopes are not'] if answer.not_final else []
    if answer.reason:
        reasons.append(answer.reason)
    until = f'; everything is rated until {timeframe.render(answer.rated_until)}' \
        if answer.rated_until else ''
    return f'{month} is not final: {"; ".join(reasons)}{until}.'
