"""Revisions of rows in ClickHouse."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0016'
down_revision = '0015'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'rated_counter',
        sa.Column('id', sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column('last', sa.BigInteger, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'rated_revisions',
        sa.Column('id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('since', types.instant(), nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'rated_latest',
        sa.Column(
            'scope_id',
            sa.Integer,
            sa.ForeignKey('rated_scopes.id'),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column('revision', sa.BigInteger, nullable=False),
        sa.Column('rated_until', types.instant()),
        **OPTIONS,
    )
