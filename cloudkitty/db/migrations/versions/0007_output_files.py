"""The table of written files."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0007'
down_revision = '0006'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'output_files',
        sa.Column('name', types.name(400), primary_key=True),
        sa.Column('writer', types.name(255), nullable=False),
        sa.Column('subject', types.name(16), nullable=False),
        sa.Column('subject_id', types.name(256), nullable=False),
        sa.Column('month', types.name(7), nullable=False),
        sa.Column('version', types.name(64), nullable=False),
        sa.Column('source', types.name(64), nullable=False),
        sa.Column('until', types.instant()),
        sa.Column('body_size', sa.BigInteger),
        sa.Column('body_digest', types.name(64)),
        sa.Column('body_state', types.text()),
        sa.Column('size', sa.BigInteger, nullable=False),
        sa.Column('digest', types.name(64), nullable=False),
        sa.Column('written_at', types.instant(), nullable=False),
        sa.Column('failure', types.text()),
        **OPTIONS,
    )
    op.create_index('ix_output_files_month', 'output_files', ['month'], if_not_exists=True)
