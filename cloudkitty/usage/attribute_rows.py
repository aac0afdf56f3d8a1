"""Attributes that facts state: table usage_attributes."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa

from cloudkitty.core.dataframe import FrozenDict
from cloudkitty.core.metering import facts
from cloudkitty.core.metering.facts import Attributes
from cloudkitty.db import upsert, usage_tables
from cloudkitty.usage.series import chunks

_ATTRIBUTES = usage_tables.attributes
# Facts of kind state stay for ever, and so do their attributes.
ALWAYS_US = facts.AT_MAX


class Known(NamedTuple):
    """A stored set of attributes; see the table."""

    id: int
    used_at: int


def needed(stated: Iterable[tuple[Attributes | None, str]], now_us: int) -> dict[Attributes, int]:
    """Return when attributes are used that facts state which are stored now.

    :param stated: attributes and kinds of facts.
    """
    found: dict[Attributes, int] = {}
    for attributes, kind in stated:
        if attributes is not None:
            used_at = ALWAYS_US if kind == facts.STATE else now_us
            found[attributes] = max(used_at, found.get(attributes, 0))
    return found


class Found(NamedTuple):
    """Rows by attributes, and how many of them are new."""

    known: Mapping[Attributes, Known]
    new: int


class AttributeIds:
    """Ids of attributes, cached; threads may share it.

    :param kept_max: size of the cache.
    """

    def __init__(self, kept_max: int = 10_000) -> None:
        self._known: dict[Attributes, Known] = {}
        self._kept_max = kept_max

    def find(
        self,
        connection: sa.Connection,
        wanted: Mapping[Attributes, int],
        owners: Mapping[Attributes, str] | None = None,
    ) -> Found:
        """Return the rows of attributes; create those that are missing.

        They may be cached once the transaction is committed, see remember().

        :param wanted: see needed().
        :param owners: the projects that push some of them.
        """
        ids: dict[Attributes, Known] = {}
        unknown: dict[bytes, Attributes] = {}
        for attributes, used_at in wanted.items():
            known = self._known.get(attributes)
            if known is None or known.used_at < facts.midnight(used_at):
                unknown[_digest(attributes)] = attributes
            else:
                ids[attributes] = known
        if not unknown:
            return Found(ids, 0)
        stored = _read(connection, unknown)
        new = unknown.keys() - stored.keys()
        for digest, known in stored.items():
            if known.used_at >= facts.midnight(wanted[unknown[digest]]):
                ids[unknown.pop(digest)] = known
        rows = {
            digest: {
                'digest': digest,
                'body': _body(attributes),
                'used_at': wanted[attributes],
                'pushed_by': (owners or {}).get(attributes),
            }
            for digest, attributes in sorted(unknown.items())
        }
        for digest, known in _use(connection, rows, new).items():
            ids[unknown[digest]] = known
        return Found(ids, len(new))

    def beyond(
        self, connection: sa.Connection, pushed: Mapping[Attributes, str], own_max: int
    ) -> set[Attributes]:
        """Return which attributes are not stored, and may not be.

        :param pushed: the project that pushes them, by attributes.
        :param own_max: most rows of a project.
        """
        new = {_digest(one): one for one in pushed if one not in self._known}
        stored = _read(connection, new) if new else {}
        left: dict[str, int] = {}
        refused = set()
        for digest, attributes in new.items():
            if digest in stored:
                continue
            owner = pushed[attributes]
            if owner not in left:
                left[owner] = own_max - _count(connection, owner, own_max)
            left[owner] -= 1
            if left[owner] < 0:
                refused.add(attributes)
        return refused

    def remember(self, ids: Mapping[Attributes, Known]) -> None:
        """Cache *ids*, which are committed."""
        if len(self._known) + len(ids) > self._kept_max:
            self._known = {}
        self._known.update(ids)


def _body(attributes: Attributes) -> str:
    return orjson.dumps(attributes, option=orjson.OPT_SORT_KEYS).decode()


def _digest(attributes: Attributes) -> bytes:
    return facts.digest(_body(attributes))


def _read(
    connection: sa.Connection, digests: Collection[bytes], *, locks: bool = False
) -> dict[bytes, Known]:
    """Return the rows with *digests*; a locking read sees what others have just committed."""
    columns = [_ATTRIBUTES.c[name] for name in ('digest', *Known._fields)]
    statement = sa.select(*columns).order_by(_ATTRIBUTES.c.id)
    if locks:
        statement = statement.with_for_update()
    return {
        bytes(digest): Known(*known)
        for chunk in chunks(sorted(digests))
        for digest, *known in connection.execute(statement.where(_ATTRIBUTES.c.digest.in_(chunk)))
    }


def _use(
    connection: sa.Connection, rows: Mapping[bytes, Mapping[str, Any]], new: Collection[bytes]
) -> dict[bytes, Known]:
    """Create the *new* rows, and record that the others are used."""
    locked: dict[bytes, Known] = {}
    missing = [digest for digest in rows if digest in new]
    while len(locked) < len(rows):
        if missing:
            upsert.insert_missing(connection, _ATTRIBUTES, [rows[one] for one in missing])
        locked |= _read(connection, rows.keys() - locked.keys(), locks=True)
        # They were removed meanwhile.
        missing = [digest for digest in rows if digest not in locked]
    used: dict[int, list[int]] = {}
    for digest, row in rows.items():
        if locked[digest].used_at < row['used_at']:
            used.setdefault(row['used_at'], []).append(locked[digest].id)
            locked[digest] = locked[digest]._replace(used_at=row['used_at'])
    for used_at, ids in used.items():
        use(connection, ids, used_at)
    return locked


def use(connection: sa.Connection, ids: Iterable[int], used_at: int) -> None:
    """Record when rows are used."""
    for chunk in chunks(sorted(ids)):
        connection.execute(
            sa.update(_ATTRIBUTES)
            .where(_ATTRIBUTES.c.id.in_(chunk), _ATTRIBUTES.c.used_at < used_at)
            .values(used_at=used_at)
        )


def _count(connection: sa.Connection, owner: str, most: int) -> int:
    """Return how many rows a project has, at most *most*."""
    own = sa.select(_ATTRIBUTES.c.id).where(_ATTRIBUTES.c.pushed_by == owner).limit(most)
    statement = sa.select(sa.func.count()).select_from(own.subquery())
    return connection.execute(statement).scalar_one()


def remove(connection: sa.Connection, before: int, limit: int) -> bool:
    """Remove at most *limit* rows that were used before an instant; return whether more may be.

    The newest stays: SQLite would give its id to the next one, and readers remember what belongs
    to an id.
    """
    newest = sa.select(sa.func.max(_ATTRIBUTES.c.id)).scalar_subquery()
    old = list(
        connection.execute(
            sa.select(_ATTRIBUTES.c.id)
            .where(_ATTRIBUTES.c.used_at < before, _ATTRIBUTES.c.id < newest)
            .order_by(_ATTRIBUTES.c.used_at)
            .limit(limit)
        ).scalars()
    )
    if old:
        # Whoever uses one of them meanwhile keeps it.
        connection.execute(
            sa.delete(_ATTRIBUTES).where(_ATTRIBUTES.c.id.in_(old), _ATTRIBUTES.c.used_at < before)
        )
    return len(old) == limit


def read(connection: sa.Connection, ids: Collection[int]) -> dict[int, FrozenDict[str, str]]:
    """Return attributes by id."""
    return {
        found: FrozenDict(orjson.loads(body))
        for chunk in chunks(sorted(ids))
        for found, body in connection.execute(
            sa.select(_ATTRIBUTES.c.id, _ATTRIBUTES.c.body).where(_ATTRIBUTES.c.id.in_(chunk))
        )
    }
