"""What a month that was closed would say now, less what was booked of it. Pure."""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from cloudkitty.core.billing.statement import Attributes, Line
from cloudkitty.core.decimals import SUM_CONTEXT


class _Key(NamedTuple):
    """What makes two lines be about the same thing."""

    period: str
    kind: str
    item: str
    key: Attributes
    scope_id: str
    tax: str


def difference(computed: Iterable[Line], booked: Iterable[Line]) -> list[Line]:
    """Return *computed* less *booked*, as corrections; what did not change has no line.

    Booked and returned lines add up to the computed ones, in quantity, list price, exact amount and
    amount.
    """
    changed: dict[_Key, Line] = {}
    for line in computed:
        _add(changed, line._replace(is_correction=True))
    for line in booked:
        _add(changed, negated(line)._replace(is_correction=True, steps=()))
    return [
        line
        for line in (changed[key] for key in sorted(changed))
        if line.quantity or line.list_price or line.exact or line.amount
    ]


def negated(line: Line) -> Line:
    """Return the line that takes *line* back."""
    return line._replace(
        # An operator would round to the digits of the thread's context.
        quantity=SUM_CONTEXT.minus(line.quantity),
        list_price=SUM_CONTEXT.minus(line.list_price),
        exact=SUM_CONTEXT.minus(line.exact),
        amount=SUM_CONTEXT.minus(line.amount),
    )


def _add(lines: dict[_Key, Line], line: Line) -> None:
    key = _Key(line.period, line.kind, line.item, line.key, line.scope_id or '', line.tax)
    known = lines.get(key)
    lines[key] = line if known is None else _joined(known, line)


def _joined(line: Line, other: Line) -> Line:
    def plus(name: str) -> Decimal:
        return SUM_CONTEXT.add(getattr(line, name), getattr(other, name))

    return line._replace(
        quantity=plus('quantity'),
        list_price=plus('list_price'),
        exact=plus('exact'),
        amount=plus('amount'),
    )
