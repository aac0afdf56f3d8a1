"""What a plan and an account say, once they are read. Pure."""

import dataclasses
import functools
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction

from cloudkitty.core.billing import money
from cloudkitty.core.billing.conversion import DatedRate
from cloudkitty.core.billing.models import Model

STANDARD_TAX = 'standard'
ACCOUNT, SCOPE = 'account', 'scope'  # whose quantities are added up before they are priced
UP, DOWN = 'up', 'down'
# Which rate converts prices to the currency of a statement.
MONTH_END, DAILY = 'month_end', 'daily'
# Kinds of groups of scopes; of several that a scope is in, the first kind counts.
TAG, DOMAIN = 'tag', 'domain'
# By what shared costs are divided.
LIST, EQUAL, QUANTITY = 'list', 'equal', 'quantity'
# Pushed usage has no completeness: it may arrive some days after the month.
CLOSE_AFTER = timedelta(days=3)
UTC = zoneinfo.ZoneInfo('UTC')


@dataclass(frozen=True)
class Item:
    """A rule of a plan for the series that fit it, or a fee.

    :ivar metric: None: a fee, which takes no series.
    :ivar where: attribute to allowed values; all must hold.
    :ivar by: attributes; each combination of their values is priced for itself.
    :ivar pool: ACCOUNT or SCOPE.
    :ivar per: units of the metric in a unit of the price.
    :ivar whole: UP or DOWN to whole units; None: as it is.
    :ivar free: units that cost nothing, a month.
    :ivar measures_list: the price model takes the list price for the quantity.
    :ivar discount: part of the price, such as 1/10.
    :ivar minimum, maximum: of the amount, a month.
    :ivar tax: tax category.
    :ivar unit: name of a unit, for readers.
    """

    name: str
    model: Model
    metric: str | None = None
    where: Mapping[str, frozenset[str]] = field(default_factory=dict)
    by: tuple[str, ...] = ()
    pool: str = ACCOUNT
    per: Fraction = Fraction(1)
    whole: str | None = None
    free: Fraction = Fraction(0)
    measures_list: bool = False
    discount: Fraction = Fraction(0)
    minimum: Fraction | None = None
    maximum: Fraction | None = None
    tax: str = STANDARD_TAX
    unit: str = ''

    def fits(self, metric: str, attributes: Mapping[str, str]) -> bool:
        """Return whether the item takes a series."""
        return metric == self.metric and all(
            attributes.get(name, '') in values for name, values in self.where.items()
        )


@dataclass(frozen=True)
class Plan:
    """The prices of a month.

    :ivar currency: of its prices; None: nobody said.
    :ivar items: the first that fits takes a series.
    :ivar discount: on usage, within each line.
    :ivar coupon: off the statement before tax, never below zero.
    :ivar minimum: of the statement before tax.
    """

    name: str
    currency: str | None = None
    items: tuple[Item, ...] = ()
    discount: Fraction = Fraction(0)
    coupon: Fraction = Fraction(0)
    minimum: Fraction | None = None

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the attributes that the items ask for, sorted."""
        return tuple(sorted({name for item in self.items for name in (*item.by, *item.where)}))


@dataclass(frozen=True)
class Account:
    """Who gets a statement.

    :ivar plan: name of the plan; None: everything at list price.
    :ivar scopes: ids of its scopes.
    :ivar tags, domains: their scopes are its own, too, unless another account names them.
    :ivar currency: of its statements; None: that of the plan.
    :ivar conversion: MONTH_END or DAILY.
    :ivar tax: tax category to tax code; empty: no tax.
    :ivar owner: id of the project that may read all of its statements; None: nobody may.
    :ivar begin, end: days in force, half open; None: no bound.
    :ivar close_after: how long after the end of the month it is closed at the earliest.
    """

    id: str
    name: str = ''
    plan: str | None = None
    scopes: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    currency: str | None = None
    conversion: str = MONTH_END
    zone: zoneinfo.ZoneInfo = UTC
    language: str = 'en'
    tax: Mapping[str, str] = field(default_factory=dict)
    owner: str | None = None
    begin: date | None = None
    end: date | None = None
    close_after: timedelta = CLOSE_AFTER


@dataclass(frozen=True)
class Share:
    """What an account owes before tax, taken off it and divided among others.

    :ivar source: id of the account.
    :ivar targets: ids of the others, sorted.
    :ivar by: LIST, EQUAL or QUANTITY.
    :ivar metric: that of QUANTITY.
    :ivar tax: tax category of what the others get.
    """

    source: str
    targets: tuple[str, ...]
    by: str = LIST
    metric: str | None = None
    tax: str = STANDARD_TAX


@dataclass(frozen=True)
class Document:
    """All of the plans, accounts and rates of a version.

    :ivar defaults: settings of scopes that no account names; each is an account of its own.
    :ivar rates: (from, to) currency to dated rates.
    :ivar taxes: tax code to dated rates.
    :ivar currencies: digits of virtual currencies.
    :ivar shares: costs that are divided; no source is a target.
    :ivar former: ids of accounts that only older versions name.
    """

    plans: Mapping[str, Plan] = field(default_factory=dict)
    accounts: Mapping[str, Account] = field(default_factory=dict)
    defaults: Account = Account('')
    rates: Mapping[tuple[str, str], tuple[DatedRate, ...]] = field(default_factory=dict)
    taxes: Mapping[str, tuple[DatedRate, ...]] = field(default_factory=dict)
    currencies: Mapping[str, int] = field(default_factory=dict)
    shares: tuple[Share, ...] = ()
    former: frozenset[str] = frozenset()

    @functools.cached_property
    def owners(self) -> Mapping[str, str]:
        """Account by the scopes that accounts name."""
        return {scope: account.id for account in self.accounts.values() for scope in account.scopes}

    @functools.cached_property
    def groups(self) -> Mapping[str, set[str]]:
        """Groups that accounts name, by kind; empty: none does."""
        found = {
            TAG: {one for account in self.accounts.values() for one in account.tags},
            DOMAIN: {one for account in self.accounts.values() for one in account.domains},
        }
        return {kind: values for kind, values in found.items() if values}

    def joined(self, groups: Mapping[tuple[str, str], Iterable[str]]) -> 'Document':
        """Return the document with the scopes of groups as those of their accounts.

        A scope that an account names is its own; then tags count, then domains; of several tags
        that of the first account by id.

        :param groups: scopes by kind and value.
        """
        owners = dict(self.owners)
        for kind, name in ((TAG, 'tags'), (DOMAIN, 'domains')):
            for account_id, account in sorted(self.accounts.items()):
                for value in getattr(account, name):
                    for scope in groups.get((kind, value), ()):
                        owners.setdefault(scope, account_id)
        scopes: dict[str, list[str]] = {}
        for scope, owner in owners.items():
            scopes.setdefault(owner, []).append(scope)
        return dataclasses.replace(
            self,
            accounts={
                name: dataclasses.replace(one, scopes=tuple(sorted(scopes.get(name, ()))))
                for name, one in self.accounts.items()
            },
        )

    def digits(self, currency: str) -> int:
        """Return the digits after the point of amounts in *currency*."""
        return money.minor_digits(currency, self.currencies)

    def shares_of(self, account_id: str) -> list[Share]:
        """Return the shares that an account takes part in."""
        return [one for one in self.shares if account_id in (one.source, *one.targets)]

    def partners(self, account_id: str) -> set[str]:
        """Return the other accounts whose usage changes what an account owes."""
        found = {name for one in self.shares_of(account_id) for name in (one.source, *one.targets)}
        return found - {account_id}
