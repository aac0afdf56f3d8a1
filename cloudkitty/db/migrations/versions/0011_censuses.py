"""Lists of the resources that exist, and the lives of those that are missing in them."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0011'
down_revision = '0010'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'usage_censuses',
        sa.Column('id', types.big_id(), primary_key=True),
        sa.Column('digest', types.digest(), nullable=False, unique=True),
        sa.Column('producer', types.name(255), nullable=False),
        sa.Column('subject', types.name(255), nullable=False),
        sa.Column('begun_at', sa.BigInteger, nullable=False),
        sa.Column('complete_at', sa.BigInteger),
        sa.Column('state', types.name(10), nullable=False),
        sa.Column('listed', sa.Integer, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'usage_census_parts',
        sa.Column('digest', types.digest(), primary_key=True),
        sa.Column('part', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('body', types.blob(), nullable=False),
        sa.Column('received_at', sa.BigInteger, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'usage_missing',
        sa.Column('series_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('census_id', sa.BigInteger, nullable=False),
        sa.Column('last_seen', sa.BigInteger, nullable=False),
        **OPTIONS,
    )
    op.create_index(
        'ix_usage_missing_census_id', 'usage_missing', ['census_id'], if_not_exists=True
    )
