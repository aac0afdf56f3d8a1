"""Scopes whose sums by series lack their last periods."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0013'
down_revision = '0012'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'rated_unfolded',
        sa.Column(
            'scope_id',
            sa.Integer,
            sa.ForeignKey('rated_scopes.id'),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column('begin', types.instant(), nullable=False),
        **OPTIONS,
    )
