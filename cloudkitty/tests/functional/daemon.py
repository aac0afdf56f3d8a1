"""Scopes for the command cloudkitty-processor to rate."""

from datetime import UTC, datetime

import sqlalchemy as sa

from cloudkitty.core import timeframe
from cloudkitty.db import tables
from cloudkitty.scopes import state as scope_state
from cloudkitty.tests import history
from cloudkitty.tests.functional import worker_run

IDENTITY = scope_state.Identity('project_id', 'source', 'prometheus')
LAST = history.PERIODS[-1].begin
FINISHED = dict.fromkeys(worker_run.SCOPES, (LAST, None))


def seed(database):
    """Make scopes whose whole life lies in the history, whatever the time is now."""
    worker_run.clear(database)

    def change(connection):
        now = datetime.now(UTC)
        scope_state.claim_fetch(connection, IDENTITY, seen=None, now=now)
        scope_state.record_seen(
            connection,
            IDENTITY,
            worker_run.SCOPES,
            now=now,
            final_mark=now,
            initial_mark=history.BEGIN - worker_run.HOUR,
        )
        connection.execute(sa.update(tables.scopes).values(final_mark=timeframe.to_naive(LAST)))

    database.write(change)


def marks(database):
    with database.reader() as connection:
        return {
            scope.scope_id: (scope.mark, scope.failure_count)
            for scope in scope_state.list_scopes(connection)[1]
        }
