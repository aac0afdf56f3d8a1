"""What all that rate into the database agree on.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0003'
down_revision = '0002'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'rating_agreements',
        sa.Column('id', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('begin', types.instant()),
        sa.Column('period', sa.Integer, nullable=False),
        sa.Column('scope_key', types.name(40), nullable=False),
        sa.Column('start_date', types.instant()),
        sa.Column('time_basis', types.name(16), nullable=False),
        sa.Column('in_force', sa.Boolean, nullable=False),
        sa.Column('agreed_at', types.instant(), nullable=False),
        **OPTIONS,
    )
