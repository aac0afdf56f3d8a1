"""Commands of the OpenStack client; each calls one route of the API."""

import argparse
import os
import pathlib
import sys
import urllib.parse
from collections.abc import Sequence
from typing import Any

from osc_lib import exceptions
from osc_lib.command import command

from cloudkitty.osc import plugin
from cloudkitty.osc.client import Client
from cloudkitty.writer import terminal

STANDARD = '-'  # standard input or output
FORMATS = ('pdf', 'html', 'json')
Table = tuple[Sequence[str], list[tuple[Any, ...]]]
ENTRY = ('number', 'state', 'account_id', 'month', 'currency', 'net', 'tax', 'total')
LINE = ('item', 'key', 'scope_id', 'quantity', 'list', 'amount')
TOTALS = ('currency', 'list', 'adjustment', 'net', 'tax', 'total', 'drawn', 'due')
ACCOUNT = ('id', 'name', 'plan', 'currency', 'zone', 'owner')
BUDGET = ('id', 'name', 'amount', 'basis', 'measure', 'thresholds')


class Command(command.Command):
    """A command that calls the service."""

    @property
    def client(self) -> Client:
        found: Client = getattr(self.app.client_manager, plugin.API_NAME)
        return found

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Run it; a terminal shows escapes for what tenants have in names but nobody sees."""
        streams = self.app.stdout, self.app.stderr
        self.app.stdout, self.app.stderr = map(terminal.protected, streams)
        try:
            return super().run(parsed_args)
        finally:
            self.app.stdout, self.app.stderr = streams


class ListStatements(Command, command.Lister):
    """List closed statements."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--account', metavar='ID', help='only those of this account')
        parser.add_argument('--scope', metavar='ID', help='only those with lines of this project')
        parser.add_argument('--month', metavar='MONTH', help='such as 2026-10')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        found = self.client.list(
            '/v2/statements',
            account_id=parsed_args.account,
            scope_id=parsed_args.scope,
            month=parsed_args.month,
        )
        return _table(ENTRY, found)


class ShowStatement(Command, command.Lister):
    """Show the lines of a statement, and its sums at the end."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('number', metavar='NUMBER', help='such as CK-2026-000001')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        return _statement(self.client.get(f'/v2/statements/{_quoted(parsed_args.number)}'))


class ShowDraft(Command, command.Lister):
    """Show the draft of a month: its statement if it were closed now."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_account(parser)
        parser.add_argument('month', metavar='MONTH', help='such as 2026-10')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        found = self.client.get(
            '/v2/statements/draft',
            account_id=parsed_args.account,
            scope_id=parsed_args.scope,
            month=parsed_args.month,
        )
        for reason in found['blockers']:
            self.app.stderr.write(f'{reason}\n')
        return _statement(found)


class ExportStatement(Command):
    """Save a closed statement as a file."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('number', metavar='NUMBER', help='such as CK-2026-000001')
        parser.add_argument('--format', choices=FORMATS, default=FORMATS[0])
        parser.add_argument('--language', help='such as de; default: that of the account')
        parser.add_argument('--file', help='default: NUMBER.FORMAT; - is standard output')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        kind, number = parsed_args.format, parsed_args.number
        content = self.client.download(
            f'/v2/statements/{_quoted(number)}/files/{kind}', language=parsed_args.language
        )
        if parsed_args.file == STANDARD:
            sys.stdout.buffer.write(content)
            return
        # A number is that of the service, and no path.
        path = pathlib.Path(parsed_args.file or f'{os.path.basename(number)}.{kind}')
        try:
            path.write_bytes(content)
        except OSError as exc:
            raise exceptions.CommandError(f'{path}: {exc.strerror}') from exc


class CloseStatement(Command, command.ShowOne):
    """Close the month of an account."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('account', metavar='ACCOUNT', help='id')
        parser.add_argument('month', metavar='MONTH', help='such as 2026-10')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        made = self.client.post(
            '/v2/statements', account_id=parsed_args.account, month=parsed_args.month
        )
        return _one(('number', *TOTALS), made)


class VoidStatement(Command, command.ShowOne):
    """Void the newest statement of an account; its month is open again."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('number', metavar='NUMBER', help='such as CK-2026-000001')
        parser.add_argument(
            '--reason', required=True, help='reason that is printed on the reversing statement'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        path = f'/v2/statements/{_quoted(parsed_args.number)}/void'
        made = self.client.post(path, reason=parsed_args.reason)
        return _one(('number', 'voids', *TOTALS), made)


class ListAccounts(Command, command.Lister):
    """List accounts."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('--month', metavar='MONTH', help='as they are then; default: now')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        return _table(ACCOUNT, self.client.list('/v2/billing/accounts', month=parsed_args.month))


class ListBudgets(Command, command.Lister):
    """List the budgets of an account."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('account', metavar='ACCOUNT', help='id')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Table:
        found = self.client.get('/v2/budgets', account_id=parsed_args.account)
        return _table(BUDGET, found['results'])


class CreateBudget(Command, command.ShowOne):
    """Set a budget of an account: an amount per month above which it wants alerts."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('account', metavar='ACCOUNT', help='id')
        parser.add_argument('amount', metavar='AMOUNT', help='such as 500.00')
        parser.add_argument('--name', help='for people')
        parser.add_argument('--basis', choices=('net', 'list'))
        parser.add_argument('--measure', choices=('actual', 'forecast'))
        parser.add_argument(
            '--threshold', type=int, action='append', help='percentage; may be given repeatedly'
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> tuple[Sequence[str], Sequence[Any]]:
        made = self.client.post(
            '/v2/budgets',
            account_id=parsed_args.account,
            amount=parsed_args.amount,
            name=parsed_args.name,
            basis=parsed_args.basis,
            measure=parsed_args.measure,
            thresholds=parsed_args.threshold,
        )
        return _one(BUDGET, made)


class DeleteBudget(Command):
    """Remove a budget."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument('budget', metavar='BUDGET', help='id')
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        self.client.delete(f'/v2/budgets/{_quoted(parsed_args.budget)}')


def _add_account(parser: argparse.ArgumentParser) -> None:
    group = parser.add_mutually_exclusive_group(required=True)
    group.add_argument('--account', metavar='ID', help='of the account')
    group.add_argument('--scope', metavar='ID', help='a project of the account')


def _statement(content: dict[str, Any]) -> Table:
    """Return the lines of a statement and its sums as a table."""
    names = content['names']
    rows = [
        (
            line['item'],
            ', '.join(f'{name}={value}' for name, value in line['key'].items()),
            names.get(line['scope_id'], line['scope_id']) or '',
            f'{line["quantity"]} {line["unit"]}'.strip() if line['kind'] == 'usage' else '',
            line['list'] if line['kind'] == 'usage' else '',
            line['amount'],
        )
        for line in content['lines']
    ]
    sums = ('net', 'tax', 'total', 'drawn', 'due')
    # What a member of the account does not see is null.
    rows += [
        (name, '', '', '', '', f'{content[name]} {content["currency"]}')
        for name in sums
        if content[name] is not None
    ]
    return LINE, rows


def _table(names: Sequence[str], found: list[dict[str, Any]]) -> Table:
    return names, [_values(names, one) for one in found]


def _one(names: Sequence[str], found: dict[str, Any]) -> tuple[Sequence[str], Sequence[Any]]:
    return names, _values(names, found)


def _values(names: Sequence[str], found: dict[str, Any]) -> tuple[Any, ...]:
    return tuple('' if found[name] is None else found[name] for name in names)


def _quoted(segment: str) -> str:
    """Return a segment of a path."""
    return urllib.parse.quote(segment, safe='')
