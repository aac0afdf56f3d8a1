"""Scopes and their marks: table cloudkitty_storage_states."""

import itertools
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from oslo_config import cfg

from cloudkitty.core import bounds, dataframe, timeframe
from cloudkitty.db import tables

ID_LENGTH_MAX = 256
# Values in one statement: well below the limit of every database.
CHUNK = 1000

_Value = TypeVar('_Value')
_Mark = TypeVar('_Mark', bound=datetime | None)

_SCOPES = tables.scopes
_FETCHES = tables.fetches
_NO_FAILURE = dict.fromkeys(
    ('failure_count', 'failure_reason', 'failed_at', 'retry_at', 'failing_since')
)


class Identity(NamedTuple):
    """Where a scope id comes from: the same id is another scope under another fetcher."""

    scope_key: str
    fetcher: str
    collector: str

    @classmethod
    def of(cls, conf: cfg.ConfigOpts) -> 'Identity':
        """Return the identity of the scopes that this configuration rates."""
        return cls(conf.collect.scope_key, conf.fetcher.backend, conf.collect.collector)


@dataclass(frozen=True, slots=True)
class Scope:
    """A row of the table.

    :ivar id: primary key.
    :ivar scope_id: the scope's name in the source.
    :ivar scope_key, fetcher, collector: its identity; None in rows of old deployments.
    :ivar mark: begin of the last period that is stored, aware UTC.
    :ivar toggled_at: when *active* changed last, aware UTC.
    :ivar active: whether it is rated.
    :ivar final_mark: set when the fetcher no longer lists it: it is rated while its mark is before
        this instant, aware UTC; None: it is listed.
    :ivar failure_count, failure_reason, failed_at, retry_at: what holds it back, when it failed
        last, and until when it waits; None when nothing does.
    :ivar failing_since: when the first of these failures was.
    """

    id: int
    scope_id: str
    scope_key: str | None
    fetcher: str | None
    collector: str | None
    mark: datetime
    toggled_at: datetime
    active: bool
    final_mark: datetime | None = None
    failure_count: int | None = None
    failure_reason: str | None = None
    failed_at: datetime | None = None
    retry_at: datetime | None = None
    failing_since: datetime | None = None

    @property
    def identity(self) -> tuple[str | None, str | None, str | None]:
        """The members of its Identity."""
        return self.scope_key, self.fetcher, self.collector


class Seen(NamedTuple):
    """Numbers of scopes that changed with a list of the fetcher."""

    added: int
    vanished: int
    returned: int


class Due(NamedTuple):
    """The scopes with due periods, and when the others will have some.

    :ivar scopes: (primary key, scope id) of the scopes that have periods to rate now.
    :ivar next_mark: the lowest mark among the others; None: there are none.
    :ivar next_retry_at: when the first of those held back is tried again.
    """

    scopes: list[tuple[int, str]]
    next_mark: datetime | None
    next_retry_at: datetime | None


def is_storable(scope_id: str) -> bool:
    """Return whether *scope_id* fits into the table on every database, and into one line."""
    return (
        isinstance(scope_id, str)
        and 0 < len(scope_id) <= ID_LENGTH_MAX
        and dataframe.is_text(scope_id)
        and not bounds.CONTROLS.search(scope_id)
    )


def shard_of(scope_id: str, shards: int) -> int:
    """Return the shard of a scope; it is the same in every process and on every host."""
    return zlib.crc32(scope_id.encode()) % shards


def list_scopes(
    connection: sa.Connection,
    *,
    scope_id: Collection[str] | None = None,
    scope_key: Collection[str] | None = None,
    fetcher: Collection[str] | None = None,
    collector: Collection[str] | None = None,
    active: Collection[bool] | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> tuple[int, list[Scope]]:
    """Return how many scopes match and those from *offset* on, ordered by primary key.

    Each filter is a list of allowed values; None or an empty list allows all.
    """
    wanted = (
        (_SCOPES.c.identifier, scope_id),
        (_SCOPES.c.scope_key, scope_key),
        (_SCOPES.c.fetcher, fetcher),
        (_SCOPES.c.collector, collector),
        (_SCOPES.c.active, active),
    )
    found = sa.select(_SCOPES).where(*[column.in_(values) for column, values in wanted if values])
    ordered = found.order_by(_SCOPES.c.id)
    if limit is None and not offset:
        scopes = [_scope(row) for row in connection.execute(ordered)]
        return len(scopes), scopes
    total = connection.execute(
        sa.select(sa.func.count()).select_from(found.subquery())
    ).scalar_one()
    page = ordered.offset(offset).limit(limit)
    return total, [_scope(row) for row in connection.execute(page)]


def is_rated(connection: sa.Connection, identity: Identity, scope_ids: Collection[str]) -> bool:
    """Return whether one of these scopes is listed by the fetcher of *identity*, or was."""
    return any(
        connection.execute(_ANY_OF, {**identity._asdict(), 'scopes': chunk}).first()
        for chunk in chunks(scope_ids)
    )


def get_scopes(connection: sa.Connection, state_ids: Sequence[int]) -> list[Scope]:
    """Return the scopes of these primary keys; a key without a row is left out."""
    return [
        _scope(row)
        for chunk in chunks(state_ids)
        for row in connection.execute(_BY_KEYS, {'keys': chunk})
    ]


def get_identities(connection: sa.Connection, state_ids: Collection[int]) -> dict[int, Identity]:
    """Return the identities of these scopes, by primary key."""
    names = [_SCOPES.c[name] for name in Identity._fields]
    return {
        key: Identity(*identity)
        for chunk in chunks(sorted(state_ids))
        for key, *identity in connection.execute(
            sa.select(_SCOPES.c.id, *names).where(_SCOPES.c.id.in_(chunk))
        )
    }


def find_due(
    connection: sa.Connection, identity: Identity, *, now: datetime, mark_max: datetime
) -> Due:
    """Return the scopes of *identity* with due periods, and when the others will have some.

    :param mark_max: scopes whose mark is at or before this instant have a period to rate.
    """
    values = {
        **identity._asdict(),
        'moment': timeframe.to_naive(now),
        'threshold': timeframe.to_naive(mark_max),
    }
    due = [tuple(row) for row in connection.execute(_DUE, values)]
    next_mark, next_retry_at = connection.execute(_NEXT, values).one()
    return Due(due, timeframe.from_naive(next_mark), timeframe.from_naive(next_retry_at))


def record_seen(
    connection: sa.Connection,
    identity: Identity,
    scope_ids: Iterable[str],
    *,
    now: datetime,
    initial_mark: datetime,
    final_mark: datetime,
) -> Seen:
    """Make the table agree with the fetcher: add new scopes, mark vanished and returned ones.

    A row of an old deployment that has only a scope id gets the identity instead of a second row.

    :param scope_ids: all scopes that exist now, see is_storable().
    :param initial_mark: mark of a new scope.
    :param final_mark: where the marks of vanished scopes end, see Scope.
    """
    listed = set(scope_ids)
    known = _adopt(connection, identity, listed)
    added = listed - known.keys()
    fresh = [
        {
            **identity._asdict(),
            'identifier': scope_id,
            'active': True,
            'last_processed_timestamp': timeframe.to_naive(initial_mark),
            'scope_activation_toggle_date': timeframe.to_naive(now),
        }
        for scope_id in sorted(added)
    ]
    for chunk in chunks(fresh):
        connection.execute(sa.insert(_SCOPES), chunk)
    vanished = [
        key for scope_id, (key, final) in known.items() if final is None and scope_id not in listed
    ]
    returned = [
        key for scope_id, (key, final) in known.items() if final is not None and scope_id in listed
    ]
    _update(connection, vanished, {'final_mark': timeframe.to_naive(final_mark)})
    _update(connection, returned, {'final_mark': None})
    return Seen(len(added), len(vanished), len(returned))


def _adopt(
    connection: sa.Connection, identity: Identity, listed: Collection[str]
) -> dict[str, tuple[int, datetime | None]]:
    """Return {scope id: (key, final mark)}; rows without identity that are listed get this one."""
    columns = (_SCOPES.c.identifier, _SCOPES.c.id, _SCOPES.c.final_mark)
    known = {
        row[0]: (row[1], row[2])
        for row in connection.execute(sa.select(*columns).where(*identity_conditions(identity)))
    }
    # Of several rows with one scope id the most advanced counts, so that nothing is rated twice.
    nameless = connection.execute(
        sa.select(*columns)
        .where(
            _SCOPES.c.scope_key.is_(None),
            _SCOPES.c.fetcher.is_(None),
            _SCOPES.c.collector.is_(None),
        )
        .order_by(_SCOPES.c.last_processed_timestamp.desc())
    )
    adopted: dict[str, tuple[int, datetime | None]] = {}
    for scope_id, key, final in nameless:
        if scope_id in listed and scope_id not in known:
            adopted.setdefault(scope_id, (key, final))
    _update(connection, [key for key, _ in adopted.values()], identity._asdict())
    return known | adopted


def last_fetch(connection: sa.Connection, identity: Identity) -> datetime | None:
    """Return when the fetcher of *identity* answered last, aware UTC."""
    return timeframe.from_naive(connection.execute(_LAST_FETCH, identity._asdict()).scalar())


def claim_fetch(
    connection: sa.Connection, identity: Identity, *, seen: datetime | None, now: datetime
) -> bool:
    """Record that the fetcher answered at *now*; False when another worker was faster.

    :param seen: the result of last_fetch() before the fetcher was called.
    """
    moment = timeframe.to_naive(now)
    if seen is None:
        if last_fetch(connection, identity) is not None:
            return False
        connection.execute(sa.insert(_FETCHES).values(**identity._asdict(), fetched_at=moment))
        return True
    claimed = connection.execute(
        sa.update(_FETCHES)
        .where(
            *identity_conditions(identity, _FETCHES),
            _FETCHES.c.fetched_at == timeframe.to_naive(seen),
        )
        .values(fetched_at=moment)
    )
    return claimed.rowcount == 1


def lock_marks(connection: sa.Connection, state_ids: Collection[int]) -> dict[int, datetime]:
    """Return the marks of these scopes, locked until the transaction ends."""
    # Every transaction locks in the same order, so they cannot deadlock.
    return {
        key: timeframe.from_naive(mark)
        for chunk in chunks(sorted(state_ids))
        for key, mark in connection.execute(_MARKS, {'keys': chunk})
    }


def oldest_mark(connection: sa.Connection, identity: Identity) -> datetime | None:
    """Return the lowest mark of the active scopes that have periods to be rated; None: none has."""
    mark, final = _SCOPES.c.last_processed_timestamp, _SCOPES.c.final_mark
    oldest = connection.execute(
        sa.select(sa.func.min(mark)).where(
            *identity_conditions(identity), _SCOPES.c.active, sa.or_(final.is_(None), mark < final)
        )
    ).scalar()
    return timeframe.from_naive(oldest)


def advance(connection: sa.Connection, marks: Mapping[int, datetime]) -> None:
    """Move the marks of scopes and clear their failures.

    :param marks: new mark, aware UTC, by primary key; call lock_marks() before.
    """
    for mark, keys in group_by_mark(marks).items():
        _update(
            connection, keys, {'last_processed_timestamp': timeframe.to_naive(mark), **_NO_FAILURE}
        )


def record_failure(
    connection: sa.Connection,
    marks: Mapping[int, datetime],
    reason: str,
    *,
    now: datetime,
    retry_at: datetime,
) -> None:
    """Hold scopes back until *retry_at* with the reason, except those that have moved meanwhile.

    :param marks: marks of the scopes when they failed, aware UTC, by primary key.
    """
    values = {
        'failure_count': sa.func.coalesce(_SCOPES.c.failure_count, 0) + 1,
        'failure_reason': reason,
        'failed_at': timeframe.to_naive(now),
        'retry_at': timeframe.to_naive(retry_at),
        'failing_since': sa.func.coalesce(_SCOPES.c.failing_since, timeframe.to_naive(now)),
    }
    for mark, keys in group_by_mark(marks).items():
        _update(
            connection, keys, values, _SCOPES.c.last_processed_timestamp == timeframe.to_naive(mark)
        )


def chunks(values: Iterable[_Value]) -> Iterator[list[_Value]]:
    """Yield *values* in lists short enough for one statement."""
    rest = iter(values)
    while chunk := list(itertools.islice(rest, CHUNK)):
        yield chunk


def group_by_mark(marks: Mapping[int, _Mark]) -> dict[_Mark, list[int]]:
    """Return lists of primary keys grouped by mark."""
    by_mark: dict[_Mark, list[int]] = {}
    for key, mark in marks.items():
        by_mark.setdefault(mark, []).append(key)
    return by_mark


def _update(
    connection: sa.Connection,
    keys: Iterable[int],
    values: Mapping[str, Any],
    *conditions: sa.ColumnElement[bool],
) -> None:
    for chunk in chunks(sorted(keys)):
        connection.execute(
            sa.update(_SCOPES).where(_SCOPES.c.id.in_(chunk), *conditions).values(**values)
        )


def identity_conditions(
    identity: Identity, table: sa.Table = _SCOPES
) -> list[sa.ColumnElement[bool]]:
    """Return the conditions for rows of *table* with this identity."""
    return [table.c[name] == value for name, value in identity._asdict().items()]


def bound_identity_conditions(table: sa.Table = _SCOPES) -> list[sa.ColumnElement[bool]]:
    """Return identity_conditions() with bind parameters, for statements that are built once."""
    return [
        table.c[name] == sa.bindparam(name, type_=table.c[name].type) for name in Identity._fields
    ]


# Building a statement takes longer than running it, so those of every turn are built once.
def _build_due() -> tuple[sa.Select[Any], sa.Select[Any]]:
    """Return the statements of find_due(): what is due, and when the others will be."""
    mark, final, retry_at = (
        _SCOPES.c.last_processed_timestamp,
        _SCOPES.c.final_mark,
        _SCOPES.c.retry_at,
    )
    moment, threshold = (sa.bindparam(name, type_=mark.type) for name in ('moment', 'threshold'))
    working = sa.and_(
        *bound_identity_conditions(), _SCOPES.c.active, sa.or_(final.is_(None), mark < final)
    )
    ready = sa.or_(retry_at.is_(None), retry_at <= moment)
    due = (
        sa.select(_SCOPES.c.id, _SCOPES.c.identifier)
        .where(working, ready, mark <= threshold)
        .order_by(_SCOPES.c.id)
    )
    rest = sa.select(
        sa.func.min(sa.case((sa.and_(ready, mark > threshold), mark))),
        sa.func.min(sa.case((retry_at > moment, retry_at))),
    ).where(working)
    return due, rest


_DUE, _NEXT = _build_due()
_KEYS: sa.BindParameter[Any] = sa.bindparam('keys', expanding=True)
_BY_KEYS = sa.select(_SCOPES).where(_SCOPES.c.id.in_(_KEYS))
_MARKS = (
    sa.select(_SCOPES.c.id, _SCOPES.c.last_processed_timestamp)
    .where(_SCOPES.c.id.in_(_KEYS))
    .order_by(_SCOPES.c.id)
    .with_for_update()
)
_ANY_OF = (
    sa.select(_SCOPES.c.id)
    .where(
        *bound_identity_conditions(_SCOPES),
        _SCOPES.c.identifier.in_(sa.bindparam('scopes', expanding=True)),
    )
    .limit(1)
)
_LAST_FETCH = sa.select(_FETCHES.c.fetched_at).where(*bound_identity_conditions(_FETCHES))


def _scope(row: tables.Row) -> Scope:
    return Scope(
        id=row.id,
        scope_id=row.identifier,
        scope_key=row.scope_key,
        fetcher=row.fetcher,
        collector=row.collector,
        mark=timeframe.from_naive(row.last_processed_timestamp),
        toggled_at=timeframe.from_naive(row.scope_activation_toggle_date),
        active=row.active,
        final_mark=timeframe.from_naive(row.final_mark),
        failure_count=row.failure_count,
        failure_reason=row.failure_reason,
        failed_at=timeframe.from_naive(row.failed_at),
        retry_at=timeframe.from_naive(row.retry_at),
        failing_since=timeframe.from_naive(row.failing_since),
    )
