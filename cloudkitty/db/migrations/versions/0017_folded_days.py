"""Which days of scopes have their sums in ClickHouse."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0017'
down_revision = '0016'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'rated_folded',
        sa.Column('id', sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column('until', sa.Date, nullable=False),
        sa.Column('announced', sa.Date, nullable=False),
        sa.Column('since', types.instant(), nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'rated_unfolded_days',
        sa.Column(
            'scope_id',
            sa.Integer,
            sa.ForeignKey('rated_scopes.id'),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column('day', sa.Date, primary_key=True),
        sa.Column('revision', sa.BigInteger, nullable=False),
        **OPTIONS,
    )
    op.create_index(
        'ix_rated_unfolded_days_day', 'rated_unfolded_days', ['day'], if_not_exists=True
    )
