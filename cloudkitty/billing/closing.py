"""Closing a month, by which its draft becomes a numbered statement; voiding a statement.

A statement is stored in one transaction, so that after a failure there is one statement or none,
and no gap in the numbers. Several accounts share a transaction: most of the time of a small one is
its commit.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import errors
from cloudkitty.billing import accounts, changes, credits, ledger, outbox, reconciliation
from cloudkitty.billing.statements import Draft, Statements
from cloudkitty.core import timeframe
from cloudkitty.core.billing import corrections, form, month
from cloudkitty.core.billing.canonical import render
from cloudkitty.core.billing.credits import Draw
from cloudkitty.core.billing.statement import Line
from cloudkitty.core.decimals import SUM_CONTEXT

LOG = logging.getLogger(__name__)

# Accounts in one transaction, and lines after which it ends: they are in memory until then.
ACCOUNTS_MAX = 50
LINES_MAX = 10_000


class Outcome(NamedTuple):
    """The statement of an account, or why its month could not be closed."""

    account: str
    result: ledger.Entry | Exception


class _Made(NamedTuple):
    """A statement to be numbered and stored."""

    entry: ledger.Entry
    content: dict[str, Any]
    lines: list[Line]
    draws: Sequence[Draw] = ()


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
        [outcome] = self._close_batch([account_id], period, author)
        if isinstance(outcome.result, Exception):
            raise outcome.result
        return outcome.result

    def close_many(
        self, account_ids: Iterable[str], period: str, author: str | None
    ) -> Iterator[Outcome]:
        """Close a month of accounts; yield what became of each, in the same order.

        They are closed in batches of one transaction each. The failure of one account does not
        affect the others; an unexpected one is logged.
        """
        left = list(dict.fromkeys(account_ids))
        while left:
            found = self._close_or_split(left[:ACCOUNTS_MAX], period, author)
            yield from found
            left = left[len(found) :]

    def _close_or_split(
        self, account_ids: Sequence[str], period: str, author: str | None
    ) -> list[Outcome]:
        """Close a batch, or each account alone if that fails; see _close_batch()."""
        try:
            return self._close_batch(account_ids, period, author)
        except db_exception.DBConnectionError:
            raise
        # Whatever it is, it must not keep the other accounts from being closed.
        except Exception as exc:
            if len(account_ids) == 1:
                LOG.exception('%s of account %s cannot be closed', period, account_ids[0])
                return [Outcome(account_ids[0], exc)]
        return [
            outcome
            for one in account_ids
            for outcome in self._close_or_split([one], period, author)
        ]

    def _close_batch(
        self, account_ids: Sequence[str], period: str, author: str | None
    ) -> list[Outcome]:
        """Close a month of accounts in one transaction; of the first ones, if that is enough."""

        def change(connection: sa.Connection) -> list[Outcome]:
            newest = ledger.lock_all(connection, account_ids)
            drafts: dict[str, Draft] = {}
            results: dict[str, ledger.Entry | Exception] = {}
            lines = 0
            for account_id in account_ids:
                try:
                    draft = self._prepare(connection, account_id, period)
                except (errors.Conflict, errors.NotFound) as exc:
                    results[account_id] = exc
                    continue
                drafts[account_id] = draft
                lines += len(draft.statement.lines)
                if lines >= LINES_MAX:
                    break
            if drafts:
                results |= self._store(connection, drafts, newest, author)
            return [Outcome(one, results[one]) for one in account_ids if one in results]

        return self.statements.database.write(change)

    def _prepare(self, connection: sa.Connection, account_id: str, period: str) -> Draft:
        """Return a draft without blockers; consume the changes that it contains.

        :raises NotFound: there is no such account in that month.
        :raises Conflict: the month is closed, or has blockers.
        """
        draft = self.statements.prepare(connection, account_id, period)
        if draft.blockers:
            raise errors.Conflict(
                reason=f'{period} of {account_id} cannot be closed: {"; ".join(draft.blockers)}'
            )
        self._pass_on(connection, draft)
        changes.consume(connection, account_id, draft.pending)
        return draft

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

    def _pass_on(self, connection: sa.Connection, draft: Draft) -> None:
        """Let accounts that had the scopes or shared costs in these months be checked, too."""
        made, notes = draft.statement, draft.pending.notes
        account_id = made.account.id
        months = set().union(*map(changes.near, notes)) if notes else set()
        own = {(made.period, made.version)} if made.period in months else set()
        ordered = set()
        for period, version in sorted(own.union(ledger.versions(connection, months))):
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
        drafts: Mapping[str, Draft],
        newest: Mapping[str, ledger.Entry | None],
        author: str | None,
    ) -> dict[str, ledger.Entry]:
        """Number and store statements of one month; return them by account."""
        [period] = {draft.statement.period for draft in drafts.values()}
        counts, now = ledger.counts(connection, drafts, period), self.statements.clock()
        made = []
        for account_id, draft in drafts.items():
            entry = self._entry(draft.statement, newest[account_id], now, author)
            entry = entry._replace(revision=counts.get(account_id, 0) + 1)
            content = form.to_form(draft.statement)
            made.append(_Made(entry, content, draft.statement.lines, draft.statement.draws))
        return dict(zip(drafts, self._number(connection, made, now), strict=True))

    @staticmethod
    def _entry(
        made: form.Statement, newest: ledger.Entry | None, now: datetime, author: str | None
    ) -> ledger.Entry:
        """Return a statement that follows *newest*, without its number, revision and digest."""
        sums = made.totals
        return ledger.Entry(
            number='',
            account=made.account.id,
            month=made.period,
            revision=0,
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
        made = _Made(entry, content, lines, given_back)
        [entry] = self._number(connection, [made], entry.closed_at)
        return entry

    def _number(
        self, connection: sa.Connection, made: Sequence[_Made], now: datetime
    ) -> list[ledger.Entry]:
        """Number statements and store them."""
        numbers = ledger.next_numbers(connection, self.options.series, now.year, len(made))
        numbered = [
            one._replace(entry=one.entry._replace(number=number))
            for one, number in zip(made, numbers, strict=True)
        ]
        entries = ledger.add(
            connection,
            [
                ledger.Content(one.entry, self._head(one.entry) | one.content, one.lines)
                for one in numbered
            ],
        )
        credits.book(connection, {one.entry.number: one.draws for one in numbered})
        outbox.add(
            connection,
            [_event(entry) for entry in entries],
            now=now,
            notifies_bus=self.options.notify,
        )
        return entries

    def _head(self, entry: ledger.Entry) -> dict[str, Any]:
        """Return the members that a draft does not have."""
        return {
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


def _event(entry: ledger.Entry) -> outbox.Event:
    return outbox.Event(
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
    )


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
