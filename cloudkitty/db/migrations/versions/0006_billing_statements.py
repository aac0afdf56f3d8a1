"""Statements: what is closed, the numbers, and what changed since."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0006'
down_revision = '0005'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    _changes()
    _accounts()
    _statements()
    _lines()


def _changes():
    op.create_table(
        'billing_changes',
        sa.Column('scope_id', sa.Integer, sa.ForeignKey('rated_scopes.id'), primary_key=True),
        sa.Column('month', sa.Date, primary_key=True),
        sa.Column('changes', sa.BigInteger, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        'billing_rechecks',
        sa.Column('account', types.name(256), primary_key=True),
        sa.Column('month', types.name(7), primary_key=True),
        sa.Column('changes', sa.BigInteger, nullable=False),
        **OPTIONS,
    )


def _accounts():
    op.create_table(
        'billing_accounts',
        sa.Column('id', types.name(256), primary_key=True),
        sa.Column('newest', types.name(64)),
        **OPTIONS,
    )
    op.create_table(
        'billing_series',
        sa.Column('name', types.name(40), primary_key=True),
        sa.Column('year', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('next_number', sa.Integer, nullable=False),
        **OPTIONS,
    )


def _statements():
    op.create_table(
        'billing_statements',
        sa.Column('number', types.name(64), primary_key=True),
        sa.Column('account', types.name(256), nullable=False),
        sa.Column('month', types.name(7), nullable=False),
        sa.Column('revision', sa.Integer, nullable=False),
        sa.Column('sequence', sa.Integer, nullable=False),
        sa.Column('voids', types.name(64)),
        sa.Column('owner', types.name(255)),
        sa.Column('version', sa.Integer, nullable=False),
        sa.Column('currency', types.name(8), nullable=False),
        sa.Column('list_price', types.Exact(), nullable=False),
        sa.Column('net', types.Exact(), nullable=False),
        sa.Column('tax', types.Exact(), nullable=False),
        sa.Column('total', types.Exact(), nullable=False),
        sa.Column('digest', types.name(64), nullable=False),
        sa.Column('previous', types.name(64)),
        sa.Column('closed_at', types.instant(), nullable=False),
        sa.Column('author', types.name(255)),
        sa.Column('document', types.text(), nullable=False),
        sa.UniqueConstraint('account', 'sequence', name='uq_billing_statements_account'),
        **OPTIONS,
    )
    op.create_index(
        'ix_billing_statements_month', 'billing_statements', ['month'], if_not_exists=True
    )


def _lines():
    op.create_table(
        'billing_lines',
        sa.Column(
            'number', types.name(64), sa.ForeignKey('billing_statements.number'), primary_key=True
        ),
        sa.Column('position', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('account', types.name(256), nullable=False),
        sa.Column('period', types.name(7), nullable=False),
        sa.Column('kind', types.name(16), nullable=False),
        sa.Column('item', types.name(255), nullable=False),
        sa.Column('key', types.text(), nullable=False),
        sa.Column('scope_id', types.name(256)),
        sa.Column('metric', types.name(255)),
        sa.Column('unit', types.name(255), nullable=False),
        sa.Column('quantity', types.Exact(), nullable=False),
        sa.Column('list_price', types.Exact(), nullable=False),
        sa.Column('exact', types.Exact(), nullable=False),
        sa.Column('amount', types.Exact(), nullable=False),
        sa.Column('tax', types.name(255), nullable=False),
        sa.Column('is_correction', sa.Boolean, nullable=False),
        **OPTIONS,
    )
    op.create_index(
        'ix_billing_lines_account', 'billing_lines', ['account', 'period'], if_not_exists=True
    )
