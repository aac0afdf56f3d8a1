"""Lives as rows: table usage_lives, which is computed from the facts."""

from collections.abc import Collection

import sqlalchemy as sa

from cloudkitty.core.metering import lives
from cloudkitty.core.metering.lives import Life
from cloudkitty.db import upsert, usage_tables
from cloudkitty.usage import samples
from cloudkitty.usage.series import chunks

_LIVES = usage_tables.lives
_NAMES = ('series_id', 'begin', 'end', 'quantity', 'attributes_id', 'evidence')
Span = tuple[int, int | None]


def read(connection: sa.Connection, series_ids: Collection[int]) -> dict[int, list[Life]]:
    """Return the stored lives of series, oldest first."""
    found: dict[int, list[Life]] = {}
    for chunk in chunks(sorted(series_ids)):
        for row in connection.execute(
            sa.select(*[_LIVES.c[name] for name in _NAMES])
            .where(_LIVES.c.series_id.in_(chunk))
            .order_by(_LIVES.c.series_id, _LIVES.c.begin)
        ):
            found.setdefault(row.series_id, []).append(Life(*row[1:]))
    return found


def expected(connection: sa.Connection, series_ids: Collection[int]) -> dict[int, list[Life]]:
    """Return the lives that the stored facts of series tell of."""
    told = samples.statements(connection, series_ids)
    return {series_id: lives.fold(told.get(series_id, ())) for series_id in series_ids}


def rebuild(connection: sa.Connection, series_ids: Collection[int]) -> dict[int, list[Span]]:
    """Recompute the lives of series from their facts; lock the series before.

    :returns: spans of time whose usage changed, by series; those without a change are left out.
    """
    stored = read(connection, series_ids)
    changed: dict[int, list[Span]] = {}
    rows: list[tuple[object, ...]] = []
    for series_id, wanted in expected(connection, series_ids).items():
        old = stored.get(series_id, [])
        if wanted == old:
            continue
        rows.extend((series_id, *life) for life in wanted)
        changed[series_id] = lives.differences(old, wanted)
    for chunk in chunks(sorted(changed)):
        connection.execute(sa.delete(_LIVES).where(_LIVES.c.series_id.in_(chunk)))
    if rows:
        upsert.insert(connection, _LIVES, _NAMES, rows)
    return changed
