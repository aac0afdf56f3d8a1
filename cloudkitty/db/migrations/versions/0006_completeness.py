"""Since when a scope has been failing.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0006'
down_revision = '0005'


def upgrade():
    _add('cloudkitty_storage_states', sa.Column('failing_since', types.instant()))


def _add(table, column):
    known = {found['name'] for found in sa.inspect(op.get_bind()).get_columns(table)}
    if column.name not in known:
        op.add_column(table, column)
