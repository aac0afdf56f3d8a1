"""cloudkitty-metrics explain: the explanation of a price as lines of text."""

from collections.abc import Iterator

from cloudkitty.core import decimals, timeframe
from cloudkitty.core.timeframe import Period
from cloudkitty.explain import Explanation, Priced


def heading(scope_id: str, resource: str, period: Period) -> str:
    """Return the heading of the explanation."""
    return (
        f'Resource {resource!r} of scope {scope_id!r}, from {timeframe.render(period.begin)} to '
        f'{timeframe.render(period.end)}, by the rules that are valid then'
    )


def lines(found: Explanation) -> Iterator[str]:
    """Yield the lines for one metric."""
    name = found.name
    yield name if name == found.source_name else f'{name}, measured as {found.source_name}'
    for labels, runs in found.samples:
        text = ', '.join(f'{label}={value}' for label, value in sorted(labels.items()))
        yield f'  series: {text}'
        for run in runs:
            yield (
                f'    {run.begin:%H:%M:%S} to {run.end:%H:%M:%S}: {run.value}, '
                f'samples: {run.samples}'
            )
    how = f'{found.measure} of the period, ' if found.measure else ''
    for point in found.points:
        attributes = ', '.join(f'{label}={value}' for label, value in point.groupby.items())
        quantity = decimals.render_decimal(point.quantity)
        yield f'  quantity: {how}{quantity} {point.unit} ({attributes})'
        yield from _prices(point)


def _prices(point: Priced) -> Iterator[str]:
    for module, rules, amounts, price in point.steps:
        if price is None:
            yield f'  {module}: the point is left out'
            return
        for rule in rules:
            yield f'  {module}: {rule}'
        for group, expression, amount in amounts:
            where = '' if group is None else f'group {group}: '
            yield f'  {module}: {where}{expression} = {decimals.render_decimal(amount)}'
        yield f'  {module}: price {decimals.render_decimal(price)}'
    if point.price is not None:
        yield f'  price: {decimals.render_decimal(point.price)}'
