"""Shared costs: what an account owes is taken off it and divided among others. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

from cloudkitty.core.billing import money, statement
from cloudkitty.core.billing.charges import Step, render
from cloudkitty.core.billing.plan import EQUAL, LIST, QUANTITY, STANDARD_TAX, Account, Share
from cloudkitty.core.billing.reading import Node
from cloudkitty.core.billing.statement import Line, Terms
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO

SOURCES_MAX = 100
# Each draft of one of them reads the sums of all.
TARGETS_MAX = 1000


def parse(node: Node, accounts: Mapping[str, Account]) -> tuple[Share, ...]:
    """Return the shares that *node* describes, in the order of their sources.

    :raises InvalidInput: with the path of the fault.
    """
    read = [(one, one.members('from', 'over', 'by', 'tax')) for one in node.list()]
    sources: dict[str, Node] = {}
    for one, found in read:
        if not found['from'].list():
            raise one.fault('from is missing: the accounts whose costs are divided')
        for name in found['from'].list():
            if name.text() not in accounts:
                raise name.fault(f'no account is named {name.value}')
            if sources.setdefault(name.text(), name) is not name:
                raise name.fault(f'the costs of {name.value} are divided already')
    if len(sources) > SOURCES_MAX:
        raise node.fault(f'has more than {SOURCES_MAX} accounts in from')
    shares = [
        _share(name.text(), found, accounts, sources)
        for _, found in read
        for name in found['from'].list()
    ]
    return tuple(sorted(shares, key=lambda share: share.source))


def _share(
    source: str,
    found: Mapping[str, Node],
    accounts: Mapping[str, Account],
    sources: Mapping[str, Node],
) -> Share:
    by, metric = _by(found['by'])
    return Share(
        source,
        _targets(found['over'], accounts, sources),
        by,
        metric,
        STANDARD_TAX if found['tax'].is_missing else found['tax'].text(),
    )


def _targets(
    node: Node, accounts: Mapping[str, Account], sources: Mapping[str, Node]
) -> tuple[str, ...]:
    found = node.members('plan', 'accounts')
    if found['plan'].is_missing == found['accounts'].is_missing:
        raise node.fault('must have exactly one of plan, accounts')
    if found['accounts'].is_missing:
        plan = found['plan'].text()
        names = [
            name
            for name, account in accounts.items()
            if account.plan == plan and name not in sources
        ]
    else:
        names = [one.text() for one in found['accounts'].list()]
        for name in names:
            if name not in accounts:
                raise found['accounts'].fault(f'no account is named {name}')
            if name in sources:
                raise found['accounts'].fault(f'the costs of {name} are divided themselves')
    if not names or len(set(names)) > TARGETS_MAX:
        raise node.fault(f'must be 1 to {TARGETS_MAX} accounts; there are {len(set(names))}')
    return tuple(sorted(set(names)))


def _by(node: Node) -> tuple[str, str | None]:
    if node.is_missing:
        return LIST, None
    if isinstance(node.value, str):
        return node.choice(LIST, EQUAL), None
    metric = node.members(QUANTITY)[QUANTITY]
    if metric.is_missing:
        raise node.fault(f'must be {LIST}, {EQUAL} or a mapping with {QUANTITY}')
    return QUANTITY, metric.text()


def divide(units: int, weights: Mapping[str, Decimal]) -> dict[str, int]:
    """Divide *units* of money among accounts; the parts add up to *units*.

    :param weights: by account; negative ones count as none, and if all are none, all are equal.
    """
    names = sorted(weights)
    parts = money.split(units, [max(Fraction(weights[name]), Fraction(0)) for name in names])
    return dict(zip(names, parts, strict=True))


def taken_off(lines: Iterable[Line], terms: Terms) -> list[Line]:
    """Return what takes all of *lines* off the statement, a line for each tax category."""
    sums = statement.sums_by(lines, lambda line: line.tax)
    return [
        _line(terms, (), SUM_CONTEXT.minus(amount), tax)
        for tax, amount in sorted(sums.items())
        if amount
    ]


def added(share: Share, whole: Decimal, part: Decimal, terms: Terms, rate: Fraction) -> Line:
    """Return the line of an account that pays *part* of the costs of another.

    :param whole, part: in the currency of the other.
    :param rate: from that currency to that of the statement.
    """
    amount = money.round_amount(Fraction(part) * rate, terms.digits)
    steps = [Step(SHARED_BY[share.by], render(Fraction(whole)), part)]
    if rate != 1:
        steps.append(Step('conversion', render(rate), money.to_exact(Fraction(part) * rate)))
    line = _line(terms, (('from', share.source),), amount, share.tax)
    exact = money.to_exact(Fraction(part) * rate)
    return line._replace(exact=exact, steps=tuple(steps))


# Names of the step by which costs are divided.
SHARED_BY = {by: f'shared by {by}' for by in (LIST, EQUAL, QUANTITY)}


def total(lines: Sequence[Line]) -> Decimal:
    """Return the sum of the amounts of *lines*."""
    whole = ZERO
    for line in lines:
        whole = SUM_CONTEXT.add(whole, line.amount)
    return whole


def _line(terms: Terms, key: statement.Attributes, amount: Decimal, tax: str) -> Line:
    return Line(
        terms.period,
        statement.SHARED,
        statement.SHARED,
        key,
        None,
        None,
        '',
        ZERO,
        ZERO,
        amount,
        amount,
        tax,
    )
