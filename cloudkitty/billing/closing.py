"""Closing a month, by which its draft becomes a numbered statement; voiding a statement.

All of it is one transaction, so that after a failure there is one statement or none, and no gap in
the numbers.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.billing import accounts, changes, credits, ledger, outbox, reconciliation
from cloudkitty.billing.statements import Draft, Statements
from cloudkitty.core import timeframe
from cloudkitty.core.billing import corrections, form, month
from cloudkitty.core.billing.canonical import render
from cloudkitty.core.billing.statement import Line
from cloudkitty.core.decimals import SUM_CONTEXT


class Closing:
    """Makes numbered statements."""

    def __init__(self, statements: Statements) -> None:
        self.statements = statements
        self.options = statements.conf.billing

    def open_accounts(self, period: str) -> list[str]:
        """Return the accounts of a month that have no statement yet, sorted.

        They are the accounts in the document, the scopes with usage that belong to none, and
        those with corrections of earlier months.
        """
        service = self.statements
        with service.database.reader() as connection:
            version = service.documents.version_of(connection, period)
            document = service.documents.get(connection, version, period)
            closed = ledger.closed_accounts(connection, period)
            unbooked = reconciliation.unbooked_months(
                connection, service.documents, service.sums.scope_key
            )
        scopes = service.sums.scopes(month.bounds(period, document.defaults.zone))
        found = {one for one, earlier in unbooked if earlier < period}
        return sorted(found.union(accounts.all_of(document, scopes)) - closed)

    def due_accounts(self, period: str) -> list[str]:
        """Return the accounts of a month that have no statement, and whose close_after is over."""
        service = self.statements
        now = service.clock()
        if now < month.bounds(period, month.EASTERNMOST).end:
            return []
        found = self.open_accounts(period)
        with service.database.reader() as connection:
            version = service.documents.version_of(connection, period)
            document = service.documents.get(connection, version, period)
        return [
            one
            for one in found
            if now >= service.earliest(accounts.find(document, one, has_statements=True), period)
        ]

    def close(self, account_id: str, period: str, author: str | None) -> ledger.Entry:
        """Close a month of an account; return its statement.

        :raises NotFound: there is no such account in that month.
        :raises Conflict: the month is closed, or has blockers, which are in the text.
        """

        def change(connection: sa.Connection) -> ledger.Entry:
            newest = ledger.lock(connection, account_id)
            draft = self.statements.prepare(connection, account_id, period)
            if draft.blockers:
                raise errors.Conflict(
                    reason=f'{period} of {account_id} cannot be closed: {"; ".join(draft.blockers)}'
                )
            entry = self._store(connection, draft, newest, author)
            self._pass_on(connection, account_id, draft.pending.notes)
            changes.consume(connection, account_id, draft.pending)
            return entry

        return self.statements.database.write(change)

    def void(self, number: str, reason: str, author: str | None) -> ledger.Entry:
        """Void the newest statement of an account; its month is open again.

        :returns: the reversing statement.
        :raises NotFound: there is no such statement.
        :raises Conflict: it is not the newest, or voids one itself.
        """
        with self.statements.database.reader() as connection:
            account_id = ledger.get(connection, number).account

        def change(connection: sa.Connection) -> ledger.Entry:
            newest = ledger.lock(connection, account_id)
            if newest is None or newest.number != number:
                raise errors.Conflict(reason=f'{number} is not the newest of its account.')
            if newest.voids is not None:
                raise errors.Conflict(reason=f'{number} takes a statement back itself.')
            return self._take_back(connection, newest, reason, author)

        return self.statements.database.write(change)

    def _pass_on(
        self, connection: sa.Connection, account_id: str, notes: Sequence[changes.Note]
    ) -> None:
        """Let accounts that had the scopes or shared costs in these months be checked, too."""
        months = set().union(*map(changes.near, notes)) if notes else set()
        ordered = set()
        for period, version in ledger.versions(connection, months):
            document = self.statements.documents.get(connection, version, period)
            for note in notes:
                owner = accounts.owner_of(document, note.scope_id)
                if owner != account_id and period in changes.near(note):
                    ordered.add((owner, period))
                if period in changes.near(note):
                    ordered.update((name, period) for name in document.partners(owner))
        changes.order(connection, (one for one in ordered if one[0] != account_id))

    def _store(
        self,
        connection: sa.Connection,
        draft: Draft,
        newest: ledger.Entry | None,
        author: str | None,
    ) -> ledger.Entry:
        made, now = draft.statement, self.statements.clock()
        sums = made.totals
        entry = ledger.Entry(
            number='',
            account=made.account.id,
            month=made.period,
            revision=ledger.next_revision(connection, made.account.id, made.period),
            sequence=1 if newest is None else newest.sequence + 1,
            voids=None,
            owner=made.account.owner,
            version=made.version,
            currency=made.terms.currency,
            list_price=sums.list_price,
            net=sums.net,
            tax=sums.tax,
            total=sums.total,
            digest='',
            previous=None if newest is None else newest.digest,
            closed_at=now,
            author=author,
        )
        entry = self._number(connection, entry, form.to_form(made), made.lines)
        credits.book(connection, entry.number, made.draws)
        return entry

    def _take_back(
        self, connection: sa.Connection, taken: ledger.Entry, reason: str, author: str | None
    ) -> ledger.Entry:
        lines = [corrections.negated(line) for line in ledger.lines_of(connection, taken.number)]
        entry = taken._replace(
            revision=taken.revision + 1,
            sequence=taken.sequence + 1,
            voids=taken.number,
            list_price=SUM_CONTEXT.minus(taken.list_price),
            net=SUM_CONTEXT.minus(taken.net),
            tax=SUM_CONTEXT.minus(taken.tax),
            total=SUM_CONTEXT.minus(taken.total),
            previous=taken.digest,
            closed_at=self.statements.clock(),
            author=author,
        )
        content = negated(ledger.document(connection, taken.number)) | {'reason': reason}
        # What it corrected is to be corrected again.
        others = {line.period for line in lines} - {taken.month}
        changes.order(connection, ((taken.account, period) for period in others))
        given_back = [
            one._replace(amount=SUM_CONTEXT.minus(one.amount))
            for one in credits.drawn_by(connection, taken.number)
        ]
        entry = self._number(connection, entry, content, lines)
        credits.book(connection, entry.number, given_back)
        return entry

    def _number(
        self,
        connection: sa.Connection,
        entry: ledger.Entry,
        content: dict[str, Any],
        lines: list[Line],
    ) -> ledger.Entry:
        """Number a statement and store it."""
        number = ledger.next_number(connection, self.options.series, entry.closed_at.year)
        entry = entry._replace(number=number)
        head = {
            'state': ledger.CLOSED if entry.voids is None else ledger.VOID,
            'number': entry.number,
            'revision': entry.revision,
            'sequence': entry.sequence,
            'voids': entry.voids,
            'reason': '',
            'issuer': self.options.issuer,
            'closed_at': timeframe.render(entry.closed_at),
            'previous': entry.previous,
        }
        entry = ledger.add(connection, entry, head | content, lines)
        outbox.add(
            connection,
            entry.account,
            outbox.CLOSED if entry.voids is None else outbox.VOIDED,
            {
                'number': entry.number,
                'account_id': entry.account,
                'month': entry.month,
                'voids': entry.voids,
                'currency': entry.currency,
                'total': form.amount(entry.total, entry.currency),
            },
            now=entry.closed_at,
            notifies_bus=self.options.notify,
        )
        return entry


# Members of a statement, its lines and its taxes that are amounts.
_AMOUNTS = ('list', 'adjustment', 'net', 'rounding', 'tax', 'total', 'drawn', 'due')
_LINE_AMOUNTS = ('quantity', 'list', 'exact', 'amount')
_TAX_AMOUNTS = ('base', 'amount')


def negated(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members of the statement that voids *content*."""
    kept = {name: value for name, value in content.items() if name not in ledger.HEAD}
    return {
        **_minus(kept, _AMOUNTS),
        'lines': [_minus(line, _LINE_AMOUNTS) | {'steps': []} for line in content['lines']],
        'taxes': [_minus(tax, _TAX_AMOUNTS) for tax in content['taxes']],
        'credits': [_minus(one, ('amount',)) for one in content.get('credits', ())],
    }


def _minus(form_: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    # A statement of an earlier release has no credits.
    known = [name for name in names if name in form_]
    changed = {name: render(SUM_CONTEXT.minus(Decimal(form_[name]))) for name in known}
    return {**form_, **changed}
