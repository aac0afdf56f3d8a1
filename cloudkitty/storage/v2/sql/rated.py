"""What the processor rated, apart from what was pushed."""

from datetime import datetime
from decimal import Decimal

import sqlalchemy as sa

from cloudkitty import block, timeframe
from cloudkitty.dataframe import SUM_CONTEXT, ZERO
from cloudkitty.db import models
from cloudkitty.storage.v2.sql.catalogue import Catalogue
from cloudkitty.storage.v2.sql.writer import RATED
from cloudkitty.timeframe import Period


def prices(connection: sa.Connection, catalogue: Catalogue, scope_id: str,
           window: Period) -> dict[tuple[datetime, str], Decimal]:
    """Return what BaseStorage.rated_prices() promises."""
    table = models.rated_frames
    owners = catalogue.find_scopes(connection, [scope_id]).values()
    rows = [(timeframe.from_naive(row.begin), *block.decode(row.block))
            for row in connection.execute(sa.select(table.c.begin, table.c.block).where(
                table.c.scope_id.in_(list(owners)), table.c.origin == RATED,
                table.c.begin >= timeframe.to_naive(window.begin),
                table.c.begin < timeframe.to_naive(window.end)))]
    entries = catalogue.entries(connection, {key for _, ids, _, _ in rows for key in ids})
    found: dict[tuple[datetime, str], Decimal] = {}
    for begin, ids, _, numbers in rows:
        for key, price in zip(ids, numbers, strict=True):
            place = (begin, entries[key].metric)
            found[place] = SUM_CONTEXT.add(found.get(place, ZERO), price)
    return found
