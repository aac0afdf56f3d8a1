"""Facts as rows: table usage_samples."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.metering.facts import SAMPLE
from cloudkitty.core.metering.lives import Statement
from cloudkitty.db import upsert, usage_tables
from cloudkitty.usage.series import chunks

_SAMPLES = usage_tables.samples
_NAMES = (
    'series_id',
    'at',
    'stage',
    'tag',
    'quantity',
    'attributes_id',
    'born',
    'batch_id',
    'position',
)


class Key(NamedTuple):
    """The primary key of a fact; *at* in microseconds since the epoch."""

    series_id: int
    at: int
    stage: int
    tag: int


class Content(NamedTuple):
    """The content of a fact."""

    quantity: Decimal | None
    attributes_id: int | None
    born: int | None


class Location(NamedTuple):
    """Where the message of a fact is stored."""

    batch_id: int
    position: int


class Stored(NamedTuple):
    """A fact that is stored.

    :ivar is_void: it was withdrawn.
    """

    content: Content
    location: Location
    is_void: bool = False


_COLUMNS = [_SAMPLES.c[name] for name in (*_NAMES, 'voided_at')]
# SQLite scans the table for a list of pairs, whose join it looks up; others plan it faster. Texts
# are constant where drivers would cache each.
_PAIRS = {
    'sqlite': "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') "
    'FROM json_each(:pairs)',
    'postgresql': 'SELECT * FROM unnest(CAST(:ids AS bigint[]), CAST(:times AS bigint[]))',
}
_FIND = (
    f'WITH wanted (series_id, at) AS ({{}}) SELECT '
    f'{", ".join(f"found.{column.name}" for column in _COLUMNS)} '
    f'FROM wanted CROSS JOIN {_SAMPLES.name} AS found '
    'WHERE found.series_id = wanted.series_id AND found.at = wanted.at'
)


def find(connection: sa.Connection, keys: Collection[Key]) -> dict[Key, Stored]:
    """Return which of *keys* are stored; others of the same series and instants may be returned."""
    found: dict[Key, Stored] = {}
    for chunk in chunks(sorted({(key.series_id, key.at) for key in keys})):
        for row in connection.execute(
            *_find(connection.dialect.name, chunk), execution_options={'compiled_cache': None}
        ):
            found[Key(*row[:4])] = Stored(
                Content(*row[4:7]), Location(row.batch_id, row.position), row.voided_at is not None
            )
    return found


def _find(
    kind: str, pairs: Sequence[tuple[int, int]]
) -> tuple[sa.sql.selectable.TextualSelect, Mapping[str, object]]:
    """Return the statement that finds *pairs* of a series and an instant, and its parameters."""
    values: Mapping[str, object] = {}
    if kind == 'sqlite':
        values = {'pairs': json.dumps(pairs)}
    elif kind == 'postgresql':
        ids, times = map(list, zip(*pairs, strict=True))
        values = {'ids': ids, 'times': times}
    listed = _PAIRS.get(kind) or f'VALUES {", ".join([f"({one:d}, {at:d})" for one, at in pairs])}'
    return sa.text(_FIND.format(listed)).columns(*_COLUMNS), values


def insert(connection: sa.Connection, rows: Mapping[Key, tuple[Content, Location]]) -> None:
    """Store facts whose keys are not stored."""
    upsert.insert(
        connection,
        _SAMPLES,
        _NAMES,
        [(*key, *content, *location) for key, (content, location) in sorted(rows.items())],
    )


def replace(connection: sa.Connection, rows: Mapping[Key, tuple[Content, Location]]) -> None:
    """Replace withdrawn facts by facts with the same keys."""
    for key, (content, location) in sorted(rows.items()):
        connection.execute(
            sa.update(_SAMPLES)
            .where(*[_SAMPLES.c[name] == value for name, value in key._asdict().items()])
            .values(**content._asdict(), **location._asdict(), voided_at=None)
        )


def void(
    connection: sa.Connection, series_id: int, location: Location, now_us: int
) -> list[tuple[Key, Content]]:
    """Withdraw the facts of a message; return those that were in use until now."""
    of_message = [
        _SAMPLES.c.series_id == series_id,
        _SAMPLES.c.batch_id == location.batch_id,
        _SAMPLES.c.position == location.position,
        _SAMPLES.c.voided_at.is_(None),
    ]
    columns = [_SAMPLES.c[name] for name in (*Key._fields, *Content._fields)]
    found = [
        (Key(*row[:4]), Content(*row[4:]))
        for row in connection.execute(sa.select(*columns).where(*of_message))
    ]
    if found:
        connection.execute(sa.update(_SAMPLES).where(*of_message).values(voided_at=now_us))
    return found


def statements(connection: sa.Connection, series_ids: Iterable[int]) -> dict[int, list[Statement]]:
    """Return the facts from which the lives of series are computed."""
    found: dict[int, list[Statement]] = {}
    columns = [
        _SAMPLES.c[name]
        for name in ('series_id', 'at', 'stage', 'tag', 'quantity', 'attributes_id', 'born')
    ]
    for chunk in chunks(sorted(series_ids)):
        for row in connection.execute(
            sa.select(*columns).where(
                _SAMPLES.c.series_id.in_(chunk),
                _SAMPLES.c.stage != SAMPLE,
                _SAMPLES.c.voided_at.is_(None),
            )
        ):
            found.setdefault(row.series_id, []).append(Statement(*row[1:]))
    return found
