"""Scopes in the groups (domains and tags) that accounts name, by month.

Past months never change: when a scope leaves or joins a group, it counts from the next month on.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from cloudkitty.core.billing import month
from cloudkitty.core.billing.plan import Document
from cloudkitty.db import billing_tables, upsert
from cloudkitty.scopes.state import chunks, is_storable

TABLE = billing_tables.members
VALUE_LENGTH_MAX = 255


class Group(NamedTuple):
    """A domain or a tag.

    :ivar kind: DOMAIN or TAG of core/billing/plan.
    """

    kind: str
    value: str


def record(
    connection: sa.Connection, found: Mapping[str, Collection[tuple[str, str]]], now: datetime
) -> None:
    """Store the groups of scopes.

    A scope that was in none before is in them from this month on, another one from the next month
    on. Scopes that are not in *found* stay where they are.

    :param found: (kind, value) of the groups of scopes, by scope id.
    :param now: aware UTC.
    """
    current = now.strftime('%Y-%m')
    coming = month.following(current)
    for chunk in chunks(sorted(filter(is_storable, found))):
        rows = connection.execute(
            sa.select(TABLE).where(TABLE.c.scope_id.in_(chunk)).order_by(TABLE.c.from_month)
        ).all()
        known: dict[str, dict[Group, tuple[str, str | None]]] = {scope: {} for scope in chunk}
        for row in rows:
            group = Group(row.kind, row.value)
            known[row.scope_id][group] = row.from_month, row.until_month
        added = []
        for scope in chunk:
            wanted = {Group(*one) for one in found[scope] if 0 < len(one[1]) <= VALUE_LENGTH_MAX}
            for group in sorted(wanted.union(known[scope])):
                first, until = known[scope].get(group, ('', ''))
                if group not in wanted and until is None:
                    _set_end(connection, scope, group, first, coming)
                elif group in wanted and until == coming:
                    _set_end(connection, scope, group, first, None)
                elif group in wanted and until is not None:
                    begin = coming if known[scope] else current
                    added.append((scope, *group, begin, None, 0))
        upsert.insert(connection, TABLE, tuple(TABLE.c.keys()), added)


def _set_end(
    connection: sa.Connection, scope: str, group: Group, first: str, until: str | None
) -> None:
    connection.execute(
        sa.update(TABLE)
        .where(
            TABLE.c.scope_id == scope,
            TABLE.c.kind == group.kind,
            TABLE.c.value == group.value,
            TABLE.c.from_month == first,
        )
        .values(until_month=until, changes=TABLE.c.changes + 1)
    )


def stamp(connection: sa.Connection) -> tuple[int, int]:
    """Return a value that changes whenever something was recorded."""
    count, changes = connection.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(TABLE.c.changes), 0))
    ).one()
    return int(count), int(changes)


def join(connection: sa.Connection, document: Document, period: str) -> Document:
    """Return *document* with the scopes of its groups in a month."""
    return document.joined(groups_of(connection, document, period)) if document.groups else document


def groups_of(
    connection: sa.Connection, document: Document, period: str
) -> dict[tuple[str, str], list[str]]:
    """Return the scopes that the groups of *document* have in a month, by kind and value."""
    groups: dict[tuple[str, str], list[str]] = {}
    for kind, values in document.groups.items():
        for chunk in chunks(sorted(values)):
            rows = connection.execute(
                sa.select(TABLE.c.scope_id, TABLE.c.value).where(
                    TABLE.c.kind == kind,
                    TABLE.c.value.in_(chunk),
                    TABLE.c.from_month <= period,
                    sa.or_(TABLE.c.until_month.is_(None), TABLE.c.until_month > period),
                )
            )
            for row in rows:
                groups.setdefault((kind, row.value), []).append(row.scope_id)
    return groups
