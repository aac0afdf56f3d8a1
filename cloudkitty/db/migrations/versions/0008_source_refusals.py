"""Since when the source refuses metrics of scopes."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0008'
down_revision = '0007'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'source_refusals',
        sa.Column(
            'state_id',
            sa.Integer,
            sa.ForeignKey('cloudkitty_storage_states.id', ondelete='CASCADE'),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column('metric', types.name(255), primary_key=True),
        sa.Column('begin', types.instant(), nullable=False),
        sa.Column('end', types.instant(), nullable=False),
        sa.Column('since', types.instant(), nullable=False),
        sa.Column('seen', types.instant(), nullable=False),
        **OPTIONS,
    )
