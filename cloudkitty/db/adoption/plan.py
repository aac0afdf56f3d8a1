"""The steps of adoption. Each checks the database to see whether it is done."""

from collections.abc import Sequence
from typing import Protocol

import sqlalchemy as sa

from cloudkitty.db.adoption import (
    alter,
    checks,
    former,
    heads,
    journal,
    release,
    rows,
    scope_rows,
    target,
)
from cloudkitty.db.adoption.options import Options, Tell

ROW_STEPS = (
    rows.LocalTimes,
    rows.Checksums,
    scope_rows.Identities,
    scope_rows.Marks,
    rows.TaskEnds,
)


class Step(Protocol):
    """A resumable part of adoption.

    :ivar title: what it does, for the operator.
    """

    title: str

    def is_done(self, connection: sa.Connection) -> bool:
        """Return whether nothing is left to do."""

    def is_expected(self, connection: sa.Connection) -> bool:
        """Return whether something is left to do once the steps before are done."""

    def run(self, connection: sa.Connection) -> None:
        """Do it."""


class Shape:
    """Convert a table to our columns and keys.

    :param is_lenient: leave columns in which rows have no value yet without NOT NULL.
    """

    def __init__(self, table: sa.Table, *, is_lenient: bool):
        self.table = table
        self.is_lenient = is_lenient
        self.title = f'{"widen" if is_lenient else "complete"} table {table.name}'

    def is_done(self, connection):
        return not self._changes(connection)

    def is_expected(self, connection):
        changes = self._changes(connection)
        # The first of the two steps does everything except NOT NULL of columns to be filled.
        return bool(changes) and (
            self.is_lenient or changes != alter.alterations(connection, self.table, is_lenient=True)
        )

    def run(self, connection):
        alter.execute(connection, self.table, self._changes(connection))

    def _changes(self, connection):
        return alter.alterations(connection, self.table, is_lenient=self.is_lenient)


class Journal:
    """Create the journal of changed rows."""

    title = f'create table {journal.journal.name}'

    def is_done(self, connection):
        return sa.inspect(connection).has_table(journal.journal.name)

    def is_expected(self, connection):
        return not self.is_done(connection)

    def run(self, connection):
        journal.make(connection)


def steps(connection: sa.Connection, options: Options) -> list[Step]:
    """Return the steps in order, including those that are done.

    Rows change after all columns are widened, so that the new values fit.
    """
    if release.released_revision(connection) is not None:
        # The tables are ours already.
        return [kind(options) for kind in ROW_STEPS]
    kept = _kept_tables(connection)
    return [
        Journal(),
        *(Shape(table, is_lenient=True) for table in kept),
        *row_steps(connection, options),
        *(Shape(table, is_lenient=False) for table in kept),
    ]


def row_steps(connection: sa.Connection, options: Options) -> list[rows.RowStep]:
    """Return the steps that change rows, in order, including those that are done."""
    filled = [table for table in _kept_tables(connection) if table.name in former.FILLED]
    return [
        *(kind(options) for kind in ROW_STEPS),
        *(rows.Fill(options, table) for table in filled),
    ]


def _kept_tables(connection):
    present = set(sa.inspect(connection).get_table_names())
    ours = target.first_tables(connection)
    return [ours[name] for name in former.TABLES if name in present]


def explain(connection: sa.Connection, options: Options, steps: Sequence[Step], tell: Tell) -> None:
    """Report each decision of *steps* and what stays as it is, before anything is changed."""
    revisions = heads.read(connection)
    told = ', '.join(f'{table} {revision}' for table, revision in sorted(revisions.items()))
    tell(f'adopting the former database: {told}')
    tell(f'times of rules and scripts are read as local times of zone {options.zone.key}')
    checks.explain(connection, tell)
    for step in steps:
        if isinstance(step, rows.RowStep):
            step.explain(connection, tell)
