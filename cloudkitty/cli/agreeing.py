"""cloudkitty-status agreement: what all processors of a database rate by, and its changes."""

import getpass
import sys
from datetime import UTC, datetime, timedelta

import prettytable

from cloudkitty import db, errors
from cloudkitty.audit import trail
from cloudkitty.core import timeframe
from cloudkitty.db import migration
from cloudkitty.scopes import agreement

DONE = 0
# Scope ids that are shown.
BEHIND_MAX = 5


def add_command(subparsers) -> None:
    """Add the command to those of cloudkitty-status."""
    text = (
        'show the length of periods, scope key and start date that all processors of this database '
        'share; with one of the options: order a change for periods from a date on'
    )
    parser = subparsers.add_parser('agreement', help=text, description=text)
    parser.add_argument('--period', type=int, metavar='SECONDS', help='length of a period')
    parser.add_argument('--scope-key', metavar='NAME', help='attribute that names the scope')
    parser.add_argument(
        '--start-date', metavar='DATE', help="from when on new scopes are rated; '': their month"
    )
    parser.add_argument(
        '--from',
        dest='begin',
        metavar='TIME',
        help='begin of the first changed period; default: the next midnight (UTC)',
    )
    parser.add_argument('--cancel', action='store_true', help='cancel the pending change')
    parser.set_defaults(run=_run)


def _run(conf, arguments):
    database = db.Database(conf)
    migration.check(database)
    changes = _changes(arguments)
    if arguments.cancel:
        if changes or arguments.begin:
            raise errors.InvalidInput(reason='--cancel cannot be combined with another option')
        if not database.write(_cancel):
            print('No change is ordered.', file=sys.stderr)
            return 1
    elif changes:
        database.write(lambda connection: _order(connection, changes, arguments.begin))
    elif arguments.begin:
        raise errors.InvalidInput(reason='Nothing is named that is to change at that time')
    _show(database)
    return DONE


def _changes(arguments):
    changes = {}
    if arguments.period is not None:
        if arguments.period < 1:
            raise errors.InvalidInput(reason='--period: at least 1 s')
        changes['period_s'] = arguments.period
    if arguments.scope_key is not None:
        if not 0 < len(arguments.scope_key) <= agreement.KEY_LENGTH_MAX:
            raise errors.InvalidInput(
                reason=f'--scope-key: 1 to {agreement.KEY_LENGTH_MAX} characters'
            )
        changes['scope_key'] = arguments.scope_key
    if arguments.start_date is not None:
        changes['start_date'] = agreement.parse_date(arguments.start_date)
    return changes


def _order(connection, changes, begin):
    state = agreement.read(connection)
    if state.current is None:
        raise errors.Conflict(reason='Nothing is agreed on before a processor has started')
    when = timeframe.parse(begin) if begin else _next_midnight(state.now)
    made = agreement.order(connection, state.current.terms._replace(**changes), when)
    trail.record_agreement(
        connection,
        _actor(),
        before=agreement.describe(state.current),
        after=agreement.describe(made),
        now=datetime.now(UTC),
    )


def _cancel(connection):
    gone = agreement.cancel(connection)
    if gone:
        trail.record_agreement(
            connection,
            _actor(),
            before=agreement.describe(gone),
            after=None,
            now=datetime.now(UTC),
        )
    return gone


def _actor():
    """Return who runs the command, as the operating system knows it."""
    return trail.Actor(user_id=getpass.getuser())


def _next_midnight(now):
    return timeframe.midnight(now.date()) + timedelta(days=1)


def _show(database):
    with database.reader() as connection:
        state = agreement.read(connection)
        behind = agreement.list_behind(connection, state, limit=BEHIND_MAX)
    if not state.agreements:
        print('Nothing is agreed on: the first processor that starts decides.')
        return
    table = prettytable.PrettyTable(
        ['From', 'Period (s)', 'Scope key', 'Start date', 'Time basis', 'State'], align='l'
    )
    for one in state.agreements:
        told = agreement.describe(one)
        begin = told.pop('begin') if one.begin else 'the begin'
        table.add_row([begin, *(told[name] for name in told if name != 'begin'), _word(one, state)])
    print(table)
    if state.ordered and state.current:
        when = timeframe.render(state.ordered.begin)
        print(
            f'Until {when} processors rate by what is in force. Then they stop: change their files '
            'and send them SIGHUP.'
        )
        if behind:
            print(f'Not rated up to {when} yet: {", ".join(map(repr, behind))}')


def _word(one, state):
    if one is state.current:
        return 'in force'
    return 'over' if one.in_force else 'ordered'
