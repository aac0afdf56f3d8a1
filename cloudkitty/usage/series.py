"""Series of facts: table usage_series."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TypeVar

import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.core.metering.facts import Fact
from cloudkitty.db import upsert, usage_tables

_SERIES = usage_tables.series
CHUNK = 1000
_Value = TypeVar('_Value')
# See Fact.series.
SeriesKey = tuple[str, str, str, str, str]


def chunks(values: Collection[_Value]) -> Iterator[list[_Value]]:
    """Yield *values* in lists that fit into one statement."""
    listed = list(values)
    for start in range(0, len(listed), CHUNK):
        yield listed[start : start + CHUNK]


def lock(
    connection: sa.Connection, found: Iterable[Fact], own_max: int = 0
) -> dict[SeriesKey, int]:
    """Return the ids of the series of facts; create those that are missing.

    :param own_max: most series of a project that it has pushed itself; those that would be more are
        neither created nor returned. 0: any number.

    The rows are locked in the order of their ids until the transaction ends: no other one changes
    facts or lives of these series meanwhile, and two writers never wait for each other.
    """
    of_series: dict[SeriesKey, Fact] = {}
    for fact in found:
        of_series.setdefault(fact.series, fact)
    first = {facts.digest(*key): fact for key, fact in of_series.items()}
    known = _lock(connection, first)
    missing = sorted(first.keys() - known.keys())
    if own_max:
        missing = _allowed(connection, {digest: first[digest] for digest in missing}, own_max)
    if missing:
        upsert.insert_missing(
            connection, _SERIES, [_row(digest, first[digest]) for digest in missing]
        )
        known |= _lock(connection, missing)
    return {first[digest].series: series_id for digest, series_id in known.items()}


def _allowed(connection: sa.Connection, missing: Mapping[bytes, Fact], own_max: int) -> list[bytes]:
    """Return the series that may be created, see lock()."""
    allowed = []
    left: dict[str, int] = {}
    for digest, fact in missing.items():
        if facts.is_of_project(fact.source, fact.scope_id):
            if fact.scope_id not in left:
                left[fact.scope_id] = own_max - _count_own(connection, fact.scope_id, own_max)
            left[fact.scope_id] -= 1
            if left[fact.scope_id] < 0:
                continue
        allowed.append(digest)
    return allowed


def _count_own(connection: sa.Connection, scope_id: str, most: int) -> int:
    """Return how many series a project has pushed itself, at most *most*."""
    prefix = facts.source_of_project(scope_id, '')
    own = (
        sa.select(_SERIES.c.id)
        .where(
            _SERIES.c.scope_id == scope_id,
            # Not LIKE, which ignores the case on SQLite.
            sa.func.substr(_SERIES.c.source, 1, len(prefix)) == prefix,
        )
        .limit(most)
    )
    statement = sa.select(sa.func.count()).select_from(own.subquery())
    return connection.execute(statement).scalar_one()


def lock_ids(connection: sa.Connection, series_ids: Iterable[int]) -> None:
    """Lock series until the transaction ends, see lock()."""
    for chunk in chunks(sorted(set(series_ids))):
        connection.execute(
            sa.select(_SERIES.c.id)
            .where(_SERIES.c.id.in_(chunk))
            .order_by(_SERIES.c.id)
            .with_for_update()
        ).all()


def _lock(connection: sa.Connection, digests: Collection[bytes]) -> dict[bytes, int]:
    rows = (
        row
        for chunk in chunks(sorted(digests))
        for row in connection.execute(
            sa.select(_SERIES.c.digest, _SERIES.c.id)
            .where(_SERIES.c.digest.in_(chunk))
            .order_by(_SERIES.c.id)
            .with_for_update()
        )
    )
    return {bytes(digest): series_id for digest, series_id in rows}


def _row(digest: bytes, fact: Fact) -> dict[str, object]:
    return {
        'digest': digest,
        'source': fact.source,
        'scope_id': fact.scope_id,
        'meter': fact.meter,
        'resource_id': fact.resource_id,
        'kind': fact.kind,
        'unit': fact.unit,
        'begun_at': fact.at,
    }
