"""Changes of rules over the API: done and recorded together."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pecan
import sqlalchemy as sa

from cloudkitty.db import audit, changes


def write(change: Callable[[sa.Connection], Any], kind: changes.Kind,
          object_id: str | None = None) -> Any:
    """Return change(connection), done and recorded in one transaction.

    :param change: as for Database.write(); changes one object and what hangs on it.
    :param kind: what is changed.
    :param object_id: which one; None: *change* makes and returns it.
    """
    actor = _actor()

    def run(connection):
        changes.lock(connection, kind, object_id)
        before = {} if object_id is None else changes.touched_by(connection, kind, object_id)
        result = change(connection)
        keys = [changes.Key(kind, getattr(result, kind.id_name))] if object_id is None else before
        audit.record(connection, actor, before=before, after=changes.read(connection, keys),
                     now=datetime.now(UTC))
        return result

    return pecan.request.services.database.write(run)


def _actor():
    caller = pecan.request.caller
    return audit.Actor(caller.user_id, caller.project_id, caller.request_id)
