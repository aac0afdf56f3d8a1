"""Pages of stored usage: samples and lives."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.core.dataframe import FrozenDict
from cloudkitty.core.metering import facts
from cloudkitty.db import usage_tables
from cloudkitty.usage import attribute_rows, packs
from cloudkitty.usage.samples import Key, Location
from cloudkitty.usage.series import chunks

_SERIES = usage_tables.series
_LIVES = usage_tables.lives
_SAMPLES = usage_tables.samples
NUMBER_MAX = 2**63 - 1


class Selection(NamedTuple):
    """Which series and which time; None: all.

    :ivar begin, end: microseconds since the epoch, half open.
    """

    scope_ids: Collection[str] | None = None
    meter: str | None = None
    resource_id: str | None = None
    begin: int | None = None
    end: int | None = None

    def of_series(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions on series."""
        conditions: list[sa.ColumnElement[bool]] = []
        if self.scope_ids is not None:
            conditions.append(_SERIES.c.scope_id.in_(self.scope_ids))
        if self.meter is not None:
            conditions.append(_SERIES.c.meter == self.meter)
        if self.resource_id is not None:
            conditions.append(_SERIES.c.resource_id == self.resource_id)
        return conditions


class Series(NamedTuple):
    """The columns of a series that pages show."""

    source: str
    scope_id: str
    meter: str
    resource_id: str
    kind: str
    unit: str


_OF_SERIES = [_SERIES.c[name] for name in Series._fields]


class SampleRow(NamedTuple):
    """A fact as it is stored; times in microseconds since the epoch."""

    series: Series
    key: Key
    quantity: Decimal | None
    attributes: FrozenDict[str, str] | None
    born: int | None
    location: Location
    is_void: bool


def sample_id(key: Key) -> str:
    """Return the id under which a fact can be read."""
    return '-'.join(str(number) if number >= 0 else f'n{-number}' for number in key)


def parse_sample_id(text: str) -> Key:
    """Return the key from the id that sample_id() returned.

    :raises NotFound: it is no such id.
    """
    parts = text.split('-')
    try:
        numbers = [-int(part[1:]) if part[:1] == 'n' else int(part) for part in parts]
        if len(parts) == 4 and all(part.isascii() and len(part) < 21 for part in parts):
            if all(-NUMBER_MAX - 1 <= number <= NUMBER_MAX for number in numbers):
                return Key(*numbers)
    except ValueError:
        pass
    raise errors.NotFound(reason='No sample has this id.')


def samples(
    connection: sa.Connection, selection: Selection, *, after: Key | None = None, limit: int
) -> list[SampleRow]:
    """Return at most *limit* facts behind *after*, by series and time.

    The connection must hold a snapshot, see db.hold_snapshot().
    """
    conditions = selection.of_series()
    if selection.begin is not None:
        conditions.append(_SAMPLES.c.at >= selection.begin)
    if selection.end is not None:
        conditions.append(_SAMPLES.c.at < selection.end)
    if after is not None:
        conditions.append(sa.tuple_(*_KEY) > sa.tuple_(*map(sa.literal, after)))
    found = _sample_rows(connection, conditions, limit)
    found += _packed_rows(connection, selection, after, limit)
    return sorted(found, key=lambda one: one.key)[:limit]


def _packed_rows(
    connection: sa.Connection, selection: Selection, after: Key | None, limit: int
) -> list[SampleRow]:
    """Return the first *limit* packed facts behind *after*."""
    conditions = selection.of_series()
    if after is not None:
        packed = usage_tables.packs
        conditions.append(
            sa.or_(
                packed.c.series_id > after.series_id,
                sa.and_(packed.c.series_id == after.series_id, packed.c.end > after.at),
            )
        )
    stored = packs.read(connection, conditions, begin=selection.begin, end=selection.end)
    behind = (one for one in stored if after is None or one.key > after)
    return _of_packed(connection, list(itertools.islice(behind, limit)))


def _of_packed(connection: sa.Connection, stored: Sequence[packs.Packed]) -> list[SampleRow]:
    series = {
        row[0]: Series(*row[1:])
        for chunk in chunks({one.key.series_id for one in stored})
        for row in connection.execute(
            sa.select(_SERIES.c.id, *_OF_SERIES).where(_SERIES.c.id.in_(chunk))
        )
    }
    known = _attributes_of(connection, [one.content for one in stored])
    return [
        SampleRow(
            series[one.key.series_id],
            one.key,
            one.content.quantity,
            _known(known, one.content.attributes_id),
            one.content.born,
            one.location,
            one.voided_at is not None,
        )
        for one in stored
    ]


def sample(connection: sa.Connection, key: Key, selection: Selection) -> SampleRow | None:
    """Return a fact; None: there is none in *selection*."""
    conditions = [
        *selection.of_series(),
        *[column == value for column, value in zip(_KEY, key, strict=True)],
    ]
    found = _sample_rows(connection, conditions, 1)
    if not found:
        own = [*selection.of_series(), _SERIES.c.id == key.series_id]
        stored = packs.read(connection, own, begin=key.at, end=key.at + 1)
        found = _of_packed(connection, [one for one in stored if one.key == key])
    return next(iter(found), None)


_KEY = [_SAMPLES.c[name] for name in Key._fields]


def _sample_rows(
    connection: sa.Connection, conditions: Sequence[sa.ColumnElement[bool]], limit: int
) -> list[SampleRow]:
    others = ('quantity', 'attributes_id', 'born', 'batch_id', 'position', 'voided_at')
    rows = connection.execute(
        sa.select(*_OF_SERIES, *_KEY, *[_SAMPLES.c[name] for name in others])
        .join_from(_SERIES, _SAMPLES, _SAMPLES.c.series_id == _SERIES.c.id)
        .where(*conditions)
        .order_by(*_KEY)
        .limit(limit)
    ).all()
    known = _attributes_of(connection, rows)
    return [
        SampleRow(
            Series(*row[:6]),
            Key(*row[6:10]),
            row.quantity,
            known.get(row.attributes_id),
            row.born,
            Location(row.batch_id, row.position),
            row.voided_at is not None,
        )
        for row in rows
    ]


def _known(
    attributes: Mapping[int, FrozenDict[str, str]], attributes_id: int | None
) -> FrozenDict[str, str] | None:
    return None if attributes_id is None else attributes.get(attributes_id)


def render_sample(row: SampleRow) -> dict[str, Any]:
    """Return a fact as answers and dumps show it."""
    return {
        'id': sample_id(row.key),
        **row.series._asdict(),
        'stage': facts.STAGE_NAMES[row.key.stage],
        'at': facts.render_us(row.key.at),
        'quantity': row.quantity,
        'attributes': row.attributes,
        'born': render(row.born),
        'taken_back': row.is_void,
    }


class LifeRow(NamedTuple):
    """A life as it is stored; times in microseconds since the epoch."""

    series: Series
    series_id: int
    begin: int
    end: int | None
    quantity: Decimal
    evidence: str
    attributes: FrozenDict[str, str] | None


def lives(
    connection: sa.Connection,
    selection: Selection,
    *,
    after: tuple[int, int] | None = None,
    limit: int,
) -> list[LifeRow]:
    """Return at most *limit* lives behind *after* that touch the time, by series and begin."""
    key = (_LIVES.c.series_id, _LIVES.c.begin)
    conditions = selection.of_series()
    if selection.begin is not None:
        conditions.append(sa.or_(_LIVES.c.end.is_(None), _LIVES.c.end > selection.begin))
    if selection.end is not None:
        conditions.append(_LIVES.c.begin < selection.end)
    if after is not None:
        conditions.append(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
    others = ('end', 'quantity', 'evidence', 'attributes_id')
    rows = connection.execute(
        sa.select(*_OF_SERIES, *key, *[_LIVES.c[name] for name in others])
        .join_from(_SERIES, _LIVES, _LIVES.c.series_id == _SERIES.c.id)
        .where(*conditions)
        .order_by(*key)
        .limit(limit)
    ).all()
    known = _attributes_of(connection, rows)
    return [
        LifeRow(
            Series(*row[:6]),
            row.series_id,
            row.begin,
            row.end,
            row.quantity,
            row.evidence,
            known.get(row.attributes_id),
        )
        for row in rows
    ]


def _attributes_of(
    connection: sa.Connection, rows: Sequence[Any]
) -> dict[int, FrozenDict[str, str]]:
    return attribute_rows.read(
        connection, {row.attributes_id for row in rows if row.attributes_id is not None}
    )


def render(instant_us: int | None) -> str | None:
    """Return an instant as answers show it; None stays."""
    return None if instant_us is None else facts.render_us(instant_us)
