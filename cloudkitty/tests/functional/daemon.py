"""The command cloudkitty-processor as an operator runs it, and scopes for it to rate."""

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from cloudkitty import timeframe
from cloudkitty.db import models, scopes
from cloudkitty.tests import history
from cloudkitty.tests.functional import worker_run

IDENTITY = scopes.Identity('project_id', 'source', 'prometheus')
LAST = history.PERIODS[-1].begin
FINISHED = dict.fromkeys(worker_run.SCOPES, (LAST, None))
STOP_S = 20


class Processor:
    """The command, in a process group of its own.

    :param environment: variables added to those of the test.
    """

    def __init__(self, path, log_path, **environment):
        with open(log_path, 'ab') as log:
            self.process = subprocess.Popen(
                [os.path.join(os.path.dirname(sys.executable), 'cloudkitty-processor'),
                 '--config-file', str(path)], stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **environment})

    def children(self):
        """Return the ids of the processes that the master has forked, oldest first."""
        pid = self.process.pid
        return [int(child) for task in Path(f'/proc/{pid}/task').iterdir()
                for child in (task / 'children').read_text().split()]

    def end(self, signal_number):
        """Send a signal to the master, or SIGKILL to all; return the exit status."""
        if signal_number == signal.SIGKILL:
            os.killpg(self.process.pid, signal_number)
        else:
            self.process.send_signal(signal_number)
        return self.process.wait(STOP_S)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)


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
