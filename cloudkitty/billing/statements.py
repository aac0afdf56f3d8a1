"""Statements: drafts, which are computed on request, and whether they can be closed."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any, NamedTuple

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty import completeness, db, errors
from cloudkitty.audit import trail
from cloudkitty.billing import accounts, changes, credits, ledger, members
from cloudkitty.billing.documents import Documents
from cloudkitty.billing.sharing import Computed, Sharing, scopes_of_partners
from cloudkitty.billing.sums import Sums
from cloudkitty.core import timeframe
from cloudkitty.core.billing import corrections, form, money, month, statement, terms
from cloudkitty.core.billing.credits import Draw, draw
from cloudkitty.core.billing.plan import UTC, Account, Document
from cloudkitty.core.billing.statement import Line, TaxRate
from cloudkitty.core.timeframe import Period
from cloudkitty.scopes import names
from cloudkitty.scopes import state as scope_state
from cloudkitty.storage.v2 import BaseStorage

# Closed months that are computed again each time, if the storage does not record changes.
LOOK_BACK = 3
MONTH_MAX = dt.timedelta(days=31)


class Draft(NamedTuple):
    """A statement that is not closed.

    :ivar complete_until: up to when its month is rated, aware UTC; None: unknown.
    :ivar blockers: why it cannot be closed; empty: it can.
    :ivar pending: why closed months were computed again; consumed when it is closed.
    """

    statement: form.Statement
    complete_until: datetime | None
    blockers: list[str]
    pending: changes.Pending = changes.Pending()

    def to_form(self) -> dict[str, Any]:
        """Return the draft as JSON."""
        until = self.complete_until
        return {
            'state': ledger.DRAFT,
            'complete_until': None if until is None else timeframe.render(until),
            'blockers': self.blockers,
            **form.to_form(self.statement),
        }


class Statements:
    """The statements of one database and storage.

    :param clock: returns the current time, aware UTC.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        database: db.Database,
        storage: BaseStorage,
        clock: Callable[[], datetime],
    ) -> None:
        self.conf = conf
        self.database = database
        self.documents = Documents(database)
        self.sums = Sums(storage, conf.collect.scope_key)
        self.clock = clock

    def check_enabled(self) -> None:
        """Raise NotFound unless [billing]enabled is true."""
        if not self.conf.billing.enabled:
            raise errors.NotFound(reason='Billing is off: [billing]enabled is false.')

    def account(self, connection: sa.Connection, account_id: str, period: str) -> Account:
        """Return an account as of a month.

        :raises NotFound: there is no such account.
        """
        version = self.documents.version_of(connection, period)
        document = self.documents.get(connection, version, period)
        closed: dict[str, ledger.Entry] = {}
        if account_id not in document.accounts:
            closed = ledger.closed_months(connection, account_id)
        return self._account(document, account_id, closed)

    @staticmethod
    def _account(
        document: Document, account_id: str, closed: Mapping[str, ledger.Entry]
    ) -> Account:
        """Return an account of *document*.

        One that is not in it any more is to be corrected only, in the currency that it had.

        :param closed: its closed months.
        :raises NotFound: there is no such account.
        """
        account = accounts.find(document, account_id, has_statements=bool(closed))
        if account.scopes or account_id in document.accounts or not closed:
            return account
        last = closed[max(closed)]
        return dataclasses.replace(account, owner=last.owner, currency=last.currency)

    def grant(
        self, account_id: str, form: Mapping[str, Any], *, actor: trail.Actor
    ) -> credits.Entry:
        """Store a credit of an account; see credits.grant().

        :raises NotFound: there is no such account now.
        """
        now = self.clock()

        def change(connection: sa.Connection) -> credits.Entry:
            period = now.strftime('%Y-%m')
            version = self.documents.version_of(connection, period)
            document = self.documents.get(connection, version, period)
            account = accounts.find(document, account_id)
            digits = document.digits(form['currency'])
            return credits.grant(connection, account.id, form, digits=digits, actor=actor, now=now)

        return self.database.write(change)

    def account_of_scope(self, connection: sa.Connection, scope_id: str, period: str) -> str:
        """Return the id of the account that a scope belongs to in a month."""
        version = self.documents.version_of(connection, period)
        return accounts.owner_of(self.documents.get(connection, version, period), scope_id)

    def draft(self, account_id: str, period: str) -> Draft:
        """Return the statement of a month as it would be closed now, with corrections.

        :raises NotFound: there is no such account in that month.
        :raises Conflict: the month is closed.
        """
        with self.database.reader() as connection:
            return self.prepare(connection, account_id, period)

    def prepare(self, connection: sa.Connection, account_id: str, period: str) -> Draft:
        """Return draft() as a transaction sees it."""
        closed = ledger.closed_months(connection, account_id)
        if period in closed:
            raise errors.Conflict(
                reason=f'{period} is closed: it has statement {closed[period].number}.'
            )
        version = self.documents.version_of(connection, period)
        document = self.documents.get(connection, version, period)
        account = self._account(document, account_id, closed)
        # Read before the sums, so that a change that they do not contain stays recorded.
        scopes = sorted({*account.scopes, *self.scopes_of(connection, account_id, closed)})
        pending = changes.read(connection, account_id, self.sums.scope_key, scopes)
        others = self._partner_scopes(connection, account_id, document, closed)
        if others:
            noted = changes.read(connection, account_id, self.sums.scope_key, others).notes
            pending = pending._replace(related=noted)
        resolved, lines, problems = self.compute(connection, document, account, period)
        corrected, taxes, mixed = self._corrections(
            connection, account, closed, pending, resolved.currency
        )
        made = form.make(
            account, version, resolved, [*lines, *corrected], {**taxes, **form.taxes_of(resolved)}
        )
        made = made._replace(
            draws=self._draws(connection, made), names=self._names(connection, made)
        )
        until, reasons = self._completeness(connection, account, account.scopes, period)
        reasons += self._partners_incomplete(connection, document, account, period)
        blockers = [*problems, *mixed, *reasons, *self._too_early(account, period)]
        return Draft(made, until, blockers, pending)

    @staticmethod
    def _draws(connection: sa.Connection, made: form.Statement) -> tuple[Draw, ...]:
        """Return what the credits of the account would pay if the month were closed now."""
        days = month.days(made.period)
        usable = credits.usable(connection, made.account.id)
        return draw(usable, made.totals.total, made.terms.currency, days)

    def _names(self, connection: sa.Connection, made: form.Statement) -> dict[str, str]:
        """Return the names that the scopes of a statement have now; those that are known."""
        scopes = {line.scope_id for line in made.lines if line.scope_id is not None}
        found = names.find(connection, [(None, scope) for scope in scopes])
        own = scope_state.Identity.of(self.conf).fetcher
        # Of several names that of the fetcher in use, which comes last.
        pairs = sorted(found.items(), key=lambda item: (item[0][0] == own, item[0]))
        return {scope: name for (_, scope), name in pairs}

    def preview(
        self, document: Document, account_id: str, period: str
    ) -> tuple[form.Statement, list[str]]:
        """Return the statement of a month under a document that is not applied, and its problems.

        :raises NotFound: there is no such account in *document*.
        """
        with self.database.reader() as connection:
            document = members.join(connection, document, period)
            account = accounts.find(document, account_id)
            resolved, lines, problems = self.compute(connection, document, account, period)
            made = form.make(account, 0, resolved, lines, form.taxes_of(resolved))
            return made._replace(names=self._names(connection, made)), problems

    def compute(
        self, connection: sa.Connection, document: Document, account: Account, period: str
    ) -> Computed:
        """Return the terms and lines of a month, and why it cannot be closed."""

        def alone(one: Account) -> Computed:
            return self._compute_alone(connection, document, one, period)

        resolved, lines, problems = alone(account)
        sharing = Sharing(connection, self.sums, document, period, alone)
        shared = sharing.lines(account, resolved, lines)
        return resolved, [*lines, *shared.lines], [*problems, *shared.problems]

    def _compute_alone(
        self, connection: sa.Connection, document: Document, account: Account, period: str
    ) -> Computed:
        """Return what compute() does, without shared costs."""
        resolved = terms.resolve(document, account, period)
        usage = self.sums.read(
            connection,
            account.scopes,
            resolved.plan,
            month.bounds(period, account.zone),
            by_day=bool(resolved.terms.daily),
        )
        bill = statement.compute(resolved.plan, usage, resolved.terms)
        return resolved, bill.lines, [*resolved.problems, *bill.problems]

    def scopes_of(
        self, connection: sa.Connection, account_id: str, closed: dict[str, ledger.Entry]
    ) -> list[str]:
        """Return the scopes that an account had in its closed months, sorted."""
        found: set[str] = set()
        for period, entry in closed.items():
            document = self.documents.get(connection, entry.version, period)
            found.update(accounts.find(document, account_id, has_statements=True).scopes)
        return sorted(found)

    def _partner_scopes(
        self,
        connection: sa.Connection,
        account_id: str,
        document: Document,
        closed: dict[str, ledger.Entry],
    ) -> list[str]:
        """Return the scopes of others that change what an account owes, or owed; sorted."""
        found = scopes_of_partners(document, account_id)
        for period, entry in closed.items():
            old = self.documents.get(connection, entry.version, period)
            found |= scopes_of_partners(old, account_id)
        return sorted(found)

    def changed_months(
        self,
        connection: sa.Connection,
        account_id: str,
        closed: dict[str, ledger.Entry],
        pending: changes.Pending,
    ) -> list[str]:
        """Return the closed months of an account whose amounts may have changed, sorted."""
        found = {
            period
            for period in changes.affected(pending, closed)
            if self._may_have_changed(connection, account_id, closed[period], pending)
        }
        if not self.sums.storage.notes_changes:
            found.update(sorted(closed)[-LOOK_BACK:])
        return sorted(period for period in found if self.has_sums(period))

    def _may_have_changed(
        self,
        connection: sa.Connection,
        account_id: str,
        entry: ledger.Entry,
        pending: changes.Pending,
    ) -> bool:
        document = self.documents.get(connection, entry.version, entry.month)
        # Shared costs depend on the months of others, too, which may have another zone.
        if document.partners(account_id):
            return True
        zone = accounts.find(document, account_id, has_statements=True).zone
        span = month.bounds(entry.month, zone)
        ordered = {recheck.month for recheck in pending.rechecks}
        return entry.month in ordered or any(changes.touches(note, span) for note in pending.notes)

    def has_sums(self, period: str) -> bool:
        """Return whether the sums of a month are kept: removed months are not corrected."""
        hours = self.conf.storage.rollup_retention_period
        if hours is None:
            return True
        kept_from = timeframe.month_at(self.clock() - dt.timedelta(hours=hours)).end
        return month.bounds(period, UTC).begin >= kept_from

    def _corrections(
        self,
        connection: sa.Connection,
        account: Account,
        closed: dict[str, ledger.Entry],
        pending: changes.Pending,
        currency: str,
    ) -> tuple[list[Line], dict[tuple[str, str], TaxRate | None], list[str]]:
        """Return the changes of closed months since they were billed, their taxes, and problems.

        Each is computed with the document that it was closed with.
        """
        lines: list[Line] = []
        taxes: dict[tuple[str, str], TaxRate | None] = {}
        problems: list[str] = []
        for period in self.changed_months(connection, account.id, closed, pending):
            document = self.documents.get(connection, closed[period].version, period)
            old = accounts.find(document, account.id, has_statements=True)
            resolved, computed, faults = self.compute(connection, document, old, period)
            found = corrections.difference(computed, ledger.booked(connection, account.id, period))
            digits = resolved.terms.digits
            lines += [
                line._replace(amount=money.round_amount(Fraction(line.amount), digits))
                for line in found
            ]
            taxes |= form.taxes_of(resolved)
            problems += [f'correction of {period}: {fault}' for fault in faults]
            if found and resolved.currency != currency:
                problems.append(f'corrections of {period} are in {resolved.currency}')
        return lines, taxes, problems

    @staticmethod
    def earliest(account: Account, period: str) -> datetime:
        """Return from when on a month may be closed, aware UTC."""
        return month.bounds(period, account.zone).end + account.close_after

    def check_retention(self) -> None:
        """Make sure that points are kept as long as local months need those at begin and end.

        :raises ConfigurationError: they are removed earlier.
        """
        hours = self.conf.storage.retention_period
        if hours is None:
            return
        with self.database.reader() as connection:
            newest = self.documents.newest(connection)
            document = self.documents.get(connection, newest.version, newest.from_month)
        for account in (document.defaults, *document.accounts.values()):
            needed = 2 * MONTH_MAX + account.close_after
            if account.zone != UTC and dt.timedelta(hours=hours) < needed:
                raise errors.ConfigurationError(
                    reason=f'[storage]retention_period is {hours}, and months of '
                    f'{account.zone.key} need {needed // dt.timedelta(hours=1)}: two months and '
                    f'close_after of {account.id or "defaults"}'
                )

    def _too_early(self, account: Account, period: str) -> list[str]:
        """Return why it is too early to close a month."""
        earliest = self.earliest(account, period)
        if self.clock() >= earliest:
            return []
        return [
            f'it can be closed from {timeframe.render(earliest)} on: usage may arrive until then '
            '(close_after)'
        ]

    def rated_until(
        self, connection: sa.Connection, account: Account, period: str
    ) -> datetime | None:
        """Return up to when a month of an account is rated; None: its scopes are not rated."""
        return self._completeness(connection, account, account.scopes, period)[0]

    def _partners_incomplete(
        self, connection: sa.Connection, document: Document, account: Account, period: str
    ) -> list[str]:
        """Return what is missing of other accounts whose usage determines shared costs."""
        reasons: list[str] = []
        for share in document.shares_of(account.id):
            if account.id == share.source:
                continue
            source = document.accounts[share.source]
            scopes = [
                scope
                for name in (share.source, *share.targets)
                for scope in document.accounts[name].scopes
            ]
            _, found = self._completeness(connection, source, scopes, period)
            reasons += [f'shared costs of {source.id}: {one}' for one in found]
        return reasons

    def _completeness(
        self, connection: sa.Connection, account: Account, scopes: Sequence[str], period: str
    ) -> tuple[datetime | None, list[str]]:
        """Return up to when *scopes* are rated in a month of an account, and what is missing.

        Scopes that are not rated, because their usage is pushed, are always complete.
        """
        if not scope_state.is_rated(connection, scope_state.Identity.of(self.conf), scopes):
            return None, []
        span = Period(*month.bounds(period, account.zone))
        answer = completeness.examine(connection, self.conf, completeness.Query(span, scopes))
        reasons = [
            f'scope {entry.scope.scope_id} is {entry.status.state}: '
            f'{entry.status.reason or "its periods are rated soon"}'
            for entry in answer.entries
            if entry.status.state != completeness.FINAL
        ]
        if answer.reason:
            reasons.append(answer.reason)
        return answer.rated_until, reasons
