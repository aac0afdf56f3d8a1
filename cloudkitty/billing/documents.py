"""Versions of the document of plans and accounts.

A version is in force from a month on, until a newer one is. Versions are only added, so a statement
refers to the one it was made with.
"""

import dataclasses
import json
import weakref
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
import yaml
from oslo_db import exception as db_exception

from cloudkitty import db, errors
from cloudkitty.audit import trail
from cloudkitty.billing import ledger, members
from cloudkitty.core import timeframe
from cloudkitty.core.billing import canonical, document, month
from cloudkitty.core.billing.plan import Document
from cloudkitty.db import billing_tables, tables

TABLE = billing_tables.documents
# Bytes of a document: one statement of every database takes so many.
SIZE_MAX = 8 * 2**20
# Accounts and items of the documents that are kept parsed; 10,000 take 20 MB. A draft looks at all
# closed months of its account, each of which may have a version of its own.
KEPT_MAX = 80_000
# Likewise with the scopes of groups; most months have the same.
JOINED_MAX = 240_000
MONTHS_MAX = 10_000

_META = (
    TABLE.c.version,
    TABLE.c.from_month,
    TABLE.c.digest,
    TABLE.c.author,
    TABLE.c.applied_at,
)

_NEWEST_UNTIL = sa.select(sa.func.max(TABLE.c.version)).where(
    TABLE.c.from_month <= sa.bindparam('period')
)


_Key = TypeVar('_Key')


class Version(NamedTuple):
    """A version of the document.

    :ivar from_month: the first month in which it is in force.
    :ivar digest: of its content; '': there is no version yet.
    :ivar applied_at: aware UTC.
    """

    version: int
    from_month: str
    digest: str
    author: str | None
    applied_at: datetime


NONE = Version(0, '', '', None, timeframe.EPOCH)


def load(text: str | bytes) -> dict[str, Any]:
    """Return the form of a YAML document; numbers stay text.

    :raises InvalidInput: it is no mapping in YAML, or too large.
    """
    if len(text) > SIZE_MAX:
        raise errors.InvalidInput(reason=f'the document has more than {SIZE_MAX} bytes')
    try:
        form = yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise errors.InvalidInput(reason=f'no YAML: {" ".join(str(exc).split())}') from exc
    if not isinstance(form, dict):
        raise errors.InvalidInput(reason='document: must be a mapping')
    return form


def as_text(form: Any) -> Any:
    """Return a form of JSON as load() makes it of YAML: numbers are text."""
    if isinstance(form, Mapping):
        return {name: as_text(value) for name, value in form.items()}
    if isinstance(form, list):
        return [as_text(value) for value in form]
    if isinstance(form, Decimal | int) and not isinstance(form, bool):
        return canonical.render(Decimal(form))
    return form


class _Loader(yaml.BaseLoader):
    """Reads every scalar as text; a duplicate key in a mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in seen:
                raise yaml.YAMLError(f'{key.value!r} is there twice{key.start_mark}')
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


class Documents:
    """The versions in one database; each is parsed once."""

    def __init__(self, database: db.Database) -> None:
        self.database = database
        self._parsed: dict[int, Document] = {}
        # With the scopes of groups, by version and those scopes.
        self._joined: dict[tuple[int, frozenset[Any]], Document] = {}
        # The same, by version, month and stamp.
        self._months: dict[tuple[int, str, tuple[int, int]], Document] = {}
        # Of each transaction: a draft looks at the documents of all closed months of its account.
        self._stamps: weakref.WeakKeyDictionary[sa.Connection, tuple[int, int]] = (
            weakref.WeakKeyDictionary()
        )

    def forget(self) -> None:
        """Clear the parsed versions: the database may be another one now."""
        self._parsed.clear()
        self._joined.clear()
        self._months.clear()

    def newest(self, connection: sa.Connection) -> Version:
        """Return the newest version; NONE: there is none."""
        row = connection.execute(
            sa.select(*_META).order_by(TABLE.c.version.desc()).limit(1)
        ).first()
        return NONE if row is None else _version(row)

    def versions(self, connection: sa.Connection) -> list[Version]:
        """Return all versions, the newest first."""
        rows = connection.execute(sa.select(*_META).order_by(TABLE.c.version.desc()))
        return [_version(row) for row in rows]

    def version_of(self, connection: sa.Connection, period: str) -> int:
        """Return the number of the version in force in a month; 0: there is none."""
        found = connection.execute(_NEWEST_UNTIL, {'period': period}).scalar()
        return found or 0

    def form(self, connection: sa.Connection, version: int) -> dict[str, Any]:
        """Return the content of a version as it was applied.

        :raises NotFound: there is no such version.
        """
        if not version:
            return {}
        text = connection.execute(
            sa.select(TABLE.c.document).where(TABLE.c.version == version)
        ).scalar()
        if text is None:
            raise errors.NotFound(reason=f'There is no version {version} of the document.')
        form: dict[str, Any] = json.loads(text)
        return form

    def get(self, connection: sa.Connection, version: int, period: str) -> Document:
        """Return a version as it is in a month, with the scopes of its groups; 0: an empty one."""
        document = self._get(connection, version)
        if not document.groups:
            return document
        # What the transaction sees may be older than what another thread has read.
        stamp = self._stamps.get(connection)
        if stamp is None:
            stamp = self._stamps[connection] = members.stamp(connection)
        key = version, period, stamp
        found = self._months.get(key)
        if found is None:
            groups = members.groups_of(connection, document, period)
            found = self._join(version, document, groups)
            if len(self._months) >= MONTHS_MAX:
                self._months.clear()
            self._months[key] = found
        return found

    def _join(
        self, version: int, document: Document, groups: Mapping[tuple[str, str], list[str]]
    ) -> Document:
        """Return *document* with the scopes of groups; the same object for the same scopes."""
        content = frozenset((group, frozenset(scopes)) for group, scopes in groups.items())
        found = self._joined.get((version, content))
        if found is None:
            found = document.joined(groups)
            if self._keep(self._joined, (version, content), found, JOINED_MAX):
                self._months.clear()
        return found

    @staticmethod
    def _keep(cache: dict[_Key, Document], key: _Key, document: Document, most: int) -> bool:
        """Keep a document; return whether the others had to be forgotten for it."""
        is_full = sum(map(_size, (*cache.values(), document))) > most
        if is_full:
            cache.clear()
        cache[key] = document
        return is_full

    def _get(self, connection: sa.Connection, version: int) -> Document:
        """Return a version as it is written."""
        found = self._parsed.get(version)
        if found is None:
            parsed = document.parse(self.form(connection, version))
            former = self._names_before(connection, version) - parsed.accounts.keys()
            found = dataclasses.replace(parsed, former=former)
            self._keep(self._parsed, version, found, KEPT_MAX)
        return found

    @staticmethod
    def _names_before(connection: sa.Connection, version: int) -> frozenset[str]:
        """Return the ids of the accounts of all versions before *version*.

        An id that was that of a scope of the account, too, is left out: that scope goes on.
        """
        rows = connection.execute(sa.select(TABLE.c.document).where(TABLE.c.version < version))
        names: set[str] = set()
        scopes: set[str] = set()
        for text in rows.scalars():
            for name, one in json.loads(text).get('accounts', {}).items():
                names.add(name)
                scopes.update(one.get('scopes', ()))
        return frozenset(names - scopes)

    def apply(
        self,
        form: Mapping[str, Any],
        from_month: str,
        *,
        actor: trail.Actor,
        now: datetime,
        expected: str | None = None,
    ) -> Version:
        """Store *form* as the newest version.

        :param from_month: the first month in which it is in force.
        :param expected: digest of the version that is to be replaced; None: whatever it is.
        :raises InvalidInput: the document or the month is wrong.
        :raises Conflict: another version is the newest by now, or a month it is for is closed.
        """
        month.check(from_month)
        parsed = document.parse(form)
        text = canonical.encode(form)
        if len(text) > SIZE_MAX:
            raise errors.InvalidInput(reason=f'the document has more than {SIZE_MAX} bytes')

        def change(connection: sa.Connection) -> Version:
            before = self.newest(connection)
            if expected is not None and expected != before.digest:
                raise errors.Conflict(
                    reason=f'The newest version is {before.version} with digest '
                    f'{before.digest or "none"}, not {expected}: look at the differences again'
                )
            self._check_owners(connection, from_month, parsed)
            made = Version(
                before.version + 1, from_month, canonical.digest(text), actor.user_id, now
            )
            connection.execute(
                TABLE.insert().values(
                    **made._replace(applied_at=timeframe.to_naive(now))._asdict(),
                    document=text.decode(),
                )
            )
            trail.record_change(
                connection,
                actor,
                trail.Change(trail.BILLING_DOCUMENT, str(made.version), _told(before), _told(made)),
                now=now,
            )
            return made

        try:
            return self.database.write(change)
        except db_exception.DBDuplicateEntry as exc:
            raise errors.Conflict(reason='Another version was applied just now.') from exc

    def _check_owners(self, connection: sa.Connection, from_month: str, new: Document) -> None:
        """Make sure that in months with statements nothing is billed twice, or not at all.

        Statements keep their version: no scope may move, and no cost be divided in another way.

        :raises Conflict: one would.
        """
        for period, version in ledger.versions_since(connection, from_month):
            old = self.get(connection, version, period)
            joined = members.join(connection, new, period)
            for what, is_same in (
                ('Scopes would belong to other accounts', old.owners == joined.owners),
                ('Costs would be divided in another way', _divided(old) == _divided(joined)),
            ):
                if not is_same:
                    raise errors.Conflict(
                        reason=f'{what} in {period}, of which there are statements already: '
                        f'let the version hold from {month.following(period)} on'
                    )

    def roll_back(
        self, version: int, from_month: str, *, actor: trail.Actor, now: datetime
    ) -> Version:
        """Store the content of an old version as the newest one.

        :raises NotFound: there is no such version.
        :raises Conflict: see apply().
        """
        with self.database.reader() as connection:
            before, form = self.newest(connection), self.form(connection, version)
        return self.apply(form, from_month, actor=actor, now=now, expected=before.digest)


def _size(document: Document) -> int:
    """Return the number of accounts and items; 1 for an empty document."""
    items = sum(1 + len(plan.items) for plan in document.plans.values())
    return 1 + len(document.accounts) + items


def _divided(document: Document) -> Any:
    """Return the terms that determine each account's share of shared costs."""
    sources = [document.accounts[share.source] for share in document.shares]
    plans = [document.plans.get(source.plan or '') for source in sources]
    return document.shares, sources, plans, document.shares and document.rates


def export(form: Mapping[str, Any]) -> str:
    """Return a document as YAML, from which load() makes the same again."""
    return yaml.dump(form, Dumper=_Dumper, sort_keys=True, allow_unicode=True, width=100)


class _Dumper(yaml.SafeDumper):
    """Numbers are text in a form, and need no quotes: load() reads all as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def differences(before: Any, after: Any, path: str = '') -> Iterator[str]:
    """Yield a line for each value that differs: `~ plans.a.coupon: 5 -> 6`, or `+` and `-`."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            below = f'{path}.{name}' if path else name
            yield from differences(before.get(name), after.get(name), below)
    elif isinstance(before, list) and isinstance(after, list):
        for place in range(max(len(before), len(after))):
            was, is_now = (side[place] if place < len(side) else None for side in (before, after))
            yield from differences(was, is_now, f'{path}[{place}]')
    elif before != after:
        yield _difference(before, after, path)


def _difference(before: Any, after: Any, path: str) -> str:
    if before is None:
        return f'+ {path}: {_short(after)}'
    if after is None:
        return f'- {path}: {_short(before)}'
    return f'~ {path}: {_short(before)} -> {_short(after)}'


def _short(value: Any) -> str:
    return value if isinstance(value, str) else canonical.encode(value).decode()


def _version(row: tables.Row) -> Version:
    return Version(
        row.version,
        row.from_month,
        row.digest,
        row.author,
        timeframe.from_naive(row.applied_at),
    )


def _told(version: Version) -> dict[str, Any] | None:
    """Return a version as the audit trail records it, without its content."""
    if not version.version:
        return None
    return {
        'version': version.version,
        'from_month': version.from_month,
        'digest': version.digest,
    }
