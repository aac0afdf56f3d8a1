"""The tables as of our first revision: the target of adoption.

The models change with later revisions; adoption ends at the first, and alembic continues from it.
"""

import importlib
import io

import sqlalchemy as sa
from alembic import operations
from alembic.runtime import migration as alembic_migration

from cloudkitty.db import tables

FIRST = 'cloudkitty.db.migrations.versions.0001_first'


def first_tables(connection: sa.Connection) -> dict[str, sa.Table]:
    """Return the tables that the first revision creates on such a database, by name."""
    found: dict[str, sa.Table] = {}
    context = alembic_migration.MigrationContext.configure(
        connection,
        opts={
            'as_sql': True,
            'output_buffer': io.StringIO(),
            'target_metadata': tables.metadata,
        },
    )
    # Offline mode: the revision writes its statements to a buffer, and its tables are recorded.
    vars(context.impl).update(
        create_table=lambda table, **options: found.setdefault(table.name, table)
    )
    with operations.Operations.context(context):
        importlib.import_module(FIRST).upgrade()
    return found


def first_revision() -> str:
    """Return the revision of first_tables()."""
    return importlib.import_module(FIRST).revision
