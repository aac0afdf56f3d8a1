"""Verifies that closed statements are unchanged and add up to the usage."""

import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cloudkitty.billing import accounts, changes, credits, ledger
from cloudkitty.billing.statements import Statements
from cloudkitty.core.billing import form, month
from cloudkitty.core.billing.statement import Line
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO

_SUMS = {'list_price': 'list', 'net': 'net', 'tax': 'tax', 'total': 'total'}
_NUMBER = re.compile(r'(.+-\d{4})-(\d{6,})')


class Verifier:
    """Reads statements and usage, and changes nothing."""

    def __init__(self, statements: Statements) -> None:
        self.statements = statements

    def check(self) -> Iterator[str]:
        """Yield a line for each error."""
        with self.statements.database.reader() as connection:
            account_ids = ledger.account_ids(connection)
            yield from self._numbers(connection)
        for account_id in account_ids:
            with self.statements.database.reader() as connection:
                yield from self._chain(connection, account_id)
                yield from self._sums(connection, account_id)

    def _numbers(self, connection: sa.Connection) -> Iterator[str]:
        """Yield the gaps in the numbers."""
        found: dict[str, list[int]] = {}
        taken = connection.execute(sa.select(ledger.SERIES))
        highest = {f'{row.name}-{row.year}': row.next_number - 1 for row in taken}
        for number in connection.execute(sa.select(ledger.TABLE.c.number)).scalars():
            match = _NUMBER.fullmatch(number)
            if match is None:
                yield f'{number}: no number of a series'
            else:
                found.setdefault(match[1], []).append(int(match[2]))
        for series in sorted(found.keys() | highest.keys()):
            numbers = found.get(series, [])
            last = max(highest.get(series, 0), *numbers, 0)
            missing = sorted(set(range(1, last + 1)) - set(numbers))
            for number in missing:
                yield f'{series}-{number:06}: is missing'

    def _chain(self, connection: sa.Connection, account_id: str) -> Iterator[str]:
        """Yield statements that differ from their digest, row or lines."""
        previous = None
        for sequence, (entry, text) in enumerate(ledger.each(connection, account_id), 1):
            if entry.sequence != sequence:
                yield f'{entry.number}: a statement of {account_id} before it is missing'
            if entry.previous != previous:
                yield f'{entry.number}: does not follow the statement before it'
            if ledger.chained(entry.previous, text.encode()) != entry.digest:
                yield f'{entry.number}: its content has another digest'
            previous = entry.digest
            yield from self._content(connection, entry, text)

    def _content(self, connection: sa.Connection, entry: ledger.Entry, text: str) -> Iterator[str]:
        try:
            content = json.loads(text)
        except ValueError:
            yield f'{entry.number}: its content is no JSON'
            return
        for name, member in _SUMS.items():
            if getattr(entry, name) != Decimal(content[member]):
                yield f'{entry.number}: {member} is {getattr(entry, name)} in its row'
        if (entry.number, entry.account, entry.month) != (
            content['number'],
            content['account']['id'],
            content['month'],
        ):
            yield f'{entry.number}: its row is of another statement'
        lines = [_shown(line) for line in ledger.lines_of(connection, entry.number)]
        if lines != [_plain(line) for line in content['lines']]:
            yield f'{entry.number}: its lines are not those of its content'
        drawn = {
            one.credit_id: form.number(one.amount)
            for one in credits.drawn_by(connection, entry.number)
        }
        if drawn != {one['id']: one['amount'] for one in content.get('credits', ())}:
            yield f'{entry.number}: what it has drawn of credits is not that of its content'
        net = _total(Decimal(line['amount']) for line in content['lines'])
        if net != Decimal(content['net']):
            yield f'{entry.number}: its lines add up to {net}, not to {content["net"]}'

    def _sums(self, connection: sa.Connection, account_id: str) -> Iterator[str]:
        """Yield the months whose list prices are neither billed nor about to be corrected."""
        for period, (booked, usage) in self.reconcile(connection, account_id).items():
            if booked != usage:
                yield f'{account_id}, {period}: {booked} is booked of {usage} at list price'

    def reconcile(
        self, connection: sa.Connection, account_id: str
    ) -> dict[str, tuple[Decimal, Decimal]]:
        """Return list prices (billed, of the usage) by closed month without pending changes."""
        service = self.statements
        closed = ledger.closed_months(connection, account_id)
        scopes = service.scopes_of(connection, account_id, closed)
        pending = changes.read(connection, account_id, service.sums.scope_key, scopes)
        open_again = changes.affected(pending, closed)
        found = {}
        for period, entry in closed.items():
            if period in open_again or not service.has_sums(period):
                continue
            document = service.documents.get(connection, entry.version, period)
            account = accounts.find(document, account_id, has_statements=True)
            span = month.bounds(period, account.zone)
            found[period] = (
                _total(line.list_price for line in ledger.booked(connection, account_id, period)),
                service.sums.list_price(connection, account.scopes, span),
            )
        return found


def _shown(line: Line) -> dict[str, Any]:
    return _plain(form.line_form(line))


def _plain(shown: dict[str, Any]) -> dict[str, Any]:
    """Return a line without its steps, which rows do not have, and zeros at the end."""
    return {**shown, 'steps': [], 'amount': form.number(Decimal(shown['amount']))}


def _total(numbers: Iterable[Decimal]) -> Decimal:
    whole = ZERO
    for number in numbers:
        whole = SUM_CONTEXT.add(whole, number)
    return whole
