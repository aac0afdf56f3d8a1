"""Rating again without storing: what periods cost now, and what they would."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from cloudkitty import db
from cloudkitty.dataframe import SUM_CONTEXT, ZERO
from cloudkitty.db import reprocess
from cloudkitty.storage.v2 import Replacement

RatedPrices = Callable[[str, datetime, datetime], Mapping[tuple[datetime, str], Decimal]]


def record(database: db.Database, replacements: Sequence[Replacement],
           rated_prices: RatedPrices, *, length: timedelta) -> list[Replacement]:
    """Keep with the tasks what *replacements* would change, together with their progress.

    :param rated_prices: see BaseStorage.rated_prices.
    :param length: of a period.
    :returns: the members whose task was not where it must be.
    """
    prices = {one.task_id: compare(one, rated_prices, length) for one in replacements}

    def change(connection):
        currents = reprocess.lock_tasks(connection, prices)
        late = [one for one in replacements
                if one.task_id not in currents or currents[one.task_id] != one.current]
        valid = [one for one in replacements if one not in late]
        reprocess.add_prices(connection, {one.task_id: prices[one.task_id] for one in valid})
        reprocess.advance(connection, {one.task_id: one.new_current for one in valid}, {})
        return late

    return database.write(change)


def compare(one: Replacement, rated_prices: RatedPrices,
            length: timedelta) -> dict[str, reprocess.Prices]:
    """Return the old and the new price of each metric in the periods of a replacement.

    A period for which the source has nothing would keep what is stored.
    """
    stored = rated_prices(one.batch.scope_id, one.batch.mark + length,
                          one.batch.new_mark + length)
    replaced = {frame.start for frame in one.batch.frames}
    sums: dict[str, tuple[Decimal, Decimal]] = {}
    for (begin, metric), price in stored.items():
        kept = ZERO if begin in replaced else price
        _add(sums, metric, price, kept)
    for frame in one.batch.frames:
        for metric, point in frame:
            _add(sums, metric, ZERO, point.price)
    return {metric: reprocess.Prices(*pair) for metric, pair in sums.items()}


def _add(sums, metric, old, new):
    before = sums.get(metric, (ZERO, ZERO))
    sums[metric] = (SUM_CONTEXT.add(before[0], old), SUM_CONTEXT.add(before[1], new))
