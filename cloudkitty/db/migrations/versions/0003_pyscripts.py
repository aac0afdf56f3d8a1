"""Scripts of the rating module pyscripts.

Runs again after an interruption on MariaDB, which keeps the statements that are done.
"""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0003'
down_revision = '0002'

OPTIONS = {'mysql_engine': 'InnoDB', 'mysql_charset': 'utf8mb4', 'mariadb_engine': 'InnoDB',
           'mariadb_charset': 'utf8mb4', 'if_not_exists': True}


def upgrade():
    op.create_table(
        'pyscripts_scripts',
        sa.Column('id', sa.Integer, primary_key=True),
        sa.Column('script_id', types.name(36), nullable=False),
        sa.Column('name', types.name(255), nullable=False),
        sa.Column('data', types.blob(), nullable=False),
        sa.Column('checksum', types.name(128), nullable=False),
        sa.Column('created_at', types.instant(), nullable=False, server_default=sa.func.now()),
        sa.Column('start', types.instant(), nullable=False, server_default=sa.func.now()),
        sa.Column('end', types.instant()),
        sa.Column('description', types.name(256)),
        sa.Column('deleted', types.instant()),
        sa.Column('created_by', types.name(64), nullable=False),
        sa.Column('updated_by', types.name(64)),
        sa.Column('deleted_by', types.name(64)),
        sa.UniqueConstraint('script_id', name='uq_pyscripts_scripts_script_id'), **OPTIONS)
