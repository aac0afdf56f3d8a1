"""Administration of scopes: create, activate and deactivate them, change their identity."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from oslo_db import exception as db_exception

from cloudkitty import errors
from cloudkitty.core import timeframe
from cloudkitty.db import Database, tables
from cloudkitty.scopes import inactive_time
from cloudkitty.scopes import state as scope_state

_SCOPES = tables.scopes


def create(
    database: Database,
    scope_id: str,
    identity: scope_state.Identity,
    *,
    mark: datetime,
    active: bool,
    now: datetime,
) -> scope_state.Scope:
    """Return a new scope.

    :param mark: begin of the last period that counts as rated, aware UTC.
    :raises Conflict: an active scope has this id, or any has this id and identity.
    """

    def change(connection: sa.Connection) -> scope_state.Scope:
        _, known = scope_state.list_scopes(connection, scope_id=[scope_id])
        for scope in known:
            if scope.active or scope.identity == identity:
                raise errors.Conflict(reason=f'Scope {scope_id} exists already.')
        inserted = connection.execute(
            sa.insert(_SCOPES).values(
                **identity._asdict(),
                identifier=scope_id,
                active=active,
                last_processed_timestamp=timeframe.to_naive(mark),
                scope_activation_toggle_date=timeframe.to_naive(now),
            )
        ).inserted_primary_key
        assert inserted is not None  # it was one row
        return scope_state.get_scopes(connection, [inserted[0]])[0]

    return _write(database, change, scope_id)


def update(
    database: Database,
    scope_id: str,
    *,
    now: datetime,
    active: bool | None = None,
    bill_inactive_time: bool | None = None,
    **identity: str | None,
) -> scope_state.Scope:
    """Return the scope that has this id, changed; None leaves a value as it is.

    :param bill_inactive_time: whether the periods that began while it was inactive are rated
        once it becomes active.
    :param identity: new parts of its identity, see scopes.Identity.
    :raises NotFound: no scope has this id.
    :raises Conflict: several have it, or another one has the new identity.
    """

    def change(connection: sa.Connection) -> scope_state.Scope:
        _, known = scope_state.list_scopes(connection, scope_id=[scope_id])
        if not known:
            raise errors.NotFound(reason=f'No scope is named {scope_id}.')
        if len(known) > 1:
            raise errors.Conflict(reason=f'{len(known)} scopes are named {scope_id}.')
        values: dict[str, Any] = {
            name: value for name, value in identity.items() if value is not None
        }
        if active is not None and active != known[0].active:
            values |= {'active': active, 'scope_activation_toggle_date': timeframe.to_naive(now)}
            if active and not bill_inactive_time:
                inactive_time.add(connection, known[0].id, known[0].toggled_at, now)
        if values:
            connection.execute(
                sa.update(_SCOPES).where(_SCOPES.c.id == known[0].id).values(**values)
            )
        return scope_state.get_scopes(connection, [known[0].id])[0]

    return _write(database, change, scope_id)


def _write(
    database: Database, change: Callable[[sa.Connection], scope_state.Scope], scope_id: str
) -> scope_state.Scope:
    try:
        return database.write(change)
    except db_exception.DBDuplicateEntry as exc:
        raise errors.Conflict(
            reason=f'Scope {scope_id} with this scope key, fetcher and collector exists already.'
        ) from exc
