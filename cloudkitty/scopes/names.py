"""Display names of scopes, from the fetcher: table scope_names."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from cloudkitty.core import bounds
from cloudkitty.db import tables
from cloudkitty.scopes.state import chunks

_NAMES = tables.scope_names
LENGTH_MAX = 255
_BY_SCOPES = sa.select(_NAMES).where(
    _NAMES.c.identifier.in_(sa.bindparam('scopes', expanding=True))
)


def record(connection: sa.Connection, fetcher: str, names: Mapping[str, str]) -> int:
    """Store the names of scopes that are new or have changed; return how many.

    Those of scopes that are no longer listed are kept, for reports of past months.

    :param fetcher: name of the fetcher; the same id of another fetcher is another scope.
    :param names: by scope id; longer ones are cut, control characters are written as escapes.
    """
    known = dict(
        connection.execute(
            sa.select(_NAMES.c.identifier, _NAMES.c.name).where(_NAMES.c.fetcher == fetcher)
        )
        .tuples()
        .all()
    )
    changed = {
        scope_id: name
        for scope_id, given in sorted(names.items())
        if (name := _shown(given)) and known.get(scope_id) != name
    }
    for chunk in chunks(changed):
        connection.execute(
            sa.delete(_NAMES).where(_NAMES.c.fetcher == fetcher, _NAMES.c.identifier.in_(chunk))
        )
        connection.execute(
            sa.insert(_NAMES),
            [
                {'fetcher': fetcher, 'identifier': scope_id, 'name': changed[scope_id]}
                for scope_id in chunk
            ],
        )
    return len(changed)


def find(
    connection: sa.Connection, scopes: Collection[tuple[str | None, str]]
) -> dict[tuple[str, str], str]:
    """Return the names of *scopes*, pairs of fetcher and scope id, of those that are known."""
    found: dict[tuple[str, str], str] = {}
    for chunk in chunks(sorted({scope_id for _, scope_id in scopes})):
        rows = connection.execute(_BY_SCOPES, {'scopes': chunk})
        found.update(((row.fetcher, row.identifier), row.name) for row in rows)
    return found


def _shown(name: str) -> str:
    # Halves of surrogate pairs can be in JSON, and in no database.
    whole = name.encode('utf-8', 'replace').decode()
    return bounds.quote_controls(whole)[:LENGTH_MAX]
