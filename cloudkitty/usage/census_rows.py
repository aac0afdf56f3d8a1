"""Rows of censuses: tables usage_censuses, usage_census_parts and usage_missing."""

import json
import zlib
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.metering import facts, lives, reports
from cloudkitty.db import upsert, usage_tables
from cloudkitty.usage.series import chunks

_CENSUSES = usage_tables.censuses
_PARTS = usage_tables.census_parts
_MISSING = usage_tables.missing
_SERIES = usage_tables.series
_LIVES = usage_tables.lives
_SAMPLES = usage_tables.samples
TAKEN, PARTIAL, HELD = 'taken', 'partial', 'held'
# Parts of an incomplete list are removed after this time.
PARTS_KEPT_US = 86400 * facts.SECOND_US


class Census(NamedTuple):
    """The newest list of a producer and subject; times in microseconds since the epoch."""

    id: int
    producer: str
    subject: str
    begun_at: int
    complete_at: int | None
    state: str
    listed: int


class OpenSeries(NamedTuple):
    """A series of kind state, and the quantity of its last life."""

    id: int
    scope_id: str
    meter: str
    resource_id: str
    unit: str
    quantity: Decimal


def _digest(part: reports.Part) -> bytes:
    return facts.digest('census', part.producer, part.subject, str(part.begin))


def add_part(
    connection: sa.Connection, part: reports.Part, now_us: int
) -> list[reports.Part] | None:
    """Store a part; return all parts of its list once they are complete, otherwise None."""
    if part.parts == 1:
        return [part]
    body = zlib.compress(json.dumps(part.resource_ids).encode())
    row = {'digest': _digest(part), 'part': part.number, 'body': body, 'received_at': now_us}
    # Parts of one list may be stored at once, by several workers: the last to commit sees all.
    _lock(connection, part)
    upsert.insert_missing(connection, _PARTS, [row])
    connection.execute(sa.delete(_PARTS).where(_PARTS.c.received_at < now_us - PARTS_KEPT_US))
    found = connection.execute(
        sa.select(_PARTS.c.part, _PARTS.c.body).where(_PARTS.c.digest == _digest(part))
    ).all()
    if len(found) < part.parts:
        return None
    return [
        part._replace(number=number, resource_ids=tuple(json.loads(zlib.decompress(body))))
        for number, body in found
    ]


def _lock(connection: sa.Connection, part: reports.Part) -> None:
    """Lock the row of a producer and subject, which is made if it is missing."""
    digest = facts.digest('census', part.producer, part.subject)
    row = {
        'digest': digest,
        'producer': part.producer,
        'subject': part.subject,
        'begun_at': 0,
        'complete_at': None,
        'state': PARTIAL,
        'listed': 0,
    }
    upsert.insert_missing(connection, _CENSUSES, [row])
    connection.execute(
        sa.select(_CENSUSES.c.id).where(_CENSUSES.c.digest == digest).with_for_update()
    )


def remove_parts(connection: sa.Connection, part: reports.Part) -> None:
    """Remove the parts of a list."""
    connection.execute(sa.delete(_PARTS).where(_PARTS.c.digest == _digest(part)))


def record(connection: sa.Connection, part: reports.Part, state: str, listed: int) -> None:
    """Record a list, unless there is a newer one."""
    _lock(connection, part)
    values = {'begun_at': part.begin, 'state': state, 'listed': listed}
    if state != PARTIAL:
        values['complete_at'] = part.begin
    connection.execute(
        sa.update(_CENSUSES)
        .where(
            _CENSUSES.c.digest == facts.digest('census', part.producer, part.subject),
            _CENSUSES.c.begun_at < part.begin,
        )
        .values(**values)
    )


def find(connection: sa.Connection, producer: str, subject: str) -> Census | None:
    """Return the newest list; None: there was none."""
    digest = facts.digest('census', producer, subject)
    return next(_read(connection, _CENSUSES.c.digest == digest), None)


def read(connection: sa.Connection) -> list[tuple[Census, int]]:
    """Return the newest lists by producer and subject, each with how many series are missing."""
    counts = {
        census_id: count
        for census_id, count in connection.execute(
            sa.select(_MISSING.c.census_id, sa.func.count()).group_by(_MISSING.c.census_id)
        )
    }
    found = sorted(_read(connection, sa.true()), key=lambda one: (one.producer, one.subject))
    return [(one, counts.get(one.id, 0)) for one in found]


def _read(connection: sa.Connection, where: sa.ColumnElement[bool]) -> Iterator[Census]:
    names = [_CENSUSES.c[name] for name in Census._fields]
    for row in connection.execute(sa.select(*names).where(where)):
        yield Census(*row)


def settle(connection: sa.Connection, census_id: int) -> None:
    """Record that the series that were missing in a list have ended."""
    connection.execute(sa.delete(_MISSING).where(_MISSING.c.census_id == census_id))
    connection.execute(
        sa.update(_CENSUSES)
        .where(_CENSUSES.c.id == census_id, _CENSUSES.c.state == HELD)
        .values(state=TAKEN)
    )


def read_missing(connection: sa.Connection, census_id: int) -> dict[int, int]:
    """Return when the series that are missing in a list were last seen."""
    rows = connection.execute(
        sa.select(_MISSING.c.series_id, _MISSING.c.last_seen).where(
            _MISSING.c.census_id == census_id
        )
    )
    return {series_id: last_seen for series_id, last_seen in rows}


def replace_missing(connection: sa.Connection, census_id: int, rows: Mapping[int, int]) -> None:
    """Store which series are missing in a list, and when they were last seen."""
    connection.execute(sa.delete(_MISSING).where(_MISSING.c.census_id == census_id))
    for chunk in chunks(sorted(rows)):
        # Another list may miss them too; the newest says when they were seen.
        connection.execute(sa.delete(_MISSING).where(_MISSING.c.series_id.in_(chunk)))
        connection.execute(
            sa.insert(_MISSING),
            [{'series_id': one, 'census_id': census_id, 'last_seen': rows[one]} for one in chunk],
        )


def read_open(connection: sa.Connection, source: str, meters: Collection[str]) -> list[OpenSeries]:
    """Return the series of a source whose life is open."""
    return _open(
        connection,
        [_SERIES.c.meter.in_(meters), _SERIES.c.source == source, _LIVES.c.end.is_(None)],
    )


def read_series(connection: sa.Connection, series_ids: Collection[int]) -> list[OpenSeries]:
    """Return those of some series whose life is open."""
    return [
        one
        for chunk in chunks(sorted(series_ids))
        for one in _open(connection, [_SERIES.c.id.in_(chunk), _LIVES.c.end.is_(None)])
    ]


def read_presumed(
    connection: sa.Connection, source: str, meters: Collection[str], resource_ids: Collection[str]
) -> list[OpenSeries]:
    """Return the series of resources whose last life has a presumed end."""
    newer = _LIVES.alias()
    is_last = ~sa.exists().where(
        newer.c.series_id == _LIVES.c.series_id, newer.c.begin > _LIVES.c.begin
    )
    return [
        one
        for chunk in chunks(sorted(resource_ids))
        for one in _open(
            connection,
            [
                _SERIES.c.resource_id.in_(chunk),
                _SERIES.c.meter.in_(meters),
                _SERIES.c.source == source,
                _LIVES.c.evidence == lives.PRESUMED,
                _LIVES.c.end.is_not(None),
                is_last,
            ],
        )
    ]


def _open(connection: sa.Connection, where: list[sa.ColumnElement[bool]]) -> list[OpenSeries]:
    columns = [_SERIES.c[name] for name in OpenSeries._fields[:-1]]
    rows = connection.execute(
        sa.select(*columns, _LIVES.c.quantity)
        .join(_LIVES, _LIVES.c.series_id == _SERIES.c.id)
        .where(_SERIES.c.kind == facts.STATE, *where)
    )
    return [OpenSeries._make(row) for row in rows]


def read_newest(connection: sa.Connection, series_ids: Collection[int]) -> dict[int, int]:
    """Return the time of the newest fact of series, microseconds since the epoch."""
    return {
        series_id: newest
        for chunk in chunks(sorted(series_ids))
        for series_id, newest in connection.execute(
            sa.select(_SAMPLES.c.series_id, sa.func.max(_SAMPLES.c.at))
            .where(_SAMPLES.c.series_id.in_(chunk), _SAMPLES.c.voided_at.is_(None))
            .group_by(_SAMPLES.c.series_id)
        )
    }
