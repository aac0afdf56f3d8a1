"""Prices of rated points, without pushed ones."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa

from cloudkitty.core import block, timeframe
from cloudkitty.core.decimals import SUM_CONTEXT, ZERO
from cloudkitty.core.timeframe import Period
from cloudkitty.db import tables
from cloudkitty.storage.v2.series.frame_rows import RATED
from cloudkitty.storage.v2.series.series_ids import IdCache


def prices(
    connection: sa.Connection, id_cache: IdCache, scope_id: str, window: Period
) -> dict[tuple[datetime, str], Decimal]:
    """Implement BaseStorage.rated_prices()."""
    table = tables.rated_frames
    owners = id_cache.find_scopes(connection, [scope_id]).values()
    rows = [
        (timeframe.from_naive(row.begin), *block.decode(row.block))
        for row in connection.execute(
            sa.select(table.c.begin, table.c.block).where(
                table.c.scope_id.in_(list(owners)),
                table.c.origin == RATED,
                table.c.begin >= timeframe.to_naive(window.begin),
                table.c.begin < timeframe.to_naive(window.end),
            )
        )
    ]
    entries = id_cache.entries(connection, {key for _, ids, _, _ in rows for key in ids})
    found: dict[tuple[datetime, str], Decimal] = {}
    for begin, ids, _, numbers in rows:
        for key, price in zip(ids, numbers, strict=True):
            place = (begin, entries[key].metric)
            found[place] = SUM_CONTEXT.add(found.get(place, ZERO), price)
    return found
