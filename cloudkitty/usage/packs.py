"""Packed samples: rows of one series and day in one, table usage_packs.

A pack holds all samples of its series from its begin to its end, so packs of a series never
overlap. It is never changed: whoever changes one of its samples opens it first, which makes rows of
it again. Both happen while the series is locked. A reader that needs rows and packs must see them
in one snapshot, see db.hold_snapshot().
"""

import itertools
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from cloudkitty.core.metering import facts
from cloudkitty.db import upsert, usage_tables
from cloudkitty.usage.samples import Content, Key, Location
from cloudkitty.usage.series import chunks

_PACKS = usage_tables.packs
_SAMPLES = usage_tables.samples
_NAMES = ('series_id', 'begin', 'end', 'newest', 'samples', 'body')
_COLUMNS = (*Key._fields, *Content._fields, *Location._fields, 'voided_at')
# Samples of a pack, and rows that one transaction packs, unless more are of one instant.
SAMPLES_MAX = 2000
ROWS_MAX = 20_000
# Younger samples are never packed: the clocks of hosts differ by less than this.
YOUNGEST_US = facts.DAY_US - 3600 * facts.SECOND_US
PAGE = 100


class Packed(NamedTuple):
    """A fact as the table usage_samples has it."""

    key: Key
    content: Content
    location: Location
    voided_at: int | None

    @property
    def row(self) -> tuple[Any, ...]:
        """The columns of the table."""
        return (*self.key, *self.content, *self.location, self.voided_at)


def _packed(row: Sequence[Any]) -> Packed:
    return Packed(Key(*row[:4]), Content(*row[4:7]), Location(*row[7:9]), row[9])


def _encode(rows: Sequence[Packed]) -> bytes:
    """Return columns of JSON, compressed; instants as differences."""
    columns = [list(column) for column in zip(*[one.row[1:] for one in rows], strict=True)]
    columns[0] = [columns[0][0], *[one - other for other, one in itertools.pairwise(columns[0])]]
    columns[3] = [None if one is None else format(one, 'f') for one in columns[3]]
    return zlib.compress(orjson.dumps(columns), 6)


def _decode(series_id: int, body: bytes) -> list[Packed]:
    columns = orjson.loads(zlib.decompress(body))
    columns[0] = itertools.accumulate(columns[0])
    columns[3] = [None if one is None else Decimal(one) for one in columns[3]]
    return [_packed((series_id, *row)) for row in zip(*columns, strict=True)]


def read(
    connection: sa.Connection,
    conditions: Iterable[sa.ColumnElement[bool]],
    *,
    begin: int | None = None,
    end: int | None = None,
) -> Iterator[Packed]:
    """Yield packed samples, by series and time.

    :param conditions: on usage_series; without any, rows of series need not be read.
    :param begin, end: only samples in [begin, end), microseconds since the epoch.
    """
    given = list(conditions)
    if begin is not None:
        given.append(_PACKS.c.end > begin)
    if end is not None:
        given.append(_PACKS.c.begin < end)
    for series_id, body in _bodies(connection, given):
        for one in _decode(series_id, body):
            if (begin is None or one.key.at >= begin) and (end is None or one.key.at < end):
                yield one


def _bodies(
    connection: sa.Connection, conditions: list[sa.ColumnElement[bool]]
) -> Iterator[tuple[int, bytes]]:
    """Yield (series, body) of packs; at most PAGE are in memory at once."""
    series, after = usage_tables.series, None
    statement = (
        sa.select(_PACKS.c.series_id, _PACKS.c.begin, _PACKS.c.body)
        .join_from(_PACKS, series, _PACKS.c.series_id == series.c.id)
        .where(*conditions)
        .order_by(_PACKS.c.series_id, _PACKS.c.begin)
        .limit(PAGE)
    )
    while True:
        page = statement if after is None else statement.where(_is_behind(*after))
        rows = connection.execute(page).all()
        for series_id, _, body in rows:
            yield series_id, body
        if len(rows) < PAGE:
            return
        after = rows[-1][:2]


def _is_behind(series_id: int, begin: int) -> sa.ColumnElement[bool]:
    return sa.tuple_(_PACKS.c.series_id, _PACKS.c.begin) > sa.tuple_(
        sa.literal(series_id), sa.literal(begin)
    )


def last_before(
    connection: sa.Connection, conditions: Iterable[sa.ColumnElement[bool]], instant: int
) -> dict[int, list[Packed]]:
    """Return the newest packed samples before an instant that count, by series.

    :param conditions: on usage_series.
    """
    series, later = usage_tables.series, _PACKS.alias()
    newest = (
        sa.select(sa.func.max(later.c.begin))
        .where(
            later.c.series_id == series.c.id, later.c.begin < instant, later.c.newest.is_not(None)
        )
        .correlate(series)
        .scalar_subquery()
    )
    found: dict[int, list[Packed]] = {}
    straddling: list[int] = []
    for series_id, body in _bodies(connection, [*conditions, _PACKS.c.begin == newest]):
        before = [
            one
            for one in _decode(series_id, body)
            if one.voided_at is None and one.key.at < instant
        ]
        if before:
            at = before[-1].key.at
            found[series_id] = [one for one in before if one.key.at == at]
        else:
            straddling.append(series_id)
    for series_id in straddling:
        # All that counts of the pack that holds the instant is behind it.
        (begin,) = connection.execute(
            sa.select(sa.func.max(_PACKS.c.begin)).where(
                _PACKS.c.series_id == series_id,
                _PACKS.c.begin < instant,
                _PACKS.c.newest.is_not(None),
            )
        ).one()
        found |= last_before(connection, [series.c.id == series_id], begin)
    return found


def open_at(connection: sa.Connection, keys: Iterable[Key], now_us: int) -> None:
    """Make rows of the packs that may hold *keys*; lock the series before."""
    instants: dict[int, list[int]] = {}
    for key in keys:
        if key.at < now_us - YOUNGEST_US:
            instants.setdefault(key.series_id, []).append(key.at)
    _open(
        connection,
        instants,
        lambda row: any(row.begin <= at < row.end for at in instants[row.series_id]),
        [_PACKS.c.begin <= max(map(max, instants.values()), default=0)],
    )


def open_of(connection: sa.Connection, series_id: int, location: Location) -> None:
    """Make rows of the packs of a series that hold facts of a message; lock the series before."""
    _open(
        connection,
        [series_id],
        lambda row: any(one.location == location for one in _decode(series_id, row.body)),
        [],
    )


def _open(
    connection: sa.Connection,
    series_ids: Collection[int],
    is_wanted: Callable[[Any], bool],
    conditions: list[sa.ColumnElement[bool]],
) -> None:
    for chunk in chunks(sorted(series_ids)):
        statement = sa.select(_PACKS).where(_PACKS.c.series_id.in_(chunk), *conditions)
        for row in connection.execute(statement).all():
            if is_wanted(row):
                rows = [one.row for one in _decode(row.series_id, row.body)]
                upsert.insert(connection, _SAMPLES, _COLUMNS, rows)
                connection.execute(
                    sa.delete(_PACKS).where(
                        _PACKS.c.series_id == row.series_id, _PACKS.c.begin == row.begin
                    )
                )


def pack(connection: sa.Connection, series_ids: Collection[int], before: int) -> bool:
    """Pack the samples of the oldest day of series; return whether there may be more.

    :param series_ids: of any kind, locked; facts of kind state stay rows, lives are made of them.
    :param before: only samples before this instant, microseconds since the epoch.
    """
    old = [
        _SAMPLES.c.series_id.in_(series_ids),
        _SAMPLES.c.stage == facts.SAMPLE,
        _SAMPLES.c.at < before,
    ]
    first = connection.execute(sa.select(sa.func.min(_SAMPLES.c.at)).where(*old)).scalar()
    if first is None:
        return False
    day_end = facts.midnight(first) + facts.DAY_US
    statement = (
        sa.select(*[_SAMPLES.c[name] for name in _COLUMNS])
        .where(*old, _SAMPLES.c.at < day_end)
        .order_by(*[_SAMPLES.c[name] for name in Key._fields])
    )
    rows = list(map(_packed, connection.execute(statement.limit(ROWS_MAX + 1))))
    if len(rows) > ROWS_MAX:
        rows = _without_last_instant(rows) or list(map(_packed, connection.execute(statement)))
    begins = _begins(connection, series_ids, day_end)
    made = [
        part
        for series_id, of_series in itertools.groupby(rows, lambda one: one.key.series_id)
        for part in _parts(list(of_series), begins.get(series_id, []))
    ]
    upsert.insert(connection, _PACKS, _NAMES, list(map(_row, made)))
    for part in made:
        connection.execute(
            sa.delete(_SAMPLES).where(
                _SAMPLES.c.series_id == part[0].key.series_id,
                _SAMPLES.c.stage == facts.SAMPLE,
                _SAMPLES.c.at >= part[0].key.at,
                _SAMPLES.c.at <= part[-1].key.at,
            )
        )
    return True


def _without_last_instant(rows: list[Packed]) -> list[Packed]:
    """Return *rows* without those of the last series and instant, which may not be all."""
    last = rows[-1].key[:2]
    return [one for one in rows if one.key[:2] != last]


def _begins(
    connection: sa.Connection, series_ids: Collection[int], end: int
) -> dict[int, list[int]]:
    """Return the begins of packs of a day by series, in order."""
    found: dict[int, list[int]] = {}
    for series_id, begin in connection.execute(
        sa.select(_PACKS.c.series_id, _PACKS.c.begin)
        .where(
            _PACKS.c.series_id.in_(series_ids),
            _PACKS.c.begin >= end - facts.DAY_US,
            _PACKS.c.begin < end,
        )
        .order_by(_PACKS.c.begin)
    ):
        found.setdefault(series_id, []).append(begin)
    return found


def _parts(rows: list[Packed], begins: Sequence[int]) -> Iterator[list[Packed]]:
    """Divide the rows of a series so that no pack overlaps another."""
    part: list[Packed] = []
    for one in rows:
        if part and (
            (len(part) >= SAMPLES_MAX and one.key.at != part[-1].key.at)
            or any(part[0].key.at < begin <= one.key.at for begin in begins)
        ):
            yield part
            part = []
        part.append(one)
    if part:
        yield part


def _row(part: list[Packed]) -> tuple[Any, ...]:
    counting = [one.key.at for one in part if one.voided_at is None]
    newest = counting[-1] if counting else None
    first, last = part[0].key, part[-1].key
    return first.series_id, first.at, last.at + 1, newest, len(part), _encode(part)
