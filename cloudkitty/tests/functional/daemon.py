"""Scopes for the command cloudkitty-processor to rate."""

from datetime import UTC, datetime

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, scopes
from cloudkitty.tests import history
from cloudkitty.tests.functional import worker_run

IDENTITY = scopes.Identity('project_id', 'source', 'prometheus')
LAST = history.PERIODS[-1].begin
FINISHED = dict.fromkeys(worker_run.SCOPES, (LAST, None))


def seed(database):
    """Make scopes whose whole life lies in the history, whatever the time is now."""
    worker_run.clear(database)

    def change(connection):
        now = datetime.now(UTC)
        scopes.claim_fetch(connection, IDENTITY, seen=None, now=now)
        scopes.record_seen(connection, IDENTITY, worker_run.SCOPES, now=now, final_mark=now,
                           initial_mark=history.BEGIN - worker_run.HOUR)
        connection.execute(sa.update(models.scopes).values(final_mark=timeframe.to_naive(LAST)))

    database.write(change)


def marks(database):
    with database.reader() as connection:
        return {scope.scope_id: (scope.mark, scope.failure_count)
                for scope in scopes.list_scopes(connection)[1]}
