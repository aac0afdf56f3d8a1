"""Dry runs: rate periods again and record the old and the new prices, without storing points."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from cloudkitty import db
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.scopes import reprocessing as scope_reprocessing
from cloudkitty.storage.v2 import Replacement

RatedPrices = Callable[[str, datetime, datetime], Mapping[tuple[datetime, str], Decimal]]


def record(
    database: db.Database,
    replacements: Sequence[Replacement],
    rated_prices: RatedPrices,
    *,
    length: timedelta,
) -> list[Replacement]:
    """Store the prices that *replacements* would change, and move the tasks on, in one transaction.

    :param rated_prices: see BaseStorage.rated_prices.
    :param length: of a period.
    :returns: the members whose task was not where it was read.
    """
    prices = {one.task_id: compare(one, rated_prices, length) for one in replacements}

    def change(connection):
        currents = scope_reprocessing.lock_tasks(connection, prices)
        late = [
            one
            for one in replacements
            if one.task_id not in currents or currents[one.task_id] != one.current
        ]
        valid = [one for one in replacements if one not in late]
        scope_reprocessing.add_prices(
            connection, {one.task_id: prices[one.task_id] for one in valid}
        )
        scope_reprocessing.advance(connection, {one.task_id: one.new_current for one in valid}, {})
        return late

    return database.write(change)


def compare(
    one: Replacement, rated_prices: RatedPrices, length: timedelta
) -> dict[str, scope_reprocessing.Prices]:
    """Return the old and the new price of each metric in the periods of a replacement.

    A period for which the source has no data keeps its stored price.
    """
    stored = rated_prices(one.batch.scope_id, one.batch.mark + length, one.batch.new_mark + length)
    usage = one.batch.usage
    replaced = set(usage.begins)
    sums: dict[str, tuple[Decimal, Decimal]] = {}
    for (begin, metric), price in stored.items():
        kept = ZERO if begin in replaced else price
        _add(sums, metric, price, kept)
    for column in usage.columns:
        for price in column.prices:
            _add(sums, column.metric, ZERO, price)
    return {metric: scope_reprocessing.Prices(*pair) for metric, pair in sums.items()}


def _add(sums, metric, old, new):
    before = sums.get(metric, (ZERO, ZERO))
    sums[metric] = (SUM_CONTEXT.add(before[0], old), SUM_CONTEXT.add(before[1], new))
