"""cloudkitty-billing: plans and accounts as code, closing, and whether all is right."""

import getpass
import pathlib
import sys
from datetime import UTC, datetime

from oslo_config import cfg

from cloudkitty import db, errors, storage
from cloudkitty.audit import trail
from cloudkitty.billing import accounts, credits, documents, members
from cloudkitty.billing.closing import Closing
from cloudkitty.billing.statements import Statements
from cloudkitty.billing.verification import Verifier
from cloudkitty.billing.whatif import Limits, Scenario, Whatif
from cloudkitty.cli import argument_types, manual
from cloudkitty.core.billing import document, form, money, month, reading
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.core.pricing import forms
from cloudkitty.db import migration
from cloudkitty.rating.hashmap.store import rules as stored_rules
from cloudkitty.write_orchestrator import FAILED, WriteOrchestrator

STANDARD = '-'  # standard input
DIFF = (
    'Print the differences between FILE and the applied document, one per line, and the digest of '
    'the applied one for `apply --digest`. With --month also print what accounts owe for that '
    'month under each. Exit status 1 if FILE is invalid.'
)
APPLY = 'Store FILE as the newest version of the document, from a month on.'
ROLLBACK = 'Store the content of an old version as the newest version.'
EXPORT = 'Print the document; `diff` and `apply` read it back.'

CLOSE = (
    'Close a month of the named accounts, by default of all accounts in the document or with '
    'usage. Print number, account and total of each statement, and why an account could not be '
    'closed; write the files of [output]pipeline for single statements. Exit status 1 if an '
    'account could not be closed.'
)
VOID = 'Void the newest statement of an account; its month is open again.'
VERIFY = (
    'Check that every statement is unchanged since it was closed, that the numbers have no gaps, '
    'and that the billed list prices add up to the usage. Print one line for each error; exit '
    'status 1 if there is one. Changes nothing.'
)
GRANT = 'Grant an account a credit, which statements draw from the amount due. Print its id.'
CREDITS = 'List the credits of an account: id, balance, amount and last day.'
WITHDRAW = 'Remove a credit that was never drawn.'
WHATIF = (
    'Compute what accounts would have owed for a month under other plans, or other rules of '
    'hashmap: print one line for each account, then the sums. Stores nothing. Rules price each '
    'stored point again; pushed points keep their prices.'
)
RULES = 'Print the rules of hashmap, including deleted ones, in the form that `whatif --rules` '
'reads.'
FAULTY = 1  # exit status
_month = argument_types.checked(month.check)
_day = argument_types.checked(lambda text: reading.Node(text, repr(text)).day())
_currency = argument_types.checked(lambda text: reading.Node(text, repr(text)).currency())
_amount = argument_types.checked(
    lambda text: money.to_exact(reading.Node(text, repr(text)).number())
)


def main() -> None:
    """Entry point of the command."""
    manual.run(_main, MANUAL)


def _main():
    conf = cfg.CONF
    manual.run_commands(MANUAL, conf, results=True)
    if not conf.billing.enabled:
        raise errors.ConfigurationError(reason='billing is off: [billing]enabled is false')
    database = db.Database(conf)
    migration.check(database)
    statements = Statements(conf, database, storage.get_driver(conf), lambda: datetime.now(UTC))
    return conf.command.run(statements, conf.command)


def _add_commands(subparsers):
    plan = subparsers.add_parser('plan', help='plans, accounts and rates', description=DIFF)
    commands = plan.add_subparsers(title='commands', required=True)
    diff = _command(commands, 'diff', _diff, DIFF)
    diff.add_argument('file', metavar='FILE', help='YAML; - is standard input')
    diff.add_argument('--month', metavar='MONTH', type=_month, help='such as 2026-10')
    apply = _command(commands, 'apply', _apply, APPLY)
    apply.add_argument('file', metavar='FILE', help='YAML; - is standard input')
    apply.add_argument('--digest', help='refuse unless this is the digest of the applied one')
    rollback = _command(commands, 'rollback', _roll_back, ROLLBACK)
    rollback.add_argument('version', type=int, help='number of the old version')
    for parser in (apply, rollback):
        parser.add_argument(
            '--from', dest='month', metavar='MONTH', type=_month, required=True, help='first month'
        )
    export = _command(commands, 'export', _export, EXPORT)
    export.add_argument('--version', type=int, help='number; default: the newest')
    close = _command(subparsers, 'close', _close, CLOSE)
    close.add_argument('month', metavar='MONTH', type=_month, help='such as 2026-10')
    close.add_argument('--account', metavar='ID', action='append', help='may be given repeatedly')
    void = _command(subparsers, 'void', _void, VOID)
    void.add_argument('number', help='of the statement')
    void.add_argument(
        '--reason', required=True, help='reason that is printed on the reversing statement'
    )
    _command(subparsers, 'verify', _verify, VERIFY)
    _add_credits(subparsers)
    whatif = _command(subparsers, 'whatif', _what_if, WHATIF)
    whatif.add_argument('month', metavar='MONTH', type=_month, help='such as 2026-10')
    whatif.add_argument('--plan', metavar='FILE', help='document of plans; - is standard input')
    whatif.add_argument('--rules', metavar='FILE', help='rules of hashmap; - is standard input')
    whatif.add_argument('--account', metavar='ID', action='append', help='may be given repeatedly')
    _command(subparsers, 'rules', _export_rules, RULES)


def _add_credits(subparsers):
    credit = subparsers.add_parser('credit', help='prepaid credits of accounts', description=GRANT)
    commands = credit.add_subparsers(title='commands', required=True)
    grant = _command(commands, 'grant', _grant, GRANT)
    grant.add_argument('account', metavar='ACCOUNT', help='id')
    grant.add_argument('amount', metavar='AMOUNT', type=_amount, help='such as 250.00')
    grant.add_argument('currency', metavar='CURRENCY', type=_currency, help='such as EUR')
    grant.add_argument('--from', dest='begin', metavar='DAY', type=_day, help='first day')
    grant.add_argument('--until', dest='end', metavar='DAY', type=_day, help='day after the last')
    grant.add_argument('--priority', type=int, default=0, help='the lowest is drawn first')
    grant.add_argument('--note', default='', help='note that is printed on the statements')
    listed = _command(commands, 'list', _list_credits, CREDITS)
    listed.add_argument('account', metavar='ACCOUNT', help='id')
    withdraw = _command(commands, 'withdraw', _withdraw, WITHDRAW)
    withdraw.add_argument('account', metavar='ACCOUNT', help='id')
    withdraw.add_argument('credit', metavar='ID', help='of the credit')


def _command(commands, name, run, text):
    parser = commands.add_parser(name, help=text.partition('. ')[0], description=text)
    parser.set_defaults(run=run)
    return parser


def _read(path):
    if path == STANDARD:
        return documents.load(sys.stdin.buffer.read())
    try:
        return documents.load(pathlib.Path(path).read_bytes())
    except OSError as exc:
        raise errors.InvalidInput(reason=f'{path}: {exc.strerror}') from exc


def _actor():
    return trail.Actor(user_id=getpass.getuser())


def _diff(statements, arguments):
    changed = _read(arguments.file)
    parsed = document.parse(changed)
    with statements.database.reader() as connection:
        newest = statements.documents.newest(connection)
        current = statements.documents.form(connection, newest.version)
    for line in documents.differences(current, changed):
        print(line)
    if arguments.month:
        with statements.database.reader() as connection:
            before, after = (
                members.join(connection, one, arguments.month)
                for one in (document.parse(current), parsed)
            )
        _print_amounts(statements, before, after, arguments.month)
    print(f'digest of version {newest.version}: {newest.digest or "none"}', file=sys.stderr)


def _print_amounts(statements, before, after, period):
    """Print what each account owes for a month under two documents, if that differs."""
    scopes = statements.sums.scopes(month.bounds(period, after.defaults.zone))
    named = {*accounts.all_of(before, scopes), *accounts.all_of(after, scopes)}
    for account_id in sorted(named):
        was, is_now = (_total(statements, found, account_id, period) for found in (before, after))
        if was != is_now:
            print(f'{account_id}: {was} -> {is_now}')


def _total(statements, found, account_id, period):
    try:
        made, problems = statements.preview(found, account_id, period)
    except errors.NotFound:
        return 'no account'
    owed = f'{form.render(made.totals.total)} {made.terms.currency}'
    return f'{owed} ({"; ".join(problems)})' if problems else owed


def _apply(statements, arguments):
    made = statements.documents.apply(
        _read(arguments.file),
        arguments.month,
        actor=_actor(),
        now=datetime.now(UTC),
        expected=arguments.digest,
    )
    _say(made)


def _roll_back(statements, arguments):
    made = statements.documents.roll_back(
        arguments.version, arguments.month, actor=_actor(), now=datetime.now(UTC)
    )
    _say(made)


def _say(version):
    print(f'version {version.version} holds from {version.from_month} on; digest {version.digest}')


def _export(statements, arguments):
    with statements.database.reader() as connection:
        version = arguments.version or statements.documents.newest(connection).version
        found = statements.documents.form(connection, version)
    sys.stdout.write(documents.export(found))


def _close(statements, arguments):
    closing = Closing(statements)
    files = WriteOrchestrator(statements.conf, statements.database, statements.clock, statements)
    period = arguments.month
    failed = 0
    chosen = arguments.account or closing.open_accounts(period)
    for account_id, made in closing.close_many(chosen, period, getpass.getuser()):
        if isinstance(made, Exception):
            failed += 1
            print(f'{account_id}: {made}', file=sys.stderr)
        else:
            owed = form.amount(made.total, made.currency)
            print(f'{made.number} {account_id} {owed} {made.currency}')
            _write_files(files, made)
    return FAULTY if failed else 0


def _write_files(files, made):
    """Write the files of a statement; it is closed whatever becomes of them."""
    for outcome in files.generate_closed(made):
        if outcome.state == FAILED:
            print(f'{outcome.name}: {outcome.reason}', file=sys.stderr)


def _void(statements, arguments):
    made = Closing(statements).void(arguments.number, arguments.reason, getpass.getuser())
    print(f'{made.number} takes {made.voids} back; {made.month} of {made.account} is open again')


def _verify(statements, arguments):
    faults = 0
    for fault in Verifier(statements).check():
        faults += 1
        print(fault)
    print(f'{faults} faults found', file=sys.stderr)
    return FAULTY if faults else 0


def _grant(statements, arguments):
    names = ('amount', 'currency', 'begin', 'end', 'priority', 'note')
    values = {name: getattr(arguments, name) for name in names}
    print(statements.grant(arguments.account, values, actor=_actor()).id)


def _list_credits(statements, arguments):
    with statements.database.reader() as connection:
        for one in credits.find(connection, arguments.account):
            left = form.amount(one.balance, one.currency)
            whole = form.amount(one.amount, one.currency)
            print(f'{one.id} {left} of {whole} {one.currency} until {one.end or "used"} {one.note}')


def _withdraw(statements, arguments):
    statements.database.write(
        lambda connection: credits.withdraw(
            connection,
            arguments.account,
            arguments.credit,
            actor=_actor(),
            now=datetime.now(UTC),
        )
    )


def _what_if(statements, arguments):
    if not (arguments.plan or arguments.rules):
        raise errors.InvalidInput(reason='--plan or --rules must be given')
    scenario = Scenario(
        arguments.month,
        document.parse(_read(arguments.plan)) if arguments.plan else None,
        forms.parse(_read(arguments.rules).get('rules')) if arguments.rules else None,
    )
    asked = Whatif(statements)
    sums = {}
    for outcome in asked.answer(
        scenario, arguments.account or asked.account_ids(scenario), Limits()
    ):
        print(_outcome(outcome))
        if outcome.deltas is not None:
            known = sums.get(outcome.after.currency, (ZERO, ZERO))
            sums[outcome.after.currency] = tuple(map(SUM_CONTEXT.add, known, outcome.deltas))
    for currency, (listed, net) in sorted(sums.items()):
        print(f'all accounts in {currency}: list {_signed(listed)}, net {_signed(net)}')


def _outcome(outcome):
    sides = [
        'no account' if side is None else f'{form.render(side.net)} {side.currency}'
        for side in (outcome.before, outcome.after)
    ]
    told = f'{outcome.account_id}: {sides[0]} -> {sides[1]}'
    if outcome.deltas is not None:
        told += f' (list {_signed(outcome.deltas[0])}, net {_signed(outcome.deltas[1])})'
    if not outcome.is_exact:
        told += '; not all usage is stored as points, so this is not exact'
    problems = outcome.after.problems if outcome.after else []
    return f'{told}; {"; ".join(problems)}' if problems else told


def _signed(amount):
    return f'{"+" if amount > 0 else ""}{form.number(amount)}'


def _export_rules(statements, arguments):
    with statements.database.reader() as connection:
        found = stored_rules.load(connection)
    sys.stdout.write(documents.export({'rules': forms.to_form(found)}))


MANUAL = manual.Manual(
    'Make statements from rated data: plans, drafts, documents.',
    (
        'plan diff plans.yml --month 2026-10',
        'close 2026-10',
    ),
    _add_commands,
)
