"""Since when rated data has its points."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0009'
down_revision = '0008'

OPTIONS = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4', 'mariadb_engine': 'InnoDB',
           'mariadb_charset': 'utf8mb4', 'if_not_exists': True}


def upgrade():
    op.create_table(
        'rated_horizon',
        sa.Column('id', sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column('day', sa.Date, nullable=False),
        sa.Column('since', types.instant(), nullable=False), **OPTIONS)
