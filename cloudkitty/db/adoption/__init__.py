"""Adoption: migrates a database of an earlier CloudKitty in place, with all of its rows.

The tables keep their names and content. They get the columns and keys of our first revision,
whatever release they are of, because the plan depends on the existing columns only; alembic adds
the other tables and continues from that revision. Nothing is dropped except unique keys.
"""

from collections.abc import Callable

import sqlalchemy as sa

from cloudkitty import errors
from cloudkitty.db.adoption import checks, heads, plan, shape
from cloudkitty.db.adoption.options import Options, Tell


class Adoption:
    """Adopts a former database according to *options*.

    :param tell: called with each line for the operator.
    :param guard: called before the first change, under the lock of the adoption; raises an error
        to abort.
    """

    def __init__(
        self,
        options: Options,
        tell: Tell,
        guard: Callable[[], None] = lambda: None,
    ):
        self.options = options
        self.tell = tell
        self.guard = guard

    def run(self, connection: sa.Connection) -> bool:
        """Adopt the database behind *connection*; do nothing unless it is a former one.

        It may be stopped at any moment and run again. With `is_dry_run` nothing is written.

        :returns: whether there is a former database.
        :raises SchemaMismatch: the database cannot be adopted; nothing was changed.
        """
        if not heads.read(connection):
            return False
        _refuse_sqlite(connection)
        checks.refuse(connection)
        if self.options.objection:
            raise errors.SchemaMismatch(reason=self.options.objection)
        steps = plan.steps(connection, self.options)
        plan.explain(connection, self.options, steps, self.tell)
        if not self.options.is_dry_run:
            self.guard()
            checks.check_privileges(connection)
        for step in steps:
            self._take(connection, step)
        return True

    def _take(self, connection, step):
        if self.options.is_dry_run:
            if step.is_expected(connection):
                self.tell(f'step: {step.title}')
            return
        if step.is_done(connection):
            return
        self.tell(f'step: {step.title}')
        step.run(connection)
        if shape.dialect_of(connection) == 'mysql':
            # Each step is committed, because the server commits changes of tables at once anyway.
            connection.exec_driver_sql('COMMIT')


def _refuse_sqlite(connection):
    if shape.dialect_of(connection) == 'sqlite':
        raise errors.SchemaMismatch(
            reason='a database of an earlier CloudKitty can be adopted on MariaDB and PostgreSQL, '
            'not on SQLite'
        )


def is_former(connection: sa.Connection) -> bool:
    """Return whether the database has version tables of an earlier CloudKitty."""
    return bool(heads.version_tables(connection))
