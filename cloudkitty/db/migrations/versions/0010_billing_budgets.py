"""Budgets, the alerts they gave, webhooks, and what is to be sent."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0010'
down_revision = '0009'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'budgets',
        sa.Column('id', types.name(32), primary_key=True),
        sa.Column('account', types.name(256), nullable=False),
        sa.Column('name', types.name(255), nullable=False),
        sa.Column('amount', types.Exact(), nullable=False),
        sa.Column('basis', types.name(8), nullable=False),
        sa.Column('measure', types.name(8), nullable=False),
        sa.Column('thresholds', types.text(), nullable=False),
        sa.Column('created_at', types.instant(), nullable=False),
        **OPTIONS,
    )
    op.create_index('ix_budgets_account', 'budgets', ['account'], if_not_exists=True)
    op.create_table(
        'billing_alerts',
        sa.Column('budget', types.name(32), primary_key=True),
        sa.Column('month', types.name(7), primary_key=True),
        sa.Column('basis', types.name(8), primary_key=True),
        sa.Column('measure', types.name(8), primary_key=True),
        sa.Column('threshold', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('account', types.name(256), nullable=False),
        sa.Column('budgeted', types.Exact(), nullable=False),
        sa.Column('amount', types.Exact(), nullable=False),
        sa.Column('currency', types.name(8), nullable=False),
        sa.Column('at', types.instant(), nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'webhooks',
        sa.Column('id', types.name(32), primary_key=True),
        sa.Column('account', types.name(256), nullable=False),
        sa.Column('url', types.text(), nullable=False),
        sa.Column('secret', types.name(64), nullable=False),
        sa.Column('previous_secret', types.name(64)),
        sa.Column('is_enabled', sa.Boolean, nullable=False),
        sa.Column('created_at', types.instant(), nullable=False),
        **OPTIONS,
    )
    op.create_index('ix_webhooks_account', 'webhooks', ['account'], if_not_exists=True)
    op.create_table(
        'outbox',
        sa.Column('id', types.big_id(), primary_key=True, autoincrement=True),
        sa.Column('webhook', types.name(32)),
        sa.Column('event', types.name(64), nullable=False),
        sa.Column('message', types.name(40), nullable=False),
        sa.Column('payload', types.text(), nullable=False),
        sa.Column('attempts', sa.Integer, nullable=False),
        sa.Column('due_at', types.instant(), nullable=False),
        sa.Column('failure', types.name(255)),
        **OPTIONS,
    )
    op.create_index('ix_outbox_due_at', 'outbox', ['due_at'], if_not_exists=True)
