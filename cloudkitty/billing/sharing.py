"""Shared costs of a month: what accounts get from others, or pass on to them."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.billing.sums import Sums
from cloudkitty.core.billing import money, month, sharing, terms
from cloudkitty.core.billing.plan import EQUAL, Account, Document, Share
from cloudkitty.core.billing.statement import Line
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO

# An account to its terms, lines without shared costs, and why it cannot be closed.
Computed = tuple[terms.AccountTerms, list[Line], list[str]]
Compute = Callable[[Account], Computed]


class Shared(NamedTuple):
    """Lines of shared costs, and why they cannot be closed."""

    lines: list[Line]
    problems: list[str]


class Sharing:
    """Divides costs within one document, month and transaction.

    :param compute: returns what an account owes without shared costs.
    """

    def __init__(
        self,
        connection: sa.Connection,
        sums: Sums,
        document: Document,
        period: str,
        compute: Compute,
    ) -> None:
        self.connection = connection
        self.sums = sums
        self.document = document
        self.period = period
        self.compute = compute

    def lines(self, account: Account, resolved: terms.AccountTerms, own: list[Line]) -> Shared:
        """Return the lines that are added to the *own* lines of an account, or deducted."""
        found = Shared([], [])
        for share in self.document.shares_of(account.id):
            if not self._in_force(share):
                continue
            if account.id == share.source:
                found.lines.extend(sharing.taken_off(own, resolved.terms))
            elif account.id in self._in_force(share):
                self._add_part(found, share, account, resolved)
        return found

    def _in_force(self, share: Share) -> list[str]:
        """Return the accounts that a cost is divided among in this month."""
        accounts = (self.document.accounts[name] for name in share.targets)
        return [
            one.id for one in accounts if month.share(self.period, one.zone, one.begin, one.end)
        ]

    def _add_part(
        self, found: Shared, share: Share, account: Account, resolved: terms.AccountTerms
    ) -> None:
        source = self.document.accounts[share.source]
        theirs, lines, problems = self.compute(source)
        found.problems.extend(f'shared costs of {source.id}: {one}' for one in problems)
        whole = sharing.total(lines)
        if not whole:
            return
        digits = theirs.terms.digits
        parts = sharing.divide(
            money.to_units(Fraction(whole), digits), self._weights(share, source)
        )
        rate: Fraction | None = Fraction(1)
        if theirs.currency != resolved.currency:
            pair = theirs.currency, resolved.currency
            rate = terms.month_end(self.document.rates.get(pair, ()), account, self.period)
            if rate is None:
                found.problems.append(
                    f'no rate {"/".join(pair)} is in force at the end of {self.period}'
                )
        part = money.of_units(parts[account.id], digits)
        line = sharing.added(share, whole, part, resolved.terms, rate or Fraction(1))
        found.lines.append(line)

    def _weights(self, share: Share, source: Account) -> dict[str, Decimal]:
        names = self._in_force(share)
        if share.by == EQUAL:
            return dict.fromkeys(names, Decimal(1))
        owners = {scope: name for name in names for scope in self.document.accounts[name].scopes}
        span = month.bounds(self.period, source.zone)
        weights = dict.fromkeys(names, ZERO)
        found = self.sums.weights(self.connection, sorted(owners), span, share.metric)
        for scope, weight in found.items():
            weights[owners[scope]] = SUM_CONTEXT.add(weights[owners[scope]], weight)
        return weights


def scopes_of_partners(document: Document, account_id: str) -> set[str]:
    """Return the scopes of other accounts whose usage changes what an account owes."""
    return {
        scope for name in document.partners(account_id) for scope in document.accounts[name].scopes
    }
