"""Versions of the document of plans and accounts."""

import sqlalchemy as sa
from alembic import op

from cloudkitty.db import types

revision = '0002'
down_revision = '0001'

OPTIONS = {
    'mysql_engine': 'InnoDB',
    'mysql_charset': 'utf8mb4',
    'mariadb_engine': 'InnoDB',
    'mariadb_charset': 'utf8mb4',
    'if_not_exists': True,
}


def upgrade():
    op.create_table(
        'billing_documents',
        sa.Column('version', sa.Integer, primary_key=True, autoincrement=False),
        sa.Column('from_month', types.name(7), nullable=False),
        sa.Column('document', types.text(), nullable=False),
        sa.Column('digest', types.name(64), nullable=False),
        sa.Column('author', types.name(255)),
        sa.Column('applied_at', types.instant(), nullable=False),
        **OPTIONS,
    )
