"""Credits: what accounts pay in advance, and what statements draw of it."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0009'
down_revision = '0008'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'billing_credits',
        sa.Column('id', types.name(32), primary_key=True),
        sa.Column('account', types.name(256), nullable=False),
        sa.Column('amount', types.Exact(), nullable=False),
        sa.Column('currency', types.name(8), nullable=False),
        sa.Column('priority', sa.Integer, nullable=False),
        sa.Column('begin', sa.Date),
        sa.Column('end', sa.Date),
        sa.Column('note', types.name(255), nullable=False),
        sa.Column('created_at', types.instant(), nullable=False),
        sa.Column('author', types.name(255)),
        **OPTIONS,
    )
    op.create_index(
        'ix_billing_credits_account', 'billing_credits', ['account'], if_not_exists=True
    )
    op.create_table(
        'billing_draws',
        sa.Column(
            'number', types.name(64), sa.ForeignKey('billing_statements.number'), primary_key=True
        ),
        sa.Column('credit', types.name(32), sa.ForeignKey('billing_credits.id'), primary_key=True),
        sa.Column('amount', types.Exact(), nullable=False),
        **OPTIONS,
    )
    op.create_index('ix_billing_draws_credit', 'billing_draws', ['credit'], if_not_exists=True)
