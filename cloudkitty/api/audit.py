"""Audited changes of rules: change and audit entry are written in one transaction."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pecan
import sqlalchemy as sa

from cloudkitty.audit import snapshots, trail


def write(
    change: Callable[[sa.Connection], Any], kind: snapshots.Kind, object_id: str | None = None
) -> Any:
    """Run change(connection) and record it in the same transaction; return its result.

    :param change: as for Database.write(); changes one object and those below it.
    :param kind: kind of the object.
    :param object_id: its id; None: *change* creates and returns it.
    """
    by = actor()

    def run(connection):
        snapshots.lock(connection, kind, object_id)
        before = (
            {} if object_id is None else snapshots.read_with_dependents(connection, kind, object_id)
        )
        result = change(connection)
        keys = [snapshots.Key(kind, getattr(result, kind.id_name))] if object_id is None else before
        trail.record(
            connection,
            by,
            before=before,
            after=snapshots.read(connection, keys),
            now=datetime.now(UTC),
        )
        return result

    return pecan.request.services.database.write(run)


def actor() -> trail.Actor:
    """Return the actor of the current request."""
    caller = pecan.request.caller
    return trail.Actor(caller.user_id, caller.project_id, caller.request_id)
