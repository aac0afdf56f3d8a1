"""Packed samples, and what finds the keys of events and requests that are old."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0014'
down_revision = '0013'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'usage_packs',
        sa.Column('series_id', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('begin', sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column('end', sa.BigInteger, nullable=False),
        sa.Column('newest', sa.BigInteger),
        sa.Column('samples', sa.Integer, nullable=False),
        sa.Column('body', types.blob(), nullable=False),
        **OPTIONS,
    )
    known = {column['name'] for column in sa.inspect(op.get_bind()).get_columns('usage_series')}
    if 'kept_from' not in known:
        op.add_column('usage_series', sa.Column('kept_from', sa.BigInteger))
    for table, column in (('usage_keys', 'seen_at'), ('usage_requests', 'received_at')):
        op.create_index(f'ix_{table}_{column}', table, [column], if_not_exists=True)
